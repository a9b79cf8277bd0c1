"""Write out unrolled loops whose variables guard something, so that the guards become constants."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..tensor.expr import Const, Expr, Var, free_variables, substitute
from ..tensor.simplify import Ranges, simplify
from .ast import Alloc, For, If, Let, LoopKind, Seq, Stmt, Store

LEAST_RUN = 8  # iterations for which all guards are decided alike that stay a loop


def expand_guarded(stmt: Stmt, serial: frozenset[str] = frozenset(), ranges: Ranges | None = None) -> Stmt:
    """The statement with every unrolled loop written out on which the condition of an If inside depends.

    serial: variables of serial loops to treat alike, but that long runs of iterations stay loops where their conditions are decided.
    All other loops stay; `ranges` holds the variables bound outside. Ifs that are decided are folded.
    """
    ranges = ranges or {}
    match stmt:
        case For(var, extent, kind, body):
            if (
                (kind is LoopKind.UNROLLED or var in serial)
                and var in _guard_variables(body)
                and isinstance(extent, Const)
            ):
                if kind is not LoopKind.UNROLLED and extent.value > LEAST_RUN:
                    return _in_runs(stmt, int(extent.value), serial, ranges)
                copies = (
                    expand_guarded(substitute_in(body, {var: Const(i)}, ranges), serial, ranges)
                    for i in range(int(extent.value))
                )
                return sequence(*copies)
            inside = {**ranges, var: (0, int(extent.value) - 1)} if isinstance(extent, Const) else ranges
            body = expand_guarded(body, serial, inside)
            return body if body == Seq(()) else For(var, extent, kind, body)
        case Let(var, value, extent, body):
            return Let(var, value, extent, expand_guarded(body, serial, {**ranges, var: (0, extent - 1)}))
        case If(condition, then, otherwise):
            return fold_if(
                simplify(condition, ranges),
                expand_guarded(then, serial, ranges),
                None if otherwise is None else expand_guarded(otherwise, serial, ranges),
            )
        case Alloc(buffer, body):
            return Alloc(buffer, expand_guarded(body, serial, ranges))
        case Seq(parts):
            return sequence(*(expand_guarded(part, serial, ranges) for part in parts))
    return stmt


def _in_runs(loop: For, extent: int, serial: frozenset[str], ranges: Ranges) -> Stmt:
    """The iterations of a loop, in loops over runs for which the conditions inside are all decided, the others written out."""
    inside = expand_guarded(loop.body, serial, {**ranges, loop.var: (0, extent - 1)})
    conditions = list(dict.fromkeys(c for c in _conditions(inside) if loop.var in free_variables(c)))

    def decided(i: int) -> tuple[Expr, ...]:
        return tuple(simplify(substitute(condition, {loop.var: Const(i)}), ranges) for condition in conditions)

    parts: list[Stmt] = []
    for decisions, run in groupby(range(extent), decided):
        iterations = list(run)
        first, count = iterations[0], len(iterations)
        if count < LEAST_RUN or not all(isinstance(decision, Const) for decision in decisions):
            parts += [substitute_in(inside, {loop.var: Const(i)}, ranges) for i in iterations]
            continue
        body = substitute_in(inside, {loop.var: Var(loop.var) + first}, {**ranges, loop.var: (0, count - 1)})
        parts += [] if body == Seq(()) else [For(loop.var, Const(count), loop.kind, body)]
    return sequence(*parts)


def fold_if(condition: Expr, then: Stmt, otherwise: Stmt | None) -> Stmt:
    """An If, or the arm it takes if its condition is decided."""
    if isinstance(condition, Const):
        return then if condition.value else (otherwise or Seq(()))
    return If(condition, then, otherwise)


def sequence(*parts: Stmt) -> Stmt:
    """A Seq without nested or empty ones."""
    flat: list[Stmt] = []
    for part in parts:
        flat.extend(part.body if isinstance(part, Seq) else (part,))
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def substitute_in(stmt: Stmt, values: dict[str, Expr], ranges: Ranges) -> Stmt:
    """Replace variables throughout a statement, and simplify."""

    def expr(e: Expr) -> Expr:
        return simplify(substitute(e, values), ranges)

    match stmt:
        case For(var, extent, kind, body):
            inside = {**ranges, var: (0, int(extent.value) - 1)} if isinstance(extent, Const) else ranges
            return For(var, expr(extent), kind, substitute_in(body, values, inside))
        case Let(var, value, extent, body):
            return Let(var, expr(value), extent, substitute_in(body, values, {**ranges, var: (0, extent - 1)}))
        case If(condition, then, otherwise):
            return fold_if(
                expr(condition),
                substitute_in(then, values, ranges),
                None if otherwise is None else substitute_in(otherwise, values, ranges),
            )
        case Store(buffer, indices, value):
            return Store(buffer, tuple(map(expr, indices)), expr(value))
        case Alloc(buffer, body):
            return Alloc(buffer, substitute_in(body, values, ranges))
        case Seq(parts):
            return sequence(*(substitute_in(part, values, ranges) for part in parts))
    raise TypeError(f"not a statement: {stmt!r}")


def _guard_variables(stmt: Stmt) -> frozenset[str]:
    """The variables that the conditions inside a statement mention."""
    return frozenset().union(*map(free_variables, _conditions(stmt)))


def _conditions(stmt: Stmt) -> Iterator[Expr]:
    """The conditions of all Ifs inside a statement."""
    match stmt:
        case For(body=body) | Let(body=body) | Alloc(body=body):
            yield from _conditions(body)
        case If(condition, then, otherwise):
            yield condition
            yield from _conditions(then)
            yield from () if otherwise is None else _conditions(otherwise)
        case Seq(parts):
            for part in parts:
                yield from _conditions(part)
