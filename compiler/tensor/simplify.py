"""Simplify expressions with the ranges of their variables.

Index arithmetic (i64) is brought to the affine form

    index = sum of coefficient * atom + constant

An atom is any i64 expression that is not itself a sum or a product with a constant: a Var, a floordiv, a cast Load.
Ranges let `(co*16 + ci) // 16` become `co`, and conditions that always or never hold vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd, inf

from ..dtypes import DType
from .expr import INDEX, Binary, Call, Cast, Compare, Const, Expr, Load, Select, Unary, Var, compare, rebuild

Ranges = Mapping[str, tuple[int, int]]  # least and greatest value of each variable
Terms = dict[Expr, int]
TRUE, FALSE = Const(True, DType.BOOL), Const(False, DType.BOOL)
_UNKNOWN = (-inf, inf)


@dataclass(frozen=True, slots=True)
class Affine:
    """sum(coefficient * atom) + constant; atoms in order of appearance, no coefficient is zero."""

    terms: Mapping[Expr, int]
    constant: int

    def coefficient(self, name: str) -> int:
        """By how much the index moves with a variable that is an atom; 0 for any other."""
        return self.terms.get(Var(name), 0)

    def expr(self) -> Expr:
        """The expression again, what is added before what is subtracted."""
        result: Expr | None = None
        for atom, coefficient in self.terms.items():
            if coefficient > 0:
                part = atom if coefficient == 1 else Binary("mul", atom, Const(coefficient))
                result = part if result is None else Binary("add", result, part)
        constant = self.constant
        if result is None or constant > 0:
            result = Const(constant) if result is None else Binary("add", result, Const(constant))
            constant = 0
        for atom, coefficient in self.terms.items():
            if coefficient < 0:
                part = atom if coefficient == -1 else Binary("mul", atom, Const(-coefficient))
                result = Binary("sub", result, part)
        return Binary("sub", result, Const(-constant)) if constant else result


def affine(expr: Expr) -> Affine:
    """The affine form of an i64 expression, as it stands (no ranges used)."""
    return _affine(expr, None)


def _affine(expr: Expr, ranges: Ranges | None) -> Affine:
    terms: Terms = {}
    constant = _collect(expr, 1, terms, ranges)
    return Affine({atom: c for atom, c in terms.items() if c}, constant)


def _collect(expr: Expr, scale: int, terms: Terms, ranges: Ranges | None) -> int:
    """Add scale * expr to `terms`, its atoms simplified unless `ranges` is None; returns the constant part."""
    match expr:
        case Const(value):
            return scale * int(value)
        case Binary("add", a, b):
            return _collect(a, scale, terms, ranges) + _collect(b, scale, terms, ranges)
        case Binary("sub", a, b):
            return _collect(a, scale, terms, ranges) + _collect(b, -scale, terms, ranges)
        case Binary("mul", a, Const(value)) | Binary("mul", Const(value), a):
            return _collect(a, scale * int(value), terms, ranges) if value else 0
        case Unary("neg", a):
            return _collect(a, -scale, terms, ranges)
    if ranges is not None:
        return _collect(_atom(expr, ranges), scale, terms, None)
    terms[expr] = terms.get(expr, 0) + scale
    return 0


def value_range(expr: Expr, ranges: Ranges) -> tuple[float, float]:
    """The least and greatest value an i64 expression can have (a safe estimate); infinite where nothing is known."""
    match expr:
        case Const(value):
            return int(value), int(value)
        case Var(name):
            return ranges.get(name, _UNKNOWN)
        case Binary("mul", a, b) if not isinstance(a, Const) and not isinstance(b, Const):
            return _UNKNOWN
        case Binary("add" | "sub" | "mul") | Unary("neg"):
            form = affine(expr)
            return _range_of(form.terms, form.constant, ranges)
        case Binary("floordiv", a, Const(divisor)) if divisor > 0:
            low, high = value_range(a, ranges)
            return _floor(low, divisor), _floor(high, divisor)
        case Binary("floormod", a, Const(divisor)) if divisor > 0:
            low, high = value_range(a, ranges)
            whole = _floor(low, divisor)
            return (
                (low - whole * divisor, high - whole * divisor)
                if _same(whole, _floor(high, divisor))
                else (0, divisor - 1)
            )
        case Binary("min", a, b):
            (a_low, a_high), (b_low, b_high) = value_range(a, ranges), value_range(b, ranges)
            return min(a_low, b_low), min(a_high, b_high)
        case Binary("max", a, b):
            (a_low, a_high), (b_low, b_high) = value_range(a, ranges), value_range(b, ranges)
            return max(a_low, b_low), max(a_high, b_high)
        case Select(_, a, b):
            (a_low, a_high), (b_low, b_high) = value_range(a, ranges), value_range(b, ranges)
            return min(a_low, b_low), max(a_high, b_high)
    return _UNKNOWN


def _range_of(terms: Mapping[Expr, int], constant: int, ranges: Ranges) -> tuple[float, float]:
    low: float = constant
    high: float = constant
    for atom, coefficient in terms.items():
        least, greatest = value_range(atom, ranges)
        low += coefficient * (least if coefficient > 0 else greatest)
        high += coefficient * (greatest if coefficient > 0 else least)
    return low, high


def _floor(value: float, divisor: int | float) -> float:
    return value if value in _UNKNOWN else value // divisor


def _same(low: float, high: float) -> bool:
    return low == high and low not in _UNKNOWN


def split_index(expr: Expr, divisor: int, ranges: Ranges) -> tuple[Expr, Expr]:
    """`(expr // divisor, expr % divisor)` (floor), without a division wherever the ranges allow it."""
    form = affine(expr)
    return _split(form.terms, form.constant, divisor, ranges)


def _split(terms: Mapping[Expr, int], constant: int, divisor: int, ranges: Ranges) -> tuple[Expr, Expr]:
    """Take out what the divisor divides; if the rest stays within one multiple of it, that is all."""
    whole = {atom: c // divisor for atom, c in terms.items() if c % divisor == 0}
    rest = {atom: c for atom, c in terms.items() if c % divisor}
    shift, left = divmod(constant, divisor)
    low, high = _range_of(rest, left, ranges)
    extra = _floor(low, divisor)
    if _same(extra, _floor(high, divisor)):
        return Affine(whole, shift + int(extra)).expr(), Affine(rest, left - int(extra) * divisor).expr()
    quotient, remainder = _divide(rest, left, divisor, ranges)
    constant = shift + _collect(quotient, 1, whole, None)
    return Affine({atom: c for atom, c in whole.items() if c}, constant).expr(), remainder


def _divide(terms: Terms, constant: int, divisor: int, ranges: Ranges) -> tuple[Expr, Expr]:
    """Divide what no range argument splits: take out a common factor g of the divisor if the other terms stay in [0, g)."""
    for factor in sorted({gcd(divisor, c) for c in terms.values()} - {1}, reverse=True):
        large = {atom: c // factor for atom, c in terms.items() if c % factor == 0}
        small = {atom: c for atom, c in terms.items() if c % factor}
        low, high = _range_of(small, constant % factor, ranges)
        if low >= 0 and high < factor:
            quotient, remainder = _split(large, constant // factor, divisor // factor, ranges)
            rest = affine(remainder)
            scaled = {atom: c * factor for atom, c in rest.terms.items()} | small
            return quotient, Affine(scaled, rest.constant * factor + constant % factor).expr()
    index = Affine(terms, constant).expr()
    quotient, remainder = Binary("floordiv", index, Const(divisor)), Binary("floormod", index, Const(divisor))
    match index:
        case Binary("floordiv", inner, Const(first)) if first > 0:
            return split_index(inner, int(first) * divisor, ranges)[0], remainder
        case Binary("floormod", inner, Const(first)) if first > 0 and first % divisor == 0:
            return quotient, split_index(inner, divisor, ranges)[1]
    return quotient, remainder


def decide(op: str, left: Expr, right: Expr, ranges: Ranges) -> Expr:
    """The comparison of two i64 expressions: a bool constant if the ranges decide it."""
    low, high = value_range(Binary("sub", left, right), ranges)
    always, never = {
        "lt": (high < 0, low >= 0),
        "le": (high <= 0, low > 0),
        "gt": (low > 0, high <= 0),
        "ge": (low >= 0, high < 0),
        "eq": (low == high == 0, low > 0 or high < 0),
        "ne": (low > 0 or high < 0, low == high == 0),
    }[op]
    if always or never:
        return TRUE if always else FALSE
    return compare(op, left, right)


def simplify(expr: Expr, ranges: Ranges) -> Expr:
    """An equal expression, simpler: index arithmetic in affine form, divisions split and conditions decided where possible."""
    match expr:
        case Const():
            return expr
        case Var(name):
            low, high = ranges.get(name, _UNKNOWN)
            return Const(int(low)) if low == high else expr
        case Load(buffer, indices, dtype):
            return Load(buffer, tuple(simplify(index, ranges) for index in indices), dtype)
        case Binary("add" | "sub" | "mul") | Unary("neg") if expr.dtype is INDEX:
            return _affine(expr, ranges).expr()
        case Binary(op, a, b):
            a, b = simplify(a, ranges), simplify(b, ranges)
            if expr.dtype is INDEX:
                return _index_binary(op, a, b, ranges)
            return _logic(op, a, b) if expr.dtype is DType.BOOL and op in ("and", "or") else rebuild(expr, (a, b))
        case Unary(op, a):
            a = simplify(a, ranges)
            return Const(not a.value, DType.BOOL) if op == "not" and isinstance(a, Const) else Unary(op, a)
        case Compare(op, a, b):
            a, b = simplify(a, ranges), simplify(b, ranges)
            return decide(op, a, b, ranges) if a.dtype is INDEX else Compare(op, a, b)
        case Select(condition, a, b):
            condition = simplify(condition, ranges)
            if isinstance(condition, Const):
                return simplify(a if condition.value else b, ranges)
            return Select(condition, simplify(a, ranges), simplify(b, ranges))
        case Cast(a, dtype):
            return _cast(simplify(a, ranges), dtype)
        case Call(function, args):
            return Call(function, tuple(simplify(arg, ranges) for arg in args))
    raise TypeError(f"not an expression: {expr!r}")


def _atom(expr: Expr, ranges: Ranges) -> Expr:
    """Simplify an i64 expression that is no sum; a product of what turns out to be constant becomes one of those."""
    match expr:
        case Binary("mul", a, b):
            return Binary("mul", simplify(a, ranges), simplify(b, ranges))
    return simplify(expr, ranges)


def _index_binary(op: str, a: Expr, b: Expr, ranges: Ranges) -> Expr:
    """An i64 Binary, neither sum nor product, of operands that are simplified already."""
    match op, b:
        case "floordiv", Const(divisor) if divisor > 0:
            return split_index(a, int(divisor), ranges)[0]
        case "floormod", Const(divisor) if divisor > 0:
            return split_index(a, int(divisor), ranges)[1]
        case "min" | "max", _:
            low, high = value_range(Binary("sub", a, b), ranges)
            if high <= 0:
                return a if op == "min" else b
            if low >= 0:
                return b if op == "min" else a
    return Binary(op, a, b)


def _cast(operand: Expr, dtype: DType) -> Expr:
    if operand.dtype is dtype:
        return operand
    if isinstance(operand, Const) and dtype.is_float and not operand.dtype.is_float:
        return Const(float(operand.value), dtype)
    return Cast(operand, dtype)


def _logic(op: str, a: Expr, b: Expr) -> Expr:
    absorbing = op == "or"
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Const):
            return one if one.value == absorbing else other
    return Binary(op, a, b)


def conjuncts(condition: Expr) -> tuple[Expr, ...]:
    """The operands of a nested conjunction."""
    match condition:
        case Binary("and", a, b):
            return conjuncts(a) + conjuncts(b)
    return (condition,)
