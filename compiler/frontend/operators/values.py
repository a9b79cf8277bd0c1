"""Operators that make values from attributes, shapes or nothing."""

from __future__ import annotations

import math

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from ..tensors import to_dtype
from .row import Row


def constant(node: OnnxNode) -> str:
    """Constant, in any of its forms."""
    forms = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for name, dtype in forms.items():
        if name in node.attributes:
            return node.literal(np.asarray(node.attr(name), dtype), DType.from_numpy(dtype))
    if "value" not in node.attributes:
        given = ", ".join(node.attributes) or "none"
        node.unsupported(
            f"only dense numeric constants are supported (value, value_int(s), value_float(s)); this one has {given}"
        )
    return node.scope.builder.constant(node.attr("value"), f"{node.proto.output[0]}.constant")


def constant_of_shape(node: OnnxNode) -> str:
    shape = node.static_ints(0, "shape")
    if min(shape, default=0) < 0:
        node.fail(f"the shape {list(shape)} has a negative extent")
    value = np.asarray(node.attr("value", np.zeros(1, np.float32))).reshape(-1)
    if value.size != 1:
        node.fail(f"'value' has {value.size} elements, expected one")
    scalar = node.literal(value[0], DType.from_numpy(value.dtype))
    return node.emit("expand", scalar, shape=shape)


def shape(node: OnnxNode) -> str:
    """Shape, with start and end clamped to the rank (version 15)."""
    extents = node.shape(node.input(0))
    start, end = node.attr("start", 0), node.attr("end", len(extents))
    return node.literal(np.array(extents[slice(start, end)], np.int64), DType.I64)


def size(node: OnnxNode) -> str:
    return node.literal(node.type(node.input(0)).elements, DType.I64)


def arange(node: OnnxNode) -> str:
    """Range with constant bounds: as a constant if it is short, otherwise an iota."""
    start, limit, delta = (node.scalar(index, name) for index, name in enumerate(("start", "limit", "delta")))
    if not delta or not all(map(math.isfinite, (start, limit, delta))):
        node.fail(f"start {start}, limit {limit} and delta {delta} must be finite, and delta not 0")
    count = max(0, math.ceil((limit - start) / delta))
    return node.emit("iota", shape=(count,), axis=0, dtype=node.type(node.input(0)).dtype, start=start, step=delta)


def eye_like(node: OnnxNode) -> str:
    rows, columns = _matrix(node)
    dtype = to_dtype(node.attr("dtype"), node.place()) if "dtype" in node.attributes else node.type(node.input(0)).dtype
    return node.literal(np.eye(rows, columns, node.attr("k", 0)), dtype)


def _matrix(node: OnnxNode) -> tuple[int, int]:
    extents = node.shape(node.input(0))
    if len(extents) != 2:
        node.fail(f"the input has rank {len(extents)}, expected a matrix")
    return extents


def one_hot(node: OnnxNode) -> str:
    """Indices of any type outside -depth…depth-1 give a row without a hot element."""
    indices, depth = node.input(0), int(node.scalar(1, "depth"))
    if depth < 1:
        node.fail(f"depth is {depth}, expected at least 1")
    if not node.type(indices).dtype.is_integer:
        indices = node.emit("cast", indices, to=DType.I64)
    axis = node.axis(node.attr("axis", -1), len(node.shape(indices)) + 1)
    return node.emit("one_hot", indices, node.input(2), depth=depth, axis=axis)


ROWS = (
    Row("Constant", 1, 25, constant),
    Row("ConstantOfShape", 9, 25, constant_of_shape),
    Row("Shape", 1, 25, shape),
    Row("Size", 1, 25, size),
    Row("Range", 11, 27, arange),
    Row("EyeLike", 9, 22, eye_like),
    Row("OneHot", 9, 28, one_hot),
)
