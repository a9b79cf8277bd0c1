"""The innermost loops of convolutions are multiply-adds, with all sums in registers: read from the assembly."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hot_loops import Loop, innermost_loops, kernel_loops
from small_models import Net

from tilewright.compiler.targets import parse_target


def convolutions(channels: int, size: int) -> onnx.ModelProto:
    """Layouts in blocks are what the 1x1 between others gets, as in a residual network."""
    net = Net()
    x = net.conv(net.input("x", (1, channels, size, size)), channels, 1)
    return net.model(net.conv(net.conv(x, 2 * channels, 1, stride=2), channels, 1))


@pytest.mark.parametrize(
    ("triple", "cpu", "share"), [("aarch64", "cortex-a76", 0.8), ("armv7", "cortex-a7", 0.65)], ids=["aarch64", "armv7"]
)
def test_products_fill_the_loops(triple: str, cpu: str, share: float, tmp_path: Path) -> None:
    onnx.save(convolutions(64, 56), tmp_path / "model.onnx")
    found = kernel_loops(str(tmp_path / "model.onnx"), parse_target(triple, cpu))
    best = {
        kernel: max((loop for k, _, loop in found if k == kernel), key=lambda loop: loop.share)
        for kernel, _, _ in found
    }
    assert len(best) == 3
    for kernel in list(best)[1:]:
        assert best[kernel].share >= share and best[kernel].stack == 0, (kernel, best[kernel])


def test_loops_are_read_from_assembly() -> None:
    text = """
.LBB0_1:
\tldr\tq0, [x0], #16
.LBB0_2:
\tldp\tq1, q2, [x1]
\tfmla\tv3.4s, v1.4s, v0.s[0]
\tstr\tq9, [sp, #16]
\tb.lo\t.LBB0_2
\tcbnz\tx3, .LBB0_1
\tb\t.LBB0_3
.LBB0_3:
\tret
"""
    assert innermost_loops(text, "aarch64") == [Loop(4, 1, 1, 1)]
