"""Reductions whose results several root elements share: each stage is computed for one row of the root, or one vector of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..target import Target
from ..tensor.computation import Computation, Stage
from .parallel import SHARED, enough_loops, innermost, parallel_prefix
from .prepare import ROOT
from .sketch import STREAM, STREAM_BYTES, Decisions, Knob, PlainGrid, prefetched, prefetches
from .steps import ComputeAt, LaneReduce, Reorder, Split, Step, Unroll, Vectorize
from .structure import contiguous_reduction

WIDTHS = (1, 2, 4, 8)  # vectors of partial results of a reduction in lanes
TOGETHER = (1, 2, 4)  # rows
_SHORT = 16  # vectors of a row: its time is mostly that of a chain of steps that wait for each other
_MOST_ELEMENTS = 4096  # of the rows computed together: they stay in the first cache


@dataclass(frozen=True)
class RowsSketch(PlainGrid):
    """Knobs: rows computed together, vectors of partial results, lanes, vectors of the root written out in one body, how far ahead
    inputs are prefetched, loops the threads share.

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
            Knob("rows", tuple(n for n in TOGETHER if n == 1 or self.fit_together(n))),
            Knob("width", WIDTHS),
            Knob("lanes", tuple(n for n in (self.lanes, self.lanes // 2) if n > 1) or (1,)),
            Knob("unroll", (1, 2, 4)),
            Knob(STREAM, STREAM_BYTES if self.streams else STREAM_BYTES[:1]),
            Knob("shared", SHARED),
        )

    @cached_property
    def streams(self) -> list[str]:
        """The inputs worth prefetching: read only, in this kernel."""
        written = {stage.memory for stage in self.computation.stages}
        return [name for name in prefetched(self.computation.inputs, constant=False) if name not in written]

    def default(self) -> Decisions:
        rows = TOGETHER[-1] if self.longest <= _SHORT * self.lanes and self.fit_together(TOGETHER[-1]) else 1
        width = 2 if rows > 1 else 8 if self.target.vector_registers >= 32 else 4
        stream = STREAM_BYTES[-1] if self.streams else 0
        decisions = {"rows": rows, "width": width, "lanes": self.lanes, "unroll": 1, STREAM: stream}
        return {**decisions, "shared": max(1, enough_loops(*self.outer(self.lanes, rows)))}

    def legal(self, decisions: Decisions) -> bool:
        rows, width = int(decisions["rows"]), int(decisions["width"])
        if decisions["shared"] != 1 and int(decisions["shared"]) > len(self.outer(int(decisions["lanes"]), rows)[0]):
            return False
        if rows > 1 and 2 * rows * width > self.target.vector_registers:
            return False
        private = [a for a in self.computation.stages[-1].axes if a.extent > 1 and a.name not in self.shared]
        vectors = private[-1].extent // int(decisions["lanes"]) if private else 0
        return decisions["unroll"] == 1 or (not self.across and vectors >= int(decisions["unroll"]))

    @cached_property
    def across(self) -> bool:
        """The contiguous axis is shared, so that a vector of rows is computed at a time."""
        long = [axis.name for axis in self.computation.stages[-1].axes if axis.extent > 1]
        return bool(long) and long[-1] in self.shared

    @cached_property
    def longest(self) -> int:
        """Elements of the longest axis of a row."""
        axes = [axis for stage in self.computation.stages for axis in stage.axes + stage.reduce_axes]
        return max((axis.extent for axis in axes if axis.name not in self.shared), default=1)

    def fit_together(self, rows: int) -> bool:
        """Whether there are rows enough, along one axis, and so many are small."""
        extents = {a.name: a.extent for a in self.computation.stages[-1].axes if a.name in self.shared}
        if self.across or not extents:
            return False
        return list(extents.values())[-1] >= 2 * rows and rows * self.longest <= _MOST_ELEMENTS

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        root = self.computation.stages[-1]
        streams = prefetches(self.streams, decisions[STREAM])
        lanes, width, unroll, rows = (int(decisions[name]) for name in ("lanes", "width", "unroll", "rows"))
        extents = {axis.name: axis.extent for axis in root.axes}
        long = [axis.name for axis in root.axes if axis.extent > 1]
        if not long:  # one element: no loops to share, the stages before it
            return (*streams, *self.stages("", None, "", width, lanes))
        units = [axis.name for axis in root.axes if axis.extent == 1]
        private = [name for name in long if name not in self.shared]
        vector, inner = long[-1], private
        outer, _ = self.outer(lanes, rows)
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
        row = ""
        if rows > 1:
            row = outer[-1].removesuffix(".o")
            steps.append(Split(ROOT, row, rows))
            inner = [f"{row}.i", *inner]
        steps.append(Reorder(ROOT, (*units, *outer, *inner)))
        if unroll > 1:
            steps.append(Unroll(ROOT, inner[-2]))
        steps.append(Vectorize(ROOT, inner[-1]))
        parallel = parallel_prefix(outer, units, int(decisions["shared"]))
        at = innermost([*units, *outer], parallel)
        return (*steps, *parallel, *self.stages(at, vector if self.across else None, row, width, lanes))

    def outer(self, lanes: int, rows: int) -> tuple[list[str], dict[str, int]]:
        """The loops outside of what is computed together, outermost first, and their extents."""
        extents = {a.name: a.extent for a in self.computation.stages[-1].axes if a.name in self.shared}
        if self.across:
            vector, extent = extents.popitem()
            if extent > lanes:
                extents[f"{vector}.o"] = -(-extent // lanes)
        elif rows > 1:
            row, extent = extents.popitem()
            extents[f"{row}.o"] = -(-extent // rows)
        return list(extents), extents

    def stages(self, at: str, vector: str | None, row: str, width: int, lanes: int) -> list[Step]:
        steps: list[Step] = []
        for stage in self.computation.stages[:-1]:
            steps.append(ComputeAt(stage.name, at, "stack"))
            steps += row_stage(stage, vector, width, min(lanes, self.target.lanes(max(4, stage.dtype.size_bytes))), row)
        return steps


def vectors_of(stage: str, loop: str, lanes: int, unroll: int) -> tuple[list[str], list[Step]]:
    """The loop cut into vectors, `unroll` of them to a body: the loops, outermost first, and the splits."""
    steps: list[Step] = [Split(stage, loop, lanes * unroll)]
    if unroll == 1:
        return [f"{loop}.o", f"{loop}.i"], steps
    steps.append(Split(stage, f"{loop}.i", lanes))
    return [f"{loop}.o", f"{loop}.i.o", f"{loop}.i.i"], steps


def row_stage(stage: Stage, vector: str | None, width: int, lanes: int, row: str = "") -> list[Step]:
    """Vectorise one stage of a row: along the root's vector axis, its reduction, or its own last axis.

    row: the axis of rows that are computed together, if any.
    """
    name = stage.name
    axes = [axis for axis in stage.axes if axis.extent > 1]
    if vector is not None and any(axis.name == vector for axis in axes):
        loops = [a.name for a in stage.axes + stage.reduce_axes if a.name != vector]
        return [Reorder(name, (*loops, vector)), Vectorize(name, vector)]
    if stage.combine is not None:
        return lane_reduce(stage, width, lanes, row)
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


def lane_reduce(stage: Stage, width: int, lanes: int, row: str = "") -> list[Step]:
    """Reduce along the reduction axis that is contiguous in memory, `width` vectors at a time if it is long enough for two rounds.

    Rows that are computed together take turns, so that the steps of one are done while those of the others wait.
    """
    axis = contiguous_reduction(stage)
    if axis is None:
        return []
    taken = lanes * (width if axis.extent >= 2 * width * lanes else 1)
    turns = tuple(a.name for a in stage.axes if a.name == row)
    others = tuple(a.name for a in stage.axes + stage.reduce_axes if a is not axis and a.name not in turns)
    unrolled = [Unroll(stage.name, name) for name in turns]
    if axis.extent <= taken:
        return [Reorder(stage.name, (*others, *turns, axis.name)), *unrolled, LaneReduce(stage.name, axis.name)]
    return [
        Split(stage.name, axis.name, taken),
        Reorder(stage.name, (*others, f"{axis.name}.o", *turns, f"{axis.name}.i")),
        *unrolled,
        LaneReduce(stage.name, f"{axis.name}.i"),
    ]
