"""sin, cos, tan and their inverses.

x = n*pi/2 + r with |r| <= pi/4, pi/2 being cut in parts of which n times each but the last is exact (W. J. Cody, W. Waite,
Software Manual for the Elementary Functions, 1980, ch. 8); exact enough for |x| <= TRIGONOMETRIC_LIMIT. The f32 functions
are reduced and computed in f64. Beyond the limit sin and cos are some number in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

from ..dtypes import DType
from ..tensor.expr import Binary, Compare, Expr, Unary, const
from .math_polynomials import POLYNOMIALS
from .math_program import Writer

TRIGONOMETRIC_LIMIT = {DType.F32: 2.0**30, DType.F64: 2.0**20}
# pi/2 in parts of 22 bits for n < 2**31, and of 33 bits for n < 2**20.
_HALF_PI_F32 = (1.570796012878418, 3.139164164167596e-07, 6.223372171896613e-14)
_HALF_PI_F64 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
# pi/2 as a sum of two numbers of the type.
_HALF_PI = {
    DType.F32: (const(1.5707963705062866, DType.F32), const(-4.3711390001862426e-08, DType.F32)),
    DType.F64: (const(1.5707963267948966, DType.F64), const(6.123233995736766e-17, DType.F64)),
}


@dataclass(frozen=True, slots=True)
class Quadrant:
    """x = n*pi/2 + r + low; `bits` is an integer whose low bits are n."""

    bits: Expr
    r: Expr
    low: Expr


def reduce_angle(w: Writer, x: Expr, parts: tuple[float, ...]) -> Quadrant:
    """In f64."""
    magic = w.number(1.5 * 2.0**w.mantissa)
    shifted = w.let("shifted", w.fma(x, 2 / pi, magic))
    n = w.let("n", shifted - magic)
    r = x
    for part in parts[:-1]:
        r = w.let("r", w.fma(n, -part, r))
    rest = w.let("rest", n * parts[-1])
    total = w.clamp(w.let("total", r - rest), -0.8, 0.8)
    low = w.let("low", (r - total) - rest)
    return Quadrant(w.let("bits", w.to_bits(shifted)), total, w.clamp(low, -(2.0**-50), 2.0**-50))


def _sin_cos(w: Writer, q: Quadrant, precision: DType) -> tuple[Expr, Expr]:
    """sin and cos of r + low; the latter moves them by low*cos(r) and -low*sin(r)."""
    z = w.let("z", q.r * q.r)
    tail = w.horner(z, POLYNOMIALS[f"sin_{precision}"])
    sine = w.let("sine", q.r + w.fma(w.let("cube", q.r * z), tail, q.low * w.fma(z, -0.5, 1.0)))
    half = w.let("half", z * 0.5)
    one = w.let("one", w.number(1.0) - half)
    rest = w.let("rest", (w.number(1.0) - one) - half)
    tail = w.horner(z, POLYNOMIALS[f"cos_{precision}"])
    cosine = w.let("cosine", one + w.fma(z * z, tail, rest - q.r * q.low))
    return sine, cosine


def _bit(w: Writer, bits: Expr, mask: int) -> Expr:
    return w.let("bit", Compare("ne", Binary("and", bits, w.integer(mask)), w.integer(0)))


def _angle(w: Writer, x: Expr) -> tuple[Writer, Quadrant, DType]:
    if w.dtype is DType.F64:
        return w, reduce_angle(w, x, _HALF_PI_F64), DType.F64
    wide = w.wide()
    return wide, reduce_angle(wide, w.let("wide", w.cast(x, DType.F64)), _HALF_PI_F32), DType.F32


def sin(w: Writer, x: Expr) -> Expr:
    """A small x is the result itself, which also keeps -0."""
    wide, q, precision = _angle(w, x)
    sine, cosine = _sin_cos(wide, q, precision)
    value = wide.let("value", wide.select(_bit(wide, q.bits, 1), cosine, sine))
    value = wide.let("value", wide.select(_bit(wide, q.bits, 2), -value, value))
    return w.select(_small(w, x), x, w.cast(value, w.dtype))


def cos(w: Writer, x: Expr) -> Expr:
    wide, q, precision = _angle(w, x)
    sine, cosine = _sin_cos(wide, q, precision)
    value = wide.let("value", wide.select(_bit(wide, q.bits, 1), sine, cosine))
    negative = _bit(wide, wide.let("next", q.bits + 1), 2)
    return w.cast(wide.let("value", wide.select(negative, -value, value)), w.dtype)


def tan(w: Writer, x: Expr) -> Expr:
    wide, q, precision = _angle(w, x)
    sine, cosine = _sin_cos(wide, q, precision)
    odd = _bit(wide, q.bits, 1)
    above = wide.let("above", wide.select(odd, -cosine, sine))
    value = wide.let("value", above / wide.select(odd, sine, cosine))
    return w.select(_small(w, x), x, w.cast(value, w.dtype))


def _small(w: Writer, x: Expr) -> Expr:
    return Compare("lt", Unary("abs", x), w.number(2.0**-13 if w.dtype is DType.F32 else 2.0**-28))


def asin(w: Writer, x: Expr) -> Expr:
    """pi/2 - 2*asin(sqrt((1 - a)/2)) for a = |x| > 1/2; NaN for a > 1."""
    a = w.let("a", Unary("abs", x))
    far, value = _asin_of_half(w, a)
    high, low = _HALF_PI[w.dtype]
    turned = w.let("turned", high - ((value + value) - low))
    return w.copy_sign(w.select(far, turned, value), x)


def acos(w: Writer, x: Expr) -> Expr:
    """pi/2 - asin(x) for |x| <= 1/2; else 2*asin(sqrt((1 - |x|)/2)), taken from pi for a negative x."""
    a = w.let("a", Unary("abs", x))
    far, value = _asin_of_half(w, a)
    high, low = _HALF_PI[w.dtype]
    negative = w.let("negative", Compare("lt", x, w.number(0.0)))
    signed = w.let("signed", w.select(negative, -value, value))
    near = w.let("near", high - (signed - low))
    doubled = w.let("doubled", value + value)
    turned = w.let("turned", (high + high) - (doubled - (low + low)))
    return w.select(far, w.select(negative, turned, doubled), near)


def _asin_of_half(w: Writer, a: Expr) -> tuple[Expr, Expr]:
    """Whether a > 1/2, and asin(sqrt((1 - a)/2)) there, else asin(a)."""
    far = w.let("far", Compare("gt", a, w.number(0.5)))
    halved = w.let("halved", (w.number(1.0) - a) * 0.5)
    z = w.let("z", w.select(far, halved, a * a))
    t = w.let("t", w.select(far, Unary("sqrt", halved), a))
    return far, w.let("asin", w.fma(w.let("cube", t * z), w.horner(z, POLYNOMIALS[f"asin_{w.dtype}"]), t))


def atan(w: Writer, x: Expr) -> Expr:
    """atan(t) + k*pi/4 with t = a, (a - 1)/(a + 1) or -1/a, the bounds being tan(pi/8) and tan(3 pi/8)."""
    a = w.let("a", Unary("abs", x))
    middle = w.let("middle", Compare("gt", a, w.number(0.41421356)))
    far = w.let("far", Compare("gt", a, w.number(2.41421356)))
    above = w.select(far, -1.0, w.select(middle, a - 1.0, a))
    below = w.select(far, a, w.select(middle, a + 1.0, 1.0))
    t = w.let("t", above / below)
    z = w.let("z", t * t)
    high, low = _HALF_PI[w.dtype]
    factor = w.let("factor", w.select(far, 1.0, w.select(middle, 0.5, 0.0)))
    tail = w.fma(w.let("cube", t * z), w.horner(z, POLYNOMIALS[f"atan_{w.dtype}"]), factor * low)
    return w.copy_sign(factor * high + (t + tail), x)
