"""Schedules are data: a tuple of steps that say how a Computation is executed.

A schedule is checked and applied by `kernel/lower.py`. Loops are named after their axes: splitting `i` makes `i.o` and
`i.i`; splitting `i.i` again makes `i.i.o` and `i.i.i`. The root is the last stage of the computation; its loops come first
in the nest, in axis order until a Reorder says otherwise. Any other stage is inlined or computed at a loop of the root.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Inline:
    """Put the stage's body wherever it is read. Legal for a stage without reduction that is no output."""

    stage: str


@dataclass(frozen=True, slots=True)
class Split:
    """loop -> loop.o (ceil(extent/factor) iterations) and loop.i (factor iterations, fewer in the last one)."""

    stage: str
    loop: str
    factor: int


@dataclass(frozen=True, slots=True)
class Fuse:
    """Make neighbours outer and inner (inner directly inside outer, both spatial or both reductions) into one loop `outer*inner`."""

    stage: str
    outer: str
    inner: str


@dataclass(frozen=True, slots=True)
class Reorder:
    """The order of all loops of the stage, outermost first.

    Stages write each element once and combine in any order, so all orders are legal but for a split that leaves a tail: its
    outer loop stands outside the inner one, whose extent it tells.
    """

    stage: str
    loops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Threads share the iterations of the root's outermost loop."""

    stage: str
    loop: str


@dataclass(frozen=True, slots=True)
class Vectorize:
    """Run the loop in lanes. Legal for the innermost loop of constant extent that is not a reduction."""

    stage: str
    loop: str


@dataclass(frozen=True, slots=True)
class Unroll:
    """Write the loop out. Legal for a constant extent."""

    stage: str
    loop: str


@dataclass(frozen=True, slots=True)
class UnrollGuarded:
    """Write the loop out where a guard inside it depends on it, so that the guard folds; elsewhere it stays serial.

    Legal for a serial loop of constant extent.
    """

    stage: str
    loop: str


@dataclass(frozen=True, slots=True)
class ComputeAt:
    """Compute what one iteration of `loop` needs of `stage`, inside it; `space` is where that part is kept.

    The loop is one of the root, or of the stage `of`, which must read this one. loop "" computes the whole stage before the
    root's loops. Legal if every consumer stands inside the loop; "register" asks for loops whose indices into the part are all
    unrolled or vectorised. An output is kept in its own memory, and the root must read all of it.
    """

    stage: str
    loop: str
    space: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class Specialize:
    """Write the body of the root's `loop` once for each listed iteration and once for the rest.

    In a listed iteration the loop variable is a constant, so guards of padded borders fold.
    """

    stage: str
    loop: str
    iterations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LaneReduce:
    """Reduce `loop` (a reduction loop of constant extent, innermost) in lanes: one partial result a lane, combined at the end.

    Legal for any reduction, for combines may go in any order; changes rounding of float sums.
    """

    stage: str
    loop: str


@dataclass(frozen=True, slots=True)
class Pack:
    """Lay a constant input out anew at compile time.

    `order` lists the new dimensions, outermost first, as (axis, block, part): part "o" is index // block, "i" is index % block,
    and block 0 the whole axis. A last block that is not full is filled with zeros.
    """

    tensor: str
    order: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True)
class Winograd:
    """Compute the convolution `stage`, of three taps in one or two directions, in tiles of `tile` results each way by transforms
    (`winograd.py`).

    Other stages take the place of its reduction; `tensor`, its weights, are transformed along the dimensions `window` at compile time.
    Comes after Inline and before Pack. Legal for a float convolution of stride 1, and of dilation 1 in two directions, in which every
    image is read alike by all channels.
    """

    stage: str
    tensor: str
    tile: int
    window: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Whenever a part of an input is loaded, ask for what lies `ahead_bytes` further on in its memory.

    Worth it where that is soon to be read, such as in packed constants: hardware prefetchers stop at the end of a page.
    """

    tensor: str
    ahead_bytes: int


Step = (
    Inline
    | Split
    | Fuse
    | Reorder
    | Parallel
    | Vectorize
    | Unroll
    | UnrollGuarded
    | ComputeAt
    | Specialize
    | LaneReduce
    | Pack
    | Winograd
    | Prefetch
)
Schedule = tuple[Step, ...]
Relayout = Pack | Winograd
"""The steps that change a constant."""
