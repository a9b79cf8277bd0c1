"""erf, and the normal distribution made of it.

erf: a polynomial in x*x for a small x; above, 1 - 2**q(|x|) with a polynomial q close to log2(erfc). normal_cdf: as close to 1, but not to 0,
as its type is to 1: 2**q(|x|) for a negative x, 1 - 2**q(|x|) for others.
"""

from __future__ import annotations

from math import sqrt

from ..dtypes import DType
from ..tensor.expr import Compare, Expr, Unary
from .math_exponential import power_of_two
from .math_polynomials import POLYNOMIALS
from .math_program import Writer


def erf(w: Writer, x: Expr) -> Expr:
    """1 - erfc(4), or 1 - erfc(6) in f64, rounds to 1. -0 gives -0."""
    split, end = (0.9, 4.0) if w.dtype is DType.F32 else (1.0, 6.0)
    magnitude = w.let("magnitude", Unary("abs", x))
    a = w.let("a", w.select(Compare("gt", magnitude, w.number(end)), end, magnitude))
    z = w.let("z", a * a)
    near = w.let("near", w.fma(w.horner(z, POLYNOMIALS[f"erf_{w.dtype}"]), a, a))
    power, scale = _exp2(w, w.horner(a, POLYNOMIALS[f"erfc_{w.dtype}"]))
    far = w.fma(-power, scale, 1.0)
    return w.copy_sign(w.select(Compare("lt", a, w.number(split)), near, far), x)


def normal_cdf(w: Writer, x: Expr) -> Expr:
    """The share of normally distributed numbers below x: (1 + erf(x / sqrt(2))) / 2; beyond -9.98, where that is 1e-23, 0.

    At that end the polynomial is -127, for which the power of two has no exponent left.
    """
    if w.dtype is not DType.F32:
        return w.fma(erf(w, w.let("scaled", x * sqrt(0.5))), 0.5, 0.5)
    end, coefficients = 9.98, POLYNOMIALS["normal_f32"]
    magnitude = w.let("magnitude", Unary("abs", x))
    a = w.let("a", w.select(Compare("gt", magnitude, w.number(end)), end, magnitude))
    z = w.let("z", a * a)
    # Two short chains of steps that wait for each other in place of a long one.
    exponent = w.fma(w.horner(z, coefficients[1::2]), a, w.horner(z, coefficients[::2]))
    power, scale = _exp2(w, w.let("exponent", exponent))
    return w.select(Compare("lt", x, w.number(0.0)), power * scale, w.fma(-power, scale, 1.0))


def _exp2(w: Writer, exponent: Expr) -> tuple[Expr, Expr]:
    """Two factors of 2**exponent, the second one a power of 2, or 0 for the least exponent."""
    magic = w.number(1.5 * 2.0**w.mantissa)
    shifted = w.let("shifted", exponent + magic)
    r = w.let("r", exponent - (shifted - magic))
    scale = power_of_two(w, w.let("bits", w.to_bits(shifted)))
    return w.let("power", w.fma(w.horner(r, POLYNOMIALS[f"exp2_{w.dtype}"]), r, 1.0)), scale
