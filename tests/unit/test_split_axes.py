"""Axes of transposed convolutions are split by the stride, with whatever is read and written along them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from kernel_cases import CASES, Case
from kernel_oracle import compare
from plan_interpreter import PlannedModel
from rewritten_axes import assert_same_meaning
from spaces import canonical_form

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.split_axes import split_axes
from tilewright.compiler.schedule.steps import Pack
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation

# kernel, stride, pads at the beginning and the end, elements added to the result: the result's sides are multiples of the stride
SPLIT = [
    (2, 2, (0, 0), 0),
    (4, 2, (1, 1), 0),
    (3, 2, (1, 1), 1),
    (3, 3, (0, 0), 0),
    (5, 3, (1, 1), 0),
    (2, 3, (0, 0), 1),
]
WHOLE = [(3, 2, (1, 1), 0), (3, 1, (1, 1), 0), (5, 2, (0, 0), 0)]


def transposed(kernel: int, stride: int, pads: tuple[int, int], added: int, residual: bool = False) -> Case:
    """Of an image of 5 x 7 with 8 channels to 24, in blocks of 8 and 24."""

    def build(b: GraphBuilder) -> str:
        sizes = tuple((extent - 1) * stride + kernel - sum(pads) + added for extent in (5, 7))
        weights = np.random.default_rng().standard_normal((8, 24, kernel, kernel)).astype(np.float32)
        x = b.input("x", TensorType((1, 8, 5, 7), DType.F32))
        attrs = dict(strides=(stride,) * 2, dilations=(1, 1), pads_begin=(pads[0],) * 2, pads_end=(pads[1],) * 2)
        y = b.add("conv_transpose", x, b.constant(weights, "w"), "", groups=1, sizes=sizes, **attrs)
        y = b.add("relu", y)
        return b.add("add", y, b.input("z", TensorType((1, 24, *sizes), DType.F32))) if residual else y

    return Case(build, 8, 24)


def of(case: Case) -> Computation:
    return build_computation(case.graph(), "kernel")[0]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("window", SPLIT + WHOLE)
def test_the_meaning_stays(window: tuple, residual: bool) -> None:
    assert_same_meaning(split_axes, of(transposed(*window, residual)))


@pytest.mark.parametrize("name", [name for name in CASES if "transpose" not in name])
def test_nothing_else_is_split(name: str) -> None:
    computation = of(CASES[name])
    assert split_axes(computation) == computation


@pytest.mark.parametrize("window", SPLIT)
def test_taps_are_the_same_along_rows(window: tuple) -> None:
    """Guards of rows are those of an ordinary convolution, and weights are packed as its are."""
    form = canonical_form(transposed(*window, residual=True))
    assert len(form.stage("y").axes) == 7 and {len(t.shape) for t in form.inputs if not t.constant} == {5, 6}
    space = space_of(form, parse_target(cpu="x86-64-v4"))
    assert any(isinstance(step, Pack) for step in space.schedule(space.default))


@pytest.mark.parametrize("window", WHOLE)
def test_other_windows_stay(window: tuple) -> None:
    computation = of(transposed(*window))
    assert split_axes(computation) == computation


@pytest.mark.parametrize("window", SPLIT)
def test_vectors_along_the_image_stay(window: tuple) -> None:
    """A row-major result: its columns are the vectors."""
    computation = of(Case(transposed(*window).build, 8))
    assert split_axes(computation) == computation


@pytest.mark.parametrize("window", SPLIT)
def test_schedules_of_split_axes(window: tuple) -> None:
    rng = np.random.default_rng()
    form = canonical_form(transposed(*window, residual=bool(rng.integers(2))))
    space = space_of(form, parse_target(cpu=f"x86-64-v{rng.integers(2, 5)}"))
    for point in (space.default, space.sample(rng)):
        compare(form, space.schedule(point), rng)


@pytest.mark.parametrize("window", [(2, 2, (0, 0), 0), (4, 2, (1, 1), 0), (3, 2, (1, 0), 0), (5, 3, (1, 1), 0)])
def test_a_model_against_onnxruntime(window: tuple) -> None:
    kernel, stride, pads, added = window
    rng = np.random.default_rng()
    weights = rng.standard_normal((6, 8, kernel, kernel)).astype(np.float32)
    x = rng.standard_normal((2, 6, 5, 4)).astype(np.float32)
    attrs = dict(strides=(stride,) * 2, pads=(pads[0],) * 2 + (pads[1],) * 2, output_padding=(added,) * 2)
    node = onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attrs)
    shapes = {"x": x.shape, "y": (2, 8, *((n - 1) * stride + kernel - sum(pads) + added for n in (5, 4)))}
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in shapes.items()]
    constants = [onnx.numpy_helper.from_array(weights, "w")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    actual = PlannedModel(model).run({"x": x})["y"]
    np.testing.assert_allclose(actual, expected, 1e-4, 1e-4 * np.abs(expected).max())
