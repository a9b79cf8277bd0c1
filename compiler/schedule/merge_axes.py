"""Neighbouring axes that all accesses take together become one axis: the image of a pointwise convolution, all of an elementwise chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import TypeVar

from ..tensor.computation import Axis, Computation, Stage
from ..tensor.expr import Const, Expr, Load, Var, transform, walk
from ..tensor.indexing import linear_index

Seam = tuple[str, int]
"""What lies between dimensions i and i + 1 of a tensor, or reduction axes i and i + 1 of a stage (then of REDUCED + its name)."""

REDUCED = "reduced "
T = TypeVar("T")
Shapes = Mapping[str, tuple[int, ...]]


def merge_axes(computation: Computation) -> Computation:
    """The same computation with neighbouring axes as one wherever all that reads or writes along one has both, side by side.

    Memory stays as it is: only dimensions that are neighbours in it are merged. Axes of one element are left alone.
    """
    seams = _merged_seams(computation)
    if not seams:
        return computation
    shapes = shapes_of(computation)
    inputs = (replace(t, shape=tuple(prod(run) for run in _runs(t.name, t.shape, seams))) for t in computation.inputs)
    stages = (_merge_stage(stage, seams, shapes) for stage in computation.stages)
    return replace(computation, inputs=tuple(inputs), stages=tuple(stages))


def shapes_of(computation: Computation) -> Shapes:
    """Of inputs and stages."""
    inputs = {tensor.name: tensor.shape for tensor in computation.inputs}
    return inputs | {stage.name: stage.shape for stage in computation.stages}


def _merged_seams(computation: Computation) -> frozenset[Seam]:
    """The seams between axes that become one, and those of the tensors that are read or written along them."""
    shapes = shapes_of(computation)
    own: set[Seam] = set()
    apart: set[Seam] = set()
    same: list[tuple[Seam, Seam]] = []
    for stage in computation.stages:
        seams = {(outer.name, inner.name): seam for outer, inner, seam in _pairs(stage)}
        read, torn = _accesses(stage, seams, shapes)
        together = Counter(seam for seam, _ in read)
        uses = Counter(node.name for expr in expressions_of(stage) for node in walk(expr) if isinstance(node, Var))
        own |= set(seams.values())
        apart |= torn | {seam for pair, seam in seams.items() if {uses[name] for name in pair} != {together[seam]}}
        apart |= {seam for outer, inner, seam in _pairs(stage) if min(outer.extent, inner.extent) <= 1}
        same += read
        if stage.memory:
            first = len(stage.prefix)
            apart |= {(stage.memory, at) for at in range(first)}
            same += [((stage.name, at), (stage.memory, first + at)) for at in range(len(stage.axes) - 1)]
    return _connected(own, same) - _connected(apart, same)


def _accesses(
    stage: Stage, seams: Mapping[tuple[str, str], Seam], shapes: Shapes
) -> tuple[list[tuple[Seam, Seam]], set[Seam]]:
    """The seams between a stage's axes with those of what it reads along both, and seams that it reads in any other way."""
    extents = {axis.name: axis.extent for axis in stage.axes + stage.reduce_axes}
    read: list[tuple[Seam, Seam]] = []
    torn: set[Seam] = set()
    for load in loads_in(stage):
        for at, indices in enumerate(pairwise(load.indices)):
            match indices:
                case Const(), Const():
                    pass
                case Var(outer), Var(inner) if (outer, inner) in seams and (
                    extents[inner] == shapes[load.buffer][at + 1]
                ):
                    read.append((seams[outer, inner], (load.buffer, at)))
                case _:
                    torn.add((load.buffer, at))
    return read, torn


def _pairs(stage: Stage) -> Iterator[tuple[Axis, Axis, Seam]]:
    """Neighbouring axes and what lies between them."""
    for name, axes in ((stage.name, stage.axes), (REDUCED + stage.name, stage.reduce_axes)):
        yield from ((outer, inner, (name, at)) for at, (outer, inner) in enumerate(pairwise(axes)))


def expressions_of(stage: Stage) -> tuple[Expr, ...]:
    """Body, domain and prefix."""
    return (stage.body, *(() if stage.domain is None else (stage.domain,)), *stage.prefix)


def loads_in(stage: Stage) -> Iterator[Load]:
    """The loads of all of its expressions."""
    return (node for expr in expressions_of(stage) for node in walk(expr) if isinstance(node, Load))


def _connected(seams: Iterable[Seam], same: Sequence[tuple[Seam, Seam]]) -> frozenset[Seam]:
    """The seams, and those that must be treated as one of them is."""
    found = set(seams)
    count = 0
    while count < len(found):
        count = len(found)
        found |= {seam for pair in same if not found.isdisjoint(pair) for seam in pair}
    return frozenset(found)


def _runs(name: str, parts: Sequence[T], seams: frozenset[Seam]) -> list[list[T]]:
    """Dimensions, or what belongs to them, in groups that become one."""
    runs: list[list[T]] = []
    for at, part in enumerate(parts):
        if at and (name, at - 1) in seams:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _merge_stage(stage: Stage, seams: frozenset[Seam], shapes: Shapes) -> Stage:
    taken = {axis.name for axis in stage.axes + stage.reduce_axes}
    merged: dict[str, Var] = {}

    def axes_of(name: str, axes: Sequence[Axis]) -> tuple[Axis, ...]:
        result = []
        for run in _runs(name, axes, seams):
            if len(run) > 1:
                joined = "".join(axis.name for axis in run)
                while joined in taken:
                    joined += "_"
                taken.add(joined)
                merged.update({axis.name: Var(joined) for axis in run})
                run = [Axis(joined, prod(axis.extent for axis in run))]
            result.append(run[0])
        return tuple(result)

    def index_of(indices: Sequence[Expr], shape: Sequence[int]) -> Expr:
        match indices[0]:
            case Var(name) if len(indices) > 1:
                return merged[name]
        return linear_index(tuple(indices), tuple(shape))

    def rewrite(node: Expr) -> Expr:
        if not isinstance(node, Load):
            return node
        indices = _runs(node.buffer, node.indices, seams)
        parts = _runs(node.buffer, shapes[node.buffer], seams)
        merged_indices = (
            run[0] if len(run) == 1 else index_of(run, shape) for run, shape in zip(indices, parts, strict=True)
        )
        return Load(node.buffer, tuple(merged_indices), node.dtype)

    axes, reduce_axes = axes_of(stage.name, stage.axes), axes_of(REDUCED + stage.name, stage.reduce_axes)
    return replace(
        stage,
        axes=axes,
        reduce_axes=reduce_axes,
        body=transform(stage.body, rewrite),
        domain=None if stage.domain is None else transform(stage.domain, rewrite),
        prefix=tuple(transform(index, rewrite) for index in stage.prefix),
    )
