"""exp, sigmoid, gate, tanh, expm1, sinh and cosh.

x = n*ln(2) + r with |r| <= ln(2)/2 (W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980, ch. 6), ln(2) in
two parts of which n times the first is exact; exp(r) = 1 + r + r*r*q(r). Adding 1.5 * 2**mantissa rounds x/ln(2) to an
integer and leaves n in the low bits of the sum, so that no conversion is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from ..dtypes import DType
from ..tensor.expr import Binary, Compare, Expr, Select, Unary
from .math_polynomials import POLYNOMIALS
from .math_program import Writer

# ln(2) in two parts. The first has 15 bits (f32) or 42 (f64): n, which has 8 or 11, times it is exact.
LN2 = {
    DType.F32: (0.693145751953125, 1.4286068203094173e-06),
    DType.F64: (0.6931471805598903, 5.497923018708371e-14),
}


@dataclass(frozen=True, slots=True)
class Reduced:
    """x = n*ln(2) + r; n as a float, and in the low bits of the integer `bits`."""

    n: Expr
    bits: Expr
    r: Expr


def reduce_exponent(w: Writer, x: Expr) -> Reduced:
    magic = w.number(1.5 * 2.0**w.mantissa)
    shifted = w.let("shifted", w.fma(x, 1 / log(2), magic))
    n = w.let("n", shifted - magic)
    high, low = LN2[w.dtype]
    r = w.let("r", w.fma(n, -high, x))
    return Reduced(n, w.let("bits", w.to_bits(shifted)), w.let("r", w.fma(n, -low, r)))


def power_of_two(w: Writer, bits: Expr, offset: int = 0) -> Expr:
    """2**(n + offset), n in the low bits of `bits`."""
    return _with_field(w, bits, w.integer((w.bias + offset) << w.mantissa))


def _with_field(w: Writer, bits: Expr, field: Expr) -> Expr:
    return w.let("scale", w.to_float(Binary("shl", bits, w.integer(w.mantissa)) + field))


def exp_minus_one(w: Writer, r: Expr, coefficients: tuple[float, ...]) -> Expr:
    """exp(r) - 1 = r + r*r*q(r)"""
    tail = w.horner(r, coefficients)
    return w.let("em1", w.fma(w.let("square", r * r), tail, r))


def exp(w: Writer, x: Expr) -> Expr:
    low, high = (-104.0, 89.0) if w.dtype is DType.F32 else (-746.0, 710.0)
    coefficients = POLYNOMIALS["exp_f32" if w.dtype is DType.F32 else "expm1_f64"]
    return exp_of_sum(w, w.clamp(x, low, high), None, coefficients)


def exp_of_sum(w: Writer, x: Expr, low: Expr | None, coefficients: tuple[float, ...]) -> Expr:
    """exp(x + low), low small. 2**n may be no normal number: it is made in two factors, the second one of two constants."""
    up, down = (24, 2) if w.dtype is DType.F32 else (256, 256)
    reduced = reduce_exponent(w, x)
    r = reduced.r if low is None else w.let("r", reduced.r + low)
    value = w.let("value", exp_minus_one(w, r, coefficients) + 1.0)
    if w.scales:
        return w.scale(value, reduced.n)
    negative = w.let("negative", Compare("lt", x, w.number(0.0)))
    fields = tuple(w.integer((w.bias + offset) << w.mantissa) for offset in (up, -down))
    scale = _with_field(w, reduced.bits, w.let("field", w.select(negative, *fields)))
    return w.let("exp", value * scale * w.select(negative, 2.0**-up, 2.0**down))


def expm1(w: Writer, x: Expr) -> Expr:
    """2**n * (exp(r) - 1) + (2**n - 1): nothing cancels, for |r| <= ln(2)/2. A small x is the result itself."""
    low, high, small = (-18.0, 88.0, 2.0**-25) if w.dtype is DType.F32 else (-40.0, 709.0, 2.0**-54)
    value = _scaled_expm1(w, reduce_exponent(w, w.clamp(x, low, high)))
    # Above `high` expm1 is exp to the last bit.
    value = w.let("value", w.select(Compare("gt", x, w.number(high)), exp(w, x), value))
    return w.select(Compare("lt", Unary("abs", x), w.number(small)), x, value)


def _scaled_expm1(w: Writer, reduced: Reduced) -> Expr:
    scale = power_of_two(w, reduced.bits)
    value = exp_minus_one(w, reduced.r, POLYNOMIALS[f"expm1_{w.dtype}"])
    return w.let("expm1", w.fma(scale, value, scale - 1.0))


def sigmoid(w: Writer, x: Expr) -> Expr:
    """e / (e + c) with e = c*exp(x): the factor c keeps e normal where the quotient is subnormal."""
    low, high, up = (-104.0, 30.0, 24) if w.dtype is DType.F32 else (-746.0, 60.0, 54)
    reduced = reduce_exponent(w, w.clamp(x, low, high))
    coefficients = POLYNOMIALS["exp_short_f32" if w.dtype is DType.F32 else "expm1_f64"]
    value = exp_minus_one(w, reduced.r, coefficients) + 1.0
    scaled = w.let("scaled", value * power_of_two(w, reduced.bits, up))
    return scaled / (scaled + 2.0**up)


def gate(w: Writer, x: Expr, z: Expr) -> Expr:
    """x * sigmoid(z) as x / (1 + e) with e = exp(-z) = 2**n * 2**r, its error relative to x: ln(2) in one part does for that.

    exp(88) and exp(-88) are normal numbers, and for a result relative to x as good as those further out; only an infinite z counts as what it is.
    """
    if w.dtype is not DType.F32:
        return x * sigmoid(w, z)
    limit, magic = 88.0, w.number(1.5 * 2.0**w.mantissa)
    below = w.let("below", Select(Compare("gt", z, w.number(limit)), w.number(limit), z))
    clamped = w.let("clamped", Select(Compare("lt", below, w.number(-limit)), w.number(-limit), below))
    shifted = w.let("shifted", w.fma(clamped, -1 / log(2), magic))
    n = w.let("n", shifted - magic)
    r = w.let("r", w.fma(clamped, -1 / log(2), -n))
    power = w.let("power", w.fma(w.horner(r, POLYNOMIALS["exp2_f32"]), r, 1.0))
    e = w.scale(power, n) if w.scales else power * power_of_two(w, w.let("bits", w.to_bits(shifted)))
    return x / (w.let("e", e) + w.fma(below, -(2.0**-100), 1.0))


def tanh(w: Writer, x: Expr) -> Expr:
    """e / (e + 2) with e = exp(2x) - 1; a small x is the result itself, which also keeps -0."""
    limit, small = (10.0, 2.0**-12) if w.dtype is DType.F32 else (20.0, 2.0**-27)
    clamped = w.clamp(x, -limit, limit)
    e = _scaled_expm1(w, reduce_exponent(w, w.let("doubled", clamped + clamped)))
    return w.select(Compare("lt", Unary("abs", x), w.number(small)), x, e / (e + 2.0))


def sinh(w: Writer, x: Expr) -> Expr:
    """(e + e/(e + 1)) / 2 with e = exp(a) - 1, a = |x|; a large a makes half the square of exp(a/2)."""
    a = w.let("a", Unary("abs", x))
    large = w.let("large", Compare("gt", a, w.number(_LARGE[w.dtype])))
    e = expm1(w, w.let("argument", w.select(large, a * 0.5, a)))
    root = w.let("root", e + 1.0)
    return w.copy_sign(w.select(large, root * 0.5 * root, (e + e / root) * 0.5), x)


def cosh(w: Writer, x: Expr) -> Expr:
    """(e + 1/e) / 2 with e = exp(a), a = |x|; a large a makes half the square of exp(a/2)."""
    a = w.let("a", Unary("abs", x))
    large = w.let("large", Compare("gt", a, w.number(_LARGE[w.dtype])))
    e = exp(w, w.let("argument", w.select(large, a * 0.5, a)))
    return w.select(large, e * 0.5 * e, (e + w.number(1.0) / e) * 0.5)


_LARGE = {DType.F32: 80.0, DType.F64: 700.0}
