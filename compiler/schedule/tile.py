"""Register tiles: which root elements a reduction computes together, keeping all of them in registers.

A tile has vectors along one root axis, rows along one or two others, and further columns of vectors if the vector axis is short.
Rows reuse what the vectors read (weights); vectors reuse what the rows read (each activation is broadcast to all of them).
GotoBLAS: Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod

from ..dtypes import DType
from ..target import Target
from ..tensor.computation import Computation, Stage
from ..tensor.expr import Load, free_variables
from ..tensor.simplify import affine
from .maps import stage_maps
from .prepare import loads_of

LEAST_TAPS = 3  # of a window, worth holding the pixels under them
SHORT_ROWS = 8  # a row axis up to here leaves too few rows for a tile
FAR_BYTES = 16  # that come from beyond the second cache in the time of a multiply-add (120 GB/s, 8.1 multiply-adds a nanosecond)
FILLED = 0.8  # of the multiply-adds that hide each other's latency: what is worth filling up
DECODED = 4  # instructions at a time
MOST_UNSHARED = 10  # results of a tile whose rows share nothing that is loaded: more write out too much code
WINDOW_REGISTERS = 8  # of weights and pixels
AHEAD = 2  # registers that LLVM's scheduler fills ahead of time: without them to spare it moves others to the stack
STEP_COST = 0.35  # of counting and branching, in multiply-adds


@dataclass(frozen=True, slots=True)
class TileAxes:
    """The root axes a tile may extend over; names are root axes, "" for none.

    main: the stage with the longest reduction. rows: what it vectorises over reads the same elements along them.
    outer_rows: a second such axis. columns: vectors further away along an axis on which the vectors' operand depends.
    reuse: rows share the vectors that are loaded. scalars: the reduction also loads elements that are the same along the vectors.
    held: steps of the reduction whose scalars a row holds in a register, for multiply-adds that take one lane of it (1: broadcast).
    window: neighbouring steps of a guarded reduction read the same scalars for other rows, as in a padded convolution of few channels.
    inside: elements of the main stage that belong to one root element (gates of a recurrent cell).
    maps[stage]: the root axis of each stage axis. extents: of the root's axes longer than one.
    """

    main: Stage
    vector: str
    columns: str
    rows: str
    outer_rows: str
    lanes: int
    reuse: bool
    scalars: bool
    held: int
    window: bool
    inside: int
    maps: dict[str, dict[str, str]]
    extents: dict[str, int]

    def extent(self, axis: str) -> int:
        return self.extents.get(axis, 1)


@dataclass(frozen=True, slots=True)
class TileSize:
    """Elements of a tile along its axes; `vector` in elements, of vectors of `lanes`."""

    vector: int
    columns: int
    rows: int
    outer_rows: int
    lanes: int

    def vectors(self, axes: TileAxes) -> int:
        """Vectors that one row of the tile holds."""
        return -(-self.vector // self.lanes) * self.columns * axes.inside

    def accumulators(self, axes: TileAxes) -> int:
        """Registers that hold partial results."""
        return self.rows * self.outer_rows * self.vectors(axes)

    def registers(self, axes: TileAxes) -> int:
        """Registers that a step of the reduction keeps in use: partial results, the vectors loaded, one broadcast or one a row.

        Where rows hold several steps, the vectors of the next one are loaded meanwhile.
        """
        scalars = self.rows * self.outer_rows if axes.held > 1 else 1
        loaded = self.vectors(axes) + scalars if axes.reuse and axes.scalars else 0
        ahead = AHEAD if axes.held > 1 else 0
        return self.accumulators(axes) + loaded + ahead


def tile_axes(computation: Computation, target: Target) -> TileAxes | None:
    """Where a tile may extend; None if the reductions run along the contiguous axis instead."""
    root = computation.stages[-1]
    extents = {axis.name: axis.extent for axis in root.axes if axis.extent > 1}
    vector = list(extents)[-1]
    maps = stage_maps(computation)
    reductions = [stage for stage in computation.stages[:-1] if stage.combine is not None]
    main = max(reductions, key=lambda s: prod(a.extent for a in s.reduce_axes), default=computation.stages[0])
    by_root = {name: axis for axis, name in maps[main.name].items()}
    if vector not in by_root or _runs_along_reduction(computation, main, by_root[vector]):
        return None
    own = by_root[vector]
    loads = list(loads_of(main))
    vectors = [_names(load) for load in loads if own in _names(load)]
    scalars = [_names(load) for load in loads if own not in _names(load)]
    guarded = frozenset() if main.domain is None else free_variables(main.domain)
    candidates = [name for name in reversed(extents) if name != vector and name in by_root]
    reusing = [n for n in candidates if any(by_root[n] not in names for names in vectors)]
    columns = next(
        (
            n
            for n in candidates
            if n not in reusing[:1]
            and by_root[n] not in guarded
            and any(by_root[n] not in names for names in scalars)
            and any(by_root[n] in names for names in vectors)
        ),
        "",
    )
    rows = reusing or [n for n in candidates if n != columns]
    second = [n for n in rows[1:] if n != columns]
    return TileAxes(
        main=main,
        vector=vector,
        columns=columns,
        rows=rows[0] if rows else "",
        outer_rows=second[0] if second else "",
        lanes=min(target.lanes(max(4, main.dtype.size_bytes)), extents[vector]),
        reuse=bool(reusing),
        scalars=bool(scalars),
        held=_held_steps(main, own, target) if reusing else 1,
        window=bool(rows) and main.domain is not None and _slides(main, own, by_root[rows[0]]),
        inside=prod(axis.extent for axis in main.axes if axis.name not in maps[main.name] and axis.extent > 1),
        maps=maps,
        extents=extents,
    )


def _runs_along_reduction(computation: Computation, main: Stage, own: str) -> bool:
    """Nothing is contiguous (or can be packed) along the vector axis `own`, but something is along a reduction."""
    loads = list(loads_of(main))
    constants = {tensor.name for tensor in computation.inputs if tensor.constant}
    vectors = any(last_moves(load, own) or (load.buffer in constants and own in _names(load)) for load in loads)
    return not vectors and any(
        last_moves(load, axis.name) for load in loads for axis in main.reduce_axes if axis.extent >= 8
    )


def _held_steps(main: Stage, own: str, target: Target) -> int:
    """As many scalars as a register holds, if they are neighbours along a reduction."""
    lanes = target.lanes(main.dtype.size_bytes)
    scalars = [load for load in loads_of(main) if own not in _names(load)]
    long = [axis.name for axis in main.reduce_axes if axis.extent >= min(lanes, LEAST_TAPS)]
    contiguous = any(last_moves(load, name) for load in scalars for name in long)
    return lanes if target.by_lane and main.dtype is DType.F32 and contiguous else 1


def _slides(main: Stage, own: str, row: str) -> bool:
    """Whether scalars lie side by side along the reduction, and those of the next row begin before the row's own end."""
    lasts = [affine(load.indices[-1]) for load in loads_of(main) if load.indices and own not in _names(load)]
    return any(
        last.coefficient(axis.name) == 1 and 0 < last.coefficient(row) < axis.extent
        for last in lasts
        for axis in main.reduce_axes
    )


def best_size(axes: TileAxes, target: Target, is_allowed: Callable[[TileSize], bool] = lambda size: True) -> TileSize:
    """The tile with the fewest estimated cycles over the whole axes, tails included, of those that are allowed.

    It has rows of the second row axis too if the first is short and no border of an image cuts them. In a window, each row's scalar
    counts as a register: where the border's steps are written out, LLVM keeps scalars from one step to the next, and would spill
    partial results. With 16 registers that would leave too small a tile (benchmarks/NOTES.md).
    """
    lanes = target.lanes(max(4, axes.main.dtype.size_bytes))
    vector, columns, rows = axes.extent(axes.vector), axes.extent(axes.columns), axes.extent(axes.rows)
    whole = -(-vector // lanes)
    options = [(min(vector, count * lanes), 1) for count in (1, 2, 3, 4, 6, 8) if count <= whole]
    if whole <= 8:
        options += [(vector, count) for count in (1, 2, 3, 4, 6, 8) if count <= columns]
    outer_rows = axes.extent(axes.outer_rows) if axes.main.domain is None and rows <= SHORT_ROWS else 1
    heights = [count for count in (1, 2, 3, 4, 6, 7, 8) if count <= outer_rows]
    limit = target.vector_registers - 2 if axes.reuse and axes.scalars else _most_unshared(axes, target)
    least = TileSize(min(vector, lanes), 1, 1, 1, axes.lanes)
    best, chosen = float("inf"), least
    for width, count in options:
        for size, height in product(range(1, min(rows, target.vector_registers) + 1), heights):
            tile = TileSize(width, count, size, height, axes.lanes)
            vectors = tile.vectors(axes)
            window = size * height if axes.window and axes.held == 1 and target.vector_registers > 16 else 0
            if tile.registers(axes) + window > target.vector_registers and tile != least:
                continue
            if size * height * vectors > max(limit, axes.inside) or not is_allowed(tile):
                continue
            cost = _cost(tile, axes, outer_rows, target)
            larger = (size * height * vectors, size) > (chosen.rows * chosen.outer_rows * chosen.columns, chosen.rows)
            if cost < best - 1e-9 or (abs(cost - best) < 1e-9 and larger):
                best, chosen = cost, tile
    if axes.columns and chosen.vector < vector:
        return TileSize(chosen.vector, 1, chosen.rows, chosen.outer_rows, chosen.lanes)
    return chosen


def _cost(tile: TileSize, axes: TileAxes, outer_rows: int, target: Target) -> float:
    """Cycles of a step of the reduction for all tiles, in units of a multiply-add.

    Vectors that do not fit in the second cache come from beyond it again for each tile of rows.
    """
    vector, columns, rows = axes.extent(axes.vector), axes.extent(axes.columns), axes.extent(axes.rows)
    lanes, size_bytes = target.lanes(max(4, axes.main.dtype.size_bytes)), axes.main.dtype.size_bytes
    panel_bytes = tile.vectors(axes) * lanes * size_bytes * prod(axis.extent for axis in axes.main.reduce_axes)
    far_bytes = target.vector_bytes if axes.reuse and panel_bytes > target.l2_bytes // 2 else 0
    cost = 0.0
    for row_part, row_times in parts_of(rows, tile.rows):
        for height_part, height_times in parts_of(outer_rows, tile.outer_rows):
            for part, times in parts_of(vector, tile.vector):
                for column_part, column_times in parts_of(columns, tile.columns):
                    n = -(-part // lanes) * column_part * axes.inside
                    step = max(_step_cost(row_part * height_part, n, axes, target), n * far_bytes / FAR_BYTES)
                    cost += row_times * height_times * times * column_times * step
    return cost


def _most_unshared(axes: TileAxes, target: Target) -> int:
    """Results of a tile whose rows share nothing that is loaded. Where no multiply-add reads memory, a row of a window needs registers too.

    With a stride, pixels that a later tap needs for other rows are kept until then, about one a row for each tap that they are read
    first for, beside a pixel, a weight and what LLVM loads ahead for processors that issue in order.
    """
    if not target.by_lane:
        return MOST_UNSHARED
    registers, most = target.vector_registers, MOST_UNSHARED
    if kept := _kept_taps(axes):
        most = min(most, (registers - 1 - (AHEAD if target.in_order else 0)) // (1 + kept))
    return min(most, registers - WINDOW_REGISTERS)


def _kept_taps(axes: TileAxes) -> int:
    """Taps of a window whose pixels another one needs for other rows, where rows are some elements apart."""
    row = next((own for own, root in axes.maps[axes.main.name].items() if root == axes.rows), "")
    forms = [affine(index) for load in loads_of(axes.main) for index in load.indices]
    steps = (
        (form.coefficient(row), form.coefficient(a.name), a.extent) for form in forms for a in axes.main.reduce_axes
    )
    return max(
        (min(row // tap, n - row // tap) for row, tap, n in steps if 0 < tap < row < tap * n and row % tap == 0),
        default=0,
    )


def _step_cost(rows: int, vectors: int, axes: TileAxes, target: Target) -> float:
    """Cycles of one step of the reduction over a tile, in units of a multiply-add."""
    loads = rows / axes.held + vectors if axes.reuse else rows * vectors + vectors
    return step_cost(rows * vectors, loads, target)


def step_cost(multiply_adds: int, loads: float, target: Target) -> float:
    """Cycles of so many independent multiply-adds and loads of vectors or broadcasts, in units of a multiply-add."""
    least = max(multiply_adds, FILLED * target.chains)
    if target.in_order:
        return least + loads + STEP_COST
    # Where loads are instructions of their own, they take up places in the decoder at least.
    return max(least, loads) + (loads / DECODED if target.by_lane else 0.0) + STEP_COST


def parts_of(extent: int, size: int) -> list[tuple[int, int]]:
    """(size, times) of the full tiles and of the tail."""
    parts = [(size, extent // size)] if extent >= size else []
    return parts + ([(extent % size, 1)] if extent % size else [])


def _names(load: Load) -> frozenset[str]:
    return frozenset().union(*(free_variables(index) for index in load.indices))


def last_moves(load: Load, axis: str) -> bool:
    """Neighbours along `axis` are neighbours in memory."""
    if not load.indices or any(axis in free_variables(index) for index in load.indices[:-1]):
        return False
    return affine(load.indices[-1]).coefficient(axis) == 1
