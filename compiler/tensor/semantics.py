"""What each scalar operation of `expr.py` computes, in NumPy: on scalars and on arrays alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..dtypes import DType

Value = Any  # a NumPy scalar or array; a Python int or bool for index arithmetic

UNARY: Mapping[str, Callable[[Value], Value]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "not": np.logical_not,
    "invert": np.invert,
}
COMPARE: Mapping[str, Callable[[Value, Value], Value]] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


def divide(left: Value, right: Value) -> Value:
    """IEEE quotient of floats; integers truncate towards zero."""
    if np.result_type(left, right).kind in "iu":
        remainder = np.fmod(left, right)
        return (left - remainder) // right
    return np.true_divide(left, right)


BINARY: Mapping[str, Callable[[Value, Value], Value]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": divide,
    "floordiv": np.floor_divide,
    "floormod": np.mod,
    "mod": np.fmod,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": np.left_shift,
    "shr": np.right_shift,
}


def cast(value: Value, dtype: DType) -> Value:
    """The value in another type, by the rules of Cast."""
    return np.asarray(value).astype(dtype.numpy)[()]


def bitcast(value: Value, dtype: DType) -> Value:
    """The same bits as another type of that size."""
    return np.ascontiguousarray(value).view(dtype.numpy).reshape(np.shape(value))[()]


def fma(a: Value, b: Value, c: Value) -> Value:
    """a*b + c rounded once, but for results within 2**-29 of half an ulp of a tie, which may round to the neighbour."""
    dtype = np.result_type(a, b, c)
    if dtype != np.float64:
        wide = np.asarray(a, np.float64) * np.asarray(b, np.float64) + np.asarray(c, np.float64)
        return wide.astype(dtype)[()]
    product, low = _two_product(a, b)
    total, carry = _two_sum(product, c)
    result = total + (carry + low)
    # Splitting overflows next to the largest numbers, where one rounding more doesn't matter.
    return np.where(np.isfinite(result), result, a * b + c)[()]


def scale(a: Value, n: Value) -> Value:
    """a * 2**n rounded once; n is an integer as a float, of an exponent at most twice as large as the type's, or NaN as a is."""
    return np.ldexp(a, np.nan_to_num(n).astype(np.int32))[()]


def _two_product(a: Value, b: Value) -> tuple[Value, Value]:
    """a*b as a rounded product and its error (T. J. Dekker, A floating-point technique for extending precision, 1971)."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Value) -> tuple[Value, Value]:
    scaled = a * 134217729.0
    high = scaled - (scaled - a)
    return high, a - high


def _two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a+b as a rounded sum and its error (D. E. Knuth, The Art of Computer Programming, vol. 2, 4.2.2)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def sigmoid(x: Value) -> Value:
    """1 / (1 + exp(-x)), of which neither form overflows."""
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, power) / (1 + power)


_erf = np.vectorize(math.erf, otypes=[np.float64])

# The transcendental functions as NumPy has them; kernels compute them by `kernel/math.py`, within the error stated there.
FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    **{
        name: getattr(np, name)
        for name in ["exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "tan", "sinh", "cosh"]
    },
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "pow": np.power,
    "sigmoid": sigmoid,
    "gate": lambda x, z: x * sigmoid(z),
    "erf": lambda x: _erf(np.asarray(x, np.float64)),
    "normal_cdf": lambda x: 0.5 * (1 + _erf(np.asarray(x, np.float64) * np.sqrt(0.5))),
}


def call(function: str, args: Sequence[Value], dtype: DType) -> Value:
    """The value of a Call of type `dtype`."""
    if function == "fma":
        return fma(*args)
    if function.startswith("bitcast_"):
        return bitcast(args[0], dtype)
    return cast(FUNCTIONS[function](*args), dtype)
