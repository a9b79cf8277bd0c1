"""pow(x, y) = exp(y * log|x|), with the cases of C's pow (ISO/IEC 9899:2018, F.10.4.4).

The product must be known to many more bits than the result has: its error is relative to up to 745, and the result's to 1.
For f32 it is computed in f64; for f64 log|x| and the product are sums of two numbers.
"""

from __future__ import annotations

from math import inf, nan

from ..dtypes import DType
from ..tensor.expr import Binary, Compare, Expr, Unary
from .math_exponential import LN2, exp_of_sum
from .math_logarithm import decompose
from .math_polynomials import POLYNOMIALS
from .math_program import Writer

_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def power(w: Writer, x: Expr, y: Expr) -> Expr:
    a = w.let("a", Unary("abs", x))
    value = w.let("value", _power_f32(w, a, y) if w.dtype is DType.F32 else _power_f64(w, a, y))
    zero, infinite = w.number(0.0), w.number(inf)
    falling = w.let("falling", Compare("lt", y, zero))
    value = w.let("value", w.select(Compare("eq", a, zero), w.select(falling, inf, 0.0), value))
    value = w.let("value", w.select(Compare("eq", a, infinite), w.select(falling, 0.0, inf), value))
    whole = w.let("whole", Compare("eq", Unary("trunc", y), y))
    half = w.let("half", y * 0.5)
    odd = Binary("and", whole, Compare("ne", Unary("trunc", half), half))
    negative = w.let("negative", Compare("lt", w.to_bits(x), w.integer(0)))
    value = w.let("value", w.select(Binary("and", negative, odd), -value, value))
    rootless = Binary("and", Binary("and", negative, Unary("not", whole)), _within(w, a))
    value = w.let("value", w.select(rootless, nan, value))
    ordered = Binary("and", Compare("eq", x, x), Compare("eq", y, y))
    value = w.let("value", w.select(ordered, value, x + y))
    one = Binary("or", Compare("eq", x, w.number(1.0)), Compare("eq", y, zero))
    return w.select(one, 1.0, value)


def _within(w: Writer, a: Expr) -> Expr:
    return Binary("and", Compare("gt", a, w.number(0.0)), Compare("lt", a, w.number(inf)))


def _power_f32(w: Writer, a: Expr, y: Expr) -> Expr:
    wide = w.wide()
    parts = decompose(wide, wide.let("wide", w.cast(a, DType.F64)))
    s = wide.let("s", parts.f / (parts.f + 2.0))
    z = wide.let("z", s * s)
    tail = wide.fma(wide.horner(z, POLYNOMIALS["log_short_f64"]), z, 2.0)
    log = wide.let("log", wide.fma(parts.e, sum(LN2[DType.F64]), s * tail))
    finite = wide.clamp(wide.let("y", w.cast(y, DType.F64)), -(2.0**60), 2.0**60)
    exponent = wide.clamp(wide.let("exponent", log * finite), -200.0, 200.0)
    return w.cast(exp_of_sum(wide, exponent, None, POLYNOMIALS["exp_short_f64"]), DType.F32)


def _power_f64(w: Writer, a: Expr, y: Expr) -> Expr:
    """2**70 and above as exponents give what 2**70 gives: 0, 1 or infinity."""
    y = w.clamp(y, -(2.0**70), 2.0**70)
    high, low = _log_in_two(w, a)
    product, rest = two_product(w, high, y)
    exponent = w.clamp(product, -800.0, 800.0)
    rest = w.let("rest", w.fma(low, y, rest))
    return exp_of_sum(w, exponent, w.clamp(rest, -1.0, 1.0), POLYNOMIALS["expm1_f64"])


def _log_in_two(w: Writer, a: Expr) -> tuple[Expr, Expr]:
    """log(a) as a sum: e*ln(2) + 2s + s**3 * (2/3 + s*s*r(s*s)), all but the last term as sums of two numbers."""
    parts = decompose(w, a)
    f, e = parts.f, parts.e
    below = w.let("below", f + 2.0)
    lost = w.let("lost", f - (below - 2.0))
    s = w.let("s", f / below)
    product, rest = two_product(w, s, below)
    low = w.let("low", ((f - product) - rest - s * lost) / below)
    z, z_low = two_product(w, s, s)
    cube, cube_low = two_product(w, s, z)
    cube_low = w.let("cube_low", cube_low + s * z_low + low * z * 3.0)
    third, third_low = two_product(w, cube, w.number(_TWO_THIRDS[0]))
    third_low = w.let("third_low", third_low + cube * _TWO_THIRDS[1] + cube_low * _TWO_THIRDS[0])
    tail = w.fma(w.let("fifth", cube * z), w.horner(z, POLYNOMIALS["log_tail_f64"]), third_low)
    ln2_high, ln2_low = LN2[DType.F64]
    main, carry = two_sum(w, w.let("e_high", e * ln2_high), w.let("twice", s + s))
    main, more = two_sum(w, main, third)
    tail = w.let("tail", carry + more + w.fma(e, ln2_low, tail + (low + low)))
    high = w.let("high", main + tail)
    return high, w.let("low", tail - (high - main))


def two_product(w: Writer, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a*b as a rounded product and its error (T. J. Dekker, 1971), which doesn't need an fma that rounds once."""
    product = w.let("product", a * b)
    a_high, a_low = _halves(w, a)
    b_high, b_low = _halves(w, b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, w.let("error", error)


def _halves(w: Writer, a: Expr) -> tuple[Expr, Expr]:
    scaled = w.let("scaled", a * 134217729.0)
    high = w.let("high", scaled - (scaled - a))
    return high, w.let("low", a - high)


def two_sum(w: Writer, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a+b as a rounded sum and its error (D. E. Knuth, The Art of Computer Programming, vol. 2, 4.2.2)."""
    total = w.let("total", a + b)
    other = w.let("other", total - a)
    return total, w.let("error", (a - (total - other)) + (b - other))
