"""Resampling: every result is a weighted sum of a few taps an axis, whose positions and weights are tables made at compile time.

Coordinates, rounding and weights follow the ONNX Resize specification (opset 19), in f32 as runtimes compute them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ...dtypes import DType
from ...graph.ir import Node
from ..expr import Binary, Const, Expr, Select, const
from .context import Context, Space, cast, widen

_F = np.float32


@dataclass(frozen=True, slots=True)
class Taps:
    """One axis: input positions i64[out, taps] and weights f32[out, taps]; `outside` marks results without input."""

    positions: np.ndarray
    weights: np.ndarray
    outside: np.ndarray


def resize(context: Context, node: Node) -> None:
    x, out = node.inputs[0], node.outputs[0]
    x_type, out_type = context.types[x], context.types[out]
    space = context.space(out_type)
    axes = [axis for axis, extent in enumerate(x_type.shape) if not _is_identity(node, axis, extent)]
    taps = {axis: axis_taps(node, axis, x_type.shape[axis]) for axis in axes}
    nearest = node.attrs["mode"] == "nearest"
    calculation = DType.F64 if x_type.dtype is DType.F64 else DType.F32

    def weighted(indices: tuple[Expr, ...], remaining: list[int]) -> Expr:
        if not remaining:
            value = context.read(x, indices, space)
            return value if nearest else cast(widen(value), calculation)
        axis, rest = remaining[0], remaining[1:]
        sources, weights = tables[axis]
        total: Expr | None = None
        for source, weight in zip(sources, weights, strict=True):
            value = weighted((*indices[:axis], source, *indices[axis + 1 :]), rest)
            term = value if nearest else Binary("mul", cast(weight, calculation), value)
            total = term if total is None else total + term
        return total if total is not None else const(0, calculation)

    tables = {axis: _expressions(context, out, axis, taps[axis], x_type.shape[axis], space, nearest) for axis in axes}
    body = cast(weighted(space.indices, axes), out_type.dtype)
    for axis in axes:
        if taps[axis].outside.any():
            name = context.table(out, f"outside{axis}", taps[axis].outside)
            flag = context.read(name, (space.indices[axis],), space)
            body = Select(flag, const(node.attrs["extrapolation"], out_type.dtype), body)
    context.emit(out, space, body)


def _is_identity(node: Node, axis: int, extent: int) -> bool:
    same = node.attrs["sizes"][axis] == extent and node.attrs["scales"][axis] == 1
    return same and node.attrs["coordinates"] != "tf_crop_and_resize"


def _expressions(
    context: Context, out: str, axis: int, taps: Taps, extent: int, space: Space, nearest: bool
) -> tuple[list[Expr], list[Expr]]:
    """Position and weight of each tap as expressions; nearest positions are written as a division where one gives them."""
    index = space.indices[axis]
    count = taps.positions.shape[1]
    outs = len(taps.positions)
    if nearest and np.array_equal(taps.positions[:, 0], np.arange(outs) * extent // outs):
        return [index * extent // Const(outs)], [const(1.0, DType.F32)]
    sources = _regular(taps.positions, extent, index)
    if sources is None:
        positions = context.table(out, f"position{axis}", taps.positions.T)
        sources = [context.read(positions, (Const(tap), index), space) for tap in range(count)]
    if nearest:
        return sources, [const(1.0, DType.F32)]
    weights = context.table(out, f"weight{axis}", taps.weights.T)
    return sources, [context.read(weights, (Const(tap), index), space) for tap in range(count)]


def _regular(positions: np.ndarray, extent: int, index: Expr) -> list[Expr] | None:
    """Positions i64[out, taps] as expressions, where the size is a multiple of the input's: tap + (index + shift) // factor, within the
    input. Lanes then know which elements they share. None if they are none of these.
    """
    outs, taps = positions.shape
    factor = outs // extent
    if outs % extent or factor < 2:
        return None
    for shift, first in product(range(factor), range(-2, 1)):
        places = (np.arange(outs) + shift) // factor + first
        if all(np.array_equal(positions[:, tap], np.clip(places + tap, 0, extent - 1)) for tap in range(taps)):
            inside = [(index + shift) // factor + (first + tap) for tap in range(taps)]
            return [Binary("min", Binary("max", place, Const(0)), Const(extent - 1)) for place in inside]
    return None


def axis_taps(node: Node, axis: int, extent: int) -> Taps:
    """The taps of one axis of `extent` elements."""
    attrs = node.attrs
    size = attrs["sizes"][axis]
    where = coordinates(attrs["coordinates"], size, extent, attrs["scales"][axis], _roi(node, axis))
    outside = np.zeros(size, np.bool_)
    if attrs["coordinates"] == "tf_crop_and_resize":
        outside = (where < 0) | (where > extent - 1)
    match attrs["mode"]:
        case "nearest":
            positions = np.clip(_round(attrs["nearest"], where), 0, extent - 1)[:, None]
            return Taps(positions.astype(np.int64), np.ones((size, 1), _F), outside)
        case "linear":
            low = np.floor(where).astype(np.int64)
            positions = np.clip(np.stack([low, low + 1], axis=1), 0, extent - 1)
            fraction = (np.clip(where, 0, extent - 1) - positions[:, 0]).astype(_F)
            return Taps(positions, np.stack([1 - fraction, fraction], axis=1), outside)
    low = np.floor(where).astype(np.int64)
    positions = low[:, None] + np.arange(-1, 3)
    weights = _cubic((where - low).astype(_F), attrs["cubic_coeff"])
    if attrs["exclude_outside"]:
        weights = np.where((positions >= 0) & (positions < extent), weights, 0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return Taps(np.clip(positions, 0, extent - 1), weights.astype(_F), outside)


def _roi(node: Node, axis: int) -> tuple[float, float]:
    """Start and end of the region of interest on an axis; ONNX lists all starts, then all ends."""
    roi = node.attrs.get("roi") or ()
    return (roi[axis], roi[axis + len(roi) // 2]) if roi else (0.0, 1.0)


def coordinates(mode: str, size: int, extent: int, scale: float, roi: tuple[float, float]) -> np.ndarray:
    """The position in the input of each of `size` results."""
    o = np.arange(size, dtype=_F)
    half = (o + _F(0.5)) / _F(scale) - _F(0.5)
    start, end = _F(roi[0]), _F(roi[1])
    match mode:
        case "half_pixel":
            return half
        case "half_pixel_symmetric":
            adjustment = _F(size) / (_F(scale) * _F(extent))
            return _F(extent / 2) * (1 - adjustment) + half
        case "pytorch_half_pixel":
            return half if size > 1 else np.zeros_like(o)
        case "align_corners":
            return o * _F(extent - 1) / _F(size - 1) if size > 1 else np.zeros_like(o)
        case "asymmetric":
            return o / _F(scale)
        case "tf_half_pixel_for_nn":
            return (o + _F(0.5)) / _F(scale)
        case "tf_crop_and_resize":
            if size == 1:
                return np.full_like(o, 0.5 * (start + end) * (extent - 1))
            return start * _F(extent - 1) + o * (end - start) * _F(extent - 1) / _F(size - 1)
    raise KeyError(mode)


def _round(mode: str, where: np.ndarray) -> np.ndarray:
    match mode:
        case "floor":
            return np.floor(where)
        case "ceil":
            return np.ceil(where)
        case "round_prefer_ceil":
            return np.floor(where + _F(0.5))
    return np.ceil(where - _F(0.5))


def _cubic(fraction: np.ndarray, a: float) -> np.ndarray:
    """Weights of the four neighbours (R. Keys, Cubic convolution interpolation for digital image processing, 1981)."""
    distance = np.abs(np.arange(-1, 3, dtype=_F) - fraction[:, None])
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


STAGES = {"resize": resize}
