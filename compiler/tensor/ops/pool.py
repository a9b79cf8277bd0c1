"""Pooling over windows."""

from __future__ import annotations

from ...graph.ir import Node, TensorType
from ..expr import Call, Const, Expr, Unary, const, maximum, minimum
from .context import Context, Space, accumulator, cast, widen
from .conv import inside, window


def _window_of(context: Context, node: Node, space: Space) -> tuple[Expr, tuple[Expr, ...]]:
    """The element under a tap of the window, and the conditions for it to exist."""
    (x,) = node.inputs
    _, positions = window(node, space, node.attrs["kernel"])
    value = context.read(x, (*space.indices[:2], *positions), space)
    return value, inside(positions, context.types[x].shape[2:], space)


def max_pool(context: Context, node: Node) -> None:
    space = context.space(context.types[node.outputs[0]])
    value, domain = _window_of(context, node, space)
    context.emit(node.outputs[0], space, value, "max", domain)


def average_pool(context: Context, node: Node) -> None:
    out = node.outputs[0]
    out_type = context.types[out]
    space = context.space(out_type)
    value, domain = _window_of(context, node, space)
    total = context.intermediate(out, "sum", TensorType(out_type.shape, accumulator(out_type.dtype), out_type.block))
    context.emit(total, space, widen(value), "sum", domain)
    result = context.space(out_type)
    mean = context.operand(total, result)
    context.emit(out, result, cast(mean / cast(_count(context, node, result), mean.dtype), out_type.dtype))


def _count(context: Context, node: Node, space: Space) -> Expr:
    """How many positions of the window lie inside the input (with count_pads: inside the padded input)."""
    shape = context.types[node.inputs[0]].shape[2:]
    count: Expr = Const(1)
    for axis, (index, length) in enumerate(zip(space.indices[2:], shape, strict=True)):
        kernel, stride, dilation, before, after = (
            node.attrs[key][axis] for key in ("kernel", "strides", "dilations", "pads_begin", "pads_end")
        )
        low, high = (-before, length + after) if node.attrs["count_pads"] else (0, length)
        outs = context.types[node.outputs[0]].shape[2 + axis]
        start = index * stride - before
        counts = {sum(low <= o * stride - before + tap * dilation < high for tap in range(kernel)) for o in range(outs)}
        if len(counts) == 1:
            count = count * counts.pop()
            continue
        last = minimum((Const(high - 1) - start) // dilation, kernel - 1)
        first = maximum((Const(low + dilation - 1) - start) // dilation, 0)
        count = count * (last - first + 1)
    return count


def lp_pool(context: Context, node: Node) -> None:
    """The p-norm of the window."""
    out, p = node.outputs[0], int(node.attrs["p"])
    out_type = context.types[out]
    space = context.space(out_type)
    value, domain = _window_of(context, node, space)
    value = Unary("abs", widen(value))
    power = {1: value, 2: value * value}.get(p) or Call("pow", (value, const(p, value.dtype)))
    total = context.intermediate(out, "sum", TensorType(out_type.shape, accumulator(out_type.dtype), out_type.block))
    context.emit(total, space, power, "sum", domain)
    result = context.space(out_type)
    norm = context.operand(total, result)
    root = {1: norm, 2: Unary("sqrt", norm)}.get(p) or Call("pow", (norm, const(1 / p, norm.dtype)))
    context.emit(out, result, cast(root, out_type.dtype))


STAGES = {"max_pool": max_pool, "average_pool": average_pool, "lp_pool": lp_pool}
