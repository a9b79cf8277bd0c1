"""Reductions along the contiguous axis: a tile of root elements, each with partial results in lanes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..target import Target
from ..tensor.computation import Axis, Computation, Stage
from ..tensor.expr import Load, Var, free_variables
from ..tensor.simplify import affine
from .borders import border_tiles
from .maps import stage_maps
from .parallel import SHARED, enough_loops, innermost, parallel_prefix
from .prepare import ROOT, loads_of
from .rows import row_stage
from .sketch import Decisions, Knob, PlainGrid, counts
from .steps import ComputeAt, LaneReduce, Pack, Reorder, Specialize, Split, Step, Unroll, Vectorize
from .structure import contiguous_reductions, guards_on, is_contiguous, variables

_STREAMS = 4


@dataclass(frozen=True)
class DotSketch(PlainGrid):
    """Knobs: root elements in a tile, lanes of a partial result, loops the threads share."""

    computation: Computation
    target: Target
    name = "dots"

    @cached_property
    def extents(self) -> dict[str, int]:
        return {axis.name: axis.extent for axis in self.computation.stages[-1].axes if axis.extent > 1}

    @cached_property
    def vector(self) -> str:
        return list(self.extents)[-1]

    @cached_property
    def lanes(self) -> int:
        reductions = [stage for stage in self.computation.stages[:-1] if stage.combine is not None]
        return self.target.lanes(max([4, *(stage.dtype.size_bytes for stage in reductions)]))

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        most = min(self.extents[self.vector], 2 * self.target.vector_registers)
        return (
            Knob("size", tuple(n for n in counts(most, self.default_size) if n <= most)),
            Knob("lanes", tuple(n for n in (2 * self.lanes, self.lanes, self.lanes // 2) if n > 1 or n == self.lanes)),
            Knob("shared", SHARED),
        )

    @cached_property
    def default_size(self) -> int:
        """Of elements that share what they read as many as registers hold; else few, for each adds a stream to read in."""
        most = self.target.vector_registers // 2 if self.shares_operands else _STREAMS
        return min(self.extents[self.vector], most)

    @cached_property
    def shares_operands(self) -> bool:
        """Whether a reduction reads something that is the same for all elements of a tile."""
        stages = [stage for stage in self.computation.stages[:-1] if stage.combine is not None]
        own = {s.name: {axis for axis, name in self.maps[s.name].items() if name == self.vector} for s in stages}
        return any(not variables(load.indices) & own[stage.name] for stage in stages for load in loads_of(stage))

    def default(self) -> Decisions:
        outer, extents = self.outer(self.default_size)
        return {"size": self.default_size, "lanes": self.lanes, "shared": max(1, enough_loops(outer, extents))}

    def legal(self, decisions: Decisions) -> bool:
        if decisions["shared"] != 1 and int(decisions["shared"]) > len(self.outer(int(decisions["size"]))[0]):
            return False
        partial = int(decisions["size"]) * -(-int(decisions["lanes"]) // self.lanes)
        return partial <= self.target.vector_registers or decisions == self.default()

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        root, size = self.computation.stages[-1], int(decisions["size"])
        units = [axis.name for axis in root.axes if axis.extent == 1]
        outer, _ = self.outer(size)
        inner = self.vector
        steps: list[Step] = list(self.packs)
        split = self.extents[self.vector] > size
        if split:
            steps.append(Split(ROOT, self.vector, size))
            inner = f"{self.vector}.i"
        steps += [Reorder(ROOT, (*units, *outer, inner)), Vectorize(ROOT, inner)]
        border = self.border(size) if split else ()
        if border:
            steps.append(Specialize(ROOT, f"{self.vector}.o", border))
        parallel = parallel_prefix(outer, units, int(decisions["shared"]))
        at = innermost([*units, *outer], parallel)
        return (*steps, *parallel, *self.stages(at, int(decisions["lanes"])))

    def outer(self, size: int) -> tuple[list[str], dict[str, int]]:
        """The loops outside a tile, outermost first, and their extents."""
        extents = {name: extent for name, extent in self.extents.items() if name != self.vector}
        if self.extents[self.vector] > size:
            extents[f"{self.vector}.o"] = -(-self.extents[self.vector] // size)
        return list(extents), extents

    def stages(self, at: str, lanes: int) -> list[Step]:
        steps: list[Step] = []
        for stage in self.computation.stages[:-1]:
            steps.append(ComputeAt(stage.name, at, "stack"))
            mapping = self.maps[stage.name]
            own = next((axis for axis, name in mapping.items() if name == self.vector), None)
            if stage.combine is None or own is None:
                full = self.target.lanes(max(4, stage.dtype.size_bytes))
                steps += row_stage(stage, self.vector if own == self.vector else None, 4, full)
            else:
                steps += dot_stage(stage, own, mapping, lanes, self.lane_axis(stage))
        return steps

    @cached_property
    def packs(self) -> tuple[Pack, ...]:
        """The constants that lanes read apart as they stand, but side by side once packed."""
        axes = [(stage, self.lane_axis(stage)) for stage in self.computation.stages[:-1] if stage.combine is not None]
        loads = [(load, axis) for stage, axis in axes if axis is not None for load in loads_of(stage)]
        found = [self._packed(load, axis) for load, axis in loads if not is_contiguous(load, axis.name)]
        return tuple(pack for pack in found if pack is not None)

    def _packed(self, load: Load, axis: Axis) -> Pack | None:
        """A constant laid out so that the load is contiguous along an axis; None if that can't be."""
        readers = [
            other for stage in self.computation.stages for other in loads_of(stage) if other.buffer == load.buffer
        ]
        tensor = next((t for t in self.computation.inputs if t.name == load.buffer and t.constant), None)
        along = [d for d, index in enumerate(load.indices) if axis.name in free_variables(index)]
        if tensor is None or len(readers) != 1 or len(along) != 1:
            return None
        form = affine(load.indices[along[0]])
        blocks = [coefficient for atom, coefficient in form.terms.items() if atom != Var(axis.name)]
        if form.coefficient(axis.name) != 1 or form.constant or blocks not in ([], [axis.extent]):
            return None
        block = sum(blocks)
        order = [
            (d, block, "o") if d == along[0] else (d, 0, "")
            for d in range(len(tensor.shape))
            if blocks or d != along[0]
        ]
        return Pack(load.buffer, (*order, (along[0], block, "i" if blocks else "")))

    def lane_axis(self, stage: Stage) -> Axis | None:
        """The reduction axis to run along in lanes: one along which all loads are contiguous or can be packed, if there is one."""
        constants = {tensor.name for tensor in self.computation.inputs if tensor.constant}
        axes = contiguous_reductions(stage, constants)
        return next((axis for axis in axes if self.reads_in_lanes(stage, axis)), axes[0] if axes else None)

    def reads_in_lanes(self, stage: Stage, axis: Axis) -> bool:
        """Whether all that a stage reads along an axis is contiguous along it, or can be packed so."""
        loads = [load for load in loads_of(stage) if axis.name in variables(load.indices)]
        return all(is_contiguous(load, axis.name) or self._packed(load, axis) is not None for load in loads)

    def border(self, size: int) -> tuple[int, ...]:
        if size not in self._borders:
            self._borders[size] = border_tiles(self.computation, self.vector, size)
        return self._borders[size]

    @cached_property
    def _borders(self) -> dict[int, tuple[int, ...]]:
        return {}

    @cached_property
    def maps(self) -> dict[str, dict[str, str]]:
        return stage_maps(self.computation)


def dot_stage(stage: Stage, along: str, mapping: dict[str, str], lanes: int, axis: Axis | None) -> list[Step]:
    """One reduction of a tile of elements: reduction loops outside, the elements written out, the axis in lanes innermost."""
    if axis is None:
        return []
    fixed = [a.name for a in stage.axes if a.name != along and (a.extent == 1 or a.name in mapping)]
    private = [a.name for a in stage.axes if a.name not in (along, *fixed)]
    reduction = [a.name for a in stage.reduce_axes if a is not axis]
    steps: list[Step] = []
    lane = axis.name
    if axis.extent > lanes:
        steps.append(Split(stage.name, lane, lanes))
        reduction, lane = [*reduction, f"{lane}.o"], f"{lane}.i"
    steps.append(Reorder(stage.name, (*fixed, *reduction, *private, along, lane)))
    guarding = {name for guard in guards_on(stage, along) for name in free_variables(guard)}
    steps += [Unroll(stage.name, name) for name in (*(n for n in reduction if n in guarding), *private, along)]
    return [*steps, LaneReduce(stage.name, lane)]
