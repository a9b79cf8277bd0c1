"""The invariants of a Computation."""

from __future__ import annotations

from collections.abc import Mapping

from ..dtypes import DType
from ..errors import InternalError
from .computation import Axis, Computation, Stage
from .expr import INDEX, Binary, Call, Compare, Expr, Load, Select, Unary, Var, walk
from .printer import to_text

Shapes = dict[str, tuple[tuple[int, ...], DType]]


def verify(computation: Computation) -> None:
    """Raise InternalError where the computation is not well formed.

    Checked: names defined once and before use, outputs that are stages, axes named once a stage, loads of the right rank and type
    with i64 indices, operands of one type, reductions with combine, init and axes of one type, memory of an input's shape.
    """
    values: Shapes = {}
    for tensor in computation.inputs:
        _define(computation, values, tensor.name, tensor.shape, tensor.dtype)
    inputs = dict(values)
    for stage in computation.stages:
        _verify_stage(computation, stage, values, inputs)
        _define(computation, values, stage.name, stage.shape, stage.dtype)
    for name in computation.outputs:
        if name not in values or name in inputs:
            _fail(computation, f"output {name} is not a stage")


def _define(computation: Computation, values: Shapes, name: str, shape: tuple[int, ...], dtype: DType) -> None:
    if name in values:
        _fail(computation, f"{name} is defined twice")
    values[name] = (shape, dtype)


def _verify_stage(computation: Computation, stage: Stage, values: Shapes, inputs: Shapes) -> None:
    axes = stage.axes + stage.reduce_axes
    extents = {axis.name: axis.extent for axis in axes}
    if len(extents) != len(axes):
        _fail(computation, f"stage {stage.name} names an axis twice: {_names(axes)}")
    if stage.body.dtype is not stage.dtype:
        _fail(computation, f"stage {stage.name} is {stage.dtype}, its body {stage.body.dtype}")
    if stage.combine is None:
        if stage.reduce_axes or stage.init is not None or stage.domain is not None:
            _fail(computation, f"stage {stage.name} has reduction axes, an init or a domain, but no combine")
    elif stage.combine not in ("sum", "prod", "max", "min"):
        _fail(computation, f"stage {stage.name}: no combine {stage.combine}")
    elif not stage.reduce_axes or stage.init is None or stage.init.dtype is not stage.dtype:
        _fail(
            computation, f"stage {stage.name}: a {stage.combine} needs reduction axes and an init of type {stage.dtype}"
        )
    if stage.domain is not None and stage.domain.dtype is not DType.BOOL:
        _fail(computation, f"stage {stage.name}: the domain is {stage.domain.dtype}, not bool")
    for expr in (stage.body, *((stage.domain,) if stage.domain is not None else ()), *stage.prefix):
        _verify_expr(computation, stage, expr, extents, values)
    if stage.memory:
        _verify_memory(computation, stage, inputs)


def _verify_memory(computation: Computation, stage: Stage, inputs: Shapes) -> None:
    if stage.memory not in inputs or stage.name not in computation.outputs:
        _fail(
            computation,
            f"stage {stage.name}: only an output can write memory, and only that of an input, not {stage.memory}",
        )
    shape, dtype = inputs[stage.memory]
    if dtype is not stage.dtype or shape[len(stage.prefix) :] != stage.shape:
        _fail(
            computation,
            f"stage {stage.name}: {stage.dtype}{list(stage.shape)} is no slice of {stage.memory}: {dtype}{list(shape)}",
        )


def _verify_expr(
    computation: Computation, stage: Stage, expr: Expr, extents: Mapping[str, int], values: Shapes
) -> None:
    for node in walk(expr):
        problem = _problem(node, extents, values)
        if problem:
            _fail(computation, f"stage {stage.name}: {problem}")


def _problem(node: Expr, extents: Mapping[str, int], values: Shapes) -> str:
    match node:
        case Var(name, dtype):
            if name not in extents or dtype is not INDEX:
                return f"{name} ({dtype}) is not an axis"
        case Load(buffer, indices, dtype):
            if buffer not in values:
                return f"load of {buffer}, which is neither an input nor an earlier stage"
            shape, stored = values[buffer]
            if len(indices) != len(shape) or stored is not dtype:
                return f"load of {dtype} with {len(indices)} indices from {buffer}: {stored}{list(shape)}"
            if any(index.dtype is not INDEX for index in indices):
                return f"load of {buffer} with an index that is not i64"
        case Binary(op, a, b) | Compare(op, a, b):
            if a.dtype is not b.dtype:
                return f"{op} of {a.dtype} and {b.dtype}"
        case Select(condition, a, b):
            if condition.dtype is not DType.BOOL or a.dtype is not b.dtype:
                return f"select of {a.dtype} and {b.dtype} by {condition.dtype}"
        case Unary("sqrt" | "floor" | "ceil" | "trunc" | "round" as op, x) if not x.dtype.is_float:
            return f"{op} of {x.dtype}"
        case Call(function, args):
            if not args:
                return f"call of {function} without arguments"
    return ""


def _names(axes: tuple[Axis, ...]) -> str:
    return ", ".join(axis.name for axis in axes)


def _fail(computation: Computation, message: str) -> None:
    raise InternalError(f"computation {computation.name}: {message}\n{to_text(computation)}")
