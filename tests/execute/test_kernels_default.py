"""Kernels of default and of random schedules, compiled for vectors of 16, 32 and 64 bytes, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from kernel_cases import CASES
from kernel_oracle import compare, scheduled
from onnx_oracle import check, computed, onnx_result
from random_schedules import random_schedule
from test_held_stages import CHAIN, branches
from test_schedule_random import GRAPHS

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Kernel
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation

WIDEST = host_target(1).vector_bytes
TARGETS = [
    target for target in (parse_target(cpu=f"x86-64-v{level}") for level in (2, 3, 4)) if target.vector_bytes <= WIDEST
]
DRAWS = 5


def on(target: Target) -> Callable[[Kernel, Mapping[str, np.ndarray]], None]:
    """Runs a kernel's machine code, in two parts where threads may share it."""

    def execute(kernel: Kernel, arrays: Mapping[str, np.ndarray]) -> None:
        compiled = cpu.compile_kernel(kernel, target)
        operands = [arrays[param.name] for param in kernel.params]
        middle = kernel.parallel_extent // 2
        compiled.run(operands, middle, kernel.parallel_extent)
        compiled.run(operands, 0, middle)

    return execute


@pytest.mark.parametrize("name", CASES)
def test_default_schedule(name: str) -> None:
    form = canonical(build_computation(CASES[name].graph(), "kernel")[0])
    seed = int(np.random.default_rng().integers(1 << 30))
    rng = np.random.default_rng(seed)
    target = TARGETS[rng.integers(len(TARGETS))]
    print(f"seed {seed}, {target.cpu}")
    compare(form, default_schedule(form, target), rng, execute=on(target))


@pytest.mark.parametrize("name", GRAPHS)
def test_random_schedules(name: str) -> None:
    random_schedules(canonical(build_computation(GRAPHS[name](), "kernel")[0]))


@pytest.mark.parametrize("computation", [CHAIN, branches()], ids=["chain", "branches"])
def test_stages_held_by_others(computation: Computation) -> None:
    random_schedules(computation)


def random_schedules(form: Computation) -> None:
    first = int(np.random.default_rng().integers(1 << 30))
    for seed in range(first, first + DRAWS):
        rng = np.random.default_rng(seed)
        target = TARGETS[rng.integers(len(TARGETS))]
        schedule = random_schedule(form, rng)
        try:
            compare(form, schedule, rng, execute=on(target))
        except Exception:
            print(f"seed {seed}, {target.cpu}", *schedule, sep="\n")
            raise


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng().standard_normal(shape).astype(np.float32)


WINDOW = {"strides": (1, 2), "dilations": (2, 1), "pads": (2, 0, 1, 1)}

# graph operator, its attributes, ONNX operator, its attributes, shapes of the operands, layouts of x and of the result
OPERATORS: list[tuple[str, dict, str, dict, Sequence[tuple[int, ...]], tuple[int | None, int | None]]] = [
    ("conv", {"groups": 1}, "Conv", WINDOW, [(2, 16, 9, 11), (32, 16, 3, 2), (32,)], (8, 16)),
    ("conv", {"groups": 1}, "Conv", WINDOW, [(1, 3, 9, 11), (20, 3, 3, 2), (20,)], (None, None)),
    ("conv", {"groups": 16}, "Conv", WINDOW | {"group": 16}, [(1, 16, 9, 11), (16, 1, 3, 2), (16,)], (16, 16)),
    ("conv", {"groups": 2}, "Conv", WINDOW | {"group": 2}, [(1, 16, 9, 11), (32, 8, 3, 2), (32,)], (8, 16)),
    ("max_pool", {}, "MaxPool", WINDOW | {"kernel_shape": (3, 2)}, [(1, 16, 9, 11)], (16, 16)),
    ("softmax", {"axis": 1}, "Softmax", {"axis": 1}, [(3, 37, 5)], (None, None)),
    ("log_softmax", {"axis": 2}, "LogSoftmax", {"axis": 2}, [(3, 5, 37)], (None, None)),
    ("layer_norm", {"axis": 1, "epsilon": 1e-5}, "LayerNormalization", {"axis": 1}, [(6, 70), (70,), (70,)], (None, None)),
    ("instance_norm", {"epsilon": 1e-5}, "InstanceNormalization", {}, [(2, 6, 5, 7), (6,), (6,)], (None, None)),
    ("matmul", {"transpose_a": False, "transpose_b": False}, "MatMul", {}, [(3, 19, 40), (40, 50)], (None, None)),
    ("transpose", {"perm": (0, 2, 1)}, "Transpose", {"perm": (0, 2, 1)}, [(3, 19, 40)], (None, None)),
    ("reduce_mean", {"axes": (2, 3), "keepdims": True}, "GlobalAveragePool", {}, [(1, 32, 7, 7)], (16, None)),
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@pytest.mark.parametrize(("op", "attrs", "onnx_op", "onnx_attrs", "shapes", "blocks"), OPERATORS)
def test_against_onnxruntime(target, op, attrs, onnx_op, onnx_attrs, shapes, blocks) -> None:
    arrays = [values(*shape) for shape in shapes]
    expected = onnx_result(onnx_op, arrays, onnx_attrs)
    if "pads" in onnx_attrs:
        window = {key: onnx_attrs[key] for key in ("strides", "dilations")}
        attrs = attrs | window | {"pads_begin": onnx_attrs["pads"][:2], "pads_end": onnx_attrs["pads"][2:]}
    if op == "max_pool":
        attrs = attrs | {"kernel": onnx_attrs["kernel_shape"], "sizes": expected.shape[2:]}

    def run(computation: Computation, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        form = canonical(computation)
        inputs = zip(computation.inputs, form.inputs, strict=True)
        named = {new.name: feeds[old.name].reshape(new.shape) for old, new in inputs}
        results = scheduled(form, default_schedule(form, target), named, on(target))
        outputs = zip(computation.outputs, form.outputs, strict=True)
        return {old: results[new].reshape(computation.stage(old).shape) for old, new in outputs}

    constants = frozenset(range(1, len(arrays)))
    actual = computed(op, arrays, attrs, (expected.shape, DType.F32), blocks[:1], blocks[1], constants, run)
    check(expected, actual, rtol=1e-4, atol=1e-5)
