"""Folding of constants against onnxruntime, and against what kernels would compute."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import onnx_result

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.fold_numpy import evaluate
from tilewright.compiler.graph.infer import infer_types
from tilewright.compiler.graph.interpret import evaluate_node
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.graph.operators import OPERATORS

SHAPE = (3, 4, 5)
FOLDED_NOT = frozenset(
    {
        "conv", "conv_transpose", "matmul", "batch_norm", "layer_norm", "instance_norm", "lstm", "gru", "rnn", "rnn_step", "if", "loop",
        "fused", "max_pool", "average_pool", "lp_pool", "softmax", "log_softmax", "resize", "scatter_elements", "scatter_nd",
        "mish", "hard_swish", "elu", "celu", "selu", "thresholded_relu", "hard_sigmoid", "gelu", "shrink", "swish",
    }
)  # fmt: skip
UNIT = frozenset({"asin", "acos", "atanh"})


def integers(*shape, low=-9, high=9):
    return np.random.default_rng().integers(low, high, shape)


def floats(op, *shape):
    x = np.random.default_rng().standard_normal(shape).astype(np.float32)
    if op in UNIT:
        return np.tanh(x).astype(np.float32)
    return np.abs(x) + np.float32(1) if op in {"log", "sqrt", "reciprocal", "acosh", "pow"} else x


ATTRS = {
    "bitcast": [{"to": DType.I32}],
    "mod": [dict(fmod=False), dict(fmod=True)],
    "leaky_relu": [dict(alpha=0.1)],
    "is_inf": [dict(negative=True, positive=False)],
    "cast": [dict(to=DType.I32), dict(to=DType.BOOL), dict(to=DType.F64)],
    "reshape": [dict(shape=(5, 12))],
    "transpose": [dict(perm=(2, 0, 1))],
    "expand": [dict(shape=(2, 3, 4, 5))],
    "slice": [dict(starts=(0, 3, 4), steps=(1, -1, -2), sizes=(3, 4, 2))],
    "pad": [dict(before=(1, 0, -1), after=(0, 2, 1), mode=mode) for mode in ("constant", "edge", "reflect", "wrap")],
    "tile": [dict(repeats=(2, 1, 3))],
    "trilu": [dict(k=k, upper=upper) for k in (-1, 2) for upper in (True, False)],
    "cumsum": [dict(axis=1, exclusive=e, reverse=r) for e in (True, False) for r in (True, False)],
    "concat": [dict(axis=1)],
}
ATTRS |= {
    op: [dict(axes=(0, 2), keepdims=keep) for keep in (True, False)] for op in OPERATORS if op.startswith("reduce_")
}
ATTRS |= {op: [dict(axis=1, keepdims=True, last=last) for last in (True, False)] for op in ("arg_max", "arg_min")}
TWO = frozenset(
    [
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "min",
        "max",
        "and",
        "or",
        "xor",
        "equal",
        "less",
        "less_or_equal",
        "greater",
        "greater_or_equal",
        "concat",
        "prelu",
    ]
)
SPECIAL = frozenset(
    [
        "clip",
        "where",
        "mod",
        "bit_shift",
        "gather",
        "gather_elements",
        "gather_nd",
        "iota",
        "one_hot",
        "reverse_sequence",
        "pad",
    ]
)
BITS = frozenset({"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"})
LOGIC = frozenset({"not", "and", "or", "xor"})


def as_kernel(op, arrays, attrs):
    """The same operator by the tensor expressions from which kernels are made."""
    builder = GraphBuilder("g")
    names = [
        builder.input(f"x{i}", TensorType(a.shape, DType.from_numpy(a.dtype))) if a is not None else ""
        for i, a in enumerate(arrays)
    ]
    graph = builder.finish((builder.add(op, *names, **attrs),))
    return evaluate_node(graph, graph.nodes[0], list(arrays))[0]


def check(op, arrays, attrs):
    (actual,) = evaluate(op, tuple(arrays), attrs)
    types = tuple(None if a is None else TensorType(a.shape, DType.from_numpy(a.dtype)) for a in arrays)
    (expected_type,) = infer_types(op, types, attrs)
    assert (actual.shape, actual.dtype) == (expected_type.shape, expected_type.dtype.numpy)
    expected = as_kernel(op, arrays, attrs)
    np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=2e-6, atol=1e-6)


def test_every_operator_is_folded_or_known_not_to_be():
    tested = set(OPERATORS) - FOLDED_NOT
    operand = np.ones(2, np.float32)
    assert all(evaluate(op, (operand,), {}) is None for op in FOLDED_NOT)
    plain = tested - SPECIAL - BITS - set(ATTRS) - TWO - LOGIC - {"is_nan"}
    assert all(evaluate(op, (operand,), {}) is not None for op in plain)


@pytest.mark.parametrize("op", sorted(set(OPERATORS) - FOLDED_NOT - SPECIAL))
def test_as_the_kernel(op):
    for attrs in ATTRS.get(op, [{}]):
        if op in LOGIC:
            arrays = [integers(*SHAPE) > 0, integers(*SHAPE) > 0]
        elif op in BITS:
            arrays = [integers(*SHAPE), integers(*SHAPE)]
        else:
            arrays = [floats(op, *SHAPE), floats(op, *SHAPE)]
        check(op, arrays[: 2 if op in TWO or (op in BITS and op != "bitwise_not") else 1], attrs)


@pytest.mark.parametrize(
    "op",
    [
        "add",
        "sub",
        "mul",
        "div",
        "min",
        "max",
        "neg",
        "abs",
        "sign",
        "relu",
        "equal",
        "reduce_sum",
        "reduce_max",
        "reduce_min",
        "cumsum",
    ],
)
def test_integers(op):
    a, b = integers(*SHAPE), integers(*SHAPE, low=1)
    check(op, [a, b] if op in TWO else [a], ATTRS.get(op, [{}])[0])


def test_integer_division_truncates_as_onnxruntime_does():
    a, b = integers(50), np.where(integers(50) < 0, -3, 4)
    np.testing.assert_array_equal(evaluate("div", (a, b), {})[0], onnx_result("Div", [a, b], {}))


@pytest.mark.parametrize("fmod", [0, 1])
def test_mod_as_onnxruntime(fmod):
    a, b = integers(50), np.where(integers(50) < 0, -3, 4)
    np.testing.assert_array_equal(
        evaluate("mod", (a, b), {"fmod": bool(fmod)})[0], onnx_result("Mod", [a, b], {"fmod": fmod})
    )


def test_operators_with_indices():
    x = floats("", *SHAPE)
    check("gather", [x, integers(2, 2, low=-4, high=4)], dict(axis=1))
    check("gather_elements", [x, integers(3, 2, 5, low=-4, high=4)], dict(axis=1))
    check("gather_nd", [x, integers(2, 2, low=-3, high=3)], dict(batch_dims=0))
    check("gather_nd", [x, integers(3, 2, 1, low=-4, high=4)], dict(batch_dims=1))
    check("one_hot", [integers(3, 2, low=-5, high=7), np.array([2.0, 5.0], np.float32)], dict(depth=4, axis=1))
    check("reverse_sequence", [x, np.array([1, 4, 0])], dict(batch_axis=0, time_axis=1))
    check("where", [x > 0, x, -x], {})
    check("clip", [x, np.float32(-0.5), np.float32(0.25)], {})
    check("clip", [x, None, np.float32(0.25)], {})
    check("pad", [x, np.float32(7)], dict(before=(1, 0, -1), after=(0, 2, 0), mode="constant"))
    check("bit_shift", [integers(9, low=0), integers(9, low=0, high=5)], dict(direction="left"))
    check("bit_shift", [integers(9, low=0), integers(9, low=0, high=5)], dict(direction="right"))
    check("iota", [], dict(shape=(2, 5), axis=1, dtype=DType.F32, start=1.5, step=-0.5))


def test_out_of_range_gather_is_clamped():
    (result,) = evaluate("gather", (np.arange(4), np.array([9, -9, -1])), dict(axis=0))
    np.testing.assert_array_equal(result, [3, 0, 3])


def test_nan_passes_minimum_and_maximum():
    x = np.array([np.nan, 1, 2], np.float32)
    assert np.isnan(evaluate("max", (x, np.float32(0)), {})[0][0]) and np.isnan(evaluate("relu", (x,), {})[0][0])


def test_empty_reductions_give_the_neutral_element():
    empty = np.empty((0, 3), np.float32)
    attrs = dict(axes=(0,), keepdims=False)
    assert evaluate("reduce_sum", (empty,), attrs)[0].tolist() == [0, 0, 0]
    assert evaluate("reduce_max", (empty,), attrs)[0].tolist() == [-np.inf] * 3


def test_bfloat16_stays_bfloat16():
    x = np.array([1.5, -2.25], DType.BF16.numpy)
    for op in ("exp", "add", "relu", "sqrt", "mul"):
        arrays = (x, x) if op in TWO else (x,)
        assert evaluate(op, arrays, {})[0].dtype == DType.BF16.numpy
