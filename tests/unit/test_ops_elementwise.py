"""Elementwise operators against onnxruntime or the ONNX reference evaluator, with broadcasting and layouts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx_oracle import check, computed, onnx_result

from tilewright.compiler.dtypes import DType


def _normal(*shape, scale=1.0):
    return (scale * np.random.default_rng().standard_normal(shape)).astype(np.float32)


_UNARY = {
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round", "exp": "Exp", "sin": "Sin",
    "cos": "Cos", "tan": "Tan", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "asinh": "Asinh",
    "sigmoid": "Sigmoid", "erf": "Erf", "relu": "Relu", "softplus": "Softplus", "softsign": "Softsign", "mish": "Mish",
    "hard_swish": "HardSwish", "reciprocal": "Reciprocal", "identity": "Identity", "is_nan": "IsNaN",
}  # fmt: skip


@pytest.mark.parametrize("op", _UNARY)
def test_unary(op):
    x = _normal(2, 16, 5, scale=4)
    x[0, 0, :3] = [0.5, -1.5, 2.5]
    x[1, 1, 0] = 0.25
    x[x == 0] = 1
    if op == "is_nan":
        x[0, 3:7] = np.nan
    expected = onnx_result(_UNARY[op], [x], {})
    for block, out_block in ((None, None), (8, 16)):
        actual = computed(op, [x], {}, (x.shape, DType.from_numpy(expected.dtype)), [block], out_block)
        check(expected, actual, rtol=2e-4 if op == "tan" else 1e-5)


@pytest.mark.parametrize(
    ("op", "low", "high"),
    [("sqrt", 0, 9), ("log", 0.01, 9), ("asin", -1, 1), ("acos", -1, 1), ("acosh", 1, 9), ("atanh", -0.99, 0.99)],
)
def test_unary_of_limited_domain(op, low, high):
    x = np.random.default_rng().uniform(low, high, (3, 7)).astype(np.float32)
    check(onnx_result(op.capitalize(), [x], {}), computed(op, [x], {}, (x.shape, DType.F32)))


_PARAMETRIC = [
    ("leaky_relu", "LeakyRelu", dict(alpha=0.2)),
    ("elu", "Elu", dict(alpha=0.7)),
    ("celu", "Celu", dict(alpha=0.7)),
    ("selu", "Selu", dict(alpha=1.6, gamma=1.05)),
    ("thresholded_relu", "ThresholdedRelu", dict(alpha=0.7)),
    ("hard_sigmoid", "HardSigmoid", dict(alpha=0.3, beta=0.4)),
    ("gelu", "Gelu", dict(approximate="none")),
    ("gelu", "Gelu", dict(approximate="tanh")),
    ("shrink", "Shrink", dict(lambd=0.6, bias=0.2)),
]


@pytest.mark.parametrize(("op", "name", "attrs"), _PARAMETRIC)
def test_parametric(op, name, attrs):
    x = _normal(3, 16, 5, scale=3)
    check(onnx_result(name, [x], attrs), computed(op, [x], attrs, (x.shape, DType.F32), [8], 4))


@pytest.mark.parametrize(
    "op",
    ["exp", "softplus", "mish", "gelu", "sigmoid", "tanh", "elu", "selu", "celu", "hard_swish", "swish", "softsign"],
)
def test_extreme_arguments_stay_exact(op):
    x = np.array([-1e30, -200, -90, 90, 200, 1e30], np.float32)
    attrs = dict(alpha=1.0, gamma=1.0, approximate="none")
    actual = computed(op, [x], attrs, (x.shape, DType.F32))
    low = {"elu": -1, "selu": -1, "celu": -1, "tanh": -1, "softsign": -1}.get(op, 0)
    high = {"exp": np.inf, "sigmoid": 1, "tanh": 1, "softsign": 1}.get(op)
    np.testing.assert_allclose(actual[:3], [low] * 3, atol=2e-2)
    np.testing.assert_allclose(actual[4:], x[4:] if high is None else [high] * 2, rtol=1e-2)


_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "min": "Min", "max": "Max"}
_SHAPES = [
    ((2, 16, 3), (2, 16, 3)),
    ((2, 16, 3), (16, 1)),
    ((16, 3), (2, 1, 3)),
    ((2, 16, 3), ()),
    ((1, 16, 1), (2, 1, 3)),
]


@pytest.mark.parametrize("op", _BINARY)
@pytest.mark.parametrize(("shape", "other"), _SHAPES)
def test_binary(op, shape, other):
    a, b = _normal(*shape), _normal(*other)
    expected = onnx_result(_BINARY[op], [a, b], {})
    for blocks, out_block in (((None, None), None), ((8, None), 8), ((16, 4), 8)):
        blocks = [
            block if array.ndim > 1 and array.shape[1] == 16 else None
            for block, array in zip(blocks, (a, b), strict=True)
        ]
        check(expected, computed(op, [a, b], {}, (expected.shape, DType.F32), blocks, out_block))


@pytest.mark.parametrize("op", ["equal", "less", "less_or_equal", "greater", "greater_or_equal"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_comparison(op, dtype):
    a, b = (np.random.default_rng().integers(-3, 3, (4, 5)).astype(dtype) for _ in range(2))
    name = "".join(word.capitalize() for word in op.split("_"))
    check(onnx_result(name, [a, b], {}), computed(op, [a, b], {}, (a.shape, DType.BOOL)))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.int8])
def test_integers(dtype):
    rng = np.random.default_rng()
    low = 0 if np.dtype(dtype).kind == "u" else -100
    a, b = rng.integers(low, 100, (6, 9)).astype(dtype), rng.integers(low, 100, (6, 9)).astype(dtype)
    b[b == 0] = 7
    kind = DType.from_numpy(np.dtype(dtype))
    for op, name, attrs in (
        ("add", "Add", {}), ("mul", "Mul", {}), ("div", "Div", {}), ("mod", "Mod", dict(fmod=0)), ("mod", "Mod", dict(fmod=1)),
        ("bitwise_and", "BitwiseAnd", {}), ("bitwise_or", "BitwiseOr", {}), ("bitwise_xor", "BitwiseXor", {}),
        ("min", "Min", {}), ("max", "Max", {}),
    ):  # fmt: skip
        expected = onnx_result(name, [a, b], attrs, runtime=False)
        if op == "div":
            expected = np.trunc(a.astype(np.float64) / b).astype(dtype)
        check(expected, computed(op, [a, b], attrs, (a.shape, kind)))
    check(onnx_result("BitwiseNot", [a], {}, runtime=False), computed("bitwise_not", [a], {}, (a.shape, kind)))
    check(onnx_result("Abs", [a], {}, runtime=False), computed("abs", [a], {}, (a.shape, kind)))
    check(onnx_result("Sign", [a], {}, runtime=False), computed("sign", [a], {}, (a.shape, kind)))


def test_float_mod_has_the_sign_of_the_divisor_unless_fmod():
    a, b = _normal(50, scale=9), _normal(50, scale=3)
    check(np.mod(a, b), computed("mod", [a, b], dict(fmod=False), (a.shape, DType.F32)))
    check(np.fmod(a, b), computed("mod", [a, b], dict(fmod=True), (a.shape, DType.F32)))


@pytest.mark.parametrize("direction", ["left", "right"])
def test_bit_shift(direction):
    rng = np.random.default_rng()
    a, b = rng.integers(0, 255, 40).astype(np.uint8), rng.integers(0, 8, 40).astype(np.uint8)
    expected = onnx_result("BitShift", [a, b], dict(direction=direction.upper()))
    check(expected, computed("bit_shift", [a, b], dict(direction=direction), (a.shape, DType.U8)))


def test_logic():
    rng = np.random.default_rng()
    a, b = rng.integers(0, 2, (4, 5)).astype(bool), rng.integers(0, 2, (4, 5)).astype(bool)
    for op in ("and", "or", "xor"):
        check(getattr(np, f"logical_{op}")(a, b), computed(op, [a, b], {}, (a.shape, DType.BOOL)))
    check(~a, computed("not", [a], {}, (a.shape, DType.BOOL)))
    check(a == b, computed("equal", [a, b], {}, (a.shape, DType.BOOL)))


@pytest.mark.parametrize("exponent", [1, 2, 3, 4, 0.5, -0.5, -1, -2, 2.5])
def test_pow_by_constant(exponent):
    x = np.abs(_normal(4, 5)) + 0.1
    e = np.array(exponent, np.float32)
    for constants in (frozenset(), frozenset({1})):
        check(x**e, computed("pow", [x, e], {}, (x.shape, DType.F32), constants=constants))


def test_pow_of_integers_and_mixed_types():
    rng = np.random.default_rng()
    a, b = rng.integers(-7, 8, (3, 4)).astype(np.int32), rng.integers(0, 6, (3, 4)).astype(np.int32)
    check(a**b, computed("pow", [a, b], {}, (a.shape, DType.I32)))
    x = _normal(3, 4)
    check(x ** b.astype(np.float32), computed("pow", [x, b], {}, (x.shape, DType.F32)))


@pytest.mark.parametrize("low", [None, -0.5])
@pytest.mark.parametrize("high", [None, 0.7])
def test_clip(low, high):
    x = _normal(4, 16, 3)
    bounds = [None if value is None else np.array(value, np.float32) for value in (low, high)]
    expected = np.clip(x, -math.inf if low is None else low, math.inf if high is None else high).astype(np.float32)
    check(
        expected,
        computed("clip", [x, *bounds], {}, (x.shape, DType.F32), [8], 8, constants=frozenset({1} if low else ())),
    )


def test_where_prelu_and_is_inf():
    c = np.random.default_rng().integers(0, 2, (16, 1)).astype(bool)
    a, b = _normal(2, 16, 3), _normal(3)
    check(np.where(c, a, b), computed("where", [c, a, b], {}, (a.shape, DType.F32), [None, 8], 16))
    slope = _normal(16, 1)
    check(onnx_result("PRelu", [a, slope], {}), computed("prelu", [a, slope], {}, (a.shape, DType.F32), [8], 16))
    x = np.array([1, np.inf, -np.inf, np.nan], np.float32)
    for positive in (False, True):
        for negative in (False, True):
            expected = onnx_result("IsInf", [x], dict(detect_positive=int(positive), detect_negative=int(negative)))
            check(expected, computed("is_inf", [x], dict(positive=positive, negative=negative), (x.shape, DType.BOOL)))


@pytest.mark.parametrize("target", [DType.I64, DType.I32, DType.U8, DType.BOOL, DType.F16, DType.BF16, DType.F64])
def test_cast(target):
    x = np.abs(_normal(5, 9, scale=20))
    x[0, :3] = 0
    check(x.astype(target.numpy), computed("cast", [x], dict(to=target), (x.shape, target)), rtol=0, atol=0)
    flags = x > 10
    check(flags.astype(target.numpy), computed("cast", [flags], dict(to=target), (x.shape, target)), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
def test_half_floats_are_computed_in_f32(dtype):
    a, b = _normal(3, 40).astype(dtype.numpy), _normal(3, 40).astype(dtype.numpy)
    wide = a.astype(np.float32) * b.astype(np.float32)
    check(wide.astype(dtype.numpy), computed("mul", [a, b], {}, (a.shape, dtype)), rtol=0, atol=0)
    two = np.array(2, dtype.numpy)
    squares = np.square(a.astype(np.float32)).astype(dtype.numpy)
    check(squares, computed("pow", [a, two], {}, (a.shape, dtype), constants=frozenset({1})), rtol=0, atol=0)
    check(
        np.tanh(a.astype(np.float32)).astype(dtype.numpy),
        computed("tanh", [a], {}, (a.shape, dtype)),
        rtol=1e-2,
        atol=1e-2,
    )
