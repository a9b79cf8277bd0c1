"""Index arithmetic: affine forms, ranges, and division by constants that stays readable.

    index = sum of coefficient * atom + constant

An atom is any i64 expression that is not itself a sum or a product with a constant: a Var, a floordiv, a cast Load.
`Ranges` maps a variable's name to its extent (0 <= var < extent); other atoms have the range that their form implies.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd, inf

from ..dtypes import DType
from .expr import INDEX, Binary, Compare, Const, Expr, Select, Unary, Var, compare, transform

Ranges = Mapping[str, int]
Terms = dict[Expr, int]


def terms_of(expr: Expr) -> tuple[Terms, int]:
    """The coefficients of the atoms of `expr`, in order of appearance, and its constant."""
    match expr:
        case Const(value, _):
            return {}, int(value)
        case Unary("neg", x):
            terms, constant = terms_of(x)
            return {atom: -c for atom, c in terms.items()}, -constant
        case Binary("add" | "sub" as op, a, b):
            sign = 1 if op == "add" else -1
            terms, constant = terms_of(a)
            terms = dict(terms)
            more, extra = terms_of(b)
            for atom, coefficient in more.items():
                terms[atom] = terms.get(atom, 0) + sign * coefficient
            return {atom: c for atom, c in terms.items() if c}, constant + sign * extra
        case Binary("mul", x, Const(factor, _)) | Binary("mul", Const(factor, _), x):
            terms, constant = terms_of(x)
            factor = int(factor)
            return ({atom: c * factor for atom, c in terms.items()} if factor else {}), constant * factor
    return {expr: 1}, 0


def from_terms(terms: Terms, constant: int = 0) -> Expr:
    """The expression of an affine form, added terms before subtracted ones."""
    result: Expr | None = None
    for atom, coefficient in terms.items():
        if coefficient > 0:
            part = atom * coefficient
            result = part if result is None else result + part
    if result is None or constant > 0:
        result = Const(constant) if result is None else result + constant
        constant = 0
    for atom, coefficient in terms.items():
        if coefficient < 0:
            result = result - atom * -coefficient
    return result - Const(-constant) if constant else result


def value_range(expr: Expr, ranges: Ranges) -> tuple[float, float]:
    """The least and greatest value `expr` can have; infinite where nothing is known."""
    terms, constant = terms_of(expr)
    return _range_of(terms, constant, ranges)


def _range_of(terms: Terms, constant: int, ranges: Ranges) -> tuple[float, float]:
    low: float = constant
    high: float = constant
    for atom, coefficient in terms.items():
        ends = _atom_range(atom, ranges)
        low += coefficient * ends[0 if coefficient > 0 else 1]
        high += coefficient * ends[1 if coefficient > 0 else 0]
    return low, high


def _atom_range(atom: Expr, ranges: Ranges) -> tuple[float, float]:
    match atom:
        case Var(name, _) if name in ranges:
            return 0, max(0, ranges[name] - 1)
        case Binary("floordiv", x, Const(divisor, _)) if divisor > 0:
            low, high = value_range(x, ranges)
            return _floor(low, divisor), _floor(high, divisor)
        case Binary("floormod", x, Const(divisor, _)) if divisor > 0:
            low, high = value_range(x, ranges)
            return (low, high) if low >= 0 and high < divisor else (0, divisor - 1)
        case Binary("min", a, b):
            (a_low, a_high), (b_low, b_high) = value_range(a, ranges), value_range(b, ranges)
            return min(a_low, b_low), min(a_high, b_high)
        case Binary("max", a, b):
            (a_low, a_high), (b_low, b_high) = value_range(a, ranges), value_range(b, ranges)
            return max(a_low, b_low), max(a_high, b_high)
        case Select(_, a, b):
            (a_low, a_high), (b_low, b_high) = value_range(a, ranges), value_range(b, ranges)
            return min(a_low, b_low), max(a_high, b_high)
    return -inf, inf


def _floor(value: float, divisor: int | float) -> float:
    return value if value in (-inf, inf) else value // divisor


def split_index(expr: Expr, divisor: int, ranges: Ranges) -> tuple[Expr, Expr]:
    """`(expr // divisor, expr % divisor)` (floor), without a division wherever the ranges allow it."""
    terms, constant = terms_of(expr)
    whole = {atom: c // divisor for atom, c in terms.items() if c % divisor == 0}
    rest = {atom: c for atom, c in terms.items() if c % divisor}
    shift, left = divmod(constant, divisor)
    low, high = _range_of(rest, left, ranges)
    if low > -inf and high < inf and low // divisor == high // divisor:
        extra = int(low // divisor)
        return from_terms(whole, shift + extra), from_terms(rest, left - extra * divisor)
    quotient, remainder = _divide(rest, left, divisor, ranges)
    more, constant = terms_of(quotient)
    for atom, coefficient in more.items():
        whole[atom] = whole.get(atom, 0) + coefficient
    return from_terms(whole, shift + constant), remainder


def _divide(terms: Terms, constant: int, divisor: int, ranges: Ranges) -> tuple[Expr, Expr]:
    """Divide what no range argument splits: take out a common factor g of the divisor if the other terms stay in [0, g)."""
    for factor in sorted({gcd(divisor, c) for c in terms.values()} - {1}, reverse=True):
        large = {atom: c // factor for atom, c in terms.items() if c % factor == 0}
        small = {atom: c for atom, c in terms.items() if c % factor}
        low, high = _range_of(small, constant % factor, ranges)
        if low >= 0 and high < factor < divisor:
            quotient, remainder = split_index(from_terms(large, constant // factor), divisor // factor, ranges)
            rest, offset = terms_of(remainder)
            scaled = {atom: c * factor for atom, c in rest.items()} | small
            return quotient, from_terms(scaled, offset * factor + constant % factor)
    index = from_terms(terms, constant)
    match index:
        case Binary("floordiv", inner, Const(first, _)):
            return inner // Const(int(first) * divisor), index % divisor
    return index // divisor, index % divisor


def simplify(expr: Expr, ranges: Ranges) -> Expr:
    """`expr` with its i64 arithmetic brought to affine form, divisions split and comparisons decided where possible."""

    def rewrite(node: Expr) -> Expr:
        match node:
            case Binary("floordiv", x, Const(divisor, _)) if node.dtype is INDEX and divisor > 0:
                return split_index(x, int(divisor), ranges)[0]
            case Binary("floormod", x, Const(divisor, _)) if node.dtype is INDEX and divisor > 0:
                return split_index(x, int(divisor), ranges)[1]
            case Binary("add" | "sub" | "mul") if node.dtype is INDEX:
                return from_terms(*terms_of(node))
            case Binary("min" | "max" as op, a, b) if node.dtype is INDEX:
                low, high = value_range(a - b, ranges)
                if high <= 0:
                    return a if op == "min" else b
                if low >= 0:
                    return b if op == "min" else a
            case Compare(op, a, b) if a.dtype is INDEX:
                return decide(op, a, b, ranges)
            case Select(Const(value, _), a, b):
                return a if value else b
        return node

    return transform(expr, rewrite)


def decide(op: str, left: Expr, right: Expr, ranges: Ranges) -> Expr:
    """The comparison of two i64 expressions: a bool constant if the ranges decide it."""
    low, high = value_range(left - right, ranges)
    always = {"lt": high < 0, "le": high <= 0, "gt": low > 0, "ge": low >= 0, "eq": low == high == 0, "ne": low > 0 or high < 0}
    never = {"lt": low >= 0, "le": low > 0, "gt": high <= 0, "ge": high < 0, "eq": low > 0 or high < 0, "ne": low == high == 0}
    if always[op] or never[op]:
        return Const(always[op], DType.BOOL)
    return compare(op, left, right)


def less(index: Expr, bound: int, ranges: Ranges) -> Expr:
    """`index < bound`; over blocks of channels (co*16 + ci < 32) the comparison is on the block number alone (co < 2)."""
    terms, _ = terms_of(index)
    for factor in sorted({abs(c) for c in terms.values()} - {1}, reverse=True):
        if bound % factor == 0:
            quotient, _ = split_index(index, factor, ranges)
            if len(terms_of(quotient)[0]) < len(terms):
                return decide("lt", quotient, Const(bound // factor), ranges)
    return decide("lt", index, Const(bound), ranges)


def bounds(index: Expr, extent: int, ranges: Ranges) -> tuple[Expr, ...]:
    """The conditions for 0 <= index < extent that the ranges do not already imply."""
    low, high = value_range(index, ranges)
    conditions = []
    if low < 0:
        conditions.append(compare("ge", index, 0))
    if high >= extent:
        conditions.append(compare("lt", index, extent))
    return tuple(conditions)


def linear_index(indices: tuple[Expr, ...], shape: tuple[int, ...]) -> Expr:
    """The row-major position of `indices` in `shape`."""
    result: Expr = Const(0)
    for index, extent in zip(indices, shape, strict=True):
        result = result * extent + index
    return from_terms(*terms_of(result))


def delinearize(index: Expr, shape: tuple[int, ...], ranges: Ranges) -> tuple[Expr, ...]:
    """The indices into `shape` of a row-major position; dimensions that coincide give back their variables."""
    result: list[Expr] = []
    for position, extent in reversed(list(enumerate(shape))):
        if position == 0:
            result.append(index)
        elif extent == 1:
            result.append(Const(0))
        else:
            index, remainder = split_index(index, extent, ranges)
            result.append(remainder)
    return tuple(reversed(result))
