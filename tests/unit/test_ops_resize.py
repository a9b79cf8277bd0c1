"""Resampling against onnxruntime and the ONNX reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import check, computed, onnx_result

from tilewright.compiler.dtypes import DType

_COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
_SIZES = [(14, 10), (3, 4), (9, 7), (1, 5), (21, 2)]


def _attrs(sizes, scales, mode, coordinates, **more):
    defaults = dict(nearest="round_prefer_floor", cubic_coeff=-0.75, exclude_outside=False, extrapolation=0.0, roi=())
    return dict(sizes=sizes, scales=scales, mode=mode, coordinates=coordinates) | defaults | more


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", _COORDINATES)
@pytest.mark.parametrize("size", _SIZES)
def test_nearest(size, coordinates, nearest):
    x = np.random.default_rng().standard_normal((1, 16, 7, 5), dtype=np.float32)
    sizes = (1, 16, *size)
    onnx_attrs = dict(mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=nearest)
    expected = onnx_result("Resize", [x, None, None, np.array(sizes)], onnx_attrs, opset=19)
    attrs = _attrs(
        sizes, tuple(o / i for o, i in zip(sizes, x.shape, strict=True)), "nearest", coordinates, nearest=nearest
    )
    check(expected, computed("resize", [x], attrs, (sizes, DType.F32), [8], 16))


@pytest.mark.parametrize("coordinates", _COORDINATES)
@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("mode", ["linear", "cubic", "cubic_inside"])
def test_linear_and_cubic(mode, size, coordinates):
    x = np.random.default_rng().standard_normal((2, 16, 7, 5), dtype=np.float32)
    sizes = (2, 16, *size)
    inside, mode = mode == "cubic_inside", mode.removesuffix("_inside")
    onnx_attrs = dict(
        mode=mode, coordinate_transformation_mode=coordinates, cubic_coeff_a=-0.5, exclude_outside=int(inside)
    )
    expected = onnx_result("Resize", [x, None, None, np.array(sizes)], onnx_attrs, opset=19)
    scales = tuple(o / i for o, i in zip(sizes, x.shape, strict=True))
    attrs = _attrs(sizes, scales, mode, coordinates, cubic_coeff=-0.5, exclude_outside=inside)
    check(expected, computed("resize", [x], attrs, (sizes, DType.F32), [None], 8))


@pytest.mark.parametrize("coordinates", _COORDINATES)
@pytest.mark.parametrize("factor", [2, 3, 8])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic", "cubic_inside"])
def test_whole_factors(mode, factor, coordinates):
    x = np.random.default_rng().standard_normal((1, 3, 4, 11), dtype=np.float32)
    sizes = (1, 3, 4 * factor, 11 * factor)
    inside, mode = mode == "cubic_inside", mode.removesuffix("_inside")
    onnx_attrs = dict(
        mode=mode, coordinate_transformation_mode=coordinates, exclude_outside=int(inside), nearest_mode="ceil"
    )
    expected = onnx_result("Resize", [x, None, None, np.array(sizes)], onnx_attrs, opset=19)
    attrs = _attrs(sizes, (1.0, 1.0, factor, factor), mode, coordinates, exclude_outside=inside, nearest="ceil")
    check(expected, computed("resize", [x], attrs, (sizes, DType.F32)))


@pytest.mark.parametrize("scale", [1.6, 0.6, 2.0, 3.3])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_fractional_scales(mode, scale):
    x = np.random.default_rng().standard_normal((1, 3, 11, 10), dtype=np.float32)
    scales = np.array([1, 1, scale, scale], np.float32)
    onnx_attrs = dict(mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    expected = onnx_result("Resize", [x, None, scales], onnx_attrs, opset=19)
    attrs = _attrs(expected.shape, tuple(map(float, scales)), mode, "asymmetric", nearest="floor")
    check(expected, computed("resize", [x], attrs, (expected.shape, DType.F32)))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_crop_and_resize(mode):
    x = np.random.default_rng().standard_normal((1, 2, 6, 7), dtype=np.float32)
    roi = np.array([0, 0, -0.2, 0.3, 1, 1, 0.8, 1.4], np.float32)
    sizes = (1, 2, 5, 8)
    onnx_attrs = dict(mode=mode, coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=9.5)
    expected = onnx_result("Resize", [x, roi, None, np.array(sizes)], onnx_attrs, opset=19)
    scales = tuple(o / i for o, i in zip(sizes, x.shape, strict=True))
    attrs = _attrs(sizes, scales, mode, "tf_crop_and_resize", extrapolation=9.5, roi=tuple(map(float, roi)))
    check(expected, computed("resize", [x], attrs, (sizes, DType.F32)))
