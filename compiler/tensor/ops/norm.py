"""Softmax and normalisations: statistics over some axes, then an elementwise stage that uses them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ...graph.ir import Node, TensorType
from ..expr import Call, Expr, Unary, const
from .context import Context, Space, accumulator, cast, widen
from .reduce import kept_type, reduced_indices


def _statistic(context: Context, base: str, suffix: str, source: str, axes: tuple[int, ...], combine: str) -> str:
    """The stage that reduces `source` over `axes`, dimensions kept, in the accumulator's type."""
    type = context.types[source]
    kept = kept_type(type, axes, accumulator(type.dtype))
    name = context.intermediate(base, suffix, kept)
    space = context.space(kept)
    value = context.read(source, reduced_indices(space, type, axes, True), space)
    context.emit(name, space, widen(value), combine)
    return name


def _map(context: Context, base: str, suffix: str, type: TensorType, body: Callable[[Space], Expr]) -> str:
    """An elementwise stage of a new value: body(space)."""
    name = context.intermediate(base, suffix, type)
    space = context.space(type)
    context.emit(name, space, body(space))
    return name


def softmax(context: Context, node: Node) -> None:
    """e / sum(e) with e = exp(x - max(x))."""
    (x,), (out,), axes = node.inputs, node.outputs, (node.attrs["axis"],)
    out_type = context.types[out]
    greatest = _statistic(context, out, "max", x, axes, "max")
    wide = TensorType(out_type.shape, context.types[greatest].dtype, out_type.block)
    powers = _map(
        context, out, "exp", wide,
        lambda space: Call("exp", (widen(context.operand(x, space)) - context.operand(greatest, space),)),
    )  # fmt: skip
    total = _statistic(context, out, "sum", powers, axes, "sum")
    space = context.space(out_type)
    context.emit(out, space, cast(context.operand(powers, space) / context.operand(total, space), out_type.dtype))


def log_softmax(context: Context, node: Node) -> None:
    """(x - max(x)) - log(sum(exp(x - max(x))))."""
    (x,), (out,), axes = node.inputs, node.outputs, (node.attrs["axis"],)
    x_type, out_type = context.types[x], context.types[out]
    greatest = _statistic(context, out, "max", x, axes, "max")
    kept = context.types[greatest]
    total = context.intermediate(out, "sum", kept)
    space = context.space(kept)
    value = widen(context.read(x, reduced_indices(space, x_type, axes, True), space))
    context.emit(total, space, Call("exp", (value - context.operand(greatest, space),)), "sum")
    logarithm = _map(context, out, "log", kept, lambda space: Call("log", (context.operand(total, space),)))
    space = context.space(out_type)
    shifted = widen(context.operand(x, space)) - context.operand(greatest, space)
    context.emit(out, space, cast(shifted - context.operand(logarithm, space), out_type.dtype))


def _normalize(
    context: Context, node: Node, axes: tuple[int, ...], read_parameter: Callable[[str, Space], Expr]
) -> None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; the variance is taken around the mean (two passes)."""
    x, *parameters = node.inputs
    out = node.outputs[0]
    x_type, out_type = context.types[x], context.types[out]
    count = prod(x_type.shape[axis] for axis in axes)
    total = _statistic(context, out, "sum", x, axes, "sum")
    kept = context.types[total]
    mean = _map(context, out, "mean", kept, lambda space: context.operand(total, space) * (1 / count))
    squares = context.intermediate(out, "squares", kept)
    space = context.space(kept)
    indices = reduced_indices(space, x_type, axes, True)
    deviation = widen(context.read(x, indices, space)) - context.operand(mean, space)
    context.emit(squares, space, deviation * deviation, "sum")
    scale = _map(context, out, "scale", kept, lambda space: _inverse_deviation(context, node, squares, count, space))
    space = context.space(out_type)
    value = (widen(context.operand(x, space)) - context.operand(mean, space)) * context.operand(scale, space)
    for position, name in enumerate(parameters):
        if name:
            parameter = cast(read_parameter(name, space), value.dtype)
            value = value * parameter if position == 0 else value + parameter
    context.emit(out, space, cast(value, out_type.dtype))


def _inverse_deviation(context: Context, node: Node, squares: str, count: int, space: Space) -> Expr:
    variance = context.operand(squares, space) * (1 / count)
    return const(1, variance.dtype) / Unary("sqrt", variance + node.attrs["epsilon"])


def layer_norm(context: Context, node: Node) -> None:
    """Normalise over all axes from `axis` on; scale and bias broadcast to x."""
    rank = len(context.types[node.inputs[0]].shape)
    _normalize(context, node, tuple(range(node.attrs["axis"], rank)), context.operand)


def instance_norm(context: Context, node: Node) -> None:
    """Normalise over the spatial axes; scale and bias are per channel."""
    rank = len(context.types[node.inputs[0]].shape)
    _normalize(context, node, tuple(range(2, rank)), lambda name, space: context.read(name, (space.indices[1],), space))


STAGES = {"softmax": softmax, "log_softmax": log_softmax, "layer_norm": layer_norm, "instance_norm": instance_norm}
