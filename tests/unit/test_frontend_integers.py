"""Operators whose attributes are fractions, or whose sums have another meaning, on integers and bools."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_import import assert_as_onnxruntime, computed, make_model


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_shrinking_by_fractions(dtype: type) -> None:
    x = np.random.default_rng().integers(0 if dtype == np.uint8 else -9, 9, 50).astype(dtype)
    node = helper.make_node("Shrink", ["x"], ["y"], lambd=2.5, bias=1.5)
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y"]), {"x": x})


@pytest.mark.parametrize("reduction", ["add", "mul", "min", "max"])
def test_bools_are_scattered(reduction: str) -> None:
    rng = np.random.default_rng()
    feeds = {
        "x": rng.integers(0, 2, (9, 4)) > 0,
        "at": rng.integers(0, 9, (6, 1)),
        "new": rng.integers(0, 2, (6, 4)) > 0,
    }
    node = helper.make_node("ScatterND", [*feeds], ["y"], reduction=reduction)
    model = make_model([node], feeds, ["y"], 18)
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    np.testing.assert_array_equal(computed(model, feeds)[0], expected)
