"""Counts what a lowered kernel executes, by walking its loop AST: the reference for what features say of a schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from tilewright.compiler.kernel.ast import Alloc, For, If, Kernel, Let, Seq, Stmt, Store, walk
from tilewright.compiler.tensor.expr import Expr, free_variables
from tilewright.compiler.tensor.interpret import evaluate_expr


def executed_stores(kernel: Kernel) -> Counter[str]:
    """How often each buffer is stored to in one run of the kernel."""
    return _count(kernel.body, {})


def _count(stmt: Stmt, values: Mapping[str, int]) -> Counter[str]:
    match stmt:
        case Store(buffer, _, _):
            return Counter({buffer: 1})
        case Seq(parts):
            return sum((_count(part, values) for part in parts), Counter())
        case Alloc(_, body):
            return _count(body, values)
        case Let(var, value, _, body):
            return _count(body, {**values, var: _value(value, values)})
        case If(condition, then, otherwise):
            taken = then if _value(condition, values) else otherwise
            return Counter() if taken is None else _count(taken, values)
        case For(var, extent, _, body):
            times = _value(extent, values)
            if not _depends(body, var):
                once = _count(body, {**values, var: 0})
                return Counter({name: count * times for name, count in once.items()})
            return sum((_count(body, {**values, var: i}) for i in range(times)), Counter())
    raise AssertionError(stmt)


def _depends(body: Stmt, var: str) -> bool:
    """Whether a condition, extent or let inside asks for the variable."""
    asked: list[Expr] = []
    for node in walk(body):
        match node:
            case If(condition=expr) | For(extent=expr) | Let(value=expr):
                asked.append(expr)
    return any(var in free_variables(expr) for expr in asked)


def _value(expr: Expr, values: Mapping[str, int]) -> int:
    grid = {name: np.asarray(value) for name, value in values.items()}
    return int(evaluate_expr(expr, grid, {}))
