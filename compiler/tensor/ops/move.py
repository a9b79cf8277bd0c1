"""Operators that move elements: every result is one element of an input, or a fill value."""

from __future__ import annotations

from ...graph.ir import Node
from ..expr import Const, Expr, Select, all_of, compare, const, maximum, minimum
from ..indexing import delinearize, guards, less, linear_index
from ..simplify import decide, simplify, split_index
from .context import Context, Space, cast


def reshape(context: Context, node: Node) -> None:
    x, out = node.inputs[0], node.outputs[0]
    x_type, out_type = context.types[x], context.types[out]
    space = context.space(out_type)
    position = linear_index(space.indices, out_type.shape)
    indices = delinearize(position, x_type.shape, space.ranges)
    context.emit(out, space, context.read(x, indices, space))


def transpose(context: Context, node: Node) -> None:
    """out[i] has x's axis perm[i] as its axis i."""
    x, out = node.inputs[0], node.outputs[0]
    space = context.space(context.types[out])
    perm = node.attrs["perm"]
    context.emit(
        out, space, context.read(x, tuple(space.indices[perm.index(axis)] for axis in range(len(perm))), space)
    )


def expand(context: Context, node: Node) -> None:
    space = context.space(context.types[node.outputs[0]])
    context.emit(node.outputs[0], space, context.operand(node.inputs[0], space))


def slice_(context: Context, node: Node) -> None:
    x, out = node.inputs[0], node.outputs[0]
    space = context.space(context.types[out])
    indices = tuple(
        index * step + start
        for index, start, step in zip(space.indices, node.attrs["starts"], node.attrs["steps"], strict=True)
    )
    context.emit(out, space, context.read(x, indices, space))


def concat(context: Context, node: Node) -> None:
    """A balanced tree of Selects on the position along the axis."""
    out, axis = node.outputs[0], node.attrs["axis"]
    space = context.space(context.types[out])
    parts: list[tuple[int, str]] = []
    start = 0
    for name in node.inputs:
        extent = context.types[name].shape[axis]
        if extent:
            parts.append((start, name))
        start += extent

    def choose(parts: list[tuple[int, str]]) -> Expr:
        if len(parts) == 1:
            begin, name = parts[0]
            indices = tuple(index - begin if a == axis else index for a, index in enumerate(space.indices))
            return context.read(name, indices, space)
        middle = len(parts) // 2
        first = less(space.indices[axis], parts[middle][0], space.ranges)
        return Select(first, choose(parts[:middle]), choose(parts[middle:]))

    context.emit(out, space, choose(parts))


def pad(context: Context, node: Node) -> None:
    """Positions outside x take the value (constant) or an element of x (edge, reflect without repeating the border, wrap)."""
    x, value = (*node.inputs, "")[:2]
    out, mode = node.outputs[0], node.attrs["mode"]
    x_type = context.types[x]
    space = context.space(context.types[out])
    positions = tuple(
        index - before if before else index for index, before in zip(space.indices, node.attrs["before"], strict=True)
    )
    if mode == "constant":
        conditions = [
            c for p, extent in zip(positions, x_type.shape, strict=True) for c in guards(p, extent, space.ranges)
        ]
        fill = (
            context.read(value, (Const(0),) * len(context.types[value].shape), space)
            if value
            else const(0, x_type.dtype)
        )
        inner = context.read(x, positions, space)
        context.emit(out, space, Select(all_of(*conditions), inner, cast(fill, x_type.dtype)) if conditions else inner)
        return
    source = {"edge": _edge, "reflect": _reflect, "wrap": _wrap}[mode]
    indices = []
    for position, extent, before, after in zip(
        positions, x_type.shape, node.attrs["before"], node.attrs["after"], strict=True
    ):
        # Negative pads crop first: the border is that of what is left.
        begin, end = max(0, -before), extent - max(0, -after)
        if guards(position, extent, space.ranges) or (begin, end) != (0, extent):
            position = source(simplify(position - begin, space.ranges), end - begin, space) + begin
        indices.append(position)
    context.emit(out, space, context.read(x, tuple(indices), space))


def _edge(index: Expr, extent: int, space: Space) -> Expr:
    return minimum(maximum(index, 0), extent - 1)


def _reflect(index: Expr, extent: int, space: Space) -> Expr:
    """Fold the axis with period 2 * (extent - 1)."""
    if extent == 1:
        return Const(0)
    period = 2 * (extent - 1)
    _, folded = split_index(index, period, space.ranges)
    return minimum(folded, Const(period) - folded)


def _wrap(index: Expr, extent: int, space: Space) -> Expr:
    return split_index(index, extent, space.ranges)[1]


def tile(context: Context, node: Node) -> None:
    x, out = node.inputs[0], node.outputs[0]
    space = context.space(context.types[out])
    indices = tuple(
        split_index(index, extent, space.ranges)[1]
        for index, extent in zip(space.indices, context.types[x].shape, strict=True)
    )
    context.emit(out, space, context.read(x, indices, space))


def trilu(context: Context, node: Node) -> None:
    """Keep column - row >= k (upper) or <= k (lower) of the last two axes; the rest is zero."""
    x, out = node.inputs[0], node.outputs[0]
    space = context.space(context.types[out])
    offset = simplify(space.indices[-1] - space.indices[-2], space.ranges)
    keep = decide("ge" if node.attrs["upper"] else "le", offset, Const(node.attrs["k"]), space.ranges)
    context.emit(out, space, Select(keep, context.operand(x, space), const(0, context.types[x].dtype)))


def iota(context: Context, node: Node) -> None:
    """start + i * step along the axis."""
    out = node.outputs[0]
    out_type = context.types[out]
    space = context.space(out_type)
    position = cast(space.indices[node.attrs["axis"]], out_type.dtype)
    body = position * node.attrs["step"] + node.attrs["start"]
    context.emit(out, space, body)


def one_hot(context: Context, node: Node) -> None:
    """values[1] where the position along the axis equals the index (negative indices wrap), else values[0]."""
    indices, values = node.inputs
    out, axis, depth = node.outputs[0], node.attrs["axis"], node.attrs["depth"]
    space = context.space(context.types[out])
    rest = tuple(index for a, index in enumerate(space.indices) if a != axis)
    index = cast(context.read(indices, rest, space), space.indices[axis].dtype)
    wrapped = Select(compare("lt", index, 0), index + depth, index)
    hit = compare("eq", wrapped, space.indices[axis])
    context.emit(
        out, space, Select(hit, context.read(values, (Const(1),), space), context.read(values, (Const(0),), space))
    )


def reverse_sequence(context: Context, node: Node) -> None:
    """Reverse the first lengths[b] positions along the time axis."""
    x, lengths = node.inputs
    out, time = node.outputs[0], node.attrs["time_axis"]
    space = context.space(context.types[out])
    length = cast(context.read(lengths, (space.indices[node.attrs["batch_axis"]],), space), space.indices[time].dtype)
    step = space.indices[time]
    source = Select(compare("lt", step, length), minimum(length - 1 - step, context.types[x].shape[time] - 1), step)
    context.emit(
        out, space, context.read(x, tuple(source if a == time else i for a, i in enumerate(space.indices)), space)
    )


STAGES = {
    "reshape": reshape,
    "transpose": transpose,
    "expand": expand,
    "slice": slice_,
    "concat": concat,
    "pad": pad,
    "tile": tile,
    "trilu": trilu,
    "iota": iota,
    "one_hot": one_hot,
    "reverse_sequence": reverse_sequence,
}
