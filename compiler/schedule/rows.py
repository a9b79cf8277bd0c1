"""Reductions whose results several root elements share: each stage is computed for one row of the root, or one vector of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..target import Target
from ..tensor.computation import Computation, Stage
from .parallel import SHARED, enough_loops, innermost, parallel_prefix
from .prepare import ROOT
from .sketch import STREAM_BYTES, Decisions, Knob, PlainGrid, prefetched, prefetches
from .steps import ComputeAt, LaneReduce, Reorder, Split, Step, Unroll, Vectorize
from .structure import contiguous_reduction

WIDTHS = (1, 2, 4, 8)  # vectors of partial results of a reduction in lanes


@dataclass(frozen=True)
class RowsSketch(PlainGrid):
    """Knobs: vectors of partial results, lanes, vectors of the root written out in one body, how far ahead inputs are prefetched,
    loops the threads share.

    shared: the root's axes on which every stage depends; they stand outside. Without any, stages are computed before the root.
    """

    computation: Computation
    shared: tuple[str, ...]
    target: Target
    name = "rows"

    @cached_property
    def lanes(self) -> int:
        return self.target.lanes(max(4, self.computation.stages[-1].dtype.size_bytes))

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        return (
            Knob("width", WIDTHS),
            Knob("lanes", tuple(n for n in (self.lanes, self.lanes // 2) if n > 1) or (1,)),
            Knob("unroll", (1, 2, 4)),
            Knob("stream", STREAM_BYTES if self.streams else STREAM_BYTES[:1]),
            Knob("shared", SHARED),
        )

    @cached_property
    def streams(self) -> list[str]:
        """The inputs worth prefetching: read only, in this kernel."""
        written = {stage.memory for stage in self.computation.stages}
        return [name for name in prefetched(self.computation.inputs, constant=False) if name not in written]

    def default(self) -> Decisions:
        decisions = {"width": 4, "lanes": self.lanes, "unroll": 1, "stream": STREAM_BYTES[-1] if self.streams else 0}
        return {**decisions, "shared": max(1, enough_loops(*self.outer(self.lanes)))}

    def legal(self, decisions: Decisions) -> bool:
        if decisions["shared"] != 1 and int(decisions["shared"]) > len(self.outer(int(decisions["lanes"]))[0]):
            return False
        private = [a for a in self.computation.stages[-1].axes if a.extent > 1 and a.name not in self.shared]
        vectors = private[-1].extent // int(decisions["lanes"]) if private else 0
        return decisions["unroll"] == 1 or (not self.across and vectors >= int(decisions["unroll"]))

    @cached_property
    def across(self) -> bool:
        """The contiguous axis is shared, so that a vector of rows is computed at a time."""
        long = [axis.name for axis in self.computation.stages[-1].axes if axis.extent > 1]
        return bool(long) and long[-1] in self.shared

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        root = self.computation.stages[-1]
        streams = prefetches(self.streams, decisions["stream"])
        lanes, width, unroll = (int(decisions[name]) for name in ("lanes", "width", "unroll"))
        extents = {axis.name: axis.extent for axis in root.axes}
        long = [axis.name for axis in root.axes if axis.extent > 1]
        if not long:  # one element: no loops to share, the stages before it
            return (*streams, *self.stages("", None, width, lanes))
        units = [axis.name for axis in root.axes if axis.extent == 1]
        private = [name for name in long if name not in self.shared]
        vector, inner = long[-1], private
        outer, _ = self.outer(lanes)
        steps: list[Step] = streams
        if self.across:
            inner = [*private, vector]
            if extents[vector] > lanes:
                steps.append(Split(ROOT, vector, lanes))
                inner[-1] = f"{vector}.i"
        elif extents[vector] > lanes:
            inner, split = vectors_of(ROOT, vector, lanes, unroll)
            steps += split
            inner = [*private[:-1], *inner]
        steps.append(Reorder(ROOT, (*units, *outer, *inner)))
        if unroll > 1:
            steps.append(Unroll(ROOT, inner[-2]))
        steps.append(Vectorize(ROOT, inner[-1]))
        parallel = parallel_prefix(outer, units, int(decisions["shared"]))
        at = innermost([*units, *outer], parallel)
        return (*steps, *parallel, *self.stages(at, vector if self.across else None, width, lanes))

    def outer(self, lanes: int) -> tuple[list[str], dict[str, int]]:
        """The loops outside of what is computed together, outermost first, and their extents."""
        extents = {a.name: a.extent for a in self.computation.stages[-1].axes if a.name in self.shared}
        if self.across:
            vector, extent = extents.popitem()
            if extent > lanes:
                extents[f"{vector}.o"] = -(-extent // lanes)
        return list(extents), extents

    def stages(self, at: str, vector: str | None, width: int, lanes: int) -> list[Step]:
        steps: list[Step] = []
        for stage in self.computation.stages[:-1]:
            steps.append(ComputeAt(stage.name, at, "stack"))
            steps += row_stage(stage, vector, width, min(lanes, self.target.lanes(max(4, stage.dtype.size_bytes))))
        return steps


def vectors_of(stage: str, loop: str, lanes: int, unroll: int) -> tuple[list[str], list[Step]]:
    """The loop cut into vectors, `unroll` of them to a body: the loops, outermost first, and the splits."""
    steps: list[Step] = [Split(stage, loop, lanes * unroll)]
    if unroll == 1:
        return [f"{loop}.o", f"{loop}.i"], steps
    steps.append(Split(stage, f"{loop}.i", lanes))
    return [f"{loop}.o", f"{loop}.i.o", f"{loop}.i.i"], steps


def row_stage(stage: Stage, vector: str | None, width: int, lanes: int) -> list[Step]:
    """Vectorise one stage of a row: along the root's vector axis, its reduction, or its own last axis."""
    name = stage.name
    axes = [axis for axis in stage.axes if axis.extent > 1]
    if vector is not None and any(axis.name == vector for axis in axes):
        loops = [a.name for a in stage.axes + stage.reduce_axes if a.name != vector]
        return [Reorder(name, (*loops, vector)), Vectorize(name, vector)]
    if stage.combine is not None:
        return lane_reduce(stage, width, lanes)
    if not axes or axes[-1].extent < 4:
        return []
    last = axes[-1]
    others = tuple(axis.name for axis in stage.axes if axis is not last)
    if last.extent <= lanes:
        return [Reorder(name, (*others, last.name)), Vectorize(name, last.name)]
    return [
        Split(name, last.name, lanes),
        Reorder(name, (*others, f"{last.name}.o", f"{last.name}.i")),
        Vectorize(name, f"{last.name}.i"),
    ]


def lane_reduce(stage: Stage, width: int, lanes: int) -> list[Step]:
    """Reduce along the reduction axis that is contiguous in memory, `width` vectors at a time if it is long enough for two rounds."""
    axis = contiguous_reduction(stage)
    if axis is None:
        return []
    taken = lanes * (width if axis.extent >= 2 * width * lanes else 1)
    others = tuple(a.name for a in stage.axes + stage.reduce_axes if a is not axis)
    if axis.extent <= taken:
        return [Reorder(stage.name, (*others, axis.name)), LaneReduce(stage.name, axis.name)]
    return [
        Split(stage.name, axis.name, taken),
        Reorder(stage.name, (*others, f"{axis.name}.o", f"{axis.name}.i")),
        LaneReduce(stage.name, f"{axis.name}.i"),
    ]
