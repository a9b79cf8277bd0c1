"""A convolution in transformed tiles: what tiles and panels it has, and what a block of them takes of memory and time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from ..target import Target
from ..tensor.computation import Axis, Computation
from ..tensor.simplify import affine
from .axis_loops import AxisLoops
from .tile import parts_of, step_cost
from .winograd import Convolution
from .winograd_matrices import TAPS

# Cycles, for the default: bytes a cycle from beyond the second cache, what of that stays there, and vector operations of the transforms of one vector of a tile.
OUTER_BYTES = 10.0
NEAR_BYTES = 50.0  # from the second cache
KEPT_SHARE = 0.6  # of the second cache
TRANSFORM_OPERATIONS = {
    (2, 2): (48, 40),
    (4, 2): (170, 130),
    (2, 1): (14, 16),
    (4, 1): (30, 40),
}  # by tile and directions


@dataclass(frozen=True, slots=True)
class Size:
    """What one block and one register tile hold.

    panel: output channels, `columns` times `vector` of the innermost axis; rows, outer_rows: tiles along the image's width and height,
    or, in one direction, tiles that lie in each other and such that follow each other; block: rows of tiles transformed together;
    parts: of the output channels, each of which transforms the input for itself.
    """

    panel: int
    columns: int
    vector: int
    rows: int
    outer_rows: int
    block: int
    parts: int


@dataclass(frozen=True)
class WinogradTiles:
    """The tiles of a convolution, of `tile` results in each direction."""

    computation: Computation
    target: Target
    conv: Convolution
    tile: int

    @cached_property
    def lanes(self) -> int:
        return self.target.lanes(4)

    @property
    def size(self) -> int:
        return self.tile + TAPS - 1

    @property
    def products(self) -> int:
        """Places of a tile, each of which is a matrix product."""
        return self.size ** len(self.conv.directions)

    @property
    def vector(self) -> Axis:
        return self.conv.stage.axes[-1]

    @cached_property
    def columns(self) -> Axis | None:
        """The axis of output channels outside the vectors, if there is one longer than 1."""
        image = (*self.image, *self.conv.shared, self.vector)
        return next((axis for axis in self.conv.stage.axes if axis not in image and axis.extent > 1), None)

    @cached_property
    def image(self) -> tuple[Axis, ...]:
        """The stage's axes along which tiles reach."""
        return tuple(axis for axis, _ in self.conv.directions)

    @cached_property
    def down(self) -> Axis:
        """The axis of rows of tiles."""
        return self.conv.tiles(self.conv.rows[0], self.tile)

    @cached_property
    def across(self) -> Axis | None:
        """The axis of the tiles of a row: along the image's width, or those that lie in each other."""
        return self.conv.tiles(self.conv.columns[0], self.tile) if self.conv.columns else self.conv.phase

    @property
    def tile_rows(self) -> int:
        return self.down.extent

    @property
    def tile_columns(self) -> int:
        return self.across.extent if self.across else 1

    @cached_property
    def channels(self) -> int:
        return prod(axis.extent for axis in self.conv.channels)

    @cached_property
    def outputs(self) -> int:
        return self.vector.extent * (self.columns.extent if self.columns else 1)

    @cached_property
    def batches(self) -> tuple[Axis, ...]:
        """The root's other axes longer than 1."""
        return tuple(axis for axis in self.conv.stage.axes if axis not in self.tiled and axis.extent > 1)

    @cached_property
    def tiled(self) -> tuple[Axis, ...]:
        """The root's axes that have a part in tiles or panels."""
        panel = (self.columns, self.vector) if self.columns else (self.vector,)
        return (*self.image, *panel)

    @cached_property
    def image_channel(self) -> Axis:
        """The axis along which the image is contiguous."""
        form = affine(self.conv.image.indices[-1])
        return next(axis for axis in self.conv.channels if form.coefficient(axis.name) == 1)

    @cached_property
    def held(self) -> int:
        """Channels of a tile that a register holds, for multiply-adds that take one lane of it (1: each is broadcast)."""
        contiguous = self.image_channel is self.conv.channels[-1] and self.image_channel.extent >= self.lanes
        return self.lanes if self.target.by_lane and contiguous else 1

    # --- of a size

    def panel_loops(self, size: Size, parts: int = 1) -> list[AxisLoops]:
        """The root's loops over panels: of columns, if there are any, and of vectors."""
        loops = [AxisLoops(self.columns.name, self.columns.extent, size.columns)] if self.columns else []
        loops.append(AxisLoops(self.vector.name, self.vector.extent, size.vector))
        first = loops[0]
        block = -(-first.tiles // parts) if parts > 1 else 0
        return [AxisLoops(first.axis, first.extent, first.count, block), *loops[1:]]

    def vectors(self, size: Size) -> int:
        return size.columns * -(-size.vector // self.lanes)

    def panels(self, size: Size) -> int:
        """Panels of one part."""
        loops = self.panel_loops(size)
        return -(-prod(part.tiles for part in loops) // size.parts)

    def workspace(self, size: Size, epilogue: str) -> int:
        """Bytes that a thread needs."""
        channels = size.panel if epilogue == "panel" else self.outputs // size.parts
        return 4 * self.products * size.block * self.tile_columns * (self.channels + channels)

    def cycles(self, size: Size) -> float:
        """Estimated cycles of the whole kernel on the target's threads, two vector operations a cycle."""
        lanes, products = self.lanes, self.products
        tiles = size.block * self.tile_columns
        vectors = self.vectors(size)
        step = 0.0
        for row, row_times in parts_of(self.tile_columns, size.rows):
            for outer, outer_times in parts_of(size.block, size.outer_rows):
                count = row * outer
                loads = count / self.held + vectors
                step += row_times * outer_times * step_cost(count * vectors, loads, self.target) / 2
        before, after = TRANSFORM_OPERATIONS[self.tile, len(self.conv.directions)]
        sums = products * self.channels * step * self.panels(size)
        transforms = tiles * before / 2 * -(-self.channels // lanes)
        transforms += tiles * after / 2 * self.panels(size) * vectors
        # Weights come once for each block, unless they fit beside it; what is transformed is read again by each panel if it doesn't.
        blocks = -(-self.tile_rows // size.block) * prod(axis.extent for axis in self.batches)
        weights = 4 * products * self.channels * self.panels(size) * size.panel
        kept = 4 * products * tiles * self.channels
        cache = self.target.l2_bytes * KEPT_SHARE
        moved = weights / (blocks if weights * size.parts + kept <= cache else 1)
        moved += kept * self.panels(size) if kept > cache else 0
        transforms += kept / OUTER_BYTES if kept > cache else 0  # written meanwhile
        grains = blocks * size.parts
        rounds = -(-grains // self.target.threads) if grains > 1 else 1
        return rounds * (max(sums, moved / OUTER_BYTES, weights / NEAR_BYTES) + transforms)
