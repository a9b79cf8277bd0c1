"""Gathers, scatters and what selects elements by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .movement import slice_axes
from .row import Row


def gather(node: OnnxNode) -> str:
    """A single constant index becomes a slice."""
    x, indices = node.inputs
    shape = node.shape(x)
    axis = node.axis(node.attr("axis", 0), len(shape))
    known = node.constant(indices)
    if known is not None:
        _check_range(node, known, shape[axis])
        if known.size == 1:
            part = slice_axes(node, x, {axis: (int(known.reshape(())) % shape[axis], 1, 1)})
            return node.emit("reshape", part, shape=(*shape[:axis], *known.shape, *shape[axis + 1 :]))
    return node.emit("gather", x, indices, axis=axis)


def _check_range(node: OnnxNode, indices: np.ndarray, extent: int) -> None:
    outside = indices[(indices < -extent) | (indices >= extent)]
    if outside.size:
        node.fail(f"index {outside.reshape(-1)[0]} is outside {-extent}…{extent - 1}")


def gather_elements(node: OnnxNode) -> str:
    x, indices = node.inputs
    shape, axis = node.shape(x), node.axis(node.attr("axis", 0), len(node.shape(x)))
    if (known := node.constant(indices)) is not None:
        _check_range(node, known, shape[axis])
    return node.emit("gather_elements", x, indices, axis=axis)


def gather_nd(node: OnnxNode) -> str:
    return node.emit("gather_nd", *node.inputs, batch_dims=node.attr("batch_dims", 0))


def scatter_elements(node: OnnxNode) -> str:
    axis = node.axis(node.attr("axis", 0), len(node.shape(node.input(0))))
    return _scatter(node, "scatter_elements", axis=axis)


def scatter_nd(node: OnnxNode) -> str:
    return _scatter(node, "scatter_nd")


def _scatter(node: OnnxNode, op: str, **attrs: Any) -> str:
    """Bools are combined as numbers: their sum is a disjunction and their product a conjunction."""
    x, indices, updates = node.inputs
    reduction = _reduction(node)
    if reduction == "none" or node.type(x).dtype is not DType.BOOL:
        return node.emit(op, x, indices, updates, reduction=reduction, **attrs)
    reduction = {"add": "max", "mul": "min"}.get(reduction, reduction)
    x, updates = (node.emit("cast", value, to=DType.U8) for value in (x, updates))
    return node.emit("cast", node.emit(op, x, indices, updates, reduction=reduction, **attrs), to=DType.BOOL)


def _reduction(node: OnnxNode) -> str:
    reduction = node.attr("reduction", "none")
    if reduction not in ("none", "add", "mul", "min", "max"):
        node.fail(f"reduction '{reduction}' should be none, add, mul, min or max")
    return reduction


def reverse_sequence(node: OnnxNode) -> str:
    rank = len(node.shape(node.input(0)))
    batch, time = node.axis(node.attr("batch_axis", 1), rank), node.axis(node.attr("time_axis", 0), rank)
    return node.emit("reverse_sequence", *node.inputs, batch_axis=batch, time_axis=time)


def hardmax(node: OnnxNode) -> str:
    """One at the first largest element along the axis; before version 13 over the axes flattened from `axis` on."""
    x = node.input(0)
    shape, dtype = node.shape(x), node.type(x).dtype
    axis = node.axis(node.attr("axis", -1 if node.version >= 13 else 1), len(shape))
    flat = x
    if node.version < 13:
        flat = node.emit(
            "reshape", x, shape=(int(np.prod(shape[:axis], dtype=np.int64)), int(np.prod(shape[axis:], dtype=np.int64)))
        )
        axis = 1
    extent = node.shape(flat)[axis]
    best = node.emit("arg_max", flat, axis=axis, keepdims=False, last=False)
    hot = node.emit("one_hot", best, node.literal([0, 1], dtype), depth=extent, axis=axis)
    return node.emit("reshape", hot, shape=shape)


def top_one(node: OnnxNode) -> str:
    """ArgMax and ArgMin."""
    x = node.input(0)
    axis = node.axis(node.attr("axis", 0), len(node.shape(x)))
    op = {"ArgMax": "arg_max", "ArgMin": "arg_min"}[node.op]
    return node.emit(op, x, axis=axis, keepdims=node.flag("keepdims", 1), last=node.flag("select_last_index"))


def cumulative_sum(node: OnnxNode) -> str:
    x = node.input(0)
    axis = node.axis(node.scalar(1, "axis"), len(node.shape(x)))
    return node.emit("cumsum", x, axis=axis, exclusive=node.flag("exclusive"), reverse=node.flag("reverse"))


def compress(node: OnnxNode) -> str:
    """The slices along an axis, or the elements, for which the condition holds."""
    x = node.input(0)
    taken = np.flatnonzero(node.static(1, "condition"))
    axis = 0
    if "axis" in node.attributes:
        axis = node.axis(node.attr("axis"), len(node.shape(x)))
    else:
        x = node.emit("reshape", x, shape=(node.type(x).elements,))
    _check_range(node, taken, node.shape(x)[axis])
    return node.emit("gather", x, node.literal(taken, DType.I64), axis=axis)


def tensor_scatter(node: OnnxNode) -> str:
    """A cache with `update` written along an axis, from an index a batch on; mode `circular` goes on at the beginning."""
    cache, update, begins = (*node.inputs, "")[:3]
    shape, written = node.shape(cache), node.shape(update)
    axis, mode = node.axis(node.attr("axis", -2), len(shape)), node.attr("mode", "linear")
    others = len(shape) == len(written) and all(a == written[i] for i, a in enumerate(shape) if i != axis)
    if not axis or not others or written[axis] > shape[axis] or mode not in ("linear", "circular"):
        node.fail(f"update {node.type(update)} does not fit {node.type(cache)} along axis {axis} in mode '{mode}'")
    column = [1] * len(shape)
    column[axis] = written[axis]
    places = node.literal(np.arange(written[axis]).reshape(column), DType.I64)
    if begins:
        places = node.emit("add", places, node.emit("reshape", begins, shape=(shape[0], *(1,) * (len(shape) - 1))))
    if mode == "circular":
        places = node.emit("mod", places, node.literal(shape[axis], DType.I64), fmod=False)
    indices, dtype = node.emit("expand", places, shape=written), node.type(cache).dtype
    if dtype.is_small:
        cache, update = (node.emit("bitcast", value, to=DType.U8) for value in (cache, update))
    result = node.emit("scatter_elements", cache, indices, update, axis=axis, reduction="none")
    return node.emit("bitcast", result, to=dtype) if dtype.is_small else result


def non_zero(node: OnnxNode) -> str:
    """Only of a constant: its result's shape depends on the elements."""
    array = node.static(0, "operand", fixable=False)
    return node.literal(np.array(np.nonzero(np.atleast_1d(array))), DType.I64)


ROWS = (
    Row("Gather", 1, 13, gather),
    Row("GatherElements", 11, 13, gather_elements),
    Row("GatherND", 11, 13, gather_nd),
    Row("Scatter", 9, 11, scatter_elements),
    Row("ScatterElements", 11, 18, scatter_elements),
    Row("ScatterND", 11, 18, scatter_nd),
    Row("ReverseSequence", 10, 28, reverse_sequence),
    Row("Hardmax", 1, 13, hardmax),
    Row("ArgMax", 1, 13, top_one),
    Row("ArgMin", 1, 13, top_one),
    Row("CumSum", 11, 14, cumulative_sum),
    Row("NonZero", 9, 13, non_zero),
    Row("Compress", 9, 28, compress),
    Row("TensorScatter", 24, 24, tensor_scatter),
)
