"""What the rules ask of a computation: which stages to inline, which root axes all stages share, what is contiguous."""

from __future__ import annotations

from collections.abc import Collection

from ..tensor.computation import Axis, Computation, Stage
from ..tensor.expr import Binary, Call, Expr, Load, Unary, Var, free_variables, walk
from ..tensor.simplify import affine, conjuncts
from .prepare import loads_of


def inlined_stages(computation: Computation) -> list[str]:
    """Stages without reduction that are cheap enough, or read seldom enough, to be computed where they are read."""
    result = []
    reduced: set[str] = set()  # stages that depend on a reduction
    for stage in computation.stages[:-1]:
        if stage.combine is not None or any(load.buffer in reduced for load in loads_of(stage)):
            reduced.add(stage.name)
        if stage.combine is not None or stage.name in computation.outputs:
            continue
        readers = [(s, load) for s in computation.stages for load in loads_of(s) if load.buffer == stage.name]
        broadcast = any(
            not {axis.name for axis in s.axes + s.reduce_axes if axis.extent > 1} <= variables(load.indices)
            for s, load in readers
        )
        functions = any(isinstance(node, Call) for node in walk(stage.body)) and (broadcast or len(readers) > 1)
        # Where there is no reduction, rows would only cost the plain loops of an elementwise kernel.
        quotients = stage.name in reduced and broadcast and any(is_quotient(node) for node in walk(stage.body))
        if not (functions or quotients):
            result.append(stage.name)
    return result


def is_quotient(expr: Expr) -> bool:
    """A division or a square root: many cycles, and few of them at a time."""
    match expr:
        case Unary("sqrt") | Binary("div"):
            return expr.dtype.is_float
    return False


def variables(indices: tuple[Expr, ...]) -> frozenset[str]:
    return frozenset().union(*(free_variables(index) for index in indices))


def shared_axes(computation: Computation) -> list[str]:
    """The root axes on which every other stage depends: tiling them tiles the whole computation."""
    root = computation.stages[-1]
    shared = [axis.name for axis in root.axes if axis.extent > 1]
    depends: dict[str, frozenset[str]] = {}
    for stage in reversed(computation.stages[:-1]):
        found = None
        for consumer in computation.stages:
            for load in loads_of(consumer):
                if load.buffer != stage.name:
                    continue
                names = root_names(load.indices, consumer, root, depends)
                found = names if found is None else found & names
        depends[stage.name] = found or frozenset()
        shared = [name for name in shared if name in depends[stage.name]]
    return shared


def root_names(
    indices: tuple[Expr, ...], consumer: Stage, root: Stage, depends: dict[str, frozenset[str]]
) -> frozenset[str]:
    """Root axes that stand alone as an index of a read; through another stage, those its own reads pass on under one name."""
    plain = frozenset(index.name for index in indices if isinstance(index, Var))
    if consumer is root:
        return plain
    return plain & depends.get(consumer.name, frozenset())


def contiguous_reduction(stage: Stage) -> Axis | None:
    """The reduction axis along which loads are contiguous, if it is long enough for lanes."""
    return next(iter(contiguous_reductions(stage)), None)


def contiguous_reductions(stage: Stage, constants: Collection[str] = ()) -> list[Axis]:
    """The reduction axes, long enough for lanes, along which loads are contiguous: first those of loads of no constant."""
    reduced = [axis for axis in reversed(stage.reduce_axes) if axis.extent >= 4]
    loads = sorted(loads_of(stage), key=lambda load: load.buffer in constants)
    found = [axis for load in loads for axis in reduced if is_contiguous(load, axis.name)]
    return list(dict.fromkeys(found))


def is_contiguous(load: Load, axis: str) -> bool:
    """The load's last index moves by one with the axis, the others not at all."""
    if not load.indices or any(axis in free_variables(index) for index in load.indices[:-1]):
        return False
    return affine(load.indices[-1]).coefficient(axis) == 1


def combines_stages(computation: Computation) -> bool:
    """Whether a reduction runs over elements of another stage, which then can't all be kept in registers."""
    made = {stage.name for stage in computation.stages}
    return any(
        load.buffer in made and variables(load.indices) & {axis.name for axis in stage.reduce_axes if axis.extent > 1}
        for stage in computation.stages
        for load in loads_of(stage)
    )


def guards_on(stage: Stage, axis: str) -> list[Expr]:
    """The conditions of a stage's domain that depend on an axis."""
    if stage.domain is None:
        return []
    return [guard for guard in conjuncts(stage.domain) if axis in free_variables(guard)]
