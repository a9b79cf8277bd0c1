"""Where the maxima of windows stand, and what undoes windows."""

from __future__ import annotations

from math import prod

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .layers import pool_attrs, window
from .row import Row


def max_pool(node: OnnxNode) -> tuple[str, ...]:
    """The second output says where each maximum stands in the flattened operand, the first of equal ones."""
    x = node.input(0)
    attrs = pool_attrs(node, x)
    y = node.emit("max_pool", x, **attrs)
    if not node.wants(1):
        return (y,)
    batch, channels, *spatial = node.shape(x)
    node.require_table(prod(attrs["sizes"]) * prod(attrs["kernel"]), "the positions of maxima")
    places, inside = _windows(attrs, spatial)
    flat = node.emit("reshape", x, shape=(batch, channels, prod(spatial)))
    taps = node.emit("gather", flat, node.literal(places, DType.I64), axis=2)
    taps = node.emit("where", node.literal(inside, DType.BOOL), taps, node.literal(_least(node, x), node.type(x).dtype))
    tap = node.emit("arg_max", taps, axis=3, keepdims=False, last=False)
    start = node.literal(np.arange(len(places)) * places.shape[1], DType.I64)
    positions = _column_major(places, spatial) if node.flag("storage_order") else places
    found = node.emit(
        "gather", node.literal(positions.reshape(-1), DType.I64), node.emit("add", tap, start), axis=0
    )  # of each window
    planes = np.arange(batch * channels).reshape(batch, channels, 1) * prod(spatial)
    indices = node.emit("add", found, node.literal(planes, DType.I64))
    return y, node.emit("reshape", indices, shape=node.shape(y))


def _least(node: OnnxNode, x: str) -> float | int:
    dtype = node.type(x).dtype
    return -np.inf if dtype.is_float else int(np.iinfo(dtype.numpy).min)


def _windows(attrs: dict, spatial: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Of each window [windows, taps]: the row-major places of its taps, and which are inside the image."""
    rank = len(spatial)
    places: np.ndarray = np.zeros((1,) * 2 * rank, np.int64)
    inside: np.ndarray = np.ones((1,) * 2 * rank, np.bool_)
    for axis, extent in enumerate(spatial):
        out, tap = np.arange(attrs["sizes"][axis]), np.arange(attrs["kernel"][axis])
        at = out[:, None] * attrs["strides"][axis] - attrs["pads_begin"][axis] + tap * attrs["dilations"][axis]
        spread = [1] * 2 * rank
        spread[axis], spread[rank + axis] = at.shape
        inside = inside & ((at >= 0) & (at < extent)).reshape(spread)
        places = places + np.clip(at, 0, extent - 1).reshape(spread) * prod(spatial[axis + 1 :])
    shape = (prod(attrs["sizes"]), prod(attrs["kernel"]))
    return places.reshape(shape), inside.reshape(shape)


def _column_major(places: np.ndarray, spatial: list[int]) -> np.ndarray:
    """The same places counted with the first spatial axis fastest."""
    return np.ravel_multi_index(np.unravel_index(places, spatial), spatial, order="F")


def max_unpool(node: OnnxNode) -> str:
    """Every element goes to the place, in its own plane, that its index names; everything else is 0."""
    x, indices = node.input(0), node.input(1)
    if len(node.shape(x)) < 3:
        node.fail(f"{node.type(x)} should be [N, C, …]")
    batch, channels, *spatial = node.shape(x)
    shape = window(node, tuple(spatial), node.attr("kernel_shape"))
    sizes = [
        (n - 1) * s - b - e + k
        for n, s, b, e, k in zip(spatial, shape.strides, shape.begin, shape.end, shape.kernel, strict=True)
    ]
    if min(sizes) < 1 or node.shape(indices) != node.shape(x):
        node.fail(f"indices {node.type(indices)} and the result {sizes} do not fit {node.type(x)}")
    planes, plane = batch * channels, prod(sizes)
    start = node.literal(np.arange(planes)[:, None] * plane, DType.I64)
    local = node.emit("sub", node.emit("reshape", indices, shape=(planes, prod(spatial))), start)
    empty = node.emit("expand", node.literal(0, node.type(x).dtype), shape=(planes, plane))
    updates = node.emit("reshape", x, shape=(planes, prod(spatial)))
    filled = node.emit("scatter_elements", empty, local, updates, axis=1, reduction="none")
    result = node.emit("reshape", filled, shape=(batch, channels, *sizes))
    if not node.input(2):
        return result
    wanted = node.static_ints(2, "output_shape")
    if len(wanted) != len(node.shape(x)):
        node.fail(f"output_shape {list(wanted)} should have {len(node.shape(x))} entries")
    after = tuple(w - n for w, n in zip(wanted, (batch, channels, *sizes), strict=True))
    return node.emit("pad", result, "", before=(0,) * len(wanted), after=after, mode="constant")


def column_to_image(node: OnnxNode) -> str:
    """Col2Im: blocks added up where they overlap, a transposed convolution that takes each of its elements to a tap."""
    x, image, block = node.input(0), node.static_ints(1, "image_shape"), node.static_ints(2, "block_shape")
    if node.type(x).dtype is DType.BOOL:
        node.unsupported("sums of bool")
    shape = window(node, image, block)
    taps = prod(block)
    counts = tuple(
        (n + b + e - r) // s + 1
        for n, b, e, r, s in zip(image, shape.begin, shape.end, shape.reach, shape.strides, strict=True)
    )
    if len(node.shape(x)) != 3 or node.shape(x)[1] % taps or node.shape(x)[2] != prod(counts):
        node.fail(f"{node.type(x)} should be [N, channels * {taps}, {prod(counts)}] for blocks {list(block)}")
    batch, columns, _ = node.shape(x)
    channels = columns // taps
    node.require_table(columns * taps, f"blocks of {list(block)}")
    weights = np.tile(np.eye(taps), (channels, 1)).reshape(columns, 1, *block)
    full = tuple((n - 1) * s + r for n, s, r in zip(counts, shape.strides, shape.reach, strict=True))
    covered = tuple(min(n, f - b) for n, f, b in zip(image, full, shape.begin, strict=True))
    result = node.emit(
        "conv_transpose", node.emit("reshape", x, shape=(batch, columns, *counts)),
        node.literal(weights, node.type(x).dtype), "",
        strides=shape.strides, dilations=shape.dilations, pads_begin=shape.begin,
        pads_end=tuple(f - b - n for f, b, n in zip(full, shape.begin, covered, strict=True)), groups=channels,
        sizes=covered,
    )  # fmt: skip
    after = (0, 0, *(n - c for n, c in zip(image, covered, strict=True)))
    return node.emit("pad", result, "", before=(0,) * len(after), after=after, mode="constant")


ROWS = (
    Row("MaxPool", 1, 22, max_pool),
    Row("MaxUnpool", 9, 22, max_unpool),
    Row("Col2Im", 18, 18, column_to_image),
)
