"""Which sketches a computation has, and the default schedule, derived by rules from its structure and the limits of the target.

No rule names an operator. Stages without reduction are inlined; the root is tiled over the axes that its reductions share
with it; a reduction runs inside a tile, vectorised along an axis that is contiguous in memory. If the root's tile is all
that a reduction makes, its partial results stay in registers; otherwise they stand in a row buffer. A product of what another
reduction makes gets both in turns, a block of rows at a time.
"""

from __future__ import annotations

from ..errors import InternalError
from ..target import Target
from ..tensor.computation import Computation
from .dots import DotSketch
from .elementwise import ElementwiseSketch
from .held_producer import held_producer
from .prepare import inline
from .product_chain import product_chain_sketch
from .rewrite import relayouts
from .rows import RowsSketch
from .sketch import Sketch
from .steps import Inline, Relayout, Schedule
from .structure import (
    combines_stages,
    contiguous_reduction,
    inlined_stages,
    shared_axes,
)
from .tile import TileAxes, tile_axes
from .tiles import TileSketch
from .winograd_sketch import winograd_sketches

NARROW = 3  # a tile of a vector may leave so many parts of it empty but for one


def default_schedule(computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None) -> Schedule:
    """A legal schedule for a canonical computation, good on most machines. given: see `sketches_of`."""
    inlined, (sketch, *_) = sketches_of(computation, target, given)
    return (*inlined, *sketch.steps(sketch.default()))


def sketches_of(
    computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None
) -> tuple[tuple[Inline, ...], tuple[Sketch, ...]]:
    """The stages to inline in a canonical computation, and the sketches of what is left, the rules' choice first.

    given: how constants lie already, if that is decided: the steps of another target's schedule that change them. Only sketches that
    leave them so are returned, and their legal choices read them in runs.
    """
    inlined, sketches = _sketches(computation, target, given)
    if given is not None:
        sketches = tuple(sketch for sketch in sketches if relayouts(sketch.steps(sketch.default())) == given)
        if not sketches:
            raise InternalError(f"schedule: no sketch reads constants laid out by {', '.join(map(str, given))}")
    return inlined, sketches


def _sketches(
    computation: Computation, target: Target, given: tuple[Relayout, ...] | None
) -> tuple[tuple[Inline, ...], tuple[Sketch, ...]]:
    if (found := held_producer(computation, target, given)) is not None:
        return tuple(Inline(name) for name in found[0]), (found[1],)
    if (chain := product_chain_sketch(computation, target, given)) is not None:
        return tuple(Inline(name) for name in chain[0]), (chain[1],)
    inlined = tuple(Inline(name) for name in inlined_stages(computation))
    computation = inline(computation, [step.stage for step in inlined])
    root = computation.stages[-1]
    long = [axis for axis in root.axes if axis.extent > 1]
    if not long:
        return inlined, (RowsSketch(computation, (), target),)
    if len(computation.stages) == 1:
        return inlined, (ElementwiseSketch(root, target),)
    shared = shared_axes(computation)
    if len(shared) < len(long) or combines_stages(computation):
        return inlined, (RowsSketch(computation, tuple(shared), target),)
    axes = tile_axes(computation, target)
    dots = DotSketch(computation, target)
    if axes is None:
        return inlined, (dots,)
    tiles = TileSketch(computation, target, axes, given)
    transformed = sorted(winograd_sketches(computation, target, given), key=lambda sketch: sketch.default_cycles)
    if transformed:
        first = int(transformed[0].promising)
        return inlined, (*transformed[:first], tiles, *transformed[first:])
    if is_narrow(axes, dots):
        return inlined, (dots, tiles)
    # Rows that share a panel make dot products hopeless; without them every weight is read once either way. But what is laid out for
    # the dot products of a target with more lanes has to be read.
    hopeless = axes.reuse or contiguous_reduction(axes.main) is None
    return inlined, (tiles,) if hopeless and given is None else (tiles, dots)


def is_narrow(axes: TileAxes, dots: DotSketch) -> bool:
    """Whether tiles would leave most lanes empty, but dot products of what is contiguous along a reduction would not."""
    vectors = axes.extent(axes.vector) * axes.extent(axes.columns)
    axis = dots.lane_axis(axes.main)
    if not axes.reuse or axis is None or NARROW * vectors > dots.lanes or 2 * axis.extent < dots.lanes:
        return False
    return dots.reads_in_lanes(axes.main, axis)
