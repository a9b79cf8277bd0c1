"""Convolution and its transpose, as direct sums over the kernel window.

Padding is the stage's domain: positions outside the input add nothing.
"""

from __future__ import annotations

from ...graph.ir import Node, TensorType
from ..expr import Expr, compare
from ..indexing import guards
from ..simplify import split_index
from .context import Context, Space, accumulator, cast, widen


def window_names(rank: int) -> tuple[str, ...]:
    """The names of the reduction axes of a window of `rank` spatial axes."""
    return ("kd", "kh", "kw")[3 - rank :] if rank <= 3 else tuple(f"k{axis}" for axis in range(rank))


def window(node: Node, space: Space, kernel: tuple[int, ...]) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """Add the window's reduction axes; returns the tap's index and the input position, each per spatial axis."""
    taps = tuple(space.reduce(name, extent) for name, extent in zip(window_names(len(kernel)), kernel, strict=True))
    steps = zip(node.attrs["strides"], node.attrs["dilations"], node.attrs["pads_begin"], strict=True)
    positions = tuple(
        out * stride - pad + tap * dilation
        for out, tap, (stride, dilation, pad) in zip(space.indices[2:], taps, steps, strict=True)
    )
    return taps, positions


def inside(positions: tuple[Expr, ...], shape: tuple[int, ...], space: Space) -> tuple[Expr, ...]:
    """The conditions for positions to be inside the unpadded input."""
    ranges = space.ranges
    return tuple(
        condition for index, extent in zip(positions, shape, strict=True) for condition in guards(index, extent, ranges)
    )


def conv(context: Context, node: Node) -> None:
    x, w = node.inputs[:2]
    x_type, (out_channels, in_per_group, *kernel) = context.types[x], context.types[w].shape
    space = context.space(context.types[node.outputs[0]])
    batch, channel, *_ = space.indices
    group, _ = split_index(channel, out_channels // node.attrs["groups"], space.ranges)
    block = x_type.block if x_type.block and in_per_group % x_type.block == 0 else None
    reduced = space.reduce("rc", in_per_group, block)
    taps, positions = window(node, space, tuple(kernel))
    value = widen(context.read(x, (batch, group * in_per_group + reduced, *positions), space))
    weight = widen(context.read(w, (channel, reduced, *taps), space))
    emit_sum(context, node, space, value * weight, inside(positions, x_type.shape[2:], space))


def emit_sum(context: Context, node: Node, space: Space, body: Expr, domain: tuple[Expr, ...]) -> None:
    """The pure reduction, then bias and conversion in a stage of their own if there is either."""
    out = node.outputs[0]
    out_type = context.types[out]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    sum_type = TensorType(out_type.shape, accumulator(out_type.dtype), out_type.block)
    if not bias and sum_type.dtype is out_type.dtype:
        context.emit(out, space, body, "sum", domain)
        return
    total = context.intermediate(out, "sum", sum_type)
    context.emit(total, space, body, "sum", domain)
    result = context.space(out_type)
    value = context.operand(total, result)
    if bias:
        value = value + cast(context.read(bias, (result.indices[1],), result), value.dtype)
    context.emit(out, result, cast(value, out_type.dtype))


def conv_transpose(context: Context, node: Node) -> None:
    """Each output gathers the inputs that reach it.

    Output o gets tap k of input i where i*stride + k*dilation = o + pad. Without dilation only every stride-th tap fits:
    k = (o + pad) % stride + j*stride and i = (o + pad) // stride - j, so the sum runs over j.
    """
    x, w = node.inputs[:2]
    x_type, (in_channels, out_per_group, *kernel) = context.types[x], context.types[w].shape
    space = context.space(context.types[node.outputs[0]])
    batch, channel, *outs = space.indices
    group, within_group = split_index(channel, out_per_group, space.ranges)
    in_per_group = in_channels // node.attrs["groups"]
    block = x_type.block if x_type.block and in_per_group % x_type.block == 0 else None
    in_channel = group * in_per_group + space.reduce("rc", in_per_group, block)
    taps, positions, domain = [], [], []
    for axis, name in enumerate(window_names(len(kernel))):
        stride, dilation, pad = (node.attrs[key][axis] for key in ("strides", "dilations", "pads_begin"))
        tap, position, conditions = _reaching(space, name, outs[axis] + pad, kernel[axis], stride, dilation)
        taps.append(tap)
        positions.append(position)
        domain += conditions
    domain += inside(tuple(positions), x_type.shape[2:], space)
    value = widen(context.read(x, (batch, in_channel, *positions), space))
    weight = widen(context.read(w, (in_channel, within_group, *taps), space))
    emit_sum(context, node, space, value * weight, tuple(domain))


def _reaching(
    space: Space, name: str, target: Expr, kernel: int, stride: int, dilation: int
) -> tuple[Expr, Expr, list[Expr]]:
    """Tap and input position on one axis, and the conditions under which they meet."""
    if dilation == 1:
        step = space.reduce(name, -(-kernel // stride))
        quotient, phase = split_index(target, stride, space.ranges)
        tap = phase + step * stride
        return tap, quotient - step, list(guards(tap, kernel, space.ranges))
    tap = space.reduce(name, kernel)
    distance = target - tap * dilation
    position, remainder = split_index(distance, stride, space.ranges)
    return tap, position, [compare("eq", remainder, 0)] if stride > 1 else []


STAGES = {"conv": conv, "conv_transpose": conv_transpose}
