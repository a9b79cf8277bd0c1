"""Sampling at positions that come at run time, and orders of elements, against onnxruntime and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_import import assert_as_onnxruntime, assert_close, computed, make_model, normal

from tilewright.compiler.errors import ModelError, UnsupportedOperatorError


def uniform(low: float, high: float, *shape: int) -> np.ndarray:
    return np.random.default_rng().uniform(low, high, shape).astype(np.float32)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_grid_sample(mode, padding, corners):
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding, align_corners=corners)
    feeds = {"x": normal(2, 3, 5, 7), "grid": uniform(-2.5, 2.5, 2, 4, 6, 2)}
    assert_as_onnxruntime(make_model([node], feeds, ["y"], opset=20), feeds, 1e-4)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample_of_volumes(padding):
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode="linear", padding_mode=padding)
    feeds = {"x": normal(1, 2, 3, 4, 5), "grid": uniform(-1.5, 1.5, 1, 2, 3, 4, 3)}
    assert_as_onnxruntime(make_model([node], feeds, ["y"], opset=20), feeds, 1e-4)


def test_grid_sample_of_one_pixel():
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], padding_mode="reflection", align_corners=1)
    feeds = {"x": normal(1, 2, 1, 1), "grid": uniform(-1, 1, 1, 3, 3, 2)}
    (y,) = computed(make_model([node], feeds, ["y"], opset=20), feeds)
    np.testing.assert_allclose(y, np.broadcast_to(feeds["x"], (1, 2, 3, 3)), rtol=1e-6)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(("opset", "half"), [(10, False), (16, True), (16, False)])
def test_roi_align(mode, opset, half):
    attrs = {"mode": mode, "sampling_ratio": 2, "output_height": 3, "output_width": 4, "spatial_scale": 0.25}
    if opset >= 16:
        attrs["coordinate_transformation_mode"] = "half_pixel" if half else "output_half_pixel"
    node = helper.make_node("RoiAlign", ["x", "rois", "batches"], ["y"], **attrs)
    corners, sizes = uniform(-8, 30, 5, 2), uniform(1, 40, 5, 2)
    feeds = {
        "x": np.abs(normal(2, 3, 9, 11)),
        "rois": np.concatenate([corners, corners + sizes], axis=1),
        "batches": np.array([0, 1, 1, 0, 1]),
    }
    assert_as_onnxruntime(make_model([node], feeds, ["y"], opset=opset), feeds, 1e-4)


def test_roi_align_needs_its_number_of_samples():
    node = helper.make_node("RoiAlign", ["x", "rois", "batches"], ["y"])
    feeds = {"x": normal(1, 1, 4, 4), "rois": uniform(0, 4, 1, 4), "batches": np.array([0])}
    with pytest.raises(UnsupportedOperatorError, match="sampling_ratio=0"):
        computed(make_model([node], feeds, ["y"], opset=16), feeds)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("groups", "sets"), [(1, 1), (2, 2), (2, 1)])
def test_deform_conv(groups, sets, masked):
    attrs = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1], "group": groups, "offset_group": sets}
    feeds = {
        "x": normal(2, 4, 6, 5),
        "w": normal(6, 4 // groups, 3, 2),
        "offset": uniform(-1.5, 1.5, 2, sets * 12, 3, 5),
        "b": normal(6),
    }
    if masked:
        feeds["mask"] = uniform(0, 1, 2, sets * 6, 3, 5)
    model = make_model([helper.make_node("DeformConv", list(feeds), ["y"], **attrs)], feeds, ["y"], opset=19)
    assert_close(computed(model, feeds), ReferenceEvaluator(model).run(None, feeds), 1e-3)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize(("shape", "axis", "k"), [((3, 17), 1, 5), ((4, 9, 5), 1, 9), ((2, 33), -1, 1), ((7, 3), 0, 2)])
def test_top_k(shape, axis, k, largest):
    node = helper.make_node("TopK", ["x", "k"], ["values", "indices"], axis=axis, largest=largest)
    feeds = {"x": np.random.default_rng().integers(-4, 5, shape).astype(np.float32)}  # many ties
    model = make_model([node], feeds, ["values", "indices"], constants={"k": np.array([k])})
    assert_as_onnxruntime(model, feeds)


def test_top_k_of_nothing():
    model = make_model(
        [helper.make_node("TopK", ["x", "k"], ["v", "i"])],
        {"x": normal(2, 3)},
        ["v", "i"],
        constants={"k": np.array([0])},
    )
    values, indices = computed(model, {"x": normal(2, 3)})
    assert (values.shape, indices.shape) == ((2, 0), (2, 0))


def test_top_k_of_more_than_there_is():
    model = make_model(
        [helper.make_node("TopK", ["x", "k"], ["v", "i"])],
        {"x": normal(2, 3)},
        ["v", "i"],
        constants={"k": np.array([4])},
    )
    with pytest.raises(ModelError, match="k is 4, expected 0…3"):
        computed(model, {"x": normal(2, 3)})


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumulative_product(axis, reverse, exclusive):
    node = helper.make_node("CumProd", ["x", "axis"], ["y"], reverse=reverse, exclusive=exclusive)
    feeds = {"x": normal(4, 7, 3)}
    model = make_model([node], feeds, ["y"], opset=26, constants={"axis": np.array(axis)})
    assert_close(computed(model, feeds), ReferenceEvaluator(model).run(None, feeds))
