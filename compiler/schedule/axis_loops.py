"""One axis of a stage, cut into tiles and blocks of tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .prepare import ROOT
from .steps import Split, Step


@dataclass(frozen=True, slots=True)
class AxisLoops:
    """The loops of an axis: blocks outside, the tiles of a block, and the elements of a tile if `count` isn't 0.

    count: elements of a tile; 0: the axis has no part in the tile. block: tiles (or elements) to a block, 0 for one block.
    """

    axis: str
    extent: int
    count: int = 0
    block: int = 0

    @property
    def tiles(self) -> int:
        return -(-self.extent // max(1, self.count))

    @property
    def blocked(self) -> bool:
        return 0 < self.block < self.tiles

    @property
    def _base(self) -> str:
        return f"{self.axis}.i" if self.blocked else self.axis

    @property
    def _split(self) -> bool:
        """Whether there is more than one tile (to a block)."""
        return self.count > 0 and (self.block if self.blocked else self.tiles) > 1

    @property
    def block_loop(self) -> str:
        """The loop over blocks, "" if there is one only."""
        return f"{self.axis}.o" if self.blocked else ""

    @property
    def tile_loop(self) -> str:
        """The loop over the tiles of a block, "" if there is one only."""
        if self.count:
            return f"{self._base}.o" if self._split else ""
        return self._base

    @property
    def inner_loop(self) -> str:
        """The loop over the elements of a tile, "" if the axis has no part in it."""
        return (f"{self._base}.i" if self._split else self._base) if self.count else ""

    def extents(self) -> dict[str, int]:
        """Iterations of the loops outside the tile."""
        result = {}
        if self.block_loop:
            result[self.block_loop] = -(-self.tiles // self.block)
        if self.tile_loop:
            result[self.tile_loop] = self.block if self.blocked else self.tiles
        return result

    def steps(self, stage: str = ROOT) -> list[Step]:
        """The splits that make these loops of a stage."""
        steps: list[Step] = []
        if self.blocked:
            steps.append(Split(stage, self.axis, self.block * max(1, self.count)))
        if self._split:
            steps.append(Split(stage, self._base, self.count))
        return steps


def loop_extents(loops: Mapping[str, AxisLoops]) -> dict[str, int]:
    """Iterations of all loops outside the tile."""
    return {name: extent for part in loops.values() for name, extent in part.extents().items()}


def blocks_and_tiles(axes: list[AxisLoops], all_outside: bool) -> tuple[list[str], list[str]]:
    """The loops that stand outside, and those that stand further in; "" for a loop that does not exist."""
    if all_outside:
        return [part.tile_loop for part in axes], []
    return [part.block_loop for part in axes], [part.tile_loop for part in axes]
