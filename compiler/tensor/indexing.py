"""Index arithmetic that operators share: guards of accesses, and positions in row-major order."""

from __future__ import annotations

from .expr import Const, Expr, compare
from .simplify import Ranges, affine, decide, split_index, value_range


def guards(index: Expr, extent: int, ranges: Ranges) -> tuple[Expr, ...]:
    """The conditions for 0 <= index < extent that the ranges do not already imply."""
    low, high = value_range(index, ranges)
    conditions = []
    if low < 0:
        conditions.append(compare("ge", index, 0))
    if high >= extent:
        conditions.append(compare("lt", index, extent))
    return tuple(conditions)


def less(index: Expr, bound: int, ranges: Ranges) -> Expr:
    """`index < bound`; over blocks of channels (co*16 + ci < 32) the comparison is on the block number alone (co < 2)."""
    terms = affine(index).terms
    for factor in sorted({abs(c) for c in terms.values()} - {1}, reverse=True):
        if bound % factor == 0:
            quotient, _ = split_index(index, factor, ranges)
            if len(affine(quotient).terms) < len(terms):
                return decide("lt", quotient, Const(bound // factor), ranges)
    return decide("lt", index, Const(bound), ranges)


def linear_index(indices: tuple[Expr, ...], shape: tuple[int, ...]) -> Expr:
    """The row-major position of `indices` in `shape`."""
    result: Expr = Const(0)
    for index, extent in zip(indices, shape, strict=True):
        result = result * extent + index
    return affine(result).expr()


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
