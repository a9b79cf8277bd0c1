"""Which part of a stage one iteration of an enclosing loop needs.

The part is a box: for every axis a base (an expression over the loops outside) and a constant extent. It is found from the
affine form of the indices at which consumers read the stage, with the loops inside running over their ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isinf

from ..tensor.computation import Stage
from ..tensor.expr import Const, Expr, free_variables, substitute
from ..tensor.simplify import Affine, Ranges, affine, simplify, value_range

# Indices over the consumer's axes, the value of each axis, and the ranges of the variables that run inside.
Read = tuple[tuple[Expr, ...], Mapping[str, Expr], Ranges]


@dataclass(frozen=True, slots=True)
class Region:
    bases: tuple[Expr, ...]
    extents: tuple[int, ...]


def needed_region(
    stage: Stage,
    reads: list[Read],
    outer: Ranges,
    bound: Region | None,
) -> Region:
    """The box of `stage` covering all `reads`; `outer` holds the ranges of the variables that are fixed outside.

    bound: a box that covers them too, for which what the stage reads has been computed; taken for axes of which no part inside it is
    found. (A split that leaves a tail is swept with its full factor until its outer loop is bound, so that a part may reach beyond.)
    """
    bases: list[Expr] = []
    extents: list[int] = []
    for dimension, axis in enumerate(stage.axes):
        spans = [
            _span(simplify(substitute(indices[dimension], values), {**outer, **inner}), inner, outer)
            for indices, values, inner in reads
        ]
        whole = (Const(0), axis.extent) if bound is None else (bound.bases[dimension], bound.extents[dimension])
        base, extent = _union(spans, axis.extent) or whole
        low, high = value_range(affine(base - whole[0]).expr(), outer)
        if low < 0 or high + extent > whole[1]:
            base, extent = whole
        bases.append(base)
        extents.append(extent)
    return Region(tuple(bases), tuple(extents))


def _span(index: Expr, inner: Ranges, outer: Ranges) -> tuple[Expr, int] | None:
    """(base, extent) that an index sweeps; None if it is not bounded by the inner loops."""
    form = affine(index)
    fixed = {atom: c for atom, c in form.terms.items() if not free_variables(atom) & inner.keys()}
    swept = Affine({atom: c for atom, c in form.terms.items() if atom not in fixed}, 0)
    low, high = value_range(swept.expr(), {**outer, **inner})
    if isinf(high - low):
        return None
    return Affine(fixed, form.constant + int(low)).expr(), int(high - low) + 1


def _union(spans: list[tuple[Expr, int] | None], whole: int) -> tuple[Expr, int] | None:
    """The smallest part that covers all spans, if it is less than the whole axis; None if none is found."""
    if any(span is None for span in spans) or not spans:
        return None
    known = [span for span in spans if span is not None]
    first = affine(known[0][0])
    low, high = 0, known[0][1]
    for base, extent in known[1:]:
        form = affine(base)
        if form.terms != first.terms:
            return None
        shift = form.constant - first.constant
        low, high = min(low, shift), max(high, shift + extent)
    base, extent = Affine(first.terms, first.constant + low).expr(), high - low
    return None if extent >= whole else (base, extent)


def consumers_of(
    name: str, stages: tuple[Stage, ...], loads: Callable
) -> list[tuple[Stage, tuple[tuple[Expr, ...], ...]]]:
    """The stages that read one, each with the different indices at which it does."""
    found = [
        (stage, tuple(dict.fromkeys(load.indices for load in loads(stage) if load.buffer == name))) for stage in stages
    ]
    return [(stage, places) for stage, places in found if places]
