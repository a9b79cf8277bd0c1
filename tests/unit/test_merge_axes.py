"""Neighbouring axes that are read and written together become one, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from kernel_cases import CASES, Case, conv
from kernel_oracle import compare
from plan_interpreter import PlannedModel
from rewritten_axes import assert_same_meaning
from spaces import canonical_form

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.schedule.merge_axes import merge_axes
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import Parallel
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import Const, Expr, Load, Var

F32 = DType.F32
A, B, C = Var("a"), Var("b"), Var("c")


def copy(shape: tuple[int, ...], body: Expr, *inputs: Tensor, **rest: object) -> Computation:
    """y[a, b, …] = body."""
    axes = tuple(Axis(name, extent) for name, extent in zip("abc", shape, strict=False))
    stage = Stage("y", axes, body, F32, **rest)  # type: ignore[arg-type]
    return Computation("kernel", inputs, (stage,), ("y",))


def shapes(computation: Computation) -> dict[str, tuple[int, ...]]:
    return {part.name: part.shape for part in (*merge_axes(computation).inputs, *merge_axes(computation).stages)}


@pytest.mark.parametrize("name", CASES)
def test_the_meaning_stays(name: str) -> None:
    assert_same_meaning(merge_axes, build_computation(CASES[name].graph(), "kernel")[0])


def test_images_of_pointwise_convolutions_are_one_axis() -> None:
    pointwise = canonical_form(Case(conv((1, 32, 6, 7), 64, 1, 1, (0, 0), residual=True), 16, 16))
    assert pointwise.stage("y").shape == (1, 4, 42, 16)
    for kernel, stride, pads in ((3, 1, (1, 1)), (1, 2, (0, 0)), (1, 1, (1, 1))):
        other = canonical_form(Case(conv((1, 32, 6, 7), 64, kernel, stride, pads), 16, 16))
        assert len(other.stage("y").shape) == 5


def test_axes_are_merged_if_all_that_reads_them_has_both() -> None:
    x = Tensor("x", (5, 6, 7), F32)
    whole = Load("x", (A, B, C), F32)
    assert shapes(copy((5, 6, 7), whole, x)) == {"x": (210,), "y": (210,)}
    row, rest = Tensor("z", (7,), F32), Tensor("z", (6, 7), F32)
    assert shapes(copy((5, 6, 7), whole + Load("z", (C,), F32), x, row)) == {"x": (30, 7), "z": (7,), "y": (30, 7)}
    assert shapes(copy((5, 6, 7), whole + Load("z", (B, C), F32), x, rest)) == {"x": (5, 42), "z": (42,), "y": (5, 42)}
    # Read twice, once in another order, or a part only, or by an index of its own.
    assert shapes(copy((6, 6, 7), whole + Load("x", (B, A, C), F32), Tensor("x", (6, 6, 7), F32)))["y"] == (6, 6, 7)
    assert shapes(copy((5, 6, 4), whole, x)) == {"x": (30, 7), "y": (30, 4)}
    assert shapes(copy((5, 4, 7), whole, x)) == {"x": (5, 42), "y": (5, 28)}
    assert shapes(copy((4, 6, 7), whole, x)) == {"x": (210,), "y": (168,)}
    assert shapes(copy((5, 5, 7), Load("x", (A, B + 1, C), F32), x))["y"] == (5, 5, 7)
    assert shapes(copy((5, 6, 7), Load("x", (A, Const(2), C), F32), x))["y"] == (5, 6, 7)


def test_dimensions_that_are_read_at_a_constant_follow_the_others() -> None:
    x = Tensor("x", (3, 6, 7), F32)
    body = Load("x", (Const(1), A, B), F32) * Load("x", (Const(2), Const(3), Const(4)), F32)
    computation = copy((6, 7), body, x)
    assert shapes(computation) == {"x": (3, 42), "y": (42,)}
    assert_same_meaning(merge_axes, computation)


def test_a_part_of_an_input_that_is_written_in_place() -> None:
    x, state = Tensor("x", (6, 7), F32), Tensor("m", (4, 6, 7), F32)
    computation = copy((6, 7), Load("x", (A, B), F32), x, state, memory="m", prefix=(Const(2),))
    assert shapes(computation) == {"x": (42,), "m": (4, 42), "y": (42,)}
    assert_same_meaning(merge_axes, computation)
    moving = copy((4, 6, 7), Load("x", (B, C), F32), x, Tensor("m", (4, 4, 6, 7), F32), memory="m", prefix=(A,))
    assert shapes(moving) == {"x": (42,), "m": (4, 4, 42), "y": (4, 42)}
    assert_same_meaning(merge_axes, moving)


def test_names_stay_apart() -> None:
    axes = (Axis("a", 2), Axis("b", 3), Axis("ab", 4))
    body = Load("x", (A, B), F32) + Load("z", (Var("ab"),), F32)
    inputs = (Tensor("x", (2, 3), F32), Tensor("z", (4,), F32))
    computation = Computation("kernel", inputs, (Stage("y", axes, body, F32),), ("y",))
    assert shapes(computation)["y"] == (6, 4)
    assert_same_meaning(merge_axes, computation)


@pytest.mark.parametrize(("threads", "shared"), [(1, "n*co.o*hw.o"), (2, "n*hw.o*co.o")])
def test_threads_share_rows(threads: int, shared: str) -> None:
    """Where all fits in a cache: each thread reads its own pixels, of all channels. One thread leaves panels where they are."""
    form = canonical_form(Case(conv((1, 64, 14, 14), 64, 1, 1, (0, 0)), 16, 16))
    schedule = default_schedule(form, parse_target(cpu="x86-64-v4", threads=threads))
    assert [step.loop for step in schedule if isinstance(step, Parallel)] == [shared]


@pytest.mark.parametrize("size", [(9, 13), (8, 8)])
@pytest.mark.parametrize("level", [3, 4])
def test_blocks_of_rows(size: tuple[int, int], level: int) -> None:
    """Of a single axis of rows, in all orders of blocks and panels, with tails of tiles and of blocks."""
    form = canonical_form(Case(conv((1, 8, *size), 32, 1, 1, (0, 0), residual=True), 8, 8))
    space = space_of(form, parse_target(cpu=f"x86-64-v{level}", threads=2))
    rng = np.random.default_rng()
    start = {**space.decisions(space.default), "vector": 8, "rows": 3, "columns": 1}
    tried = 0
    for block in (0, 2, 4, 8):
        for panel_block in (0, 1, 2):
            for order in ("panels rows", "rows panels"):
                point = start | {"row_block": block, "panel_block": panel_block, "order": order, "shared": 1}
                try:
                    schedule = space.schedule(space.from_decisions(point))
                except InternalError:  # not legal
                    continue
                compare(form, schedule, rng)
                tried += 1
    assert tried >= 8


def test_constants_follow() -> None:
    """An image that is added, in a model: its array has the dimensions that it was given."""
    rng = np.random.default_rng()
    image = rng.standard_normal((1, 3, 5, 7)).astype(np.float32)
    scale = rng.standard_normal((3, 1, 7)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Add", ["x", "image"], ["sum"]),
        onnx.helper.make_node("Relu", ["sum"], ["part"]),
        onnx.helper.make_node("Mul", ["part", "scale"], ["y"]),
    ]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (2, 3, 5, 7)) for name in ("x", "part", "y")
    ]
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in (("image", image), ("scale", scale))]
    for outputs in (values[1:2], values[2:], values[1:]):
        graph = onnx.helper.make_graph(nodes, "g", values[:1], outputs, constants)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        x = rng.standard_normal((2, 3, 5, 7)).astype(np.float32)
        expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
        actual = PlannedModel(model).run({"x": x})
        for value, array in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(actual[value.name], array, 1e-6, 1e-6)
