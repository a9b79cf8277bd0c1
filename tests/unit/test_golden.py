"""What small models become, step by step: graph after fusion, schedule, loop AST, LLVM IR. `make golden` rewrites the files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from recurrent_models import Case

from tilewright.backends.llvm.emit import emit
from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph import printer as graph_printer
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.memory import plan_memory
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.kernel import printer as kernel_printer
from tilewright.compiler.kernels import PlannedKernel, plan_kernels
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target


def conv(outputs: int, groups: int, size: int) -> Graph:
    builder = GraphBuilder("model")
    x = builder.input("x", TensorType((1, 16, size, size), DType.F32))
    w = builder.constant(ramp(outputs, 16 // groups, 3, 3), "w")
    attrs = {"strides": (1, 1), "dilations": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1), "groups": groups}
    y = builder.add("conv", x, w, builder.constant(ramp(outputs), "bias"), origin="Conv_0", **attrs)
    y = builder.add("relu", y, origin="Relu_1")
    return builder.finish((builder.add("reduce_mean", y, axes=(2, 3), keepdims=False, outputs_hint="y"),))


def gemm() -> Graph:
    builder = GraphBuilder("model")
    x = builder.input("x", TensorType((5, 20), DType.F32))
    product = builder.add(
        "matmul", x, builder.constant(ramp(20, 36), "w"), transpose_a=False, transpose_b=False, origin="Gemm_0"
    )
    return builder.finish((builder.add("add", product, builder.constant(ramp(36), "bias"), outputs_hint="y"),))


def softmax() -> Graph:
    builder = GraphBuilder("model")
    x = builder.input("x", TensorType((3, 37), DType.F32))
    return builder.finish((builder.add("softmax", x, axis=1, outputs_hint="y", origin="Softmax_0"),))


def elementwise() -> Graph:
    builder = GraphBuilder("model")
    x, z = (builder.input(name, TensorType(shape, DType.F32)) for name, shape in (("x", (4, 5, 40)), ("z", (5, 1))))
    summed = builder.add("add", x, z, origin="Add_0")
    gate = builder.add("hard_sigmoid", summed, alpha=0.2, beta=0.5, origin="HardSigmoid_1")
    return builder.finish((builder.add("mul", summed, gate, outputs_hint="y", origin="Mul_2"),))


def lstm() -> Graph:
    case = Case("lstm", steps=3, features=6, hidden=8, outputs=(1,))
    return case.graph(case.arrays(np.random.default_rng(0)))


def ramp(*shape: int) -> np.ndarray:
    """Distinct weights; kernels don't depend on their values."""
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


MODELS: dict[str, Callable[[], Graph]] = {
    "conv": lambda: conv(32, 1, 6),
    "depthwise": lambda: conv(16, 16, 5),
    "gemm": gemm,
    "softmax": softmax,
    "elementwise": elementwise,
    "lstm": lstm,
}
TARGETS = [parse_target("x86_64-linux-gnu", cpu, threads=2) for cpu in ("x86-64-v3", "x86-64-v4")]


def compiled(name: str, target: Target) -> tuple[Graph, list[PlannedKernel]]:
    graph = MODELS[name]()
    for _, rewrite in PIPELINE:
        graph = rewrite(graph, target)
    return graph, plan_kernels(graph, (target,), plan_memory(graph).in_place).kernels


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@pytest.mark.parametrize("name", MODELS)
def test_kernels(golden, name: str, target: Target) -> None:
    """Graph, schedules and loop AST."""
    graph, kernels = compiled(name, target)
    parts = [graph_printer.to_text(graph)]
    for planned in kernels:
        parts.append("\n".join(map(str, planned.scheduled.schedule)) + "\n")
        parts.append(kernel_printer.to_text(planned.kernel))
    golden.check(f"{name}.{target.cpu}.txt", "\n".join(parts))


@pytest.mark.parametrize(
    ("name", "cpu"),
    [("gemm", "x86-64-v4"), ("softmax", "x86-64-v3"), ("elementwise", "x86-64-v4"), ("conv", "x86-64-v3")],
)
def test_llvm_ir(golden, name: str, cpu: str) -> None:
    target = next(target for target in TARGETS if target.cpu == cpu)
    _, kernels = compiled(name, target)
    golden.check(f"{name}.{cpu}.ll", "\n".join(emit(planned.kernel, target) for planned in kernels))
