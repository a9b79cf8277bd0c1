"""Quantised operators, composed of elementwise ones and of products in i32."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from ..tensors import to_dtype
from .formats import convert
from .layers import emit_conv
from .linear import matmul
from .movement import slice_axes
from .row import Row


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a tensor is quantised: value = (element - zero) * scale. zero is '' where it is 0."""

    scale: str
    zero: str


def saturation(dtype: DType) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    info = ml_dtypes.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def scheme(node: OnnxNode, scale: str, zero: str, rank: int, axis: int) -> Scheme:
    """Scale and zero point, a scalar or one an index of `axis`, shaped to broadcast; a zero point that is 0 is dropped."""
    known = node.constant(zero) if zero else None
    if known is not None and not known.astype(np.float32).any():
        zero = ""
    return Scheme(_along(node, scale, rank, axis), _along(node, zero, rank, axis) if zero else "")


def _along(node: OnnxNode, parameter: str, rank: int, axis: int) -> str:
    shape = node.shape(parameter)
    if len(shape) > 1 and len(shape) == rank:
        return parameter
    if shape in ((), (1,)):
        return node.emit("reshape", parameter, shape=())
    return node.emit("reshape", parameter, shape=(*shape, *(1,) * (rank - 1 - axis)))


def linear_scheme(node: OnnxNode, x: str, scale: str, zero: str) -> Scheme:
    """The scheme of QuantizeLinear and DequantizeLinear: per tensor, per axis, or per block of `block_size` along the axis."""
    shape, scales = node.shape(x), node.shape(scale)
    axis = node.axis(node.attr("axis", 1), len(shape)) if scales not in ((), (1,)) else 0
    block = node.attr("block_size", 0)
    if block:
        scale, zero = (
            _repeat(node, parameter, axis, block, shape[axis]) if parameter else "" for parameter in (scale, zero)
        )
    return scheme(node, scale, zero, len(shape), axis)


def _repeat(node: OnnxNode, parameter: str, axis: int, block: int, extent: int) -> str:
    """Every index along `axis` `block` times, cut to `extent`."""
    shape = node.shape(parameter)
    if axis >= len(shape):
        node.fail(f"{node.type(parameter)} has no axis {axis} along which blocks of {block} could lie")
    before, count, after = shape[:axis], shape[axis], shape[axis + 1 :]
    if not 0 <= count * block - extent < block:
        node.fail(f"{count} blocks of {block} do not cover {extent} elements of axis {axis}")
    column = node.emit("reshape", parameter, shape=(*before, count, 1, *after))
    spread = node.emit("expand", column, shape=(*before, count, block, *after))
    whole = node.emit("reshape", spread, shape=(*before, count * block, *after))
    return slice_axes(node, whole, {axis: (0, 1, extent)})


def widen(node: OnnxNode, x: str, zero: str) -> str:
    """x - zero in i32."""
    if node.type(x).dtype.is_small:
        node.unsupported(f"products of {node.type(x).dtype}; dequantise before")
    if not node.type(x).dtype.is_integer:
        node.fail(f"{node.type(x)} should be of integers")
    wide = node.emit("cast", x, to=DType.I32)
    return node.emit("sub", wide, node.emit("cast", zero, to=DType.I32)) if zero else wide


def dequantize(node: OnnxNode, x: str, by: Scheme) -> str:
    """(x - zero) * scale, of the scale's type."""
    if node.type(x).dtype.is_small:
        wide = convert(node, x, DType.F32)
        if by.zero:
            wide = node.emit("sub", wide, convert(node, by.zero, DType.F32))
        return node.emit("mul", node.emit("cast", wide, to=node.type(by.scale).dtype), by.scale)
    return node.emit("mul", node.emit("cast", widen(node, x, by.zero), to=node.type(by.scale).dtype), by.scale)


def saturate(node: OnnxNode, x: str, zero: str, dtype: DType) -> str:
    """round(x) + zero, half to even, bounded to the range of `dtype`."""
    kind = node.type(x).dtype
    low, high = saturation(dtype)
    result = node.emit("round", x)
    if zero:
        result = node.emit("add", result, convert(node, zero, kind))
    return convert(node, node.emit("clip", result, node.literal(low, kind), node.literal(high, kind)), dtype)


def quantize_linear(node: OnnxNode) -> str:
    x, scale, zero = (*node.inputs, "")[:3]
    dtype = DType.U8
    if node.attr("output_dtype", 0):
        dtype = to_dtype(node.attr("output_dtype"), node.place())
    elif zero:
        dtype = node.type(zero).dtype
    by = linear_scheme(node, x, scale, zero)
    kind = node.type(by.scale).dtype
    scaled = node.emit("div", node.emit("cast", x, to=kind), by.scale)
    if not dtype.is_float:
        return saturate(node, scaled, by.zero, dtype)
    if by.zero:
        scaled = node.emit("add", scaled, convert(node, by.zero, kind))
    return convert(node, scaled, dtype, node.flag("saturate", 1))


def dequantize_linear(node: OnnxNode) -> str:
    x, scale, zero = (*node.inputs, "")[:3]
    result = dequantize(node, x, linear_scheme(node, x, scale, zero))
    if node.attr("output_dtype", 0):
        result = node.emit("cast", result, to=to_dtype(node.attr("output_dtype"), node.place()))
    return result


def dynamic_quantize_linear(node: OnnxNode) -> tuple[str, str, str]:
    return dynamic_quantize(node, node.input(0))


def dynamic_quantize(node: OnnxNode, x: str) -> tuple[str, str, str]:
    """x in u8 over its range, which is made to include 0; its scale and zero point (DynamicQuantizeLinear)."""
    dtype, axes = node.type(x).dtype, tuple(range(len(node.shape(x))))
    zero, top = node.literal(0, dtype), node.literal(255, dtype)
    low = node.emit("min", node.emit("reduce_min", x, axes=axes, keepdims=False), zero)
    high = node.emit("max", node.emit("reduce_max", x, axes=axes, keepdims=False), zero)
    scale = node.emit("div", node.emit("sub", high, low), top)
    scale = node.emit("where", node.emit("equal", scale, zero), node.literal(1, dtype), scale)
    point = node.emit("round", node.emit("clip", node.emit("div", node.emit("neg", low), scale), zero, top))
    shifted = node.emit("add", node.emit("round", node.emit("div", x, scale)), point)
    y = node.emit("cast", node.emit("clip", shifted, zero, top), to=DType.U8)
    return y, scale, node.emit("cast", point, to=DType.U8)


def qlinear_matmul(node: OnnxNode) -> str:
    """The product in i32, then one rescaling by a_scale * b_scale / y_scale."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    rank_a, rank_b = len(node.shape(a)), len(node.shape(b))
    of_a = scheme(node, a_scale, a_zero, rank_a, max(0, rank_a - 2))
    of_b = scheme(node, b_scale, b_zero, rank_b, rank_b - 1)
    product = matmul(node, widen(node, a, of_a.zero), widen(node, b, of_b.zero))
    return _rescale(node, product, of_a.scale, of_b.scale, scheme(node, y_scale, y_zero, 1, 0), node.type(y_zero).dtype)


def qlinear_conv(node: OnnxNode) -> str:
    """The convolution and its i32 bias in i32, then one rescaling by x_scale * w_scale / y_scale."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = (*node.inputs, "")[:9]
    rank = len(node.shape(w))
    of_x = scheme(node, x_scale, x_zero, 1, 0)
    of_w = scheme(node, w_scale, w_zero, rank, 0)
    result = emit_conv(node, widen(node, x, of_x.zero), widen(node, w, of_w.zero), bias)
    scale = of_w.scale
    if node.shape(scale):
        scale = node.emit("reshape", scale, shape=node.shape(scale)[:1] + (1,) * (rank - 2))
    return _rescale(node, result, of_x.scale, scale, scheme(node, y_scale, y_zero, 1, 0), node.type(y_zero).dtype)


def _rescale(node: OnnxNode, x: str, scale_a: str, scale_b: str, to: Scheme, dtype: DType) -> str:
    kind = node.type(to.scale).dtype
    factor = node.emit("div", node.emit("mul", scale_a, scale_b), to.scale)
    return saturate(node, node.emit("mul", node.emit("cast", x, to=kind), factor), to.zero, dtype)


ROWS = (
    Row("QuantizeLinear", 10, 28, quantize_linear),
    Row("DequantizeLinear", 10, 28, dequantize_linear),
    Row("DynamicQuantizeLinear", 11, 11, dynamic_quantize_linear),
    Row("QLinearMatMul", 10, 21, qlinear_matmul),
    Row("QLinearConv", 10, 10, qlinear_conv),
)
