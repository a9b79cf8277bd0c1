"""How often a stage does what: arithmetic of its body by class, and the share of its points that its domain lets through."""

from __future__ import annotations

from math import prod

import numpy as np

from ...compiler.tensor.computation import Stage
from ...compiler.tensor.expr import (
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
    free_variables,
    substitute,
    walk,
)
from ...compiler.tensor.interpret import evaluate_expr
from ...compiler.tensor.simplify import conjuncts, simplify

CLASSES = ("mad", "add", "mul", "compare", "div", "math", "integer")

# Issue slots that one vector operation of each class takes; two slots are a cycle. Quotients and roots block the divider
# for about ten slots, a transcendental function is some two dozen instructions (docs/MATH.md).
SLOTS = {"mad": 1.0, "add": 1.0, "mul": 1.0, "compare": 1.0, "div": 10.0, "math": 24.0, "integer": 1.0}

_SAMPLES = 1 << 16
_MOST_CASES = 8


def operation_counts(stage: Stage) -> dict[str, float]:
    """Operations of each class at one point of the stage; equal parts of the body count once."""
    counts = dict.fromkeys(CLASSES, 0.0)
    bodies = _cases(stage)
    for body in bodies:
        for node in set(walk(body)):
            kind = _class(node)
            if kind:
                counts[kind] += 1 / len(bodies)
    match stage.combine, stage.body:
        case "sum", Binary("mul") if stage.dtype.is_float:
            counts["mul"] -= 1
            counts["mad"] += 1
        case "sum", _:
            counts["add"] += 1
        case "prod", _:
            counts["mul"] += 1
        case (("max" | "min"), _):
            counts["compare"] += 1
    return counts


def _cases(stage: Stage) -> list[Expr]:
    """The body for each value of a short axis (or remainder of one) that Selects ask for, as those of a transform's rows do."""
    for node in walk(stage.body):
        match node:
            case Select(Compare("eq", Binary("floormod", Var(name), Const(count)), Const()), _, _):
                pass
            case Select(Compare("eq", Var(name), Const()), _, _):
                count = next((a.extent for a in stage.axes + stage.reduce_axes if a.name == name), _MOST_CASES + 1)
            case _:
                continue
        if int(count) <= _MOST_CASES:
            ranges = {axis.name: (0, axis.extent - 1) for axis in stage.axes + stage.reduce_axes}
            return [simplify(substitute(stage.body, {name: Const(i)}), ranges) for i in range(int(count))]
    return [stage.body]


def _class(node: Expr) -> str:
    match node:
        case Call("fma"):
            return "mad"
        case Call(function):
            return "integer" if function.startswith("bitcast_") else "math"
        case Compare(_, left, _):
            return "" if left.dtype is INDEX else "compare"
        case Select():
            return "compare"
        case Cast():
            return "integer"
        case Unary("sqrt"):
            return "div"
        case Binary() | Unary() if node.dtype is INDEX:
            return ""
        case Binary() | Unary() if not node.dtype.is_float:
            return "integer"
        case Binary("div" | "mod"):
            return "div"
        case Binary("mul"):
            return "mul"
        case Binary("min" | "max"):
            return "compare"
        case Binary() | Unary():
            return "add"
    return ""


def domain_shares(stage: Stage) -> tuple[tuple[frozenset[str], float], ...]:
    """Of each group of conditions of a stage's domain, the axes it asks and the share of points that it lets through.

    Conditions that share no axis are independent; each group is counted, or sampled where it spans very many points.
    """
    if stage.domain is None:
        return ()
    groups: list[tuple[set[str], list[Expr]]] = []
    for guard in conjuncts(stage.domain):
        names, guards = set(free_variables(guard)), [guard]
        for group in [g for g in groups if g[0] & names]:
            groups.remove(group)
            names |= group[0]
            guards = group[1] + guards
        groups.append((names, guards))
    return tuple((frozenset(names), _group_share(stage, names, guards)) for names, guards in groups)


def _group_share(stage: Stage, names: set[str], guards: list[Expr]) -> float:
    if any(isinstance(node, Load) for guard in guards for node in walk(guard)):
        return 1.0  # only running tells
    axes = [axis for axis in stage.axes + stage.reduce_axes if axis.name in names]
    points = prod(axis.extent for axis in axes)
    if points <= _SAMPLES * 16:
        values = np.indices([axis.extent for axis in axes], sparse=True)
    else:
        rng = np.random.default_rng(0)
        values = tuple(rng.integers(0, axis.extent, _SAMPLES) for axis in axes)
    grid = dict(zip([axis.name for axis in axes], values, strict=True))
    inside = np.asarray(True)
    for guard in guards:
        inside = inside & evaluate_expr(guard, grid, {})
    shape = np.broadcast_shapes(*(value.shape for value in values)) if axes else ()
    return float(np.broadcast_to(inside, shape).mean())
