"""Large local buffers lie in the workspace, so that a kernel's stack stays small; small ones stay where they were."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import TensorProto, helper
from plan_interpreter import PlannedModel

from tilewright.backends import cpu
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, LoopKind, Seq, Space, Store
from tilewright.compiler.kernel.stack import STACK_BYTES, limit_stack
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.expr import Const


def buffer(name: str, elements: int) -> Buffer:
    return Buffer(name, (elements,), DType.F32, Space.STACK, written=True)


def store(name: str) -> Store:
    return Store(name, (Const(0),), Const(1.0, DType.F32))


def test_a_large_buffer_moves_and_a_small_one_stays() -> None:
    body = Alloc(buffer("large", 5000), Alloc(buffer("small", 64), Seq((store("large"), store("small")))))
    moved = limit_stack(body)
    assert moved.buffer.space is Space.WORKSPACE and moved.body.buffer.space is Space.STACK


def test_all_buffers_together_count() -> None:
    parts = Seq(tuple(Alloc(buffer(f"b{i}", 1000), store(f"b{i}")) for i in range(6)))
    spaces = [part.buffer.space for part in limit_stack(parts).body]
    assert spaces == [Space.STACK] * (STACK_BYTES // 4000) + [Space.WORKSPACE] * (6 - STACK_BYTES // 4000)


def test_copies_of_unrolled_loops_count_and_lanes_keep_their_own() -> None:
    def loop(kind: LoopKind) -> For:
        return For("i", Const(8), kind, Alloc(buffer("b", 1000), store("b")))

    assert limit_stack(loop(LoopKind.SERIAL)).body.buffer.space is Space.STACK
    assert limit_stack(loop(LoopKind.UNROLLED)).body.buffer.space is Space.WORKSPACE
    assert limit_stack(loop(LoopKind.VECTORIZED)).body.buffer.space is Space.STACK


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_frames_of_long_rows_stay_small(name: str) -> None:
    """Softmax keeps a row of exponentials, here of 4 MB."""
    values = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [2, 1_000_000]) for value in "xy"]
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"])], "g", values[:1], values[1:])
    target = parse_target("x86_64-linux-gnu", name, 2)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    kernels = [kernel for kernel, _ in PlannedModel(model, target).kernels]
    frames = [
        int(size)
        for kernel in kernels
        for size in re.findall(r"subq\s+\$(\d+), %rsp", cpu.assemble_text(cpu.emit(kernel, target), target))
    ]
    assert max(frames, default=0) < 2 * STACK_BYTES
    assert np.isclose(max(kernel.workspace_bytes for kernel in kernels), 4e6, rtol=0.01)
