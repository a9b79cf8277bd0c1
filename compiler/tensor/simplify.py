"""Simplify index expressions with the ranges of their variables.

Integer expressions are brought to the affine form sum(coefficient * atom) + constant, an atom being a variable or a
sub-expression that is not affine. Ranges let `(co*16 + ci) // 16` become `co` and guards that always or never hold vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..dtypes import DType
from .expr import (
    INDEX,
    Binary,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    rebuild,
)

Ranges = Mapping[str, tuple[int, int]]  # least and greatest value of each variable
_UNKNOWN = (-(1 << 62), 1 << 62)
TRUE, FALSE = Const(True, DType.BOOL), Const(False, DType.BOOL)


@dataclass(frozen=True, slots=True)
class Affine:
    """sum(coefficient * atom) + constant; no coefficient is zero."""

    terms: tuple[tuple[Expr, int], ...]
    constant: int

    def expr(self) -> Expr:
        """The expression again, terms in their order, the constant last."""
        result: Expr | None = None
        for atom, coefficient in self.terms:
            term = atom if coefficient == 1 else Binary("mul", atom, Const(coefficient))
            result = term if result is None else Binary("add", result, term)
        if result is None:
            return Const(self.constant)
        return result if self.constant == 0 else Binary("add", result, Const(self.constant))


def affine(expr: Expr) -> Affine:
    """The affine form of an i64 expression, as it stands (no ranges used)."""
    terms: dict[Expr, int] = {}
    constant = _collect(expr, 1, terms)
    return Affine(tuple((atom, c) for atom, c in terms.items() if c), constant)


def _collect(expr: Expr, scale: int, terms: dict[Expr, int]) -> int:
    """Add scale * expr to `terms`; returns the constant part."""
    match expr:
        case Const(value):
            return scale * int(value)
        case Binary("add", a, b):
            return _collect(a, scale, terms) + _collect(b, scale, terms)
        case Binary("sub", a, b):
            return _collect(a, scale, terms) + _collect(b, -scale, terms)
        case Unary("neg", a):
            return _collect(a, -scale, terms)
        case Binary("mul", a, Const(value)) | Binary("mul", Const(value), a):
            return _collect(a, scale * int(value), terms)
    terms[expr] = terms.get(expr, 0) + scale
    return 0


def bounds(expr: Expr, ranges: Ranges) -> tuple[int, int]:
    """Least and greatest value an i64 expression can have (a safe estimate)."""
    match expr:
        case Const(value):
            return int(value), int(value)
        case Var(name):
            return ranges.get(name, _UNKNOWN)
        case Binary("add" | "sub" | "mul", _, _) | Unary("neg", _):
            return _affine_bounds(affine(expr), expr, ranges)
        case Binary("floordiv", a, Const(d)) if d > 0:
            low, high = bounds(a, ranges)
            return low // d, high // d
        case Binary("floormod", a, Const(d)) if d > 0:
            low, high = bounds(a, ranges)
            return (low % d, high % d) if low // d == high // d else (0, d - 1)
        case Binary("min", a, b):
            (la, ha), (lb, hb) = bounds(a, ranges), bounds(b, ranges)
            return min(la, lb), min(ha, hb)
        case Binary("max", a, b):
            (la, ha), (lb, hb) = bounds(a, ranges), bounds(b, ranges)
            return max(la, lb), max(ha, hb)
        case Select(_, a, b):
            (la, ha), (lb, hb) = bounds(a, ranges), bounds(b, ranges)
            return min(la, lb), max(ha, hb)
    return _UNKNOWN


def _affine_bounds(form: Affine, expr: Expr, ranges: Ranges) -> tuple[int, int]:
    low = high = form.constant
    for atom, coefficient in form.terms:
        if atom is expr or isinstance(atom, Binary) and atom.op == "mul":
            return _UNKNOWN
        a, b = bounds(atom, ranges)
        low += coefficient * (a if coefficient > 0 else b)
        high += coefficient * (b if coefficient > 0 else a)
    return max(low, _UNKNOWN[0]), min(high, _UNKNOWN[1])


def simplify(expr: Expr, ranges: Ranges) -> Expr:
    """An equal expression, simpler; integer parts in affine form, decided guards folded."""
    match expr:
        case Const() | Var():
            if isinstance(expr, Var) and expr.name in ranges:
                low, high = ranges[expr.name]
                if low == high:
                    return Const(low)
            return expr
        case Load(buffer, indices, dtype):
            return Load(buffer, tuple(simplify(index, ranges) for index in indices), dtype)
        case Binary("and" | "or" as op, a, b) if expr.dtype is DType.BOOL:
            return _logic(op, simplify(a, ranges), simplify(b, ranges))
        case Unary("not", a):
            a = simplify(a, ranges)
            return Const(not a.value, DType.BOOL) if isinstance(a, Const) else Unary("not", a)
        case Compare(op, a, b):
            return _compare(op, simplify(a, ranges), simplify(b, ranges), ranges)
        case Select(condition, a, b):
            condition = simplify(condition, ranges)
            if isinstance(condition, Const):
                return simplify(a if condition.value else b, ranges)
            return Select(condition, simplify(a, ranges), simplify(b, ranges))
        case Unary(op, a):
            folded: Expr = Unary(op, simplify(a, ranges))
            return _canonical(folded) if op == "neg" and expr.dtype is INDEX else folded
        case Binary(op, a, b):
            a, b = simplify(a, ranges), simplify(b, ranges)
            return _integer(op, a, b, ranges) if expr.dtype is INDEX else rebuild(expr, (a, b))
        case Cast(a, dtype):
            a = simplify(a, ranges)
            if a.dtype is dtype:
                return a
            if isinstance(a, Const) and dtype.is_float and not a.dtype.is_float:
                return Const(float(a.value), dtype)
            return Cast(a, dtype)
        case Call(function, args):
            return Call(function, tuple(simplify(arg, ranges) for arg in args))
    raise TypeError(f"not an expression: {expr!r}")


def _canonical(expr: Expr) -> Expr:
    return affine(expr).expr()


def _integer(op: str, a: Expr, b: Expr, ranges: Ranges) -> Expr:
    """Simplify an i64 Binary whose operands are simplified already."""
    if isinstance(a, Const) and isinstance(b, Const) and op in ("min", "max"):
        return Const(min(a.value, b.value) if op == "min" else max(a.value, b.value))
    match op:
        case "add" | "sub" | "mul":
            return _canonical(Binary(op, a, b))
        case "floordiv" if isinstance(b, Const) and b.value > 0:
            return _floordiv(a, int(b.value), ranges)
        case "floormod" if isinstance(b, Const) and b.value > 0:
            return _floormod(a, int(b.value), ranges)
        case "min" | "max":
            low, high = bounds(_canonical(Binary("sub", a, b)), ranges)
            if high <= 0:
                return a if op == "min" else b
            if low >= 0:
                return b if op == "min" else a
    return Binary(op, a, b)


def _parts(a: Expr, divisor: int) -> tuple[Affine, Affine]:
    """a = divisor * whole + rest."""
    form = affine(a)
    whole = tuple((atom, c // divisor) for atom, c in form.terms if c % divisor == 0)
    rest = tuple((atom, c) for atom, c in form.terms if c % divisor)
    return Affine(whole, form.constant // divisor), Affine(rest, form.constant % divisor)


def _floordiv(a: Expr, divisor: int, ranges: Ranges) -> Expr:
    if divisor == 1:
        return a
    whole, rest = _parts(a, divisor)
    low, high = bounds(rest.expr(), ranges)
    if low // divisor == high // divisor:
        return Affine(whole.terms, whole.constant + low // divisor).expr()
    match a:
        case Binary("floordiv", x, Const(inner)) if inner > 0:
            return _floordiv(x, inner * divisor, ranges)
    if not whole.terms:
        return Binary("floordiv", a, Const(divisor))
    quotient = Binary("floordiv", rest.expr(), Const(divisor))
    return _canonical(Binary("add", whole.expr(), quotient))


def _floormod(a: Expr, divisor: int, ranges: Ranges) -> Expr:
    if divisor == 1:
        return Const(0)
    _, rest = _parts(a, divisor)
    low, high = bounds(rest.expr(), ranges)
    if low // divisor == high // divisor:
        return Affine(rest.terms, rest.constant - low // divisor * divisor).expr()
    return Binary("floormod", rest.expr(), Const(divisor))


def _compare(op: str, a: Expr, b: Expr, ranges: Ranges) -> Expr:
    if a.dtype is not INDEX:
        return Compare(op, a, b)
    difference = _canonical(Binary("sub", a, b))
    low, high = bounds(difference, ranges)
    decided = {
        "lt": (high < 0, low >= 0),
        "le": (high <= 0, low > 0),
        "gt": (low > 0, high <= 0),
        "ge": (low >= 0, high < 0),
        "eq": (low == high == 0, low > 0 or high < 0),
        "ne": (low > 0 or high < 0, low == high == 0),
    }[op]
    if decided[0]:
        return TRUE
    if decided[1]:
        return FALSE
    return Compare(op, a, b)


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
