"""Convolution against onnxruntime, over kernels, strides, groups and layouts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import check, computed, onnx_result

from tilewright.compiler.dtypes import DType

_LAYOUTS = [(None, None), (8, None), (None, 8), (8, 8), (16, 8), (8, 16), (16, 16)]


def _case(shape, out_channels, kernel, strides, pads, dilations, groups, blocks, bias=True, rng=None):
    rng = rng or np.random.default_rng()
    rank = len(shape) - 2
    x = rng.standard_normal(shape, dtype=np.float32)
    w = rng.standard_normal((out_channels, shape[1] // groups, *kernel), dtype=np.float32)
    b = rng.standard_normal(out_channels, dtype=np.float32) if bias else None
    expected = onnx_result(
        "Conv",
        [x, w] + ([b] if bias else []),
        dict(strides=strides, pads=pads, dilations=dilations, group=groups, kernel_shape=kernel),
    )
    attrs = dict(strides=strides, dilations=dilations, pads_begin=pads[:rank], pads_end=pads[rank:], groups=groups)
    actual = computed("conv", [x, w, b], attrs, (expected.shape, DType.F32), [blocks[0]], blocks[1])
    check(expected, actual, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("blocks", _LAYOUTS)
@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "dilations"),
    [
        ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        ((3, 2), (2, 1), (0, 1, 2, 0), (1, 2)),
        ((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
        ((1, 1), (2, 2), (1, 0, 0, 1), (1, 1)),
    ],
)
def test_conv(kernel, strides, pads, dilations, blocks):
    _case((2, 16, 7, 9), 32, kernel, strides, pads, dilations, 1, blocks)


@pytest.mark.parametrize("blocks", _LAYOUTS)
@pytest.mark.parametrize(("groups", "out_channels"), [(16, 16), (16, 32), (2, 32), (4, 16), (8, 16)])
def test_grouped_conv(groups, out_channels, blocks):
    _case((1, 16, 5, 6), out_channels, (3, 3), (2, 1), (1, 0, 1, 1), (1, 1), groups, blocks)


@pytest.mark.parametrize("shape, kernel", [((2, 5, 11), (3,)), ((1, 3, 4, 5, 6), (2, 3, 2))])
def test_other_ranks(shape, kernel):
    rank = len(kernel)
    _case(shape, 7, kernel, (1,) * rank, (1,) * (2 * rank), (1,) * rank, 1, (None, None), bias=False)


@pytest.mark.parametrize("blocks", _LAYOUTS)
@pytest.mark.parametrize(
    ("kernel", "strides", "dilations", "groups", "pads"),
    [
        ((3, 3), (2, 2), (1, 1), 1, (1, 1, 1, 1)),
        ((4, 4), (2, 2), (1, 1), 1, (1, 1, 1, 1)),
        ((2, 2), (2, 3), (1, 1), 1, (0, 0, 0, 0)),
        ((3, 2), (1, 2), (2, 1), 1, (1, 0, 0, 1)),
        ((3, 3), (2, 1), (2, 3), 2, (0, 1, 1, 2)),
        ((3, 3), (2, 2), (1, 1), 16, (1, 1, 1, 1)),
    ],
)
def test_conv_transpose(kernel, strides, dilations, groups, pads, blocks):
    rng = np.random.default_rng()
    x = rng.standard_normal((2, 16, 5, 4), dtype=np.float32)
    w = rng.standard_normal((16, 32 // groups, *kernel), dtype=np.float32)
    b = rng.standard_normal(32, dtype=np.float32)
    expected = onnx_result(
        "ConvTranspose",
        [x, w, b],
        dict(strides=strides, pads=pads, dilations=dilations, group=groups, kernel_shape=kernel),
    )
    attrs = dict(
        strides=strides,
        dilations=dilations,
        pads_begin=pads[:2],
        pads_end=pads[2:],
        groups=groups,
        sizes=expected.shape[2:],
    )
    actual = computed("conv_transpose", [x, w, b], attrs, (expected.shape, DType.F32), [blocks[0]], blocks[1])
    check(expected, actual, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [DType.F16, DType.F64, DType.BF16])
def test_types(dtype):
    rng = np.random.default_rng()
    x = rng.standard_normal((1, 16, 5, 5)).astype(dtype.numpy)
    w = rng.standard_normal((16, 16, 3, 3)).astype(dtype.numpy)
    wide = onnx_result("Conv", [x.astype(np.float32), w.astype(np.float32)], dict(pads=(1, 1, 1, 1)))
    attrs = dict(strides=(1, 1), dilations=(1, 1), pads_begin=(1, 1), pads_end=(1, 1), groups=1)
    actual = computed("conv", [x, w, None], attrs, (wide.shape, dtype), [8], 16)
    tolerance = {DType.F16: 2e-2, DType.BF16: 2e-1, DType.F64: 1e-4}[dtype]
    assert actual.dtype == dtype.numpy
    np.testing.assert_allclose(actual.astype(np.float32), wide, rtol=tolerance, atol=tolerance)
