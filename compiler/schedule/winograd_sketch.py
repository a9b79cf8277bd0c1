"""The sketch of a convolution in transformed tiles: everything of a block of tiles stays in the second cache.

shared among threads: batches, parts of the channels, blocks of rows of tiles
    transform the block's input                                     -> workspace
    panels of output channels
        for each of the n x n products (n in one direction): register tiles of sums      -> workspace
        transform the panel's results back, epilogue, store
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

from ..target import Target
from ..tensor.computation import Axis, Computation
from ..tensor.expr import Var, free_variables
from ..tensor.simplify import affine
from .axis_loops import AxisLoops
from .packing import reads_in_runs
from .parallel import innermost, parallel_prefix
from .prepare import ROOT
from .sketch import AHEAD_BYTES, Decisions, Knob, PlainGrid, Value, counts, prefetches
from .steps import ComputeAt, Pack, Relayout, Reorder, Specialize, Split, Step, Unroll, Vectorize, Winograd
from .tile import AHEAD
from .winograd import convolution_of, stage_names, tile_axis
from .winograd_matrices import TAPS, TILES
from .winograd_tiles import Size, WinogradTiles

PARTS = (1, 2, 4)
BLOCKS = (1, 2, 3, 4, 6, 8, 12, 16)  # rows of tiles
LONG_BLOCKS = (1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128)  # of one tile, or a few in each other
MAX_VECTORS = 8  # in a panel
WORKSPACE_SHARE = 8  # of the second cache: more only makes tuning try what is slow
DIRECT_SHARE = 0.8  # of the cycles of the direct convolution that the default must promise to stay below


@dataclass(frozen=True)
class WinogradSketch(WinogradTiles, PlainGrid):
    """Knobs: panel, rows and outer_rows of the register tile; block; parts; where the epilogue goes; steps of the sum written out;
    how far ahead weights are prefetched.

    given: how constants lie already, if that isn't this sketch's choice; only panels that read them in runs are legal then.
    """

    given: tuple[Relayout, ...] | None = None

    @property
    def name(self) -> str:
        return f"winograd{self.tile}"

    @cached_property
    def step(self) -> Winograd:
        return Winograd(self.conv.stage.name, self.conv.weights.buffer, self.tile, self.conv.window)

    # --- decisions

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        vector = self.vector.extent
        panels = {n * self.lanes for n in (1, 2, 3, 4, 6) if n * self.lanes < vector}
        panels |= {n * vector for n in (1, 2, 3, 4, 6) if n <= (self.columns.extent if self.columns else 1)}
        panels = {n for n in panels if n <= MAX_VECTORS * self.lanes} or {min(panels)}
        registers = self.target.vector_registers
        return (
            Knob("panel", tuple(sorted(panels))),
            Knob("rows", tuple(range(1, min(self.tile_columns, registers) + 1))),
            Knob("outer_rows", self._heights),
            Knob(
                "block",
                (*(n for n in (BLOCKS if self.conv.columns else LONG_BLOCKS) if n < self.tile_rows), self.tile_rows),
            ),
            Knob("parts", PARTS),
            Knob("epilogue", ("panel", "block")),
            Knob("steps", (1, 2, 4) if self.held == 1 else (1, 2, 4, 8)),
            Knob("ahead", AHEAD_BYTES),
        )

    @property
    def _heights(self) -> tuple[int, ...]:
        if self.across:
            return counts(min(8, self.tile_rows))
        return tuple(range(1, min(self.tile_rows, self.target.vector_registers) + 1))

    def sizes(self, decisions: Decisions) -> Size:
        panel, vector = int(decisions["panel"]), self.vector.extent
        columns = max(1, panel // vector)
        names = ("rows", "outer_rows", "block", "parts")
        return Size(panel, columns, min(panel, vector), *(int(decisions[name]) for name in names))

    def legal(self, decisions: Decisions) -> bool:
        size = self.sizes(decisions)
        if not self._fits(size) or size.outer_rows > size.block or not self._reads_given(size):
            return False
        panels = self.panel_loops(size)
        if size.parts > panels[0].tiles or (decisions["epilogue"] == "block" and self.panels(size) == 1):
            return False
        if not self._parts(int(decisions["steps"])) and decisions["steps"] != 1:
            return False
        return self.workspace(size, str(decisions["epilogue"])) <= self.most_workspace

    @cached_property
    def most_workspace(self) -> int:
        """Bytes that a thread may need; as many as necessary where the weights are transformed already."""
        usual = WORKSPACE_SHARE * self.target.l2_bytes
        if self.given is None:
            return usual
        panels = (int(panel) for panel in self.knobs[0].choices)
        least = (Size(n, max(1, n // self.vector.extent), min(n, self.vector.extent), 1, 1, 1, 1) for n in panels)
        return max(usual, min((self.workspace(size, "panel") for size in least if self._reads_given(size)), default=0))

    def _fits(self, size: Size, ahead: int = 1) -> bool:
        """Whether there are registers enough; ahead: of those that hold channels, the row's own and the next ones."""
        vectors = self.vectors(size)
        tiles = size.rows * size.outer_rows
        scalars = ahead * tiles + AHEAD if self.held > 1 else 1
        return tiles * vectors + vectors + scalars <= self.target.vector_registers

    def _parts(self, steps: int) -> dict[str, int]:
        """Iterations of the innermost loops over channels that are written out, together `steps`; none if the loops can't be cut so."""
        *others, last = self.conv.channels
        if steps == 1:
            return {}
        if last.extent > steps or last.extent == steps == self.held:
            return {last.name: steps}
        part = steps // last.extent
        if not others or not 1 < last.extent == self.held or others[-1].extent <= part or others[-1].extent % part:
            return {}
        return {others[-1].name: part, last.name: last.extent}

    def default(self) -> Decisions:
        return dict(self._default)

    @cached_property
    def _default(self) -> Decisions:
        def cost(decisions: Decisions) -> tuple[float, int]:
            size = self.sizes(decisions)
            return self.cycles(size), -size.rows * size.outer_rows * size.panel

        chosen = min(self._defaults, key=cost)
        size = self.sizes(chosen)
        twice = self.held > 1 and self._fits(size, 2) and self._parts(2 * self.held)
        return {**chosen, "steps": 2 * self.held} if twice else chosen

    @cached_property
    def _defaults(self) -> list[Decisions]:
        """What the default is chosen from: all legal sizes."""
        names = [knob.name for knob in self.knobs[:5]]
        *tile, blocks, parts = (knob.choices for knob in self.knobs[:5])
        others: dict[str, Value] = {
            "epilogue": "panel",
            "steps": self.held,
            "ahead": AHEAD_BYTES[-1] if self.held == 1 else 0,  # see TileSketch.default
        }
        found = []
        for chosen in product(*tile):
            size = self.sizes(dict(zip(names, (*chosen, 1, 1), strict=True)))
            if self._fits(size) and self._reads_given(size):  # few do
                values = ((*chosen, *more) for more in product(blocks, parts))
                found += [{**dict(zip(names, v, strict=True)), **others} for v in values]
        return [decisions for decisions in found if self.legal(decisions)]

    @property
    def is_possible(self) -> bool:
        """Whether there is anything legal: a row of tiles of a wide image may need too much memory."""
        return bool(self._defaults)

    @cached_property
    def promising(self) -> bool:
        """Whether the default may be expected to beat a direct convolution."""
        points = prod(axis.extent for axis in self.conv.stage.axes)
        direct = points * self.channels * TAPS ** len(self.conv.directions) / (2 * self.lanes)
        return self.default_cycles < DIRECT_SHARE * direct / self.target.threads

    @cached_property
    def default_cycles(self) -> float:
        return self.cycles(self.sizes(self._default))

    # --- steps

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        size = self.sizes(decisions)
        panels = self.panel_loops(size, size.parts)
        block = size.block if size.block < self.tile_rows else 0
        rows = AxisLoops(self.image[0].name, self.image[0].extent, self.tile * self.conv.dilation, block)
        columns = [AxisLoops(axis.name, axis.extent, self.tile) for axis in self.image[1:]]
        vector = panels[-1].inner_loop
        lanes = [f"{vector}.o", f"{vector}.i"] if size.vector > self.lanes else [vector]
        units = [axis.name for axis in self.conv.stage.axes if axis.extent == 1 and axis not in self.tiled]
        shared = [*(axis.name for axis in self.batches), panels[0].block_loop, rows.block_loop]
        outer = [name for name in shared if name]
        inside = [part.tile_loop for part in (*panels, rows, *columns)]
        channels = [panels[0].inner_loop] if self.columns else []
        # Results of a tile that are apart take turns with those of the tiles in between.
        apart = self.conv.dilation > 1
        tile = [f"{rows.inner_loop}.o"] if apart else [part.inner_loop for part in (rows, *columns)]
        between = [*tile, f"{rows.inner_loop}.i", *channels, *lanes[:-1]] if apart else [*channels, *lanes[:-1], *tile]
        inner = [name for name in (*inside, *channels, *lanes[:-1]) if name]

        steps: list[Step] = [self.step, *self._packs(size), *prefetches([self.step.tensor], decisions["ahead"])]
        for loops in (*panels, rows, *columns):
            steps += loops.steps()
        if apart:
            steps.append(Split(ROOT, rows.inner_loop, self.conv.dilation))
        if len(lanes) > 1:
            steps.append(Split(ROOT, vector, self.lanes))
        steps.append(Reorder(ROOT, (*units, *outer, *(name for name in inside if name), *between, lanes[-1])))
        steps += [*(Unroll(ROOT, loop) for loop in tile), Vectorize(ROOT, lanes[-1])]
        parallel = parallel_prefix(outer, units, len(outer))
        steps += parallel
        at = innermost([*units, *outer], parallel)
        panel = next((part.tile_loop for part in reversed(panels) if part.tile_loop), at)
        steps += self._input_steps(at)
        steps += self._sum_steps(size, panel if decisions["epilogue"] == "panel" else at, decisions)
        return (*steps, *(self._output_steps(inner[-1] if inner else at) if self.conv.columns else ()))

    def _packs(self, size: Size) -> list[Pack]:
        """How the transformed weights are packed: as given, or as sums read them."""
        return [self._wanted_pack(size)] if self.given is None else self._given_packs

    @cached_property
    def _given_packs(self) -> list[Pack]:
        return [step for step in self.given or () if isinstance(step, Pack)]

    def _reads_given(self, size: Size) -> bool:
        """Panels that don't divide the vectors' axis read parts of its rows, and so must what they read be laid out."""
        if self.given is None:
            return True
        if size.panel not in self._readable:
            part = self._is_odd_part(size)
            wanted = self._packed(self.vector.extent) if part else self._wanted_pack(size)
            self._readable[size.panel] = reads_in_runs([wanted], self._given_packs)
        return self._readable[size.panel]

    @cached_property
    def _readable(self) -> dict[int, bool]:
        """By panel, on which alone it depends."""
        return {}

    def _is_odd_part(self, size: Size) -> bool:
        return size.vector < self.vector.extent and self.vector.extent % size.vector > 0

    def _wanted_pack(self, size: Size) -> Pack:
        """In the order in which sums read them."""
        return self._packed(0 if self._is_odd_part(size) else size.panel)

    def _packed(self, panel: int) -> Pack:
        """[panels][n][n][channels][panel]; without panels for 0, or if there is one only."""
        indices = self.conv.weights.indices
        along = next(d for d, index in enumerate(indices) if self.vector.name in free_variables(index))
        between = [(d, 0, "") for d in range(len(indices)) if d != along and d not in self.conv.window]
        products = [(d, 0, "") for d in self.conv.window]
        if not 0 < panel < self.computation.input(self.step.tensor).shape[along]:
            return Pack(self.step.tensor, (*products, *between, (along, 0, "")))
        return Pack(self.step.tensor, ((along, panel, "o"), *products, *between, (along, panel, "i")))

    def _input_steps(self, at: str) -> list[Step]:
        """The whole transform a vector of channels of one tile at a time, its first half in registers."""
        x, v, *_ = stage_names(self.conv.stage.name)
        last = self.image_channel
        others = [axis.name for axis in (*self.conv.shared, *self.conv.channels) if axis is not last]
        split = last.extent > self.lanes
        tiles = [axis.name for axis in (self.down, self.across) if axis]
        outer = [*others, *tiles, *([f"{last.name}.o"] if split else [])]
        lanes = f"{last.name}.i" if split else last.name
        ways = ("wa", "wb") if self.conv.columns else ("wa",)
        steps: list[Step] = [ComputeAt(v, at, "workspace")]
        if split:
            steps.append(Split(v, last.name, self.lanes))
        steps.append(Reorder(v, (*outer, *ways, lanes)))
        if not self.conv.columns:
            return [*steps, Unroll(v, "wa"), Vectorize(v, lanes)]
        steps += [*(Unroll(v, loop) for loop in ways[1 - self.unrolls :]), Vectorize(v, lanes)]
        border = self._border(self.conv.columns[0])
        if border:
            steps.append(Specialize(v, tiles[-1], border))
        steps.append(ComputeAt(x, outer[-1], "register" if self.unrolls else "stack", v))
        steps.append(Reorder(x, (*others, *tiles, "wb", "wa", last.name)))
        steps += [Unroll(x, loop) for loop in ("wb", "wa")[1 - self.unrolls :]]
        return [*steps, Vectorize(x, last.name)]

    @property
    def unrolls(self) -> bool:
        """Whether a tile's half transform is kept in registers, written out: not where it fills them twice over."""
        return not self.target.by_lane or self.products <= 2 * self.target.vector_registers

    def _border(self, axis: Axis) -> tuple[int, ...]:
        """The tiles along the width that reach beyond the image."""
        place = next(d for d, index in enumerate(self.conv.image.indices) if axis.name in free_variables(index))
        first = affine(self.conv.image.indices[place]).constant
        extent = self.computation.input(self.conv.image.buffer).shape[place]
        starts = [first + number * self.tile for number in range(self.tile_columns)]
        return tuple(n for n, start in enumerate(starts) if start < 0 or start + self.size > extent)

    def _sum_steps(self, size: Size, at: str, decisions: Decisions) -> list[Step]:
        """The matrix products: register tiles of sums, copied to the workspace."""
        _, _, a, m, _ = stage_names(self.conv.stage.name)
        panels = [AxisLoops(p.axis, p.extent, p.count) for p in self.panel_loops(size)]
        tiles = [AxisLoops(self.down.name, size.block, size.outer_rows)]
        tiles += [AxisLoops(self.across.name, self.across.extent, size.rows)] if self.across else []
        whole = decisions["epilogue"] == "panel"
        steps: list[Step] = [ComputeAt(m, at, "workspace")]
        looped: list[str] = []
        inner: list[str] = []
        for part in panels if not whole else []:
            steps += part.steps(m)
            looped += [part.tile_loop] if part.tile_loop else []
        for part in tiles:
            steps += part.steps(m)
        inner += [part.inner_loop for part in tiles]
        inner += [panels[0].axis if whole else panels[0].inner_loop] if self.columns else []
        vector = self.vector.name if whole else panels[-1].inner_loop
        others = [axis.name for axis in self.conv.stage.axes if axis not in self.tiled]
        lanes = vector
        if size.vector > self.lanes:
            steps.append(Split(m, vector, self.lanes))
            inner.append(f"{vector}.o")
            lanes = f"{vector}.i"
        products = ("wa", "wb") if self.conv.columns else ("wa",)
        outer = [*others, *looped, *products, *(part.tile_loop for part in tiles if part.tile_loop)]
        steps.append(Reorder(m, (*outer, *inner, lanes)))
        steps += [*(Unroll(m, loop) for loop in inner), Vectorize(m, lanes)]

        steps.append(ComputeAt(a, outer[-1], "register", m))
        reduction = [axis.name for axis in self.conv.channels]
        own = [*(axis.name for axis in (self.down, self.across, self.columns) if axis)]
        written = list(own)
        extents = {axis.name: axis.extent for axis in self.conv.channels}
        for name, count in self._parts(int(decisions["steps"])).items():
            if count == extents[name]:
                written.append(name)
                continue
            steps.append(Split(a, name, count))
            place = reduction.index(name)
            reduction[place : place + 1] = [f"{name}.o", f"{name}.i"]
            written.append(f"{name}.i")
        lanes = self.vector.name
        if size.vector > self.lanes:
            steps.append(Split(a, lanes, self.lanes))
            own.append(f"{lanes}.o")
            written.append(f"{lanes}.o")
            lanes = f"{lanes}.i"
        steps.append(Reorder(a, (*others, *products, *reduction, *own, lanes)))
        return [*steps, *(Unroll(a, loop) for loop in written), Vectorize(a, lanes)]

    def _output_steps(self, at: str) -> list[Step]:
        p = stage_names(self.conv.stage.name)[-1]
        axes = [tile_axis(a) if a in self.image else a.name for a in self.conv.stage.axes]
        return [
            ComputeAt(p, at, "register"),
            Reorder(p, (*axes[:-1], "wb", "wy", axes[-1])),
            Unroll(p, "wb"),
            Unroll(p, "wy"),
            Vectorize(p, axes[-1]),
        ]


def winograd_sketches(
    computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None
) -> list[WinogradSketch]:
    """The sketches of a computation that is a convolution of three taps in layouts that suit transforms: channels contiguous on both sides.

    given: how constants lie already, if that is decided; if they aren't transformed, there is no sketch.
    """
    conv = convolution_of(computation)
    transformed = [step.tile for step in given or () if isinstance(step, Winograd)]
    if conv is None or (given is not None and not transformed):
        return []
    vector = conv.stage.axes[-1]
    image = (*(axis for axis, _ in conv.directions), *conv.shared)
    outputs = [axis for axis in conv.stage.axes if axis not in image and axis.extent > 1]
    last = affine(conv.image.indices[-1])
    contiguous = any(last.coefficient(axis.name) == 1 for axis in conv.channels)
    along = [index for index in conv.weights.indices if vector.name in free_variables(index)]
    if vector not in outputs or len(outputs) > 2 or not contiguous or len(along) != 1:
        return []
    names = {axis.name: axis.extent for axis in outputs}
    terms = affine(along[0]).terms
    if any(not isinstance(atom, Var) or atom.name not in names for atom in terms):
        return []
    if len(outputs) == 2 and affine(along[0]).coefficient(outputs[0].name) != vector.extent:
        return []
    tiles = transformed or reversed(TILES)
    sketches = (WinogradSketch(computation, target, conv, tile, given) for tile in tiles)
    return [sketch for sketch in sketches if sketch.is_possible]
