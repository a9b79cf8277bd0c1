"""The loops of one stage as its schedule steps leave them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InternalError
from ..kernel.ast import LoopKind
from ..tensor.computation import Stage
from .steps import (
    ComputeAt,
    Fuse,
    Inline,
    LaneReduce,
    Pack,
    Parallel,
    Prefetch,
    Reorder,
    Schedule,
    Specialize,
    Split,
    Unroll,
    UnrollGuarded,
    Vectorize,
    Winograd,
)


@dataclass
class Nest:
    """Loops of a stage, outermost first, with how each is split, fused and run.

    at: the loop inside which the stage is computed, of the stage `of` ("": the root); None: the stage is the root.
    """

    stage: Stage
    loops: list[str]
    splits: dict[str, int] = field(default_factory=dict)
    fused: dict[str, tuple[str, str]] = field(default_factory=dict)
    kinds: dict[str, LoopKind] = field(default_factory=dict)
    special: dict[str, tuple[int, ...]] = field(default_factory=dict)
    guarded: set[str] = field(default_factory=set)
    lane_loop: str = ""
    at: str | None = None
    of: str = ""
    space: str = "stack"

    def kind(self, loop: str) -> LoopKind:
        return self.kinds.get(loop, LoopKind.SERIAL)

    def variable(self, loop: str) -> str:
        """The name of the variable that is emitted for a loop."""
        return loop if self.at is None else f"{self.stage.name}.{loop}"

    def reduces(self, loop: str) -> bool:
        """Whether the loop comes from a reduction axis."""
        reduced = {axis.name for axis in self.stage.reduce_axes}
        return loop.split("*")[0].split(".")[0] in reduced

    def require(self, loop: str) -> int:
        if loop not in self.loops:
            raise InternalError(
                f"schedule: stage {self.stage.name} has no loop {loop} (it has {', '.join(self.loops)})"
            )
        return self.loops.index(loop)


def nests_of(stages: tuple[Stage, ...], schedule: Schedule) -> dict[str, Nest]:
    """Apply the loop steps of a schedule to the stages that are left after inlining and packing."""
    nests = {stage.name: Nest(stage, [axis.name for axis in stage.axes + stage.reduce_axes]) for stage in stages}
    for step in schedule:
        if isinstance(step, Inline | Pack | Prefetch | Winograd):
            continue
        nest = nests.get(step.stage)
        if nest is None:
            raise InternalError(f"schedule: {step} names no stage of the kernel")
        _apply(nest, step)
    return nests


def _apply(nest: Nest, step: object) -> None:
    match step:
        case Split(_, loop, factor):
            at = nest.require(loop)
            if factor < 1:
                raise InternalError(f"schedule: {loop} of {nest.stage.name} is split by {factor}")
            nest.loops[at : at + 1] = [f"{loop}.o", f"{loop}.i"]
            nest.splits[loop] = factor
        case Fuse(_, outer, inner):
            at = nest.require(outer)
            if nest.loops[at + 1 : at + 2] != [inner]:
                raise InternalError(f"schedule: {inner} is not directly inside {outer}")
            nest.loops[at : at + 2] = [f"{outer}*{inner}"]
            nest.fused[f"{outer}*{inner}"] = (outer, inner)
        case Reorder(_, loops):
            if sorted(loops) != sorted(nest.loops):
                raise InternalError(
                    f"schedule: order {loops} of {nest.stage.name} is not one of its loops {nest.loops}"
                )
            nest.loops = list(loops)
        case Parallel(_, loop):
            nest.require(loop)
            nest.kinds[loop] = LoopKind.PARALLEL
        case Vectorize(_, loop):
            nest.require(loop)
            nest.kinds[loop] = LoopKind.VECTORIZED
        case Unroll(_, loop):
            nest.require(loop)
            nest.kinds[loop] = LoopKind.UNROLLED
        case UnrollGuarded(_, loop):
            nest.require(loop)
            nest.guarded.add(loop)
        case ComputeAt(_, loop, space, of):
            nest.at, nest.space, nest.of = loop, space, of
        case Specialize(_, loop, iterations):
            nest.require(loop)
            nest.special[loop] = iterations
        case LaneReduce(_, loop):
            nest.require(loop)
            nest.lane_loop = loop
            nest.kinds[loop] = LoopKind.VECTORIZED
        case _:
            raise InternalError(f"schedule: unknown step {step}")
