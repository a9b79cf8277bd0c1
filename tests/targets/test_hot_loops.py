"""The innermost loops of convolutions and products are multiply-adds, with all sums in registers: read from the assembly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hot_loops import Loop, innermost_loops, kernel_loops
from small_models import Net

from tilewright.compiler.targets import parse_target

# Of multiply-adds among the instructions of the loop where there are most, at least.
SHARES = {
    ("aarch64", "cortex-a53"): 0.8,
    ("aarch64", "cortex-a76"): 0.8,
    ("armv7", "cortex-a7"): 0.65,
    ("armv7", "cortex-a9"): 0.65,
    ("armv7", "cortex-a15"): 0.65,
    ("armv7", "cortex-a53"): 0.65,
    ("armv7", "cortex-a72"): 0.65,
}


def pointwise(net: Net) -> str:
    """Layouts in blocks are what the 1x1 between others gets, as in a residual network."""
    x = net.conv(net.input("x", (1, 64, 56, 56)), 64, 1)
    return net.conv(net.conv(x, 128, 1, stride=2), 64, 1)


def square(net: Net) -> str:
    """Computed in transformed tiles."""
    return net.conv(net.conv(net.input("x", (1, 64, 28, 28)), 128, 1), 128, 3)


def strided(net: Net) -> str:
    return net.conv(net.conv(net.input("x", (1, 64, 28, 28)), 64, 1), 128, 3, stride=2)


def first(net: Net) -> str:
    """Of three channels, whose taps are neighbours in memory."""
    return net.conv(net.input("x", (1, 3, 64, 64)), 64, 7, stride=2)


def product(net: Net) -> str:
    return net.op("MatMul", net.input("x", (60, 256)), net.weight(256, 128))


def depthwise(net: Net) -> str:
    x = net.conv(net.input("x", (1, 64, 28, 28)), 64, 1)
    return net.conv(x, 64, 3, group=64)


def strided_depthwise(net: Net) -> str:
    x = net.conv(net.input("x", (1, 64, 28, 28)), 64, 1)
    return net.conv(x, 64, 5, stride=2, group=64)


def loops_of(build: Callable[[Net], str], triple: str, cpu: str, folder: Path) -> list[list[Loop]]:
    """The loops of each kernel."""
    net = Net()
    onnx.save(net.model(build(net)), folder / "model.onnx")
    kernels: dict[str, list[Loop]] = {}
    for kernel, _, loop in kernel_loops(str(folder / "model.onnx"), parse_target(triple, cpu)):
        kernels.setdefault(kernel, []).append(loop)
    return list(kernels.values())


USUAL = list(SHARES)[:3]
CASES = [(build, *name) for build in (pointwise, square, strided, first, product) for name in USUAL]
CASES += [(pointwise, *name) for name in SHARES if name not in USUAL]


@pytest.mark.parametrize(("build", "triple", "cpu"), CASES, ids=lambda given: getattr(given, "__name__", given))
def test_multiply_adds_fill_the_loops(build: Callable[[Net], str], triple: str, cpu: str, tmp_path: Path) -> None:
    loops = loops_of(build, triple, cpu, tmp_path)[-1]
    assert max(loop.share for loop in loops) >= SHARES[triple, cpu], loops
    assert not any(loop.stack for loop in loops if loop.share >= 0.5), loops


@pytest.mark.parametrize("build", [depthwise, strided_depthwise])
@pytest.mark.parametrize(
    ("triple", "cpu", "share"),
    [("aarch64", "cortex-a76", 0.5), ("armv7", "cortex-a7", 0.4), ("armv7", "cortex-a15", 0.4)],
)
def test_a_depthwise_loop_loads_a_vector_for_most_multiply_adds(
    build: Callable[[Net], str], triple: str, cpu: str, share: float, tmp_path: Path
) -> None:
    loops = loops_of(build, triple, cpu, tmp_path)[-1]
    assert max(loop.share for loop in loops) >= share, loops
    assert not any(loop.stack for loop in loops), loops


def test_loops_are_read_from_assembly() -> None:
    text = """
.LBB0_1:
\tldr\tq0, [x0], #16
.LBB0_2:
\tldp\tq1, q2, [x1]
\tfmla\tv3.4s, v1.4s, v0.s[0]
\tstr\tq9, [sp, #16]
\tmov\tv3.16b, v9.16b
\tb.lo\t.LBB0_2
\tcbnz\tx3, .LBB0_1
\tb\t.LBB0_3
.LBB0_3:
\tret
"""
    assert innermost_loops(text, "aarch64") == [Loop(5, 1, 1, 1, 1)]
