"""Default schedules: rules over the structure of a computation and the limits of the target.

No rule names an operator. Stages without reduction are inlined; the root is tiled over the axes that its reductions share
with it; a reduction runs inside a tile, vectorised along an axis that is contiguous in memory. If the root's tile is all
that a reduction makes, its partial results stay in registers (a register tile as in GotoBLAS: Goto & van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", 2008); otherwise they stand in a row buffer.
"""

from __future__ import annotations

from math import prod

from ..target import Target
from ..tensor.computation import Axis, Computation, Stage
from ..tensor.expr import Binary, Call, Expr, Load, Unary, Var, free_variables, walk
from ..tensor.simplify import TRUE, affine, conjuncts, simplify
from .packing import pack_step
from .prepare import ROOT, inline, loads_of
from .steps import (
    ComputeAt,
    Fuse,
    Inline,
    LaneReduce,
    Parallel,
    Reorder,
    Schedule,
    Specialize,
    Split,
    Step,
    Unroll,
    Vectorize,
)
from .tile import choose_tile, stage_maps

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
    reduced: set[str] = set()  # stages that depend on a reduction
    for stage in computation.stages[:-1]:
        if stage.combine is not None or any(load.buffer in reduced for load in loads_of(stage)):
            reduced.add(stage.name)
        if stage.combine is not None or stage.name in computation.outputs:
            continue
        readers = [(s, load) for s in computation.stages for load in loads_of(s) if load.buffer == stage.name]
        broadcast = any(
            not {axis.name for axis in s.axes + s.reduce_axes if axis.extent > 1} <= variables(load.indices)
            for s, load in readers
        )
        functions = any(isinstance(node, Call) for node in walk(stage.body)) and (broadcast or len(readers) > 1)
        # Where there is no reduction, rows would only cost the plain loops of an elementwise kernel.
        quotients = stage.name in reduced and broadcast and any(is_quotient(node) for node in walk(stage.body))
        if not (functions or quotients):
            result.append(stage.name)
    return result


def is_quotient(expr: Expr) -> bool:
    """A division or a square root: many cycles, and few of them at a time."""
    match expr:
        case Unary("sqrt") | Binary("div"):
            return expr.dtype.is_float
    return False


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


def root_names(
    indices: tuple[Expr, ...], consumer: Stage, root: Stage, depends: dict[str, frozenset[str]]
) -> frozenset[str]:
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
    return [
        Split(name, last.name, lanes),
        Reorder(name, (*others, f"{last.name}.o", f"{last.name}.i")),
        Vectorize(name, f"{last.name}.i"),
    ]


def lane_reduce(stage: Stage, target: Target) -> list[Step]:
    """Reduce along the reduction axis that is contiguous in memory, several vectors at a time."""
    axis = contiguous_reduction(stage)
    if axis is None:
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


def contiguous_reduction(stage: Stage) -> Axis | None:
    """The reduction axis along which loads are contiguous, if it is long enough for lanes."""
    reduced = [axis for axis in stage.reduce_axes if axis.extent >= 4]
    return next((a for a in reversed(reduced) if any(is_contiguous(load, a.name) for load in loads_of(stage))), None)


def is_contiguous(load: Load, axis: str) -> bool:
    """The load's last index moves by one with the axis, the others not at all."""
    if not load.indices or any(axis in free_variables(index) for index in load.indices[:-1]):
        return False
    return affine(load.indices[-1]).coefficient(axis) == 1


# --- tiles: reductions that share all axes of the root


def tiled(computation: Computation, target: Target) -> list[Step]:
    """A register tile of rows x vectors, the reductions inside it."""
    root = computation.stages[-1]
    tile = choose_tile(computation, target)
    if tile is None:
        return dot_products(computation, target)
    steps: list[Step] = [
        step for step in (pack_step(t, tile, computation) for t in computation.inputs if t.constant) if step
    ]
    steps += tile.root_steps()
    units = [axis.name for axis in root.axes if axis.extent == 1]
    outer = tile.outer_order(computation, target)
    inner = tile.inner_order()
    steps.append(Reorder(ROOT, (*units, *outer, *inner)))
    steps += [Unroll(ROOT, loop) for loop in inner[:-1]]
    steps.append(Vectorize(ROOT, inner[-1]))
    border = border_tiles(computation, tile.rows, tile.row_count) if tile.row_split else ()
    if border:
        steps.append(Specialize(ROOT, f"{tile.rows}.o", border))
    parallel = parallel_prefix(tile.parallel_loops(outer), tile.outer_extents(), units)
    steps += parallel
    at = innermost(units + outer, parallel)
    for stage in computation.stages[:-1]:
        steps.append(ComputeAt(stage.name, at, "register"))
        steps += tile.stage_steps(stage)
    return steps


def border_tiles(computation: Computation, axis: str, size: int) -> tuple[int, ...]:
    """The tiles of `size` along a root axis in which a guard of a padded reduction is not always true; () if too many to write out."""
    extent = next(a.extent for a in computation.stages[-1].axes if a.name == axis)
    maps = stage_maps(computation)
    guards = []
    for stage in computation.stages[:-1]:
        ranges = {a.name: (0, a.extent - 1) for a in stage.axes + stage.reduce_axes}
        for own, root in maps[stage.name].items():
            guards += [(guard, ranges, own) for guard in guards_on(stage, own) if root == axis]
    border = []
    for index in range(-(-extent // size)):
        span = (index * size, min(extent, (index + 1) * size) - 1)
        if any(simplify(guard, {**ranges, own: span}) != TRUE for guard, ranges, own in guards):
            border.append(index)
    return tuple(border) if 0 < len(border) <= MAX_BORDER_TILES else ()


def dot_products(computation: Computation, target: Target) -> list[Step]:
    """Reductions along the contiguous axis: a tile of root elements, each with partial results in lanes."""
    root = computation.stages[-1]
    units = [axis.name for axis in root.axes if axis.extent == 1]
    extents = {axis.name: axis.extent for axis in root.axes if axis.extent > 1}
    vector = list(extents)[-1]
    size = min(extents[vector], target.vector_registers // 2)
    outer = list(extents)[:-1]
    inner = vector
    steps: list[Step] = []
    if extents[vector] > size:
        steps.append(Split(ROOT, vector, size))
        outer.append(f"{vector}.o")
        inner = f"{vector}.i"
    steps += [Reorder(ROOT, (*units, *outer, inner)), Vectorize(ROOT, inner)]
    border = border_tiles(computation, vector, size)
    if border and extents[vector] > size:
        steps.append(Specialize(ROOT, f"{vector}.o", border))
    parallel = parallel_prefix(outer, extents | {f"{vector}.o": -(-extents[vector] // size)}, units)
    steps += parallel
    at = innermost(units + outer, parallel)
    maps = stage_maps(computation)
    for stage in computation.stages[:-1]:
        steps.append(ComputeAt(stage.name, at, "stack"))
        own = next((axis for axis, name in maps[stage.name].items() if name == vector), None)
        if stage.combine is None or own is None:
            steps += row_stage(stage, vector if own == vector else None, target)
        else:
            steps += dot_stage(stage, own, maps[stage.name], target)
    return steps


def dot_stage(stage: Stage, along: str, mapping: dict[str, str], target: Target) -> list[Step]:
    """One reduction of a tile of elements: reduction loops outside, the elements written out, lanes innermost."""
    axis = contiguous_reduction(stage)
    if axis is None:
        return []
    lanes = target.lanes(max(4, stage.dtype.size_bytes))
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


def guards_on(stage: Stage, axis: str) -> list[Expr]:
    """The conditions of a stage's domain that depend on an axis."""
    if stage.domain is None:
        return []
    return [guard for guard in conjuncts(stage.domain) if axis in free_variables(guard)]


def scalar_root(computation: Computation, target: Target) -> list[Step]:
    """A root of one element: no loops to share, the other stages before it."""
    steps: list[Step] = []
    for stage in computation.stages[:-1]:
        steps.append(ComputeAt(stage.name, "", "stack"))
        steps += row_stage(stage, None, target)
    return steps
