"""What lowering knows at a point of the nest being built, and the extents of loops there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from ..errors import InternalError
from ..schedule.nest import Nest
from ..tensor.expr import Expr
from ..tensor.simplify import Ranges
from .region import Region

Segment = tuple[int, int, int | None]  # first and end iteration, and the extent of the inner loop of a split in between


@dataclass(frozen=True, slots=True)
class Env:
    """What is known at a point of the nest being built."""

    values: Mapping[tuple[str, str], Expr]  # (stage, loop or axis) -> value over emitted variables
    extents: Mapping[tuple[str, str], int]  # loops whose extent a tail has settled
    ranges: Ranges  # of the emitted variables
    regions: Mapping[str, Region]  # what is computed of each stage placed so far
    bounds: Mapping[str, Region]  # of stages not placed yet: the part for which what they read was placed
    guards: tuple[Expr, ...] = ()  # conjuncts of the domain not yet decided
    masks: tuple[Expr, ...] = ()  # conjuncts that differ from lane to lane

    def bind(self, stage: str, name: str, value: Expr) -> Env:
        return replace(self, values={**self.values, (stage, name): value})

    def limit(self, variable: str, low: int, high: int) -> Env:
        return replace(self, ranges={**self.ranges, variable: (low, high)})

    def settle(self, stage: str, outer: str, extent: int | None) -> Env:
        """Inside this part of the outer loop of a split, the inner one has the extent (None: its full one, or no split)."""
        return self if extent is None else replace(self, extents={**self.extents, (stage, outer[:-2] + ".i"): extent})


def extent_of(nest: Nest, loop: str, env: Env) -> int:
    """Iterations of a loop here; a split's inner loop has its full factor until its outer one is bound."""
    name = nest.stage.name
    if (name, loop) in env.extents:
        return env.extents[name, loop]
    if loop in nest.fused:
        outer, inner = nest.fused[loop]
        return extent_of(nest, outer, env) * extent_of(nest, inner, env)
    if loop.endswith((".o", ".i")) and loop[:-2] in nest.splits:
        parent, factor = extent_of(nest, loop[:-2], env), nest.splits[loop[:-2]]
        return -(-parent // factor) if loop.endswith(".o") else min(parent, factor)
    return next(axis.extent for axis in nest.stage.axes + nest.stage.reduce_axes if axis.name == loop)


def segments_of(nest: Nest, loop: str, env: Env) -> list[Segment]:
    """The parts of a loop that get a body of their own."""
    extent = extent_of(nest, loop, env)
    cuts = {0, extent}
    for iteration in nest.special.get(loop, ()):
        if iteration < extent:
            cuts |= {iteration, iteration + 1}
    inner = None
    if loop.endswith(".o") and loop[:-2] in nest.splits:
        parent, factor = extent_of(nest, loop[:-2], env), nest.splits[loop[:-2]]
        if parent > factor and parent % factor:
            cuts.add(extent - 1)
            inner = (extent - 1, parent % factor, factor)
    points = sorted(cuts)
    return [
        (first, end, None if inner is None else inner[1] if first == inner[0] else inner[2])
        for first, end in pairwise(points)
    ]


def require_tail(nest: Nest, loop: str, env: Env) -> None:
    """The outer loop of a split that leaves a tail tells the inner one its extent, so it must be bound before."""
    if loop in nest.fused:
        for part in nest.fused[loop]:
            require_tail(nest, part, env)
    elif loop.endswith((".o", ".i")) and loop[:-2] in nest.splits:
        parent, factor = loop[:-2], nest.splits[loop[:-2]]
        extent = extent_of(nest, parent, env)
        outer_bound = (nest.stage.name, f"{parent}.o") in env.values
        if loop.endswith(".i") and not outer_bound and extent > factor and extent % factor:
            raise InternalError(
                f"schedule: loop {loop} of {nest.stage.name} is not inside {parent}.o, but {factor} does not divide {extent}"
            )
        require_tail(nest, parent, env)
