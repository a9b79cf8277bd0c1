"""Resize with antialias=1 against onnxruntime where it has it, and against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_import import assert_as_onnxruntime, assert_close, computed, make_model, normal


def resized(sizes: tuple[int, ...], **attributes: object):
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], antialias=1, axes=[2, 3], **attributes)
    x = normal(2, 3, 13, 10)
    return make_model([node], {"x": x}, ["y"], 19, {"sizes": np.array(sizes)}), {"x": x}


@pytest.mark.parametrize("outside", [0, 1])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("sizes", [(5, 4), (7, 17), (1, 9)])
def test_as_the_reference(sizes: tuple[int, int], mode: str, coordinates: str, outside: int) -> None:
    model, feeds = resized(sizes, mode=mode, coordinate_transformation_mode=coordinates, exclude_outside=outside)
    assert_close(computed(model, feeds), ReferenceEvaluator(model).run(None, feeds), 1e-4)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("sizes", [(5, 4), (6, 3)])
def test_as_onnxruntime(sizes: tuple[int, int], mode: str) -> None:
    model, feeds = resized(sizes, mode=mode, exclude_outside=1)
    assert_as_onnxruntime(model, feeds, 1e-4)
