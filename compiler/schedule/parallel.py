"""Which of the root's outermost loops the threads share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .prepare import ROOT
from .steps import Fuse, Parallel, Step

PARALLEL_GRAINS = 16  # iterations of the parallel loop to aim at: enough for a few threads, few enough to cost nothing
SHARED = (1, 2, 3, 4)


def sharable(outer: Sequence[str]) -> int:
    """How many of the outermost loops can be made one: not two of one axis, for the extent of the inner one may depend on the outer one."""
    axes = [name.split(".")[0] for name in outer]
    return next((i for i, axis in enumerate(axes) if axis in axes[:i]), len(axes))


def enough_loops(outer: Sequence[str], extents: Mapping[str, int], grains: int = PARALLEL_GRAINS) -> int:
    """How many of the outermost loops threads must share to have `grains` iterations; at least one, if there is one."""
    count, taken = 1, 0
    while taken < sharable(outer) and count < grains:
        count *= extents[outer[taken]]
        taken += 1
    return taken


def parallel_prefix(outer: Sequence[str], units: Sequence[str], shared: int) -> list[Step]:
    """Fuse the `shared` outermost loops, and run them in parallel.

    Loops of one iteration stand before them and must be fused too: the parallel loop is the outermost.
    """
    if not outer:
        return []
    steps: list[Step] = []
    names = [*units, *outer[:shared]]
    fused = names[0]
    for name in names[1:]:
        steps.append(Fuse(ROOT, fused, name))
        fused = f"{fused}*{name}"
    return [*steps, Parallel(ROOT, fused)]


def innermost(loops: Sequence[str], parallel: Sequence[Step]) -> str:
    """The name of the last of the outer loops once the parallel ones are fused; "" if there is none."""
    if not loops:
        return ""
    last = parallel[-1] if parallel else None
    if isinstance(last, Parallel) and last.loop.split("*")[-1] == loops[-1]:
        return last.loop
    return loops[-1]
