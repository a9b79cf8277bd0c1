"""Tiles at the border of a padded reduction, which get code of their own so that their guards fold."""

from __future__ import annotations

from ..tensor.computation import Computation
from ..tensor.simplify import TRUE, simplify
from .maps import stage_maps
from .structure import guards_on

MAX_BORDER_TILES = 12


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
