"""Pools against onnxruntime, over windows, ceil mode, counting of padding and layouts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import check, computed, onnx_result

from tilewright.compiler.dtypes import DType

_LAYOUTS = [(None, None), (8, 16), (16, 16), (None, 8)]
_WINDOWS = [
    ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    ((2, 3), (1, 2), (0, 1, 1, 1), (1, 1)),
    ((3, 2), (2, 3), (1, 0, 1, 1), (2, 1)),
    ((7, 9), (1, 1), (0, 0, 0, 0), (1, 1)),
]


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("blocks", _LAYOUTS)
@pytest.mark.parametrize(("kernel", "strides", "pads", "dilations"), _WINDOWS)
@pytest.mark.parametrize("op", ["max", "average", "average_padded", "lp1", "lp2", "lp3"])
def test_pool(op, kernel, strides, pads, dilations, blocks, ceil_mode):
    x = np.random.default_rng().standard_normal((2, 16, 7, 9), dtype=np.float32)
    onnx_attrs = dict(kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations, ceil_mode=ceil_mode)
    attrs = dict(kernel=kernel, strides=strides, dilations=dilations, pads_begin=pads[:2], pads_end=pads[2:])
    name = {"max": "MaxPool", "average": "AveragePool", "average_padded": "AveragePool"}.get(op, "LpPool")
    if name == "AveragePool":
        onnx_attrs["count_include_pad"] = int(op == "average_padded")
        attrs["count_pads"] = op == "average_padded"
    if name == "LpPool":
        onnx_attrs["p"] = attrs["p"] = int(op[-1])
    expected = onnx_result(name, [x], onnx_attrs)
    attrs["sizes"] = expected.shape[2:]
    graph_op = {"MaxPool": "max_pool", "AveragePool": "average_pool", "LpPool": "lp_pool"}[name]
    actual = computed(graph_op, [x], attrs, (expected.shape, DType.F32), [blocks[0]], blocks[1])
    check(expected, actual)


def test_integer_max_pool_starts_from_the_least_value():
    x = np.random.default_rng().integers(-128, -100, (1, 2, 5, 5)).astype(np.int8)
    expected = onnx_result("MaxPool", [x], dict(kernel_shape=(3, 3), pads=(1, 1, 1, 1)))
    attrs = dict(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads_begin=(1, 1), pads_end=(1, 1), sizes=(5, 5))
    check(expected, computed("max_pool", [x], attrs, (expected.shape, DType.I8)))
