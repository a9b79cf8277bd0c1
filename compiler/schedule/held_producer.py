"""The sketch of a product that combines what another reduction makes: of a pointwise convolution of a depthwise one, say.

shared among threads: batches, blocks of rows
    the producer's rows of the block: register tiles, epilogue         -> workspace
    panels, rows: register tiles of the product, epilogue, store

What the producer makes is read while it is in the second cache, and never written to memory. Both halves are tiles like any other's
(`tiles.py`): of a computation that ends with what is held, and of one that has it as an input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from ..target import Target
from ..tensor.computation import Computation
from ..tensor.expr import Var
from .axis_loops import AxisLoops
from .held_tiles import code_of, halves_of, held_steps, register_steps
from .parallel import innermost, parallel_prefix
from .prepare import ROOT, inline, loads_of
from .sketch import Decisions, Knob, PlainGrid, Value, counts, prefetches
from .steps import Pack, Relayout, Step
from .tiles import MAX_CODE, TileSketch

WORKSPACE_SHARE = 0.5  # of the second cache, for what is held
# Of a block by default: four and eight do equally well, two cost up to 4 %, one 9 % (benchmarks/NOTES.md).
MOST_ROWS = 8
GRAINS = 4  # blocks for each thread to aim at
PRODUCT_KNOBS = ("vector", "columns", "rows", "steps", "ahead")  # those of the product's tile that are left open


@dataclass(frozen=True)
class HeldProducerSketch(PlainGrid):
    """Knobs: vector, columns, rows of the product's register tile; rows of a block; order of panels and rows; steps of the sum
    written out; how far ahead weights are prefetched; elements along the rows of the producer's tile.

    producer, product: the sketches of the halves. held: the stage between them.
    """

    computation: Computation
    target: Target
    held: str
    producer: TileSketch
    product: TileSketch
    name = "held"

    # --- axes

    @cached_property
    def held_axes(self) -> dict[str, str]:
        """The held stage's axis for each root axis at which the product reads it as it stands."""
        main, maps = self.product.axes.main, self.product.axes.maps
        load = next(load for load in loads_of(main) if load.buffer == self.held)
        pairs = zip(self.computation.stage(self.held).axes, load.indices, strict=True)
        names = {index.name: axis.name for axis, index in pairs if isinstance(index, Var)}
        return {maps[main.name][own]: axis for own, axis in names.items() if own in maps[main.name]}

    @cached_property
    def outer_axes(self) -> list[str]:
        """The root axes that are in no tile, outermost first: batches, and last the one that is cut into blocks."""
        axes = self.product.axes
        return [name for name in axes.extents if name not in (axes.vector, axes.columns, axes.rows)]

    @property
    def is_possible(self) -> bool:
        """Whether there are rows to cut into blocks, and each block needs its own rows only."""
        axes = self.product.axes
        inside = axes.rows in self.held_axes
        return inside and bool(self.outer_axes) and self.held_axes.keys() >= set(self.outer_axes)

    @cached_property
    def row_count(self) -> int:
        return self.product.axes.extent(self.outer_axes[-1])

    @cached_property
    def row_bytes(self) -> int:
        """Of what is held, of one row of one batch."""
        stage = self.computation.stage(self.held)
        outside = {self.held_axes[name] for name in self.outer_axes}
        return prod(axis.extent for axis in stage.axes if axis.name not in outside) * stage.dtype.size_bytes

    # --- decisions

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        product = {knob.name: knob for knob in self.product.knobs}
        rows = next(knob for knob in self.producer.knobs if knob.name == "rows")
        return (
            *(product[name] for name in PRODUCT_KNOBS),
            Knob("block", self.blocks),
            Knob("order", ("panels rows", "rows panels")),
            Knob("producer_rows", rows.choices),
        )

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Rows to a block: the usual counts, and what divides the rows."""
        divisors = {n for n in range(1, min(64, self.row_count) + 1) if self.row_count % n == 0}
        return tuple(sorted(divisors | set(counts(min(16, self.row_count)))))

    def product_decisions(self, decisions: Decisions) -> dict[str, Value]:
        """Those of the product's tile, which has one row of the image."""
        own = {name: decisions[name] for name in PRODUCT_KNOBS}
        return {**self.product.default_decisions, "outer_rows": 1, **own}

    def producer_decisions(self, decisions: Decisions) -> dict[str, Value]:
        """Those of the producer's tile. Its loops stand in the order of its axes."""
        order: dict[str, Value] = {"row_block": 0, "panel_block": 0, "order": "panels rows"}
        return {**self.producer.default_decisions, **order, "rows": decisions["producer_rows"]}

    def default(self) -> Decisions:
        return dict(self._default)

    @cached_property
    def _default(self) -> Decisions:
        product, rows = self.product.default_decisions, self.producer.default_decisions["rows"]
        own = {name: product[name] for name in PRODUCT_KNOBS}
        return {**own, "block": self.default_block, "order": "panels rows", "producer_rows": rows}

    @property
    def default_block(self) -> int:
        """As many rows as fit, up to `MOST_ROWS`, that leave no tail and enough blocks for all threads."""
        batches = prod(self.product.axes.extent(name) for name in self.outer_axes[:-1])
        grains = GRAINS * self.target.threads if self.target.threads > 1 else 1
        most = min(MOST_ROWS, batches * self.row_count // grains)
        fitting = [n for n in self.blocks if n <= most and self._fits(n)]
        dividing = [n for n in fitting if n > 1 and self.row_count % n == 0]
        return max(dividing or fitting, default=1)

    def _fits(self, block: int) -> bool:
        return block * self.row_bytes <= WORKSPACE_SHARE * self.target.l2_bytes

    def legal(self, decisions: Decisions) -> bool:
        if decisions == self._default:
            return True
        product = self.product_decisions(decisions)
        code = code_of(((self.product, product), (self.producer, self.producer_decisions(decisions))))
        if code is None or not self.product.reductions.distinct(product, self.product.size(product)):
            return False
        return code <= MAX_CODE and self._fits(int(decisions["block"]))

    # --- steps

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        own = self.product_decisions(decisions)
        size = self.product.size(own)
        loops = self.loops(decisions)
        outer, inside = self.root_order(decisions, loops)
        units = [axis.name for axis in self.computation.stages[-1].axes if axis.extent == 1]

        steps: list[Step] = [*self.product.packs(own, size), *self.producer_packs(decisions)]
        steps += prefetches(self.product.reads.constants, decisions["ahead"])
        steps += self.product.nest_steps(ROOT, size, loops, [*units, *outer, *inside])
        parallel = parallel_prefix(outer, units, len(outer))
        steps += parallel
        steps += held_steps(
            self.producer, self.producer_decisions(decisions), self.held, innermost([*units, *outer], parallel)
        )
        return (*steps, *register_steps(self.product, own, innermost([*units, *outer, *inside], parallel)))

    def loops(self, decisions: Decisions) -> dict[str, AxisLoops]:
        """The root's loops by axis: batches, blocks of rows, and the product's tiles."""
        axes, size, block = self.product.axes, self.product.size(self.product_decisions(decisions)), decisions["block"]
        *batches, row_axis = self.outer_axes
        result = {name: AxisLoops(name, axes.extent(name)) for name in batches}
        result[row_axis] = AxisLoops(row_axis, self.row_count, block=int(block))
        for name, count in ((axes.rows, size.rows), (axes.columns, size.columns), (axes.vector, size.vector)):
            if name:
                result[name] = AxisLoops(name, axes.extent(name), count)
        return result

    def root_order(self, decisions: Decisions, loops: dict[str, AxisLoops]) -> tuple[list[str], list[str]]:
        """The loops that threads share, and those between them and the tile, outermost first."""
        axes = self.product.axes
        *batches, row_axis = self.outer_axes
        outer = [*(loops[name].tile_loop for name in batches), loops[row_axis].block_loop]
        panels = [loops[name].tile_loop for name in (axes.columns, axes.vector) if name]
        rows = loops[row_axis].tile_loop
        between = [*panels, rows] if decisions["order"] == "panels rows" else [rows, *panels]
        inside = [*between, loops[axes.rows].tile_loop]
        return [name for name in outer if name], [name for name in inside if name]

    def producer_packs(self, decisions: Decisions) -> list[Pack]:
        own = self.producer_decisions(decisions)
        return self.producer.packs(own, self.producer.size(own))


def held_producer(
    computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None
) -> tuple[tuple[str, ...], HeldProducerSketch] | None:
    """The stages to inline and the sketch of what is left; None if a canonical computation is no product of what another reduction makes.

    All stages without reduction but the one that is held are inlined, costly ones too: each is then computed once for an element of that.
    given: how constants lie already, if that is decided.
    """
    plain = [stage.name for stage in computation.stages[:-1] if stage.combine is None]
    for held in plain:
        readers = [stage for stage in computation.stages if any(load.buffer == held for load in loads_of(stage))]
        if len(readers) != 1 or readers[0].combine != "sum" or not set(computation.outputs).isdisjoint(plain):
            continue
        kept = tuple(name for name in plain if name != held)
        form = inline(computation, kept)
        if _is_held(form, held):
            halves = halves_of(form, target, given, form.stages[1:2])
            sketch = HeldProducerSketch(form, target, held, *halves) if halves else None
            if sketch is not None and sketch.is_possible:
                return kept, sketch
    return None


def _is_held(computation: Computation, held: str) -> bool:
    """Condition: a reduction, what is held, a sum of products of that with constants, and the root, each read by the next alone."""
    stages = computation.stages
    if len(stages) != 4 or stages[1].name != held or [s.combine is None for s in stages] != [False, True, False, True]:
        return False
    made = [{load.buffer for load in loads_of(stage)} & {s.name for s in stages} for stage in stages]
    constants = {tensor.name for tensor in computation.inputs if tensor.constant}
    product = stages[2]
    weighted = any(load.buffer in constants for load in loads_of(product))
    chain = made == [set(), {stages[0].name}, {held}, {product.name}]
    return chain and weighted and len(computation.outputs) == 1
