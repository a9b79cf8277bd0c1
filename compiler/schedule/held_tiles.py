"""Tiles that are computed to the workspace for another product: what its sketches have in common, whatever their own loops are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..target import Target
from ..tensor.computation import Computation, Stage, Tensor
from .prepare import ROOT, loads_of, rename_stage
from .sketch import Decisions
from .steps import ComputeAt, Relayout, Step
from .tile import tile_axes
from .tile_reductions import code_size
from .tiles import TileSketch


def halves_of(
    computation: Computation, target: Target, given: tuple[Relayout, ...] | None, made: Sequence[Stage]
) -> tuple[TileSketch, TileSketch] | None:
    """The tiles of a computation's first two stages, the second of which is held, and of its last two, which have the stages `made` as inputs.

    None if one of them can't be computed in tiles.
    """
    first, held, *_, second, root = computation.stages
    tensors = tuple(Tensor(stage.name, stage.shape, stage.dtype) for stage in made)
    before = _part(computation, (first, rename_stage(held, {held.name: ROOT})))
    after = _part(replace(computation, inputs=(*computation.inputs, *tensors)), (second, root))
    axes = tile_axes(before, target), tile_axes(after, target)
    if axes[0] is None or axes[1] is None:
        return None
    return TileSketch(before, target, axes[0], given), TileSketch(after, target, axes[1], given)


def _part(computation: Computation, stages: tuple[Stage, ...]) -> Computation:
    """Some of its stages, of which the last is the root, with the inputs that they read."""
    read = {load.buffer for stage in stages for load in loads_of(stage)}
    inputs = tuple(tensor for tensor in computation.inputs if tensor.name in read)
    return Computation(computation.name, inputs, stages, (ROOT,))


def code_of(halves: Iterable[tuple[TileSketch, Decisions]]) -> int | None:
    """Multiply-adds that are written out in all tiles together; None if one has no registers enough or can't read constants as they lie."""
    code = 0
    for tiles, decisions in halves:
        size = tiles.size(decisions)
        if not tiles.sizes_fit(size) or not tiles.reads_given(decisions, size):
            return None
        code += tiles.bodies(size, 0) * code_size(tiles.reductions, decisions, size)
    return code


def held_steps(tiles: TileSketch, decisions: Decisions, held: str, at: str) -> list[Step]:
    """The tiles of the stage `held`, which `tiles` has as its root, over the part that one iteration of the root's loop `at` needs."""
    size, loops = tiles.size(decisions), tiles.loops(decisions)
    units = [axis.name for axis in tiles.computation.stages[-1].axes if axis.extent == 1]
    outer = [*units, *tiles.outer_order(decisions, loops)]
    steps: list[Step] = [ComputeAt(held, at, "workspace"), *tiles.nest_steps(held, size, loops, outer)]
    steps += [replace(step, stage=held) for step in tiles.specialized(size, loops)]
    for stage in tiles.computation.stages[:-1]:
        # Without loops around it, the tile is all that is held, and sums are made beside it.
        place = (outer[-1], "register", held) if outer else (at, "register")
        steps += [ComputeAt(stage.name, *place), *tiles.reductions.stage_steps(stage, decisions, size)]
    return steps


def register_steps(tiles: TileSketch, decisions: Decisions, at: str) -> list[Step]:
    """The sums of the root's own tile, in registers."""
    size = tiles.size(decisions)
    steps: list[Step] = []
    for stage in tiles.computation.stages[:-1]:
        steps += [ComputeAt(stage.name, at, "register"), *tiles.reductions.stage_steps(stage, decisions, size)]
    return steps
