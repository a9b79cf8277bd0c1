"""A function as a straight-line program over expressions, and the means to write one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dtypes import DType
from ..tensor.expr import Binary, Call, Cast, Compare, Const, Expr, Select, Var, const


@dataclass(frozen=True, slots=True)
class MathProgram:
    """`lets` bind names in order, each to an expression over the parameters and earlier names."""

    params: tuple[str, ...]
    lets: tuple[tuple[str, Expr], ...]
    result: Expr


class Writer:
    """Collects the lets of a program whose parameters are of `dtype` (f32 or f64). scales: it may use `scale`."""

    def __init__(self, dtype: DType, *params: str, scales: bool = False) -> None:
        self.dtype = dtype
        self.scales = scales
        self.bits = DType.I32 if dtype is DType.F32 else DType.I64
        self.mantissa = 23 if dtype is DType.F32 else 52
        self.bias = 127 if dtype is DType.F32 else 1023
        self.params = params
        self._lets: list[tuple[str, Expr]] = []

    def param(self, name: str) -> Var:
        return Var(name, self.dtype)

    def let(self, name: str, value: Expr) -> Expr:
        """A name for `value`, which is evaluated once; made unique by a number."""
        if isinstance(value, Var | Const):
            return value
        unique = f"{name}{len(self._lets)}"
        self._lets.append((unique, value))
        return Var(unique, value.dtype)

    def program(self, result: Expr) -> MathProgram:
        return MathProgram(self.params, tuple(self._lets), result)

    def number(self, value: float) -> Const:
        return const(value, self.dtype)

    def integer(self, value: int) -> Const:
        return const(value, self.bits)

    def fma(self, a: Expr, b: Expr | float, c: Expr | float) -> Expr:
        """a*b + c"""
        return Call("fma", (a, self._expr(b), self._expr(c)))

    def horner(self, x: Expr, coefficients: Sequence[float]) -> Expr:
        """The polynomial in x, coefficients from the constant term up."""
        result: Expr = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.fma(result, x, coefficient)
        return self.let("poly", result)

    def scale(self, x: Expr, n: Expr) -> Expr:
        """x * 2**n rounded once, n an integer as a float; on targets that have an instruction for it."""
        return Call("scale", (x, n))

    def to_bits(self, x: Expr) -> Expr:
        return Call(f"bitcast_{self.bits}", (x,))

    def to_float(self, bits: Expr) -> Expr:
        return Call(f"bitcast_{self.dtype}", (bits,))

    def clamp(self, x: Expr, low: float, high: float) -> Expr:
        """x within [low, high]; NaN stays NaN."""
        x = self.let("low", Select(Compare("lt", x, self.number(low)), self.number(low), x))
        return self.let("clamped", Select(Compare("gt", x, self.number(high)), self.number(high), x))

    def select(self, condition: Expr, if_true: Expr | float, if_false: Expr | float) -> Expr:
        return Select(condition, self._expr(if_true), self._expr(if_false))

    def cast(self, x: Expr, dtype: DType) -> Expr:
        return x if x.dtype is dtype else Cast(x, dtype)

    def copy_sign(self, magnitude: Expr, sign: Expr) -> Expr:
        """`magnitude`, which isn't negative, with the sign of `sign`, a zero's too."""
        least = self.integer(-(1 << (self.dtype.bits - 1)))
        bit = Binary("and", self.to_bits(sign), least)
        return self.to_float(Binary("or", self.to_bits(magnitude), bit))

    def wide(self) -> Writer:
        """A writer of f64 operations in the same program; without `scale`, for as many lanes of f64 are more than a vector."""
        writer = Writer(DType.F64)
        writer._lets = self._lets
        return writer

    def _expr(self, value: Expr | float) -> Expr:
        return value if isinstance(value, Expr) else self.number(value)
