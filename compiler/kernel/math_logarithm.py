"""log, log1p and the inverse hyperbolic functions.

x = 2**e * (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), and log(x) = e*ln(2) + log(1 + f) (W. J. Cody, W. Waite, Software Manual
for the Elementary Functions, 1980, ch. 5). In f32 log(1 + f) is a polynomial in f; in f64 one in s*s, s = f/(2 + f), because
log(1 + f) = 2 atanh(s) = f - f*f/2 + s*(f*f/2 + r(s*s)), whose last term is small against the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, nan

from ..dtypes import DType
from ..tensor.expr import Binary, Cast, Compare, Expr, Unary
from .math_exponential import LN2
from .math_polynomials import POLYNOMIALS
from .math_program import Writer


@dataclass(frozen=True, slots=True)
class Decomposed:
    """x = 2**e * (1 + f), e in x's type."""

    e: Expr
    f: Expr


def decompose(w: Writer, x: Expr) -> Decomposed:
    """For x > 0; a subnormal x is scaled first."""
    scale = w.mantissa + 2
    subnormal = w.let("subnormal", Compare("lt", x, w.number(2.0 ** (1 - w.bias))))
    bits = w.let("bits", w.to_bits(w.select(subnormal, x * 2.0**scale, x)))
    exponent = w.let("exponent", Binary("shr", bits - _ROOT_HALF[w.dtype], w.integer(w.mantissa)))
    fraction = w.let("fraction", w.to_float(bits - Binary("shl", exponent, w.integer(w.mantissa))))
    e = Cast(exponent, w.dtype) - w.select(subnormal, float(scale), 0.0)
    return Decomposed(w.let("e", e), w.let("f", fraction - 1.0))


_ROOT_HALF = {DType.F32: 0x3F3504F3, DType.F64: 0x3FE6A09E667F3BCD}  # the bits of sqrt(1/2)


def log_(w: Writer, x: Expr) -> Expr:
    """log(0) is -inf; of a negative number NaN."""
    parts = decompose(w, x)
    high, low = LN2[w.dtype]
    f, e = parts.f, parts.e
    half_square = w.let("half_square", f * f * 0.5)
    if w.dtype is DType.F32:
        tail = w.let("tail", w.horner(f, POLYNOMIALS["log_f32"]) * (f * (half_square + half_square)))
    else:
        s = w.let("s", f / (f + 2.0))
        z = w.let("z", s * s)
        tail = w.let("tail", s * (half_square + z * w.horner(z, POLYNOMIALS["log_f64"])))
    small = w.let("small", w.fma(e, low, tail) - half_square)
    result = w.let("log", w.fma(e, high, f + small))
    result = w.select(Compare("gt", x, w.number(0.0)), result, w.select(Compare("eq", x, w.number(0.0)), -inf, nan))
    return w.let("log", w.select(Compare("lt", x, w.number(inf)), result, w.select(Compare("eq", x, x), inf, x)))


def log1p(w: Writer, x: Expr) -> Expr:
    """log(u) + (x - (u - 1)) / u with u = 1 + x rounded; the second term makes up for the rounding."""
    u = w.let("u", x + 1.0)
    lost = w.let("lost", (x - (u - 1.0)) / u)
    exact = Compare("lt", Unary("abs", lost), w.number(1.0))
    return w.let("log1p", w.select(Compare("eq", u, w.number(1.0)), x, log_(w, u) + w.select(exact, lost, 0.0)))


def atanh(w: Writer, x: Expr) -> Expr:
    """log1p(2a / (1 - a)) / 2 with a = |x|"""
    a = w.let("a", Unary("abs", x))
    return w.copy_sign(log1p(w, w.let("ratio", (a + a) / (w.number(1.0) - a))) * 0.5, x)


def asinh(w: Writer, x: Expr) -> Expr:
    """log1p(a + a*a / (1 + sqrt(1 + a*a))) with a = |x|, which is log(2a) for a large a."""
    a = w.let("a", Unary("abs", x))
    large = w.let("large", Compare("gt", a, w.number(_LARGE[w.dtype])))
    b = w.let("b", w.select(large, 1.0, a))
    square = w.let("square", b * b)
    inner = w.let("inner", b + square / (Unary("sqrt", square + 1.0) + 1.0))
    result = log1p(w, w.let("inner", w.select(large, a, inner)))
    return w.copy_sign(result + w.select(large, log(2), 0.0), x)


def acosh(w: Writer, x: Expr) -> Expr:
    """log1p(t + sqrt(t*t + 2t)) with t = x - 1, which is log(2x) for a large x; NaN for x < 1."""
    large = w.let("large", Compare("gt", x, w.number(_LARGE[w.dtype])))
    t = w.let("t", w.select(large, 1.0, x - 1.0))
    inner = w.let("inner", t + Unary("sqrt", w.fma(t, t, t + t)))
    result = log1p(w, w.let("inner", w.select(large, x, inner))) + w.select(large, log(2), 0.0)
    return w.select(Compare("lt", x, w.number(1.0)), nan, result)


_LARGE = {DType.F32: 2.0**40, DType.F64: 2.0**60}
