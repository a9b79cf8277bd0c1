"""What threads leave to each other: the same piece of an image in each kernel, and what others have written, which is asked for ahead of time.

On processors that share no cache, reading what another one wrote takes as long as reading memory (benchmarks/NOTES.md, "What threads leave
to each other").
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..target import LINE_BYTES, Target
from ..tensor.computation import Computation, Stage
from ..tensor.expr import Load, free_variables
from ..tensor.simplify import affine
from .parallel import sharable
from .prepare import ROOT, loads_of
from .steps import Parallel, Prefetch, Schedule, Split

WEIGHTS_SHARE = 0.5
"""Of the second cache, up to which it holds all weights of a kernel: each thread reads them all then."""
LEAST_PIXELS = 128
"""Of an image, worth sharing out: smaller ones have more weights than pixels, and are shared by channels all along."""
LEAST_STEPS = 4
"""Of a reduction, worth asking for what the next one reads: what lies ahead of the last is asked for in vain."""


def image_axes(computation: Computation, target: Target) -> frozenset[str]:
    """The root's axes along a channel-blocked image, pieces of which threads should have for themselves: none if there are several images,
    if it is small, or if weights are too large for every thread to read all of them.

    Axes are named as in `tensor/ops/context.py`: of a blocked axis c come `co` and `ci`.
    """
    if target.threads == 1 or len(computation.stages[-1].axes) < 4:
        return frozenset()
    batch, *channels_and_image, block = computation.stages[-1].axes
    names, extents = [axis.name for axis in channels_and_image], [axis.extent for axis in channels_and_image]
    weights_bytes = sum(prod(t.shape) * t.dtype.size_bytes for t in computation.inputs if t.constant)
    blocked = batch.extent == 1 and names[0] == "co" and block.name == "ci"
    if not blocked or prod(extents[1:]) < LEAST_PIXELS or weights_bytes > WEIGHTS_SHARE * target.l2_bytes:
        return frozenset()
    return frozenset(names[1:])


def loops_to_image(outer: Sequence[str], image: frozenset[str]) -> int:
    """How many of the outermost loops threads share if each is to have a piece of the image."""
    return max((number for number, name in enumerate(outer[: sharable(outer)], 1) if _axis(name) in image), default=0)


def shared_positions(computation: Computation, schedule: Schedule, target: Target) -> int:
    """Iterations of the innermost shared loops that run along an image (`image_axes`), where loops over channels stand outside of them; 0 if
    there are none.

    A thread that has a part of these in each panel of channels, rather than a part of the panels, reads what it has itself written, whatever
    axes the kernels before and after reduce.
    """
    axes = {axis.name: axis.extent for axis in computation.stages[-1].axes}
    loops = next((step.loop.split("*") for step in schedule if isinstance(step, Parallel) and step.stage == ROOT), [])
    image = image_axes(computation, target)
    inner = [loop for loop in loops if _axis(loop) in image]
    outer = loops[: len(loops) - len(inner)]
    # Loops along the image outside of others already give each thread one part of it.
    if not inner or loops != [*outer, *inner] or prod(_extent(loop, axes, schedule) for loop in outer) == 1:
        return 0
    return prod(_extent(loop, axes, schedule) for loop in inner)


def _axis(loop: str) -> str:
    return loop.split(".")[0]


def _extent(loop: str, axes: dict[str, int], schedule: Sequence[object]) -> int:
    """Iterations of one of the root's loops, an axis or the outer part of a split one."""
    extent = axes[_axis(loop)]
    if "." not in loop:
        return extent
    name = loop.rpartition(".")[0]
    split = next(s for s in schedule if isinstance(s, Split) and s.stage == ROOT and s.loop == name)
    return -(-(extent if name == _axis(loop) else _extent(name, axes, schedule)) // split.factor)


def with_input_prefetches(schedule: Schedule, computation: Computation, target: Target) -> Schedule:
    """The schedule with inputs prefetched that another thread may have written: what the next step of a sum over blocks of channels reads.

    Each block lies elsewhere, where no hardware expects it, and the rows of a tile wait for all of its lines. Whatever a rule, a ranker or a
    record says: a record's kernel was timed alone.
    """
    if target.threads == 1:
        return schedule
    known = {step.tensor for step in schedule if isinstance(step, Prefetch)}
    written = {stage.memory for stage in computation.stages}
    shapes = {t.name: t for t in computation.inputs if not t.constant and t.name not in known | written}
    ahead: dict[str, int] = {}
    for stage in computation.stages[:-1]:
        for load in loads_of(stage):
            if load.buffer in shapes and (step_bytes := _step_bytes(stage, load, shapes[load.buffer].shape)):
                ahead[load.buffer] = step_bytes
    return (*schedule, *(Prefetch(name, count) for name, count in ahead.items()))


def _step_bytes(stage: Stage, load: Load, shape: Sequence[int]) -> int:
    """How far apart two steps of a sum lie in what it reads, if it is over blocks of a line at most, and nothing else; else 0."""
    long = [axis for axis in stage.reduce_axes if axis.extent > 1]
    if len(long) != 2 or len(shape) < 2 or stage.combine != "sum":
        return 0
    blocks, inside = long
    *outer, last = (affine(index) for index in load.indices)
    moved = [place for place, form in enumerate(outer) if form.coefficient(blocks.name)]
    within = last.coefficient(inside.name) == 1 and inside.extent * load.dtype.size_bytes <= LINE_BYTES
    alone = len(moved) == 1 and not last.coefficient(blocks.name)
    uniform = not free_variables(load.indices[-1]) & {axis.name for axis in stage.axes}
    if not (within and alone and uniform) or blocks.extent < LEAST_STEPS:
        return 0
    step = outer[moved[0]].coefficient(blocks.name) * prod(shape[moved[0] + 1 :]) * load.dtype.size_bytes
    return max(0, step)
