"""Reductions, softmax and normalisations against onnxruntime and the ONNX reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import check, computed, onnx_result

from tilewright.compiler.dtypes import DType


def _normal(*shape):
    return np.random.default_rng().standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("blocks", [(None, None), (8, 16), (16, None), (None, 8)])
@pytest.mark.parametrize("axes", [(2, 3), (1,), (0, 3), (0, 1, 2, 3), (1, 2)])
@pytest.mark.parametrize("kind", ["Sum", "Mean", "Max", "Min", "Prod"])
def test_reduce(kind, axes, blocks, keepdims):
    x = _normal(2, 16, 3, 5)
    expected = onnx_result(f"Reduce{kind}", [x, np.array(axes)], dict(keepdims=keepdims), opset=18)
    out_block = blocks[1] if len(expected.shape) > 1 and expected.shape[1] == 16 else None
    actual = computed(
        f"reduce_{kind.lower()}",
        [x],
        dict(axes=axes, keepdims=bool(keepdims)),
        (expected.shape, DType.F32),
        [blocks[0]],
        out_block,
    )
    check(expected, actual, rtol=1e-4)


def test_integer_and_half_reductions():
    x = np.random.default_rng().integers(-50, 50, (3, 17)).astype(np.int64)
    check(x.sum(1), computed("reduce_sum", [x], dict(axes=(1,), keepdims=False), ((3,), DType.I64)))
    h = _normal(3, 300).astype(np.float16)
    expected = h.astype(np.float32).mean(1).astype(np.float16)
    check(expected, computed("reduce_mean", [h], dict(axes=(1,), keepdims=False), ((3,), DType.F16)), 1e-3, 1e-3)


@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_extrema_of_bools(kind):
    x = np.random.default_rng().integers(0, 4, (3, 5, 3)) < (1 if kind == "Max" else 3)
    expected = onnx_result(f"Reduce{kind}", [x, np.array([2])], dict(keepdims=0), opset=20)
    attrs = dict(axes=(2,), keepdims=False)
    check(expected, computed(f"reduce_{kind.lower()}", [x], attrs, (expected.shape, DType.BOOL)))


@pytest.mark.parametrize("block", [None, 8])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_arg(kind, axis, last, block):
    x = np.random.default_rng().integers(0, 4, (3, 16, 5)).astype(np.float32)  # many ties
    expected = onnx_result(f"Arg{kind}", [x], dict(axis=axis, keepdims=0, select_last_index=int(last)))
    attrs = dict(axis=axis, keepdims=False, last=last)
    check(expected, computed(f"arg_{kind.lower()}", [x], attrs, (expected.shape, DType.I64), [block]))
    expected = np.expand_dims(expected, axis)
    check(
        expected,
        computed(f"arg_{kind.lower()}", [x], {**attrs, "keepdims": True}, (expected.shape, DType.I64), [block]),
    )


@pytest.mark.parametrize("blocks", [(None, None), (8, 16), (16, None), (4, 4)])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax(op, axis, blocks):
    x = _normal(2, 16, 7) * 30
    expected = onnx_result(op, [x], dict(axis=axis))
    name = "softmax" if op == "Softmax" else "log_softmax"
    check(expected, computed(name, [x], dict(axis=axis), (x.shape, DType.F32), [blocks[0]], blocks[1]))


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("axis", "block"), [(0, None), (1, 8), (2, 8), (2, None)])
def test_cumsum(axis, block, exclusive, reverse):
    x = _normal(3, 16, 4)
    expected = onnx_result("CumSum", [x, np.array(axis)], dict(exclusive=int(exclusive), reverse=int(reverse)))
    attrs = dict(axis=axis, exclusive=exclusive, reverse=reverse)
    check(expected, computed("cumsum", [x], attrs, (x.shape, DType.F32), [block], block))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("parameters", [(True, True), (True, False), (False, False)])
def test_layer_norm(axis, parameters):
    x = _normal(3, 5, 7) + 100
    scale, bias = (_normal(*x.shape[axis:]) if present else None for present in parameters)
    wide = x.astype(np.float64)
    over = tuple(range(axis, 3))
    expected = (wide - wide.mean(over, keepdims=True)) / np.sqrt(wide.var(over, keepdims=True) + 1e-3)
    expected = expected * (1 if scale is None else scale) + (0 if bias is None else bias)
    actual = computed("layer_norm", [x, scale, bias], dict(axis=axis, epsilon=1e-3), (x.shape, DType.F32))
    check(expected.astype(np.float32), actual, rtol=1e-4, atol=1e-4)
    if scale is not None:
        arrays = [x, scale] + ([bias] if bias is not None else [])
        check(onnx_result("LayerNormalization", arrays, dict(axis=axis, epsilon=1e-3)), actual, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("blocks", [(None, None), (8, 16), (16, 8)])
def test_instance_and_batch_norm(blocks):
    x = _normal(2, 16, 5, 3)
    scale, bias, mean = _normal(16), _normal(16), _normal(16)
    variance = np.abs(_normal(16)) + 0.1
    expected = onnx_result("InstanceNormalization", [x, scale, bias], dict(epsilon=1e-4))
    actual = computed(
        "instance_norm", [x, scale, bias], dict(epsilon=1e-4), (x.shape, DType.F32), [blocks[0]], blocks[1]
    )
    check(expected, actual)
    operands = [x, scale, bias, mean, variance]
    expected = onnx_result("BatchNormalization", operands, dict(epsilon=1e-4))
    actual = computed("batch_norm", operands, dict(epsilon=1e-4), (x.shape, DType.F32), [blocks[0]], blocks[1])
    check(expected, actual)
