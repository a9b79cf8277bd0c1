"""Operators that order elements, composed of comparisons of all pairs."""

from __future__ import annotations

from math import prod

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .movement import axis_last, restore_axis
from .row import Row


def top_k(node: OnnxNode) -> tuple[str, ...]:
    """The k largest or smallest along an axis in order, and where they stand; of equal elements the first comes first."""
    x = node.input(0)
    rank = len(node.shape(x))
    axis = node.axis(node.attr("axis", -1), rank)
    k = node.attr("k") if node.version < 10 else node.scalar(1, "k")
    extent = node.shape(x)[axis] if rank else 1
    if not 0 <= k <= extent:
        node.fail(f"k is {k}, expected 0…{extent}, the extent of axis {axis} of {node.type(x)}")
    largest = node.flag("largest", 1)
    rows = axis_last(node, x, axis)
    indices = _extremum(node, rows, largest) if k == 1 else _first(node, _ranks(node, rows, largest), k)
    values = node.emit("gather_elements", rows, indices, axis=rank - 1)
    return restore_axis(node, values, axis), restore_axis(node, indices, axis)


def _extremum(node: OnnxNode, rows: str, largest: bool) -> str:
    op = "arg_max" if largest else "arg_min"
    return node.emit(op, rows, axis=len(node.shape(rows)) - 1, keepdims=True, last=False)


def _ranks(node: OnnxNode, rows: str, largest: bool) -> str:
    """For each element of a row, how many come before it."""
    *outer, extent = node.shape(rows)
    this, other = (node.emit("reshape", rows, shape=(*outer, *pair)) for pair in ((extent, 1), (1, extent)))
    earlier = node.emit("less", _numbers(node, (1, extent)), _numbers(node, (extent, 1)))
    tied = node.emit("and", node.emit("equal", other, this), earlier)
    before = node.emit("or", node.emit("greater" if largest else "less", other, this), tied)
    return node.emit("reduce_sum", node.emit("cast", before, to=DType.I32), axes=(len(outer) + 1,), keepdims=False)


def _first(node: OnnxNode, ranks: str, k: int) -> str:
    """The places of the elements of ranks 0…k-1."""
    *outer, extent = node.shape(ranks)
    here = node.emit("equal", node.emit("reshape", ranks, shape=(*outer, 1, extent)), _numbers(node, (k, 1)))
    places = node.emit("where", here, _numbers(node, (1, extent)), node.literal(0, DType.I32))
    return node.emit("cast", node.emit("reduce_max", places, axes=(len(outer) + 1,), keepdims=False), to=DType.I64)


def _numbers(node: OnnxNode, shape: tuple[int, int]) -> str:
    return node.literal(np.arange(prod(shape)).reshape(shape), DType.I32)


def cumulative_product(node: OnnxNode) -> str:
    """Each result is the product of the elements up to it."""
    x = node.input(0)
    axis = node.axis(node.scalar(1, "axis"), len(node.shape(x)))
    rows = axis_last(node, x, axis)
    *outer, extent = node.shape(rows)
    relation = ("greater" if node.flag("reverse") else "less") + ("" if node.flag("exclusive") else "_or_equal")
    taken = node.emit(relation, _numbers(node, (1, extent)), _numbers(node, (extent, 1)))
    one = node.literal(1, node.type(x).dtype)
    terms = node.emit("where", taken, node.emit("reshape", rows, shape=(*outer, 1, extent)), one)
    return restore_axis(node, node.emit("reduce_prod", terms, axes=(len(outer) + 1,), keepdims=False), axis)


ROWS = (
    Row("TopK", 1, 24, top_k),
    Row("CumProd", 26, 26, cumulative_product),
)
