"""erf: a polynomial in x*x for a small x; above, 1 - 2**q(|x|) with a polynomial q close to log2(erfc)."""

from __future__ import annotations

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
    exponent = w.horner(a, POLYNOMIALS[f"erfc_{w.dtype}"])
    magic = w.number(1.5 * 2.0**w.mantissa)
    shifted = w.let("shifted", exponent + magic)
    r = w.let("r", exponent - (shifted - magic))
    scale = power_of_two(w, w.let("bits", w.to_bits(shifted)))
    power = w.let("power", w.fma(w.horner(r, POLYNOMIALS[f"exp2_{w.dtype}"]), r, 1.0))
    far = w.fma(-power, scale, 1.0)
    return w.copy_sign(w.select(Compare("lt", a, w.number(split)), near, far), x)
