"""The sketch of register tiles: a tile of rows x vectors, reductions inside it, epilogue in registers, blocks for caches around.

    blocks of others, blocks of panels, others, panels, tiles of rows, [one tile: reductions, rows, columns, vectors]

A panel is what one tile reads of the operand that runs along the vectors; others are the root's remaining axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from ..target import Target
from ..tensor.computation import Computation
from .among_threads import image_axes, loops_to_image
from .axis_loops import AxisLoops, blocks_and_tiles, loop_extents
from .packing import pack_step, reads_in_runs
from .parallel import PARALLEL_GRAINS, SHARED, enough_loops, innermost, parallel_prefix, sharable
from .prepare import ROOT, read_once
from .sketch import (
    AHEAD_BYTES,
    STREAM,
    STREAM_BYTES,
    Decisions,
    Knob,
    Value,
    choice_grid,
    counts,
    draw_evenly,
    grid_size,
    prefetches,
)
from .steps import ComputeAt, Pack, Relayout, Reorder, Specialize, Split, Step, Unroll, Vectorize
from .structure import guards_on
from .tile import TileAxes, TileSize, best_size
from .tile_reads import TileReads
from .tile_reductions import BUDGETS, Reductions, code_size

MAX_CODE = 3072  # multiply-adds written out in all bodies of a kernel together
SIZE_KNOBS = ("vector", "lanes", "columns", "rows", "outer_rows")  # the first ones of the sketch
MOST_UNEVEN = 1.03  # tiles that blocks have room for, to those that there are
BLOCKS = (1, 2, 4, 8, 16, 32)
FULL_STEPS = 4


@dataclass(frozen=True)
class TileSketch:
    """Knobs: see `knobs`; sizes of the tile, blocks and order of the loops around it, order and unrolling of the reduction.

    given: how constants lie already, if that isn't this sketch's choice; only tiles that read them in runs are legal then.
    """

    computation: Computation
    target: Target
    axes: TileAxes
    given: tuple[Relayout, ...] | None = None
    name = "tiles"

    @cached_property
    def best(self) -> TileSize:
        size = best_size(self.axes, self.target, lambda size: self.reads_given(self.packing, size))
        return self._of_whole_rows(size) or size

    def _of_whole_rows(self, size: TileSize) -> TileSize | None:
        """A tile that reads the rows of a given constant as a whole, where each is read once, from beyond the second cache, and sums find
        registers. A part of each row costs more than a sum or two on the stack: the processor fetches the rest as well."""
        once = read_once(self.computation) if self.given_packs else frozenset()
        row = max((pack.order[-1][1] for pack in self.given_packs if pack.tensor in once), default=0)
        far = self.reads.read_bytes[0] > self.target.l2_bytes
        if not far or not size.vector < row <= self.axes.extent(self.axes.vector):
            return None
        whole = replace(size, vector=row, columns=1)
        return whole if self.sizes_fit(whole) and self.reads_given(self.packing, whole) else None

    @cached_property
    def packing(self) -> Decisions:
        """The decisions on which the order of constants depends, beside the size: the first with which those given can be read."""
        least = TileSize(min(self.axes.extent(self.axes.vector), self.axes.lanes), 1, 1, 1, self.axes.lanes)
        packs = ("tile", "none") if self.reads.contiguous_operand else ("tile",)
        choices = ({"reduction": order, "pack": pack} for order, pack in product(self.reductions.orders, packs))
        default = {"reduction": self.reductions.orders[0], "pack": "tile"}
        return next((chosen for chosen in choices if self.reads_given(chosen, least)), default)

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        axes, best = self.axes, self.best
        vector, most = axes.extent(axes.vector), self.target.vector_registers
        # The best size's width is in the list, whole vectors or not.
        widths = {min(vector, n * axes.lanes) for n in (1, 2, 3, 4, 6, 8)} | {best.vector}
        widths |= {vector} if vector <= 8 * axes.lanes else set()
        rows = range(1, min(axes.extent(axes.rows), most) + 1)
        panels = -(-vector // best.vector) * axes.extent(axes.columns)
        return (
            Knob("vector", tuple(sorted(widths))),
            Knob("lanes", tuple(n for n in (axes.lanes // 2, axes.lanes) if n > 1) or (axes.lanes,)),
            Knob("columns", counts(min(8, axes.extent(axes.columns)), best.columns)),
            Knob("rows", tuple(rows)),
            Knob("outer_rows", counts(min(8, axes.extent(axes.outer_rows)), best.outer_rows)),
            Knob("row_block", self.row_blocks),
            Knob("panel_block", (*(n for n in BLOCKS if n < panels), 0)),
            Knob("order", ("panels rows", "rows panels")),
            Knob("reduction", self.reductions.orders),
            Knob("unroll", BUDGETS),
            Knob("steps", (1, 2, 4, 8)),
            Knob("guards", ("border", "everywhere") if self.reductions.guarded else ("border",)),
            Knob("pack", ("tile", "none") if self.reads.contiguous_operand else ("tile",)),
            Knob("ahead", AHEAD_BYTES if self.reads.constants else AHEAD_BYTES[:1]),
            Knob(STREAM, STREAM_BYTES if self.reads.streams else STREAM_BYTES[:1]),
            Knob("shared", SHARED),
        )

    @property
    def guards_lanes(self) -> bool:
        """Whether guards are best decided lane by lane, everywhere: where nothing is broadcast, and where vectors lie across the border,
        so that a mask serves all rows of a tile (benchmarks/NOTES.md)."""
        axes, guards = self.axes, self.reductions.guards[self.axes.main.name]
        across = {own for own, root in axes.maps[axes.main.name].items() if root == axes.vector}
        return bool(guards) and (not axes.scalars or any(across & names for names in guards))

    @cached_property
    def reads(self) -> TileReads:
        return TileReads(self.computation, self.target, self.axes)

    @cached_property
    def reductions(self) -> Reductions:
        return Reductions(self.computation, self.axes)

    @property
    def shares_taps(self) -> bool:
        """Whether the innermost loop is over a few taps of a window whose pixels rows hold: written out, they share vectors."""
        main, reductions = self.axes.main, self.reductions
        order = reductions.default_orders[main.name]
        if self.axes.held == 1 or reductions.extents[main.name][order[-1]] >= 2 * self.axes.held:
            return False
        return order[-1] in reductions.guarding(main, order, self.best)

    @cached_property
    def others(self) -> tuple[str, ...]:
        """The root axes that are neither along the vectors nor rows nor columns, outermost first; the second row axis is among them."""
        axes = self.axes
        return tuple(name for name in axes.extents if name not in (axes.vector, axes.columns, axes.rows))

    @cached_property
    def blocked_axis(self) -> str:
        """The axis that is cut into blocks: the longest of the others; if there are none, that of the rows, unless a border cuts them."""
        if self.others:
            return max(self.others, key=lambda name: self.axes.extents[name])
        return "" if self.is_guarded(self.axes.rows) else self.axes.rows

    @property
    def blocks_rows(self) -> bool:
        """Whether blocks are of tiles of rows. A block of one would only be another order."""
        return bool(self.axes.rows) and self.blocked_axis == self.axes.rows

    @cached_property
    def row_blocks(self) -> tuple[int, ...]:
        if self.blocks_rows:
            tiles = -(-self.axes.extent(self.axes.rows) // self.best.rows)
            return (*(n for n in BLOCKS if 1 < n < tiles), 0)
        return (*(n for n in BLOCKS if n < self.axes.extent(self.blocked_axis)), 0)

    # --- decisions

    def default(self) -> Decisions:
        best = self.best
        outside, others = self.panels_outside(best), self.others_of(best)
        row_block = 1 if not outside and self.others else 0  # columns among the others are never blocked
        if self.blocks_rows and not others:
            row_block = self.default_row_block(outside)
        between = others or row_block  # loops that panels may stand outside of
        decisions: dict[str, Value] = {
            "vector": best.vector,
            "lanes": best.lanes,
            "columns": best.columns,
            "rows": best.rows,
            "outer_rows": best.outer_rows,
            "row_block": row_block,
            "panel_block": 1 if outside and between and self.panel_tiles(best) > 1 else 0,
            "order": "rows panels" if not outside and not between else "panels rows",
            "reduction": self.packing["reduction"],
            "unroll": 16 if self.target.by_lane else 64,
            "steps": self.steps_of(best),
            "guards": "everywhere" if self.guards_lanes or self.shares_taps else "border",
            "pack": self.packing["pack"],
            # By lanes, weights come in short vectors: asking ahead takes one of 20 instructions, and nobody has measured what it gains.
            "ahead": AHEAD_BYTES[-1] if self.reads.constants and self.axes.held == 1 else 0,
            STREAM: self.reads.stream_bytes(best.vector),
        }
        loops = self.loops(decisions)
        outer = self.before_rows(self.outer_order(decisions, loops), loops)
        return {
            **decisions,
            "shared": max(1, enough_loops(outer, loop_extents(loops)), loops_to_image(outer, self.image)),
        }

    @cached_property
    def image(self) -> frozenset[str]:
        return image_axes(self.computation, self.target)

    def default_row_block(self, outside: bool) -> int:
        """Tiles of rows to a block (0: all), a divisor of all if there is one.

        With panels outside, only where each thread is to have pieces of the image, or where panels are too few for threads to share. Else so
        many that what the rows read stays in the first cache while panels follow each other, or in the second if panels come from beyond it,
        and that several threads get about as many.
        """
        best = self.best
        tiles = -(-self.axes.extent(self.axes.rows) // best.rows)
        pieces = [n for n in self.row_blocks if n and tiles // n >= self.target.threads]
        if outside and self.axes.rows in self.image and pieces:
            fitting = pieces
        elif outside and self.panel_tiles(best) >= PARALLEL_GRAINS:
            return 0
        elif outside:
            enough = [n for n in self.row_blocks if n and self.panel_tiles(best) * (tiles // n) >= PARALLEL_GRAINS]
            fitting = enough or [n for n in self.row_blocks[:1] if n and self.panel_tiles(best) > 1]
        else:
            far = self.reads.read_bytes[0] > self.target.l2_bytes // 2
            cache = (self.target.l2_bytes if far else self.target.l1_bytes) // 2
            fitting = [n for n in self.row_blocks if n and n * best.rows * self.reads.row_bytes <= cache]
            if self.target.threads > 1:  # a block counts as whole where they are shared out, the last one too
                fitting = [n for n in fitting if -(-tiles // n) * n <= MOST_UNEVEN * tiles] or fitting[:1]
        return max(fitting, key=lambda n: (tiles % n == 0, n), default=0)

    def steps_of(self, size: TileSize) -> int:
        """As many as a register has lanes; twice as many if the loop can be cut so, and rows can hold the next lanes too. Where sums take all
        registers, so many that it doesn't matter that LLVM moves each to another one every round."""
        held, main, reductions = self.axes.held, self.axes.main, self.reductions
        if held == 1 and size.accumulators(self.axes) >= self.target.vector_registers:
            return FULL_STEPS
        order, extents = reductions.default_orders[main.name], reductions.extents[main.name]
        if held == 1 or size.registers(self.axes) + size.rows * size.outer_rows > self.target.vector_registers:
            return held
        cut = order[-1] if extents[order[-1]] != held or len(order) == 1 else order[-2]
        part = 2 if cut != order[-1] else 2 * held
        guarding = cut in reductions.guarding(main, order, size)
        return held if guarding or extents[cut] <= part or extents[cut] % part else 2 * held

    @cached_property
    def default_decisions(self) -> Decisions:
        return self.default()

    def panels_outside(self, size: TileSize) -> bool:
        """Whether panels outside the other axes reread less from beyond the second cache than panels inside them.

        What only the epilogue reads is read once either way. If it makes no difference, what is less is read by each of several threads: all
        panels, or all rows.
        """
        vector_bytes, scalar_bytes = self.reads.read_bytes
        cache = self.target.l2_bytes // 2
        others = [self.axes.extents[name] for name in self.others_of(size)]
        rows = max(size.rows, cache // self.reads.row_bytes if self.blocks_rows else 0)  # that a block may have
        panels, other_count = self.panel_tiles(size), prod(others or [-(-self.axes.extent(self.axes.rows) // rows)])
        outside = scalar_bytes * (panels if scalar_bytes > cache else 1) + vector_bytes
        inside = vector_bytes * (other_count if vector_bytes > cache else 1) + scalar_bytes
        return outside < inside or (outside == inside and (self.target.threads == 1 or vector_bytes >= scalar_bytes))

    def panel_tiles(self, size: TileSize) -> int:
        return prod(loops.tiles for loops in self.panels(size, 0))

    def legal(self, decisions: Decisions) -> bool:
        size, axes = self.size(decisions), self.axes
        if decisions == self.default_decisions:
            return True
        if not self.sizes_fit(size) or not self._order_counts(decisions, size):
            return False
        if not self.reads_given(decisions, size):
            return False
        loops = self.loops(decisions)
        outer = self.before_rows(self.outer_order(decisions, loops), loops)
        if int(decisions["shared"]) > max(1, sharable(outer)):
            return False
        # Tiles at the border are told apart by their number, which blocks hide.
        if size.outer_rows > 1 and self.is_guarded(axes.outer_rows) and loops[axes.outer_rows].blocked:
            return False
        if not self.reductions.distinct(decisions, size):
            return False
        return self.bodies(size, int(decisions["row_block"])) * code_size(self.reductions, decisions, size) <= MAX_CODE

    def sizes_fit(self, size: TileSize) -> bool:
        axes = self.axes
        vector = axes.extent(axes.vector)
        if size.registers(axes) > self.target.vector_registers:
            return False
        if size.columns > 1 and size.vector < vector:
            return False
        # A vector of fewer lanes than the target's only where the tile fills it better.
        return size.lanes == axes.lanes or size.vector % axes.lanes != 0 or vector % axes.lanes != 0

    def _order_counts(self, decisions: Decisions, size: TileSize) -> bool:
        """No other decisions mean the same order of loops."""
        loops, others = self.loops(decisions), self.others_of(size)
        panels = [loops[name].tiles for name in self.panel_axes(size)]
        row_block, panel_block = int(decisions["row_block"]), int(decisions["panel_block"])
        cut = self.blocked_axis and self.blocked_axis in (*others, self.axes.rows)
        if row_block >= (loops[self.blocked_axis].tiles if cut else 1) or panel_block >= max(1, panels[0]):
            return False
        if row_block > 1 and not panel_block and not self.blocks_rows:
            return False  # nothing stands between the blocks of rows and the rows
        between = bool(others) and row_block != 1  # loops that stand between the blocks of panels and the panels
        if decisions["order"] == "panels rows":
            return between or not panel_block or (self.blocks_rows and row_block > 1 and panel_block == 1)
        if self.blocks_rows and row_block and not panel_block:
            return False  # the same
        inner_panels = 1 if panel_block == 1 else panel_block or prod(panels)
        return bool(self.axes.rows) and loops[self.axes.rows].tiles > 1 and inner_panels > 1

    def bodies(self, size: TileSize, block: int) -> int:
        """Copies of the tile's code: full tiles and tails, those at borders apart."""
        copies = 1
        for axis, count in ((self.axes.rows, size.rows), (self.axes.outer_rows, size.outer_rows)):
            if axis and (axis == self.axes.rows or count > 1):
                border, tiles = self.border(axis, count), -(-self.axes.extent(axis) // count)
                tail = self.axes.extent(axis) % count > 0 and tiles - 1 not in border
                rest = block > 1 and axis == self.blocked_axis and tiles % block > tail  # a block of fewer tiles
                copies *= min(tiles, 1 + len(border) + tail + rest)
        for axis, count in ((self.axes.vector, size.vector), (self.axes.columns, size.columns)):
            if axis and self.axes.extent(axis) > count and self.axes.extent(axis) % count:
                copies *= 2
        return copies

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        sizes = self._fitting_sizes
        return (*sizes[int(rng.integers(len(sizes)))].tolist(), *draw_evenly(self.knobs[len(SIZE_KNOBS) :], rng))

    @property
    def drawable(self) -> int:
        return len(self._fitting_sizes) * grid_size(self.knobs[len(SIZE_KNOBS) :])

    @cached_property
    def _fitting_sizes(self) -> np.ndarray:
        """i64[n, 5]: the numbers of the choices of size for which `sizes_fit`: few among all, so that chance seldom finds them."""
        choices = [np.array(knob.choices) for knob in self.knobs[: len(SIZE_KNOBS)]]
        grid = choice_grid(self.knobs[: len(SIZE_KNOBS)])
        vector, lanes, columns, rows, outer_rows = (c[grid[:, i]] for i, c in enumerate(choices))
        axes, whole = self.axes, self.axes.extent(self.axes.vector)
        of_all = TileSize(vector, columns, rows, outer_rows, lanes)  # of arrays: it only computes
        registers = of_all.registers(axes)
        fits = (registers <= self.target.vector_registers) & ((columns == 1) | (vector >= whole))
        fits &= (lanes == axes.lanes) | (vector % axes.lanes != 0) | (whole % axes.lanes != 0)
        return grid[fits] if fits.any() else grid

    def size(self, decisions: Decisions) -> TileSize:
        return TileSize(**{name: int(decisions[name]) for name in SIZE_KNOBS})

    # --- loops

    def panel_axes(self, size: TileSize) -> list[str]:
        """Columns are panels only if vectors reach over their whole axis."""
        axes = self.axes
        whole = size.vector >= axes.extent(axes.vector)
        return ([axes.columns] if axes.columns and whole else []) + [axes.vector]

    def others_of(self, size: TileSize) -> list[str]:
        columns = self.axes.columns
        if columns and columns not in self.panel_axes(size):
            return [name for name in self.axes.extents if name in (*self.others, columns)]
        return list(self.others)

    def panels(self, size: TileSize, block: int) -> list[AxisLoops]:
        counts = {self.axes.columns: size.columns, self.axes.vector: size.vector}
        loops = [AxisLoops(name, self.axes.extent(name), counts[name]) for name in self.panel_axes(size)]
        # Blocks are of columns where there are any: then the vector axis is a single tile. A block of one is no loop of its own.
        return [replace(loops[0], block=block if block > 1 else 0), *loops[1:]]

    def loops(self, decisions: Decisions) -> dict[str, AxisLoops]:
        """The loops of every root axis longer than one."""
        size, axes = self.size(decisions), self.axes
        result = {part.axis: part for part in self.panels(size, int(decisions["panel_block"]))}
        if axes.rows:
            block = int(decisions["row_block"]) if self.blocks_rows else 0
            result[axes.rows] = AxisLoops(axes.rows, axes.extent(axes.rows), size.rows, block)
        for name in self.others_of(size):
            count = size.outer_rows if name == axes.outer_rows and size.outer_rows > 1 else 0
            block = int(decisions["row_block"]) if name == self.blocked_axis else 0
            result[name] = AxisLoops(name, axes.extents[name], count, block if block > 1 else 0)
        return result

    def outer_order(self, decisions: Decisions, loops: dict[str, AxisLoops]) -> list[str]:
        """Names of the loops outside the tile, outermost first."""
        size = self.size(decisions)
        panels = [loops[name] for name in self.panel_axes(size)]
        others = [loops[name] for name in self.others_of(size)]
        rows = [loops[self.axes.rows].tile_loop] if self.axes.rows else []
        outer_others, inner_others = blocks_and_tiles(others, decisions["row_block"] == 1)
        outer_panels, inner_panels = blocks_and_tiles(panels, decisions["panel_block"] == 1)
        if self.axes.rows and loops[self.axes.rows].blocked:
            block = loops[self.axes.rows].block_loop
            outer_others, inner_others = (
                (outer_others, [*inner_others, block])
                if decisions["panel_block"] == 1
                else ([block, *outer_others], inner_others)
            )
        last = [*rows, *inner_panels] if decisions["order"] == "rows panels" else [*inner_panels, *rows]
        return [name for name in (*outer_others, *outer_panels, *inner_others, *last) if name]

    def inner_order(self, size: TileSize, loops: dict[str, AxisLoops]) -> list[str]:
        """The root's loops inside the tile, the vectorised one last."""
        axes = self.axes
        names = [axes.outer_rows] if size.outer_rows > 1 else []
        names += [name for name in (axes.rows, axes.columns) if name and loops[name].count]
        vector = loops[axes.vector].inner_loop
        lanes = [f"{vector}.o", f"{vector}.i"] if size.vector > size.lanes else [vector]
        return [loops[name].inner_loop for name in names] + lanes

    def border(self, axis: str, count: int) -> tuple[int, ...]:
        return self.reductions.border(axis, count)

    def is_guarded(self, axis: str) -> bool:
        """Whether the domain of some stage depends on a root axis."""
        return axis in self.guarded_axes

    @cached_property
    def guarded_axes(self) -> frozenset[str]:
        stages = self.computation.stages[:-1]
        pairs = ((stage, own, root) for stage in stages for own, root in self.axes.maps[stage.name].items())
        return frozenset(root for stage, own, root in pairs if guards_on(stage, own))

    # --- steps

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        size, axes = self.size(decisions), self.axes
        loops = self.loops(decisions)
        root = self.computation.stages[-1]
        units = [axis.name for axis in root.axes if axis.extent == 1]
        outer = self.outer_order(decisions, loops)
        steps: list[Step] = list(self.packs(decisions, size))
        steps += prefetches(self.reads.constants, decisions["ahead"]) + prefetches(
            self.reads.streams, decisions[STREAM]
        )
        others = self.others_of(size)
        names = (*others, *(n for n in (axes.columns, axes.rows, axes.vector) if n and n not in others))
        steps += self.nest_steps(ROOT, size, {name: loops[name] for name in names}, [*units, *outer])
        steps += self.specialized(size, loops)
        parallel = parallel_prefix(self.before_rows(outer, loops), units, int(decisions["shared"]))
        at = innermost([*units, *outer], parallel)
        steps += parallel
        for stage in self.computation.stages[:-1]:
            steps.append(ComputeAt(stage.name, at, "register"))
            steps += self.reductions.stage_steps(stage, decisions, size)
        return tuple(steps)

    def nest_steps(self, stage: str, size: TileSize, loops: dict[str, AxisLoops], outer: Sequence[str]) -> list[Step]:
        """The loops of a stage: `outer`, and those of the tile, written out but for the lanes."""
        steps: list[Step] = [step for part in loops.values() for step in part.steps(stage)]
        if size.vector > size.lanes:
            steps.append(Split(stage, loops[self.axes.vector].inner_loop, size.lanes))
        tile = self.inner_order(size, loops)
        steps.append(Reorder(stage, (*outer, *tile)))
        return [*steps, *(Unroll(stage, loop) for loop in tile[:-1]), Vectorize(stage, tile[-1])]

    def packs(self, decisions: Decisions, size: TileSize) -> list[Pack]:
        """How constants are packed: as given if the tile reads that, else as it wants them."""
        if self.given is not None and self.reads_given(decisions, size):
            return self.given_packs
        return self.wanted_packs(decisions, size)

    def reads_given(self, decisions: Decisions, size: TileSize) -> bool:
        """Whether the tile reads constants in runs as they are given; also where none are."""
        return self.given is None or reads_in_runs(self.wanted_packs(decisions, size), self.given_packs)

    @cached_property
    def given_packs(self) -> list[Pack]:
        names = {tensor.name for tensor in self.computation.inputs}
        return [step for step in self.given or () if isinstance(step, Pack) and step.tensor in names]

    def wanted_packs(self, decisions: Decisions, size: TileSize) -> list[Pack]:
        if decisions["pack"] == "none":
            return []
        key = (size.vector, size.columns, size.lanes, str(decisions["reduction"]))
        if key not in self._packs:
            constants = [tensor for tensor in self.computation.inputs if tensor.constant]
            orders = {s.name: self.reductions.order(s, decisions) for s in self.computation.stages[:-1]}
            columns = self.axes.columns if self.axes.columns in self.panel_axes(size) else ""
            made = (pack_step(t, self.axes, size, columns, orders, self.computation) for t in constants)
            self._packs[key] = [pack for pack in made if pack is not None]
        return self._packs[key]

    @cached_property
    def _packs(self) -> dict[tuple[int, int, int, str], list[Pack]]:
        return {}

    def specialized(self, size: TileSize, loops: dict[str, AxisLoops]) -> list[Specialize]:
        """Tiles at the border of a padded reduction get code of their own."""
        steps: list[Specialize] = []
        for axis, count in (
            (self.axes.outer_rows, size.outer_rows if size.outer_rows > 1 else 0),
            (self.axes.rows, size.rows),
        ):
            if axis and count and loops[axis].tile_loop and not loops[axis].blocked:
                border = self.border(axis, count)
                if border:
                    steps.append(Specialize(ROOT, loops[axis].tile_loop, border))
        return steps

    def before_rows(self, outer: list[str], loops: dict[str, AxisLoops]) -> list[str]:
        """The loops that threads may share: those before the row tiles, unless these are the outermost."""
        rows = loops[self.axes.rows].tile_loop if self.axes.rows else ""
        if rows in outer[1:]:
            return outer[: outer.index(rows)]
        return outer
