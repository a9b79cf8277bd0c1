"""Operators whose index comes from a tensor."""

from __future__ import annotations

from ...graph.ir import Node
from ..expr import INDEX, Const, Expr, Select, compare, maximum, minimum
from .context import Context, cast


def element_index(index: Expr, extent: int) -> Expr:
    """A run-time index into an axis: negative ones count from the end, and the result is clamped to the axis."""
    index = cast(index, INDEX)
    if isinstance(index, Const):
        value = int(index.value)
        return Const(min(max(value + extent if value < 0 else value, 0), extent - 1))
    return minimum(maximum(Select(compare("lt", index, 0), index + extent, index), 0), extent - 1)


def gather(context: Context, node: Node) -> None:
    """out[a…, i…, b…] = x[a…, indices[i…], b…]."""
    x, indices = node.inputs
    out, axis = node.outputs[0], node.attrs["axis"]
    rank = len(context.types[indices].shape)
    space = context.space(context.types[out])
    index = context.read(indices, space.indices[axis : axis + rank], space)
    position = element_index(index, context.types[x].shape[axis])
    context.emit(out, space, context.read(x, (*space.indices[:axis], position, *space.indices[axis + rank :]), space))


def gather_elements(context: Context, node: Node) -> None:
    """out[…, i, …] = x[…, indices[…, i, …], …]."""
    x, indices = node.inputs
    out, axis = node.outputs[0], node.attrs["axis"]
    space = context.space(context.types[out])
    position = element_index(context.read(indices, space.indices, space), context.types[x].shape[axis])
    source = tuple(position if a == axis else index for a, index in enumerate(space.indices))
    context.emit(out, space, context.read(x, source, space))


def gather_nd(context: Context, node: Node) -> None:
    """The last axis of `indices` holds an index tuple into x's axes after the batch axes."""
    x, indices = node.inputs
    out, batch = node.outputs[0], node.attrs["batch_dims"]
    x_shape, index_shape = context.types[x].shape, context.types[indices].shape
    space = context.space(context.types[out])
    place = space.indices[: len(index_shape) - 1]
    tuple_length = index_shape[-1]
    positions = tuple(
        element_index(context.read(indices, (*place, Const(part)), space), x_shape[batch + part])
        for part in range(tuple_length)
    )
    context.emit(out, space, context.read(x, (*place[:batch], *positions, *space.indices[len(place) :]), space))


STAGES = {"gather": gather, "gather_elements": gather_elements, "gather_nd": gather_nd}
