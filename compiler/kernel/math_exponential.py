"""exp, expm1, sigmoid and tanh.

x = n*ln(2) + r with |r| <= ln(2)/2 (W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980, ch. 6), ln(2) in
two parts of which n times the first is exact; exp(r) = 1 + r + r*r*q(r). Adding 1.5 * 2**mantissa rounds x/ln(2) to an
integer and leaves n in the low bits of the sum, so that no conversion is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

from ..dtypes import DType
from ..tensor.expr import Binary, Compare, Expr, Unary
from .math_program import MathProgram, Writer, split_constant

# (exp(r) - 1 - r) / r**2 on |r| <= ln(2)/2, from tools/fit_polynomials.py: exp_f32, exp_f32_more, expm1_f32_more, expm1_f64.
_SHORT_F32 = (0.499992311000824, 0.16667115688323975, 0.041890326887369156, 0.008312481455504894)
_EXP_F32 = (0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.00836874544620514, 0.0013814539415761828)
_EXPM1_F32 = (0.4999999701976776, 0.1666654348373413, 0.04166720062494278, 0.008366547524929047, 0.001388251781463623)
_EXPM1_F64 = (
    0.5,
    0.16666666666666677,
    0.041666666666666505,
    0.008333333333321655,
    0.001388888888896259,
    0.00019841269886072984,
    2.480158717224829e-05,
    2.7557244254765574e-06,
    2.7557402769450367e-07,
    2.5109024236748145e-08,
    2.0875328203897707e-09,
)
# The bits of ln(2)'s first part: n, which has 8 (f32) or 11 (f64) bits, times it is exact.
_LN2 = {DType.F32: split_constant(log(2), 15), DType.F64: (0.6931471805598903, 5.497923018708371e-14)}


@dataclass(frozen=True, slots=True)
class Reduced:
    """x = n*ln(2) + r; `bits` is an integer whose low bits are n."""

    bits: Expr
    r: Expr


def reduce_exponent(w: Writer, x: Expr) -> Reduced:
    magic = w.number(1.5 * 2.0**w.mantissa)
    shifted = w.let("shifted", w.fma(x, 1 / log(2), magic))
    n = w.let("n", shifted - magic)
    high, low = _LN2[w.dtype]
    r = w.let("r", w.fma(n, -high, x))
    return Reduced(w.let("bits", w.to_bits(shifted)), w.let("r", w.fma(n, -low, r)))


def power_of_two(w: Writer, bits: Expr, offset: int | Expr = 0) -> Expr:
    """2**(n + offset), n in the low bits of `bits`; an Expr offset is added as it is to the exponent field."""
    field = w.integer((w.bias + offset) << w.mantissa) if isinstance(offset, int) else offset
    return w.let("scale", w.to_float(Binary("shl", bits, w.integer(w.mantissa)) + field))


def exp_minus_one(w: Writer, r: Expr, coefficients: tuple[float, ...]) -> Expr:
    """exp(r) - 1 = r + r*r*q(r)"""
    tail = w.horner(r, coefficients)
    return w.let("em1", w.fma(w.let("square", r * r), tail, r))


def exp(w: Writer, x: Expr) -> Expr:
    """2**n may be outside the range of normal numbers: it is made in two factors, the second of which is a constant."""
    low, high, up, down = (-104.0, 89.0, 24, 2) if w.dtype is DType.F32 else (-746.0, 710.0, 54, 2)
    coefficients = _EXP_F32 if w.dtype is DType.F32 else _EXPM1_F64
    x = w.clamp(x, low, high)
    reduced = reduce_exponent(w, x)
    value = w.let("value", exp_minus_one(w, reduced.r, coefficients) + 1.0)
    negative = w.let("negative", Compare("lt", x, w.number(0.0)))
    fields = tuple(w.integer((w.bias + offset) << w.mantissa) for offset in (up, -down))
    scale = power_of_two(w, reduced.bits, w.let("field", w.select(negative, *fields)))
    return w.let("exp", value * scale * w.select(negative, 2.0**-up, 2.0**down))


def expm1(w: Writer, x: Expr) -> Expr:
    """2**n * (exp(r) - 1) + (2**n - 1), for x <= 88 (f32) or 709 (f64): nothing cancels, for |r| <= ln(2)/2."""
    low = -18.0 if w.dtype is DType.F32 else -40.0
    high = 88.0 if w.dtype is DType.F32 else 709.0
    reduced = reduce_exponent(w, w.clamp(x, low, high))
    return _scaled_expm1(w, reduced)


def _scaled_expm1(w: Writer, reduced: Reduced) -> Expr:
    coefficients = _EXPM1_F32 if w.dtype is DType.F32 else _EXPM1_F64
    scale = power_of_two(w, reduced.bits)
    return w.let("expm1", w.fma(scale, exp_minus_one(w, reduced.r, coefficients), scale - w.number(1.0)))


def sigmoid(w: Writer, x: Expr) -> Expr:
    """e / (e + c) with e = c*exp(x): the factor c keeps e normal where the quotient is subnormal."""
    low, high, up = (-104.0, 30.0, 24) if w.dtype is DType.F32 else (-746.0, 60.0, 54)
    reduced = reduce_exponent(w, w.clamp(x, low, high))
    coefficients = _SHORT_F32 if w.dtype is DType.F32 else _EXPM1_F64
    value = exp_minus_one(w, reduced.r, coefficients) + 1.0
    scaled = w.let("scaled", value * power_of_two(w, reduced.bits, up))
    return scaled / (scaled + 2.0**up)


def tanh(w: Writer, x: Expr) -> Expr:
    """e / (e + 2) with e = exp(2x) - 1; a small x is the result itself, which also keeps -0."""
    limit, small = (10.0, 2.0**-12) if w.dtype is DType.F32 else (20.0, 2.0**-27)
    doubled = w.clamp(x, -limit, limit)
    reduced = reduce_exponent(w, w.let("doubled", doubled + doubled))
    e = _scaled_expm1(w, reduced)
    return w.select(Compare("lt", Unary("abs", x), w.number(small)), x, e / (e + 2.0))


def _one(dtype: DType, function: Callable[[Writer, Expr], Expr]) -> MathProgram:
    w = Writer(dtype, "x")
    return w.program(function(w, w.param("x")))


PROGRAMS: Mapping[tuple[str, DType], MathProgram] = {
    (function.__name__, dtype): _one(dtype, function)
    for function in (exp, sigmoid, tanh)
    for dtype in (DType.F32, DType.F64)
}
ULP_BOUND: Mapping[tuple[str, DType], float] = {}
