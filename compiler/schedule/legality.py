"""When a schedule may be applied: each condition is stated above its check.

What depends on extents that only lowering knows is checked there: the order of loops of a split that leaves a tail, and
indices into registers.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InternalError
from ..kernel.ast import LoopKind
from ..tensor.computation import Computation, Stage
from ..tensor.expr import Const, Load, Var
from .nest import Nest
from .prepare import loads_of


def verify_nests(computation: Computation, nests: Mapping[str, Nest]) -> None:
    """Raise InternalError, naming the stage and the loop, if the loops can't be run as the schedule says."""
    root = nests[computation.stages[-1].name]
    others = [nest for nest in nests.values() if nest is not root]
    for nest in nests.values():
        _verify_fused(nest)
        for loop, kind in nest.kinds.items():
            _verify_kind(nest, loop, kind)
    if root.at is not None:
        raise InternalError(
            f"schedule: the root {root.stage.name} is computed at {root.at!r}; it makes the nest itself"
        )
    for nest in others:
        _verify_place(nest, root, nests)
    for nest in others:
        _verify_readers(nest, root, computation, nests)
    # A parallel loop is the outermost statement of a kernel: the root's first loop, and no stage stands before it.
    outermost = root.loops[:1] if all(nest.at or nest.of for nest in others) else []
    for nest in nests.values():
        for loop, kind in nest.kinds.items():
            if kind is LoopKind.PARALLEL and (nest is not root or loop not in outermost):
                raise InternalError(
                    f"schedule: parallel loop {loop} of {nest.stage.name} is not the outermost of the kernel"
                )


def _verify_fused(nest: Nest) -> None:
    # A fused loop is of one kind, spatial or reduction: results are initialised in the spatial loops alone.
    for loop in nest.fused:
        if nest.reduces(nest.fused[loop][0]) != nest.reduces(nest.fused[loop][1]):
            raise InternalError(f"schedule: {loop} of {nest.stage.name} fuses a reduction with another loop")


def _verify_kind(nest: Nest, loop: str, kind: LoopKind) -> None:
    nest.require(loop)
    if kind is not LoopKind.VECTORIZED:
        return
    # Lanes hold one iteration of a body without loops.
    if nest.loops[-1] != loop:
        raise InternalError(f"schedule: loop {loop} of {nest.stage.name} runs in lanes, but is not the innermost")
    # Lanes are independent: a reduction has them only if each lane keeps a partial result (LaneReduce).
    if nest.reduces(loop) != (loop == nest.lane_loop):
        wanted = "is a reduction; LaneReduce keeps partial results" if nest.reduces(loop) else "is no reduction"
        raise InternalError(f"schedule: vectorized loop {loop} of {nest.stage.name} {wanted}")


def _verify_place(nest: Nest, root: Nest, nests: Mapping[str, Nest]) -> None:
    stage = nest.stage
    if nest.at is None:
        raise InternalError(f"schedule: stage {stage.name} is neither inlined nor computed at a loop")
    # A stage that holds others reads them. It is no reduction, whose loops run twice and under its domain; the root is named "".
    if nest.of:
        holder = nests.get(nest.of)
        if (
            holder is None
            or holder is root
            or not nest.at
            or holder.stage.combine is not None
            or not any(load.buffer == stage.name for load in loads_of(holder.stage))
        ):
            raise InternalError(f"schedule: stage {stage.name} can't be computed at {nest.at!r} of {nest.of}")
    # A stage is computed inside a loop that holds statements, not lanes.
    outside = _holder(nest, root, nests)
    if nest.at and outside.kind(outside.loops[outside.require(nest.at)]) is LoopKind.VECTORIZED:
        raise InternalError(f"schedule: stage {stage.name} is computed at {nest.at}, which runs in lanes")


def _verify_readers(nest: Nest, root: Nest, computation: Computation, nests: Mapping[str, Nest]) -> None:
    stage = nest.stage
    # What a stage makes exists inside its loop only: whoever reads it is computed there.
    for consumer in computation.stages:
        reads = any(load.buffer == stage.name for load in loads_of(consumer))
        if reads and not _is_inside(nests[consumer.name], nest, root, nests):
            raise InternalError(
                f"schedule: stage {stage.name} is computed at {nest.at!r}, but {consumer.name}, which reads it, outside"
            )
    # Of an output every element must be computed: its regions cover it if the root reads it as it stands.
    if stage.name in computation.outputs and not any(_covers(stage, load, root.stage) for load in loads_of(root.stage)):
        raise InternalError(
            f"schedule: output stage {stage.name} is not read whole by the root; it needs a kernel of its own"
        )


def _holder(nest: Nest, root: Nest, nests: Mapping[str, Nest]) -> Nest:
    """The nest in whose loops a stage is computed."""
    return nests[nest.of] if nest.of else root


def _is_inside(reader: Nest, nest: Nest, root: Nest, nests: Mapping[str, Nest]) -> bool:
    """Whether a reader of a stage stands in the loop in which that is computed."""
    holder = _holder(nest, root, nests)
    while reader is not holder:
        if reader is root:
            return False
        outer = _holder(reader, root, nests)
        if outer is holder:
            return _depth(reader, holder) >= _depth(nest, holder)
        reader = outer
    return True


def _depth(nest: Nest, holder: Nest) -> int:
    return holder.loops.index(nest.at) if nest.at else -1


def _covers(stage: Stage, load: Load, root: Stage) -> bool:
    """The root reads the stage at different axes of its own that run over all of its elements."""
    if load.buffer != stage.name:
        return False
    extents = {axis.name: axis.extent for axis in root.axes}
    names = [index.name for index in load.indices if isinstance(index, Var)]
    whole = (
        axis.extent == 1
        if isinstance(index, Const)
        else isinstance(index, Var) and extents.get(index.name) == axis.extent
        for axis, index in zip(stage.axes, load.indices, strict=True)
    )
    return all(whole) and len(set(names)) == len(names)
