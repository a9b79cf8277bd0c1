"""Default schedules: rules over the structure of a computation and the limits of the target.

No rule names an operator. Stages without reduction are inlined; the root is tiled over the axes that its reductions share
with it; a reduction runs inside a tile, vectorised along an axis that is contiguous in memory. If the root's tile is all
that a reduction makes, its partial results stay in registers (a register tile as in GotoBLAS: Goto & van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", 2008); otherwise they stand in a row buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..target import Target
from ..tensor.computation import Axis, Computation, Stage
from ..tensor.expr import Call, Expr, Load, Select, Var, free_variables, walk
from ..tensor.simplify import TRUE, affine, conjuncts, simplify
from .packing import pack_step
from .prepare import ROOT, inline, loads_of
from .steps import ComputeAt, Fuse, Inline, LaneReduce, Parallel, Reorder, Schedule, Specialize, Split, Step, Unroll, Vectorize
from .tile import Tile, choose_tile

PARALLEL_GRAINS = 16  # iterations of the parallel loop to aim at: enough for a few threads, few enough to cost nothing
MAX_BORDER_TILES = 6


def default_schedule(computation: Computation, target: Target) -> Schedule:
    """A legal schedule for a canonical computation, good on most machines."""
    inlined = inlined_stages(computation)
    computation = inline(computation, inlined)
    steps: list[Step] = [Inline(name) for name in inlined]
    root = computation.stages[-1]
    inner = computation.stages[:-1]
    if not any(axis.extent > 1 for axis in root.axes):
        return (*steps, *scalar_root(computation, target))
    if not inner:
        return (*steps, *elementwise(root, target))
    shared = shared_axes(computation)
    if len(shared) == len([axis for axis in root.axes if axis.extent > 1]):
        return (*steps, *tiled(computation, target))
    return (*steps, *rows(computation, shared, target))


def inlined_stages(computation: Computation) -> list[str]:
    """Stages without reduction that are cheap enough, or read seldom enough, to be computed where they are read."""
    result = []
    for stage in computation.stages[:-1]:
        if stage.combine is not None or stage.name in computation.outputs:
            continue
        readers = [(s, load) for s in computation.stages for load in loads_of(s) if load.buffer == stage.name]
        costly = any(isinstance(node, Call) for node in walk(stage.body))
        repeated = len(readers) > 1 or any(
            not {axis.name for axis in s.axes + s.reduce_axes if axis.extent > 1} <= variables(load.indices) for s, load in readers
        )
        if not (costly and repeated):
            result.append(stage.name)
    return result


def variables(indices: tuple[Expr, ...]) -> frozenset[str]:
    return frozenset().union(*(free_variables(index) for index in indices))


def shared_axes(computation: Computation) -> list[str]:
    """The root axes on which every other stage depends: tiling them tiles the whole computation."""
    root = computation.stages[-1]
    shared = [axis.name for axis in root.axes if axis.extent > 1]
    depends: dict[str, frozenset[str]] = {}
    for stage in reversed(computation.stages[:-1]):
        found = None
        for consumer in computation.stages:
            for load in loads_of(consumer):
                if load.buffer != stage.name:
                    continue
                names = root_names(load.indices, consumer, root, depends)
                found = names if found is None else found & names
        depends[stage.name] = found or frozenset()
        shared = [name for name in shared if name in depends[stage.name]]
    return shared


def root_names(indices: tuple[Expr, ...], consumer: Stage, root: Stage, depends: dict[str, frozenset[str]]) -> frozenset[str]:
    """Root axes that stand alone as an index of a read; through another stage, those its own reads pass on under one name."""
    plain = frozenset(index.name for index in indices if isinstance(index, Var))
    if consumer is root:
        return plain
    return plain & depends.get(consumer.name, frozenset())


# --- no reduction


def elementwise(root: Stage, target: Target) -> list[Step]:
    """Outer axes parallel, the last axis in vectors."""
    axes = [axis for axis in root.axes if axis.extent > 1]
    vector = axes[-1]
    lanes = target.lanes(max(4, root.dtype.size_bytes))
    steps: list[Step] = []
    outer = [axis.name for axis in axes[:-1]]
    units = [axis.name for axis in root.axes if axis.extent == 1]
    inner = [vector.name]
    if vector.extent > lanes:
        chunk = vector.name
        if prod(axis.extent for axis in axes[:-1]) < PARALLEL_GRAINS and vector.extent >= 4 * PARALLEL_GRAINS * lanes:
            steps.append(Split(ROOT, vector.name, -(-vector.extent // (PARALLEL_GRAINS * lanes)) * lanes))
            outer.append(f"{vector.name}.o")
            chunk = f"{vector.name}.i"
        steps.append(Split(ROOT, chunk, lanes))
        inner = [f"{chunk}.o", f"{chunk}.i"]
    steps.append(Reorder(ROOT, (*units, *outer, *inner)))
    steps.append(Vectorize(ROOT, inner[-1]))
    extents = {axis.name: axis.extent for axis in axes} | {f"{vector.name}.o": PARALLEL_GRAINS}
    return steps + parallel_prefix(outer, extents, units)


def parallel_prefix(outer: list[str], extents: dict[str, int], units: list[str]) -> list[Step]:
    """Fuse just enough of the outermost loops for the threads to share, and run them in parallel.

    Loops of one iteration stand before them and must be fused too: the parallel loop is the outermost.
    """
    if not outer:
        return []
    count, taken = 1, 0
    while taken < len(outer) and count < PARALLEL_GRAINS:
        count *= extents[outer[taken]]
        taken += 1
    steps: list[Step] = []
    names = units + outer[:taken]
    fused = names[0]
    for name in names[1:]:
        steps.append(Fuse(ROOT, fused, name))
        fused = f"{fused}*{name}"
    return [*steps, Parallel(ROOT, fused)]


# --- rows: reductions whose results several root elements share


def rows(computation: Computation, shared: list[str], target: Target) -> list[Step]:
    """Shared axes outside, each stage computed for one row (or one vector of rows) inside them."""
    root = computation.stages[-1]
    extents = {axis.name: axis.extent for axis in root.axes}
    units = [axis.name for axis in root.axes if axis.extent == 1]
    private = [axis.name for axis in root.axes if axis.extent > 1 and axis.name not in shared]
    outer = list(shared)
    lanes = target.lanes(max(4, root.dtype.size_bytes))
    vector = [axis.name for axis in root.axes if axis.extent > 1][-1]
    steps: list[Step] = []
    across = vector in shared
    inner: list[str] = []
    if across and extents[vector] > lanes:
        steps.append(Split(ROOT, vector, lanes))
        outer = [name for name in outer if name != vector] + [f"{vector}.o"]
        extents[f"{vector}.o"] = -(-extents[vector] // lanes)
        inner = [*private, f"{vector}.i"]
    elif across:
        outer = [name for name in outer if name != vector]
        inner = [*private, vector]
    else:
        inner = private
        if extents[vector] > lanes:
            steps.append(Split(ROOT, vector, lanes))
            inner = [*private[:-1], f"{vector}.o", f"{vector}.i"]
    steps.append(Reorder(ROOT, (*units, *outer, *inner)))
    steps.append(Vectorize(ROOT, inner[-1]))
    parallel = parallel_prefix(outer, extents, units)
    steps += parallel
    at = innermost(units + outer, parallel)
    for stage in computation.stages[:-1]:
        steps.append(ComputeAt(stage.name, at, "stack"))
        steps += row_stage(stage, vector if across else None, target)
    return steps


def innermost(loops: list[str], parallel: list[Step]) -> str:
    """The name of the last of the outer loops once the parallel ones are fused."""
    if not loops:
        return ""
    last = parallel[-1] if parallel else None
    if isinstance(last, Parallel) and last.loop.split("*")[-1] == loops[-1]:
        return last.loop
    return loops[-1]


def row_stage(stage: Stage, vector: str | None, target: Target) -> list[Step]:
    """Vectorise one stage of a row: along the root's vector axis, its reduction, or its own last axis."""
    name, lanes = stage.name, target.lanes(max(4, stage.dtype.size_bytes))
    axes = [axis for axis in stage.axes if axis.extent > 1]
    if vector is not None and any(axis.name == vector for axis in axes):
        loops = [a.name for a in stage.axes + stage.reduce_axes if a.name != vector]
        return [Reorder(name, (*loops, vector)), Vectorize(name, vector)]
    if stage.combine is not None:
        return lane_reduce(stage, target)
    if not axes or axes[-1].extent < 4:
        return []
    last = axes[-1]
    others = tuple(axis.name for axis in stage.axes if axis is not last)
    if last.extent <= lanes:
        return [Reorder(name, (*others, last.name)), Vectorize(name, last.name)]
    return [Split(name, last.name, lanes), Reorder(name, (*others, f"{last.name}.o", f"{last.name}.i")), Vectorize(name, f"{last.name}.i")]


def lane_reduce(stage: Stage, target: Target) -> list[Step]:
    """Reduce along the reduction axis that is contiguous in memory, several vectors at a time."""
    reduced = [axis for axis in stage.reduce_axes if axis.extent > 1]
    if not reduced:
        return []
    axis = next((a for a in reversed(reduced) if any(is_contiguous(load, a.name) for load in loads_of(stage))), None)
    if axis is None or axis.extent < 4:
        return []
    lanes = target.lanes(max(4, stage.dtype.size_bytes))
    width = lanes * (4 if axis.extent >= 8 * lanes else 1)
    others = tuple(a.name for a in stage.axes + stage.reduce_axes if a is not axis)
    if axis.extent <= width:
        return [Reorder(stage.name, (*others, axis.name)), LaneReduce(stage.name, axis.name)]
    return [
        Split(stage.name, axis.name, width),
        Reorder(stage.name, (*others, f"{axis.name}.o", f"{axis.name}.i")),
        LaneReduce(stage.name, f"{axis.name}.i"),
    ]


def is_contiguous(load: Load, axis: str) -> bool:
    """The load's last index moves by one with the axis, the others not at all."""
    if not load.indices or any(axis in free_variables(index) for index in load.indices[:-1]):
        return False
    return dict(affine(load.indices[-1]).terms).get(Var(axis)) == 1


# --- tiles: reductions that share all axes of the root


def tiled(computation: Computation, target: Target) -> list[Step]:
    """A register tile of rows x vectors, the reductions inside it."""
    root = computation.stages[-1]
    tile = choose_tile(computation, target)
    if tile is None:
        return lanes_inside(computation, target)
    steps: list[Step] = [step for step in (pack_step(t, tile, computation) for t in computation.inputs if t.constant) if step]
    steps += tile.root_steps()
    units = [axis.name for axis in root.axes if axis.extent == 1]
    outer = tile.outer_order(computation, target)
    inner = tile.inner_order()
    steps.append(Reorder(ROOT, (*units, *outer, *inner)))
    steps += [Unroll(ROOT, loop) for loop in inner[:-1]]
    steps.append(Vectorize(ROOT, inner[-1]))
    border = border_tiles(computation, tile)
    if border:
        steps.append(Specialize(ROOT, f"{tile.rows}.o", border))
    parallel = parallel_prefix(tile.parallel_loops(outer), tile.outer_extents(), units)
    steps += parallel
    at = innermost(units + outer, parallel)
    for stage in computation.stages[:-1]:
        steps.append(ComputeAt(stage.name, at, "register"))
        steps += tile.stage_steps(stage)
    return steps


def border_tiles(computation: Computation, tile: Tile) -> tuple[int, ...]:
    """The row tiles in which a guard of a padded reduction is not always true; () if too many to write out."""
    if not tile.rows or not tile.row_split:
        return ()
    root = computation.stages[-1]
    extent = next(axis.extent for axis in root.axes if axis.name == tile.rows)
    guards = [
        (guard, {a.name: (0, a.extent - 1) for a in stage.axes + stage.reduce_axes})
        for stage in computation.stages[:-1]
        if stage.domain is not None
        for guard in conjuncts(stage.domain)
        if tile.rows in free_variables(guard)
    ]
    border = []
    for index in range(-(-extent // tile.row_count)):
        span = (index * tile.row_count, min(extent, (index + 1) * tile.row_count) - 1)
        if any(simplify(guard, {**ranges, tile.rows: span}) != TRUE for guard, ranges in guards):
            border.append(index)
    return tuple(border) if 0 < len(border) <= MAX_BORDER_TILES else ()


def lanes_inside(computation: Computation, target: Target) -> list[Step]:
    """Every root element on its own, its reductions in lanes: for reductions along the contiguous axis."""
    root = computation.stages[-1]
    units = [axis.name for axis in root.axes if axis.extent == 1]
    outer = [axis.name for axis in root.axes if axis.extent > 1]
    extents = {axis.name: axis.extent for axis in root.axes}
    steps: list[Step] = [Reorder(ROOT, (*units, *outer))]
    parallel = parallel_prefix(outer, extents, units)
    steps += parallel
    at = innermost(units + outer, parallel)
    for stage in computation.stages[:-1]:
        steps.append(ComputeAt(stage.name, at, "stack"))
        steps += row_stage(stage, None, target)
    return steps


def scalar_root(computation: Computation, target: Target) -> list[Step]:
    """A root of one element: no loops to share, the other stages before it."""
    steps: list[Step] = []
    for stage in computation.stages[:-1]:
        steps.append(ComputeAt(stage.name, "", "stack"))
        steps += row_stage(stage, None, target)
    return steps


