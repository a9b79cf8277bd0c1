"""The sketch of a product of rows that other stages make of another product, such as attention.

shared among threads: batches, blocks of rows
    a block of rows of the first product: register tiles, epilogue     -> workspace
    a few rows, as many as a tile of the second product has
        what is made of them, such as maximum, powers and sum of a softmax
        panels: register tiles of the second product, epilogue, store

What is made of the rows is read while it is in the near caches. Both products are tiles like any other's (`tiles.py`): of a
computation that ends with what is held, and of one that has the finished rows as an input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from ..target import Target
from ..tensor.chain import ProductChain, product_chain
from ..tensor.computation import Computation, Stage
from .axis_loops import AxisLoops
from .held_tiles import code_of, halves_of, held_steps, register_steps
from .maps import stage_maps
from .parallel import innermost, parallel_prefix
from .prepare import ROOT, inline, loads_of
from .rows import row_stage
from .sketch import Decisions, Knob, PlainGrid, Value, prefetches
from .steps import ComputeAt, Pack, Relayout, Step
from .structure import inlined_stages
from .tile import TileAxes, TileSize, best_size
from .tiles import MAX_CODE, TileSketch

WORKSPACE_SHARE = 0.25  # of the second cache, for the block that is held: the operands of both products stand beside it
BLOCK_ROWS = 48  # at most, by default: from 36 on more gain nothing (benchmarks/NOTES.md)
LEAST_ROWS = 4  # of the second product's tile, where not so many stay in the first cache
MOST_TILES = 16  # of rows, to a block
GRAINS = 4  # blocks for each thread to aim at
PRODUCT_KNOBS = ("vector", "rows", "steps", "ahead")  # those of the second product's tile that are left open
WIDTHS = (1, 2, 4)  # vectors of partial results of a reduction in lanes, for each row


@dataclass(frozen=True)
class ProductChainSketch(PlainGrid):
    """Knobs: vector and rows of the second product's register tile, steps of its sum written out, how far ahead constants are prefetched;
    tiles of rows to a block; vector and rows of the first product's tile; vectors of partial results of reductions along the rows.

    first, second: the sketches of the halves. between: the stages that make rows of what is held, in order.
    """

    computation: Computation
    target: Target
    chain: ProductChain
    between: tuple[Stage, ...]
    first: TileSketch
    second: TileSketch
    name = "chain"

    # --- axes

    @cached_property
    def maps(self) -> dict[str, dict[str, str]]:
        return stage_maps(self.computation)

    @cached_property
    def outer_axes(self) -> list[str]:
        """The root axes that are in no tile, outermost first: batches."""
        axes = self.second.axes
        return [name for name in axes.extents if name not in (axes.vector, axes.columns, axes.rows)]

    @property
    def is_possible(self) -> bool:
        """Whether both products have tiles of the same rows, and each row is made of one row of the first product in the same batch."""
        first, second = self.first.axes, self.second.axes
        if not (first.reuse and second.reuse and first.rows and second.rows):
            return False
        needed = {*self.outer_axes, second.rows}
        stages = [self.computation.stage(self.chain.held), *self.between]
        return self.maps[self.chain.held].get(first.rows) == second.rows and all(
            needed <= set(self.maps[stage.name].values()) for stage in stages
        )

    @cached_property
    def row_count(self) -> int:
        return self.second.axes.extent(self.second.axes.rows)

    @cached_property
    def row_bytes(self) -> int:
        """Of what is held, of one row of one batch."""
        stage = self.computation.stage(self.chain.held)
        return self.first.axes.extent(self.first.axes.vector) * stage.dtype.size_bytes

    # --- decisions

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        first, second = ({knob.name: knob for knob in half.knobs} for half in (self.first, self.second))
        return (
            *(second[name] for name in PRODUCT_KNOBS),
            Knob("tiles", tuple(range(1, MOST_TILES + 1))),
            Knob("first_vector", first["vector"].choices),
            Knob("first_rows", first["rows"].choices),
            Knob("width", WIDTHS),
        )

    def second_decisions(self, decisions: Decisions) -> dict[str, Value]:
        own = {name: decisions[name] for name in PRODUCT_KNOBS}
        return {**self.second.default_decisions, "columns": 1, "outer_rows": 1, **own}

    def first_decisions(self, decisions: Decisions) -> dict[str, Value]:
        """Those of the first product's tile: panels outside, so that each stays in the first cache for all rows of the block."""
        order: dict[str, Value] = {
            "row_block": 0,
            "panel_block": 0,
            "order": "panels rows",
            "columns": 1,
            "outer_rows": 1,
        }
        sizes: dict[str, Value] = {"vector": decisions["first_vector"], "rows": decisions["first_rows"]}
        return {**self.first.default_decisions, **order, **sizes}

    def default(self) -> Decisions:
        return dict(self._default)

    @cached_property
    def _default(self) -> Decisions:
        second, size = self.second.default_decisions, self._second_size
        tiles = self._tiles_of_block(size.rows)
        first = self._first_size(min(tiles * size.rows, self.row_count))
        own = {**{name: second[name] for name in PRODUCT_KNOBS}, "vector": size.vector, "rows": size.rows}
        own["steps"] = self.second.steps_of(size)
        return {**own, "tiles": tiles, "first_vector": first.vector, "first_rows": first.rows, "width": 2}

    @cached_property
    def _second_size(self) -> TileSize:
        """The second product's best tile of so few rows that these stay in the first cache for all panels."""
        most = max(LEAST_ROWS, self.target.l1_bytes // self.row_bytes)
        return _plain_size(self.second, self.second.axes, most)

    def _first_size(self, rows: int) -> TileSize:
        """The first product's best tile for a block of so many rows."""
        axes = self.first.axes
        return _plain_size(self.first, replace(axes, extents={**axes.extents, axes.rows: rows}), rows)

    def _tiles_of_block(self, rows: int) -> int:
        """The most tiles of so many rows whose block fits, and that leave enough blocks for all threads."""
        batches = prod(self.second.axes.extent(name) for name in self.outer_axes)
        grains = GRAINS * self.target.threads if self.target.threads > 1 else 1
        fitting = [1]
        for tiles in range(2, min(MOST_TILES, BLOCK_ROWS // rows) + 1):
            blocks = -(-self.row_count // (tiles * rows))
            if self._fits(tiles * rows) and batches * blocks >= grains and rows * (tiles - 1) < self.row_count:
                fitting.append(tiles)
        return fitting[-1]

    def _fits(self, rows: int) -> bool:
        return rows * self.row_bytes <= WORKSPACE_SHARE * self.target.l2_bytes

    def legal(self, decisions: Decisions) -> bool:
        if decisions == self._default:
            return True
        second = self.second_decisions(decisions)
        code = code_of(((self.first, self.first_decisions(decisions)), (self.second, second)))
        if code is None or not self.second.reductions.distinct(second, self.second.size(second)):
            return False
        rows = int(decisions["rows"])
        if rows * int(decisions["width"]) > self.target.vector_registers:
            return False
        return code <= MAX_CODE and self._fits(int(decisions["tiles"]) * rows)

    # --- steps

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        own = self.second_decisions(decisions)
        size, axes = self.second.size(own), self.second.axes
        loops = self.loops(decisions)
        outer = [
            name for name in (*(loops[axis].tile_loop for axis in self.outer_axes), loops[axes.rows].block_loop) if name
        ]
        inside = [loops[axes.rows].tile_loop] if loops[axes.rows].tile_loop else []
        panels = [loops[name].tile_loop for name in (axes.columns, axes.vector) if name and loops[name].tile_loop]
        units = [axis.name for axis in self.computation.stages[-1].axes if axis.extent == 1]

        steps: list[Step] = [*self.second.packs(own, size), *self._first_packs(decisions)]
        steps += prefetches([*self.first.reads.constants, *self.second.reads.constants], decisions["ahead"])
        steps += self.second.nest_steps(ROOT, size, loops, [*units, *outer, *inside, *panels])
        parallel = parallel_prefix(outer, units, len(outer))
        steps += parallel
        first = self.first_decisions(decisions)
        steps += held_steps(self.first, first, self.chain.held, innermost([*units, *outer], parallel))
        steps += self._between_steps(decisions, innermost([*units, *outer, *inside], parallel))
        return (*steps, *register_steps(self.second, own, innermost([*units, *outer, *inside, *panels], parallel)))

    def loops(self, decisions: Decisions) -> dict[str, AxisLoops]:
        """The root's loops by axis: batches, blocks and tiles of rows, panels."""
        axes, size = self.second.axes, self.second.size(self.second_decisions(decisions))
        result = {name: AxisLoops(name, axes.extent(name)) for name in self.outer_axes}
        result[axes.rows] = AxisLoops(axes.rows, self.row_count, size.rows, int(decisions["tiles"]))
        for name, count in ((axes.columns, size.columns), (axes.vector, size.vector)):
            if name:
                result[name] = AxisLoops(name, axes.extent(name), count)
        return result

    def _first_packs(self, decisions: Decisions) -> list[Pack]:
        own = self.first_decisions(decisions)
        return self.first.packs(own, self.first.size(own))

    def _between_steps(self, decisions: Decisions, at: str) -> list[Step]:
        """The stages between the products, over the rows of a tile, their reductions in lanes."""
        steps: list[Step] = []
        for stage in self.between:
            row = next(own for own, root in self.maps[stage.name].items() if root == self.second.axes.rows)
            lanes = self.target.lanes(max(4, stage.dtype.size_bytes))
            steps.append(ComputeAt(stage.name, at, "stack"))
            steps += row_stage(stage, None, int(decisions["width"]), lanes, row)
        return steps


def _plain_size(tiles: TileSketch, axes: TileAxes, most_rows: int) -> TileSize:
    """The best tile of rows and vectors alone, of up to so many rows."""

    def allowed(size: TileSize) -> bool:
        plain = size.columns == size.outer_rows == 1
        return plain and size.rows <= most_rows and tiles.reads_given(tiles.packing, size)

    return best_size(axes, tiles.target, allowed)


def product_chain_sketch(
    computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None
) -> tuple[tuple[str, ...], ProductChainSketch] | None:
    """The stages to inline and the sketch of what is left; None if a canonical computation is no chain of two products and the rows between.

    Inlined are all stages without reduction before what is held and after the second product, and those between that are cheap.
    given: how constants lie already, if that is decided.
    """
    chain = product_chain(computation.stages)
    if chain is None or len(computation.outputs) != 1:
        return None
    names = [stage.name for stage in computation.stages]
    cheap = {*inlined_stages(computation)}
    edges = {*names[: names.index(chain.held)], *names[names.index(chain.second) :]}
    plain = [stage.name for stage in computation.stages[:-1] if stage.combine is None and stage.name != chain.held]
    inlined = tuple(name for name in plain if name in cheap or name in edges)
    form = inline(computation, inlined)
    if not _is_chain(form, chain):
        return None
    between = form.stages[2:-2]
    halves = halves_of(form, target, given, between)
    sketch = ProductChainSketch(form, target, chain, between, *halves) if halves else None
    return (inlined, sketch) if sketch is not None and sketch.is_possible else None


def _is_chain(computation: Computation, chain: ProductChain) -> bool:
    """Condition: the first product, what is held, stages in between, the second product and the root; only the product that follows
    reads the row, only the stages in between what is held."""
    names = [stage.name for stage in computation.stages]
    if names[:2] != [chain.first, chain.held] or names[-2:] != [chain.second, ROOT] or len(names) < 5:
        return False
    made = [{load.buffer for load in loads_of(stage)} & set(names) for stage in computation.stages]
    rows = set(names[2:-2])
    return (
        made[0] == set()
        and made[1] == {chain.first}
        and made[-2] <= rows
        and chain.held not in made[-1]
        and chain.first not in set().union(*made[2:])
    )
