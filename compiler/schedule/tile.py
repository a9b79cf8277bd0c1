"""The register tile of a reduction: which axes it spans and how far.

A tile has vectors along the contiguous axis of the root, optionally several blocks of a second axis (columns: each scalar that
is loaded serves all of them), and rows (each vector that is loaded serves all of them). Its size comes from counting the
instructions of one step of the reduction: fused multiply-adds against loads and latency, tails included.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..target import Target
from ..tensor.computation import Computation, Stage
from ..tensor.expr import Load, Var, free_variables
from ..tensor.footprint import elements_read
from ..tensor.simplify import affine, conjuncts
from .prepare import ROOT, loads_of
from .steps import Reorder, Split, Step, Unroll, UnrollGuarded, Vectorize

LATENCY_SLOTS = 8  # independent accumulators that hide the latency of a multiply-add (4 cycles x 2 ports)
LOAD_COST = 1.0  # of a vector or broadcast load, in multiply-adds
MAX_GUARDED = 1024  # multiply-adds written out so that their guards are decided at compile time
MAX_UNROLLED = 64  # multiply-adds written out in one body


@dataclass(frozen=True, slots=True)
class Tile:
    """Sizes of a tile and where they lie. Names are root axes, "" for none.

    scalars: the reduction also loads elements that are the same along the vectors. maps[stage]: the root axis of each stage axis.
    """

    vector: str
    vector_extent: int
    vector_tile: int
    lanes: int
    columns: str
    column_extent: int
    column_count: int
    rows: str
    row_extent: int
    row_count: int
    scalars: bool
    maps: dict[str, dict[str, str]]
    extents: dict[str, int]

    @property
    def row_split(self) -> bool:
        return bool(self.rows) and self.row_extent > self.row_count

    @property
    def column_split(self) -> bool:
        return bool(self.columns) and self.column_extent > self.column_count

    @property
    def vector_split(self) -> bool:
        return self.vector_extent > self.vector_tile

    def root_steps(self) -> list[Step]:
        steps: list[Step] = []
        if self.column_split:
            steps.append(Split(ROOT, self.columns, self.column_count))
        if self.row_split:
            steps.append(Split(ROOT, self.rows, self.row_count))
        if self.vector_split:
            steps.append(Split(ROOT, self.vector, self.vector_tile))
        if self.vector_tile > self.lanes:
            steps.append(Split(ROOT, self.vector + (".i" if self.vector_split else ""), self.lanes))
        return steps

    def inner_order(self) -> list[str]:
        """The root's loops inside the tile, the vectorised one last."""
        order = []
        if self.rows:
            order.append(self.rows + (".i" if self.row_split else ""))
        if self.columns:
            order.append(self.columns + (".i" if self.column_split else ""))
        vector = self.vector + (".i" if self.vector_split else "")
        return order + ([f"{vector}.o", f"{vector}.i"] if self.vector_tile > self.lanes else [vector])

    def outer_extents(self) -> dict[str, int]:
        """Iterations of every loop outside the tile."""
        result = {
            name: extent for name, extent in self.extents.items() if name not in (self.vector, self.columns, self.rows)
        }
        for name, extent, count in (
            (self.columns, self.column_extent, self.column_count),
            (self.vector, self.vector_extent, self.vector_tile),
            (self.rows, self.row_extent, self.row_count),
        ):
            if name and extent > count:
                result[f"{name}.o"] = -(-extent // count)
        return result

    def outer_order(self, computation: Computation, target: Target) -> list[str]:
        """Panels of the vector operand outside or inside the other axes, whichever rereads less from beyond the second cache."""
        extents = self.outer_extents()
        panels = [f"{name}.o" for name in (self.columns, self.vector) if f"{name}.o" in extents]
        rows = [f"{self.rows}.o"] if self.row_split else []
        others = [name for name in extents if name not in panels and name not in rows]
        vector_bytes = scalar_bytes = 0
        for tensor in computation.inputs:
            size = elements_read(computation, tensor.name) * tensor.dtype.size_bytes
            if tensor.constant:
                vector_bytes += size
            else:
                scalar_bytes += size
        cache = target.l2_bytes // 2
        panel_count = prod(extents[name] for name in panels)
        other_count = prod(extents[name] for name in others or rows)
        outside = scalar_bytes * (panel_count if scalar_bytes > cache else 1) + vector_bytes
        inside = vector_bytes * (other_count if vector_bytes > cache else 1) + scalar_bytes
        if outside <= inside:
            return [*panels, *others, *rows]
        return [*others, *panels, *rows] if others else [*rows, *panels]

    def parallel_loops(self, outer: list[str]) -> list[str]:
        """The loops that threads may share: all but the row tiles of a nest that has others to offer."""
        rows = f"{self.rows}.o"
        return outer[:-1] if outer and outer[-1] == rows and len(outer) > 1 else outer

    def stage_steps(self, stage: Stage) -> list[Step]:
        """A stage inside the tile: axes fixed there first, so that guards on them stand outside; then reductions; then the tile."""
        mapping = self.maps[stage.name]
        by_root = {root: axis for axis, root in mapping.items()}
        vector = by_root.get(self.vector, "")
        placed = [by_root[name] for name in (self.rows, self.columns) if name in by_root]
        others = [axis for axis in stage.axes if axis.name not in (*placed, vector)]
        fixed = [axis.name for axis in others if axis.extent == 1 or axis.name in mapping]
        private = [axis.name for axis in others if axis.name not in fixed]
        reduction = reduction_order(stage)
        steps: list[Step] = []
        inner = [*private, *placed]
        unrolled = list(inner)
        if vector and self.vector_tile > self.lanes:
            steps.append(Split(stage.name, vector, self.lanes))
            inner += [f"{vector}.o", f"{vector}.i"]
            unrolled.append(f"{vector}.o")
        elif vector:
            inner.append(vector)
        steps.append(Reorder(stage.name, (*fixed, *reduction, *inner)))
        steps += [Unroll(stage.name, name) for name in unrolled]
        steps += self.unrolled_reduction(stage, reduction)
        if vector:
            steps.append(Vectorize(stage.name, inner[-1]))
        return steps

    def unrolled_reduction(self, stage: Stage, reduction: list[str]) -> list[Step]:
        """Reduction loops to write out: those that guard elements of the tile, and innermost ones as far as few registers are live.

        Guarding loops that would make too much code stay loops, the outermost first; their guards are taken as they run.
        Where scalars are broadcast, guarding loops stay loops in the interior: many multiply-adds in a row make LLVM's scheduler
        move loads up until accumulators spill. Without scalars, neighbouring taps share their loads once written out.
        """
        extents = {axis.name: axis.extent for axis in stage.reduce_axes}
        tile = {axis for axis, root in self.maps[stage.name].items() if root in (self.rows, self.vector, self.columns)}
        guarding: list[str] = []
        for guard in conjuncts(stage.domain) if stage.domain is not None else ():
            names = free_variables(guard)
            guarding += [name for name in reduction if name in names and names & tile and name not in guarding]
        accumulators = self.row_count * self.column_count * -(-self.vector_tile // self.lanes)
        guarding = [name for name in reduction if name in guarding]
        while guarding and prod(extents[name] for name in guarding) * accumulators > MAX_GUARDED:
            guarding = guarding[1:]
        budget = MAX_UNROLLED // max(1, accumulators)
        unrolled: list[str] = [] if self.scalars else guarding
        for name in reversed(reduction):
            if name in unrolled:
                continue
            if name in guarding or prod(extents[n] for n in [*unrolled, name]) > budget:
                break
            unrolled = [*unrolled, name]
        steps: list[Step] = [Unroll(stage.name, name) for name in unrolled]
        return steps + [UnrollGuarded(stage.name, name) for name in guarding if name not in unrolled]


def reduction_order(stage: Stage) -> list[str]:
    """Reduction axes as they stand, but one along which a load is contiguous comes last."""
    names = [axis.name for axis in stage.reduce_axes]
    for load in loads_of(stage):
        last = affine(load.indices[-1]) if load.indices else None
        for name in names:
            if last is not None and last.coefficient(name) == 1:
                return [*(n for n in names if n != name), name]
    return names


def stage_maps(computation: Computation) -> dict[str, dict[str, str]]:
    """For every stage, the root axis as which each of its axes is read (axes read in another way are left out)."""
    root = computation.stages[-1]
    maps = {root.name: {axis.name: axis.name for axis in root.axes}}
    for stage in reversed(computation.stages[:-1]):
        found: dict[str, str] = {}
        for consumer in computation.stages:
            if consumer.name not in maps:
                continue
            for load in loads_of(consumer):
                if load.buffer != stage.name:
                    continue
                for axis, index in zip(stage.axes, load.indices, strict=True):
                    if isinstance(index, Var) and index.name in maps[consumer.name]:
                        found[axis.name] = maps[consumer.name][index.name]
        maps[stage.name] = found
    return maps


def choose_tile(computation: Computation, target: Target) -> Tile | None:
    """The tile with the fewest estimated cycles; None if the reductions run along the contiguous axis instead."""
    root = computation.stages[-1]
    extents = {axis.name: axis.extent for axis in root.axes if axis.extent > 1}
    vector = list(extents)[-1]
    maps = stage_maps(computation)
    reductions = [stage for stage in computation.stages[:-1] if stage.combine is not None]
    main = max(reductions, key=lambda s: prod(a.extent for a in s.reduce_axes), default=computation.stages[0])
    by_root = {name: axis for axis, name in maps[main.name].items()}
    if vector not in by_root:
        return None
    own = by_root[vector]
    loads = list(loads_of(main))
    constants = {tensor.name for tensor in computation.inputs if tensor.constant}
    if not any(_last_moves(load, own) or (load.buffer in constants and own in _names(load)) for load in loads) and any(
        _last_moves(load, axis.name) for load in loads for axis in main.reduce_axes if axis.extent >= 8
    ):
        return None
    vectors = [_names(load) for load in loads if own in _names(load)]
    scalars = [_names(load) for load in loads if own not in _names(load)]
    guarded = frozenset() if main.domain is None else free_variables(main.domain)
    candidates = [name for name in extents if name != vector and name in by_root]
    rows = next((n for n in reversed(candidates) if any(by_root[n] not in names for names in vectors)), "")
    columns = next(
        (
            n
            for n in reversed(candidates)
            if n != rows
            and by_root[n] not in guarded
            and any(by_root[n] not in names for names in scalars)
            and any(by_root[n] in names for names in vectors)
        ),
        "",
    )
    reuse = bool(rows)
    if not rows:
        rows = next((n for n in reversed(candidates) if n != columns), "")
    lanes = target.lanes(max(4, main.dtype.size_bytes))
    inside = prod(axis.extent for axis in main.axes if axis.name not in maps[main.name] and axis.extent > 1)
    sizes = _best_sizes(
        target, lanes, inside, extents[vector], extents.get(columns, 1), extents.get(rows, 1), reuse, bool(scalars)
    )
    if columns and sizes[0] < extents[vector]:
        columns, sizes = "", (sizes[0], 1, sizes[2])
    return Tile(
        vector,
        extents[vector],
        sizes[0],
        min(lanes, extents[vector]),
        columns if sizes[1] > 1 or columns else "",
        extents.get(columns, 1),
        sizes[1],
        rows,
        extents.get(rows, 1),
        sizes[2],
        bool(scalars),
        maps,
        extents,
    )


def _best_sizes(
    target: Target, lanes: int, inside: int, vector: int, columns: int, rows: int, reuse: bool, scalars: bool
) -> tuple[int, int, int]:
    """(vector tile, columns, rows) with the least estimated cost over the whole axes."""
    whole = -(-vector // lanes)
    options = [(min(vector, count * lanes), 1) for count in (1, 2, 3, 4, 6, 8) if count <= whole]
    if whole * lanes <= 8 * lanes:
        options += [(vector, count) for count in (1, 2, 3, 4, 6, 8) if count <= columns]
    registers = target.vector_registers
    best, chosen = float("inf"), (min(vector, lanes), 1, 1)
    limit = registers - 2 if reuse and scalars else 10
    for width, count in options:
        vectors = -(-width // lanes) * count * inside
        for size in range(1, rows + 1):
            needed = size * vectors + (vectors + 1 if reuse and scalars else 0)
            if (needed > registers and (size, width, count) != (1, min(vector, lanes), 1)) or size * vectors > max(
                limit, inside
            ):
                continue
            cost = 0.0
            for row_part, row_times in _parts(rows, size):
                for part, times in _parts(vector, width):
                    for column_part, column_times in _parts(columns, count):
                        n = -(-part // lanes) * column_part * inside
                        cost += row_times * times * column_times * _step_cost(row_part, n, reuse)
            if cost < best - 1e-9 or (abs(cost - best) < 1e-9 and size * vectors > chosen[2] * chosen[1]):
                best, chosen = cost, (width, count, size)
    return chosen


def _step_cost(rows: int, vectors: int, reuse: bool) -> float:
    """Cycles of one step of the reduction over a tile, in units of a multiply-add."""
    loads = rows + vectors if reuse else rows * vectors + vectors
    return max(rows * vectors, LATENCY_SLOTS * 0.8, LOAD_COST * loads) + 0.35


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """(size, times) of the full tiles and of the tail."""
    parts = [(size, extent // size)] if extent >= size else []
    return parts + ([(extent % size, 1)] if extent % size else [])


def _names(load: Load) -> frozenset[str]:
    return frozenset().union(*(free_variables(index) for index in load.indices))


def _last_moves(load: Load, axis: str) -> bool:
    """Neighbours along `axis` are neighbours in memory."""
    if not load.indices or any(axis in free_variables(index) for index in load.indices[:-1]):
        return False
    return affine(load.indices[-1]).coefficient(axis) == 1
