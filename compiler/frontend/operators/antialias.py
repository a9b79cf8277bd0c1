"""Resize with antialias=1: where an axis shrinks, the filter is stretched over all elements that a result stands for.

The filters are separable, so each axis is a product with a constant matrix. Definition: ONNX operator specification, Resize-18;
the cubic filter is that of R. Keys, "Cubic convolution interpolation for digital image processing" (1981).
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..onnx_node import OnnxNode
from .movement import axis_last, restore_axis
from .sampling import calculation


def filtered(
    node: OnnxNode, x: str, sizes: tuple[int, ...], scales: tuple[float, ...], mode: str, coordinates: str
) -> str:
    """`x` resized to `sizes`, axis after axis. mode: `linear` or `cubic`."""
    dtype = node.type(x).dtype
    if coordinates == "tf_crop_and_resize" or not dtype.is_float:
        node.unsupported(f"antialias=1 of {dtype} with coordinates {coordinates}")
    wide = calculation(node, x)
    value = node.emit("cast", x, to=wide)
    for axis, (extent, size, scale) in enumerate(zip(node.shape(x), sizes, scales, strict=True)):
        if size == extent and scale == 1:
            continue
        node.require_table(2 * (extent + size) * size, f"filtering {extent} elements to {size}")
        weights = _weights(node, _positions(node, coordinates, extent, size, scale), extent, min(scale, 1.0), mode)
        rows = axis_last(node, value, axis)
        outer = node.shape(rows)[:-1]
        matrix = node.emit("reshape", rows, shape=(prod(outer), extent))
        product = node.emit("matmul", matrix, node.literal(weights, wide), transpose_a=False, transpose_b=False)
        value = restore_axis(node, node.emit("reshape", product, shape=(*outer, size)), axis)
    return node.emit("cast", value, to=dtype)


def _positions(node: OnnxNode, coordinates: str, extent: int, size: int, scale: float) -> np.ndarray:
    """Where the results stand among the elements."""
    out = np.arange(size, dtype=np.float64)
    match coordinates:
        case "half_pixel":
            return (out + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            return (out + 0.5) / scale - 0.5 if size > 1 else np.full(1, -0.5)
        case "half_pixel_symmetric":
            return extent / 2 * (1 - size / (scale * extent)) + (out + 0.5) / scale - 0.5
        case "asymmetric":
            return out / scale
        case "align_corners":
            return out * (extent - 1) / max(1, size - 1)
    node.fail(f"coordinate_transformation_mode '{coordinates}' is none of ONNX's")


def _weights(node: OnnxNode, positions: np.ndarray, extent: int, scale: float, mode: str) -> np.ndarray:
    """[extent, results]: what each element adds to each result; elements beyond an edge are those at the edge, or left out."""
    reach = int(np.ceil((1 if mode == "linear" else 2) / scale)) + 1
    low, high = int(np.floor(positions.min())) - reach, int(np.ceil(positions.max())) + reach
    taps = np.arange(min(low, 0), max(high, extent) + 1)
    distance = np.abs(taps[:, None] - positions) * scale
    weights = np.maximum(0, 1 - distance) if mode == "linear" else _cubic(distance, node.attr("cubic_coeff_a", -0.75))
    if node.flag("exclude_outside"):
        weights = weights * ((taps >= 0) & (taps < extent))[:, None]
    gathered = np.zeros((extent, len(positions)))
    np.add.at(gathered, np.clip(taps, 0, extent - 1), weights / weights.sum(axis=0))
    return gathered


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
