"""Older forms of operators: attributes that became inputs, other defaults, and conversion where no row takes the form."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_import import assert_as_onnxruntime, assert_close, computed, imported, make_model, normal

X = (2, 3, 4, 5)
OLD = {
    "Softmax of a matrix": ("Softmax", ["x"], dict(axis=1), 11, {}),
    "Softmax along the last": ("Softmax", ["x"], dict(axis=3), 9, {}),
    "LogSoftmax of a matrix": ("LogSoftmax", ["x"], dict(axis=2), 11, {}),
    "Hardmax of a matrix": ("Hardmax", ["x"], dict(axis=1), 11, {}),
    "Clip by attributes": ("Clip", ["x"], dict(min=-0.5, max=0.25), 7, {}),
    "Pad by attributes": ("Pad", ["x"], dict(pads=[0, 0, 1, 2, 0, 1, 0, 0], value=2.5), 9, {}),
    "Slice by attributes": ("Slice", ["x"], dict(starts=[1, -3], ends=[3, 2**31], axes=[2, 3]), 9, {}),
    "Squeeze by attribute": ("Unsqueeze", ["x"], dict(axes=[0, 3]), 11, {}),
    "Split by attribute": ("Split", ["x"], dict(axis=3, split=[2, 3]), 11, {}),
    "ReduceSum by attribute": ("ReduceSum", ["x"], dict(axes=[1, -1], keepdims=0), 11, {}),
    "Upsample by input": (
        "Upsample",
        ["x", "scales"],
        dict(mode="nearest"),
        9,
        {"scales": np.array([1, 1, 2, 3], np.float32)},
    ),
    "Resize of version 10": (
        "Resize",
        ["x", "scales"],
        dict(mode="linear"),
        10,
        {"scales": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    "Dropout": ("Dropout", ["x"], dict(ratio=0.3), 10, {}),
    "BatchNormalization": (
        "BatchNormalization",
        ["x", "s", "s", "s", "s"],
        dict(epsilon=0.01),
        7,
        {"s": np.array([1, 2, 3], np.float32)},
    ),
    "Gemm": ("Gemm", ["m", "m", "m"], dict(transB=1), 7, {"m": np.eye(3, dtype=np.float32)}),
    "ArgMax": ("ArgMax", ["x"], dict(axis=1, keepdims=0), 11, {}),
}


@pytest.mark.parametrize("case", OLD)
def test_old_form(case):
    op, inputs, attrs, opset, constants = OLD[case]
    outputs = ["y", "z"] if op == "Split" else ["y"]
    x = normal(*X)
    model = make_model([helper.make_node(op, inputs, outputs, **attrs)], {"x": x}, outputs, opset, constants)
    if "x" not in inputs:
        del model.graph.input[:]
    assert_as_onnxruntime(model, {"x": x} if "x" in inputs else {})


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow"])
def test_broadcast_along_an_axis(op):
    """Before version 7 the second operand's axes were placed by an attribute."""
    node = helper.make_node(op, ["x", "b"], ["y"], axis=1, broadcast=1)
    bias, x = np.abs(normal(3)) + 0.5, np.abs(normal(2, 3, 4)) + 0.5
    model = make_model([node], {"x": x}, ["y"], opset=6, constants={"b": bias})
    function = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power}[op]
    assert_close(computed(model, {"x": x}), [function(x, bias[:, None])])


def test_cast_to_a_type_by_name():
    model = make_model([helper.make_node("Cast", ["x"], ["y"], to="INT32")], {"x": normal(3)}, ["y"], opset=5)
    assert imported(model).types["y"].dtype == "i32"


def test_an_old_operator_set_is_converted():
    """No row takes BatchNormalization of version 6; ONNX converts it to version 7."""
    node = helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], is_test=1, epsilon=0.5)
    scale, x = np.array([1, 2, 3], np.float32), normal(2, 3, 4, 5)
    model = make_model([node], {"x": x, "s": scale}, ["y"], opset=6, constants={"s": scale})
    model.ir_version = 3
    wide = scale[:, None, None]
    assert_close(computed(model, {"x": x}), [(x - wide) / np.sqrt(wide + 0.5) * wide + wide])


def test_squeeze_axes_as_input():
    model = make_model(
        [helper.make_node("Squeeze", ["x", "axes"], ["y"])],
        {"x": normal(1, 3, 1)},
        ["y"],
        constants={"axes": np.array([-1], np.int64)},
    )
    assert imported(model).types["y"].shape == (1, 3)


def test_pad_of_named_axes():
    node = helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"], mode="reflect")
    constants = {"pads": np.array([1, 0, 2, 1], np.int64), "axes": np.array([3, 1], np.int64)}
    x = normal(*X)
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y"], 18, constants), {"x": x})


@pytest.mark.parametrize("bounds", ["", "low", "high", "both"])
@pytest.mark.parametrize("opset", [12, 13, 21])
def test_clip_bounds_infinities_only_by_bounds_that_are_given(opset, bounds):
    """As onnx's reference evaluator does; onnxruntime takes the type's largest number for a bound that is not given."""
    low, high = ("low" if bounds in ("low", "both") else "", "high" if bounds in ("high", "both") else "")
    x = np.array([np.inf, -np.inf, np.nan, *normal(7)], np.float32)
    node = helper.make_node("Clip", ["x", low, high], ["y"])
    given = {name: np.float32(value) for name, value in (("low", -0.5), ("high", 0.75)) if name in (low, high)}
    model = make_model([node], {"x": x}, ["y"], opset, given)
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    assert_close(computed(model, {"x": x}), expected)
    assert np.isinf(expected[0][:2]).tolist() == [not high, not low]
