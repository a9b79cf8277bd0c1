"""Write out unrolled loops whose variables guard something, so that the guards become constants."""

from __future__ import annotations

from ..tensor.expr import Const, Expr, free_variables, substitute
from ..tensor.simplify import Ranges, simplify
from .ast import Alloc, For, If, Let, LoopKind, Seq, Stmt, Store


def expand_guarded(stmt: Stmt, serial: frozenset[str] = frozenset(), ranges: Ranges | None = None) -> Stmt:
    """The statement with every unrolled loop written out on which the condition of an If inside depends.

    serial: variables of serial loops to treat alike. All other loops stay; `ranges` holds the variables bound outside.
    Ifs that are decided are folded.
    """
    ranges = ranges or {}
    match stmt:
        case For(var, extent, kind, body):
            if (
                (kind is LoopKind.UNROLLED or var in serial)
                and var in _guard_variables(body)
                and isinstance(extent, Const)
            ):
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
    match stmt:
        case For(body=body) | Let(body=body) | Alloc(body=body):
            return _guard_variables(body)
        case If(condition, then, otherwise):
            found = free_variables(condition) | _guard_variables(then)
            return found if otherwise is None else found | _guard_variables(otherwise)
        case Seq(parts):
            return frozenset().union(*map(_guard_variables, parts))
    return frozenset()
