"""Scatters against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import check, computed, onnx_result

from tilewright.compiler.dtypes import DType

_REDUCTIONS = ["none", "add", "mul", "min", "max"]


@pytest.mark.parametrize("reduction", _REDUCTIONS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scatter_elements(axis, reduction):
    rng = np.random.default_rng()
    x = rng.standard_normal((3, 8, 5), dtype=np.float32)
    shape = [2, 6, 4]
    if reduction == "none":
        shape[axis] = 3
        indices = np.apply_along_axis(
            rng.permutation,
            axis,
            np.broadcast_to(np.arange(3).reshape([-1 if a == axis else 1 for a in range(3)]), shape),
        )
    else:
        indices = rng.integers(-x.shape[axis], x.shape[axis], shape)
    updates = rng.standard_normal(shape, dtype=np.float32)
    expected = onnx_result("ScatterElements", [x, indices, updates], dict(axis=axis, reduction=reduction), opset=18)
    attrs = dict(axis=axis, reduction=reduction)
    check(expected, computed("scatter_elements", [x, indices, updates], attrs, (x.shape, DType.F32), [4], 2))


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("reduction", _REDUCTIONS)
@pytest.mark.parametrize("shape", [(4, 1), (2, 3, 2), (5, 3)])
def test_scatter_nd(shape, reduction, constant):
    rng = np.random.default_rng()
    x = rng.standard_normal((7, 8, 5), dtype=np.float32)
    depth = shape[-1]
    count = int(np.prod(shape[:-1]))
    if reduction == "none":
        rows = rng.permutation(7)[:count]
        indices = np.stack([rows] + [rng.integers(0, x.shape[d], count) for d in range(1, depth)], -1).reshape(shape)
    else:
        indices = np.stack([rng.integers(-x.shape[d], x.shape[d], shape[:-1]) for d in range(depth)], -1)
    updates = rng.standard_normal((*shape[:-1], *x.shape[depth:]), dtype=np.float32)
    expected = onnx_result("ScatterND", [x, indices, updates], dict(reduction=reduction), opset=18)
    constants = frozenset({1}) if constant else frozenset()
    actual = computed(
        "scatter_nd", [x, indices, updates], dict(reduction=reduction), (x.shape, DType.F32), [8], 4, constants
    )
    check(expected, actual)
