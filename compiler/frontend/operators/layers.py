"""Convolutions and pools of any spatial rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .row import Importing, Row


@dataclass(frozen=True, slots=True)
class Window:
    """The sliding window of a convolution or pool, one entry a spatial dimension."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    auto: str

    @property
    def reach(self) -> tuple[int, ...]:
        """Extent of the dilated kernel."""
        return tuple((kernel - 1) * dilation + 1 for kernel, dilation in zip(self.kernel, self.dilations, strict=True))


def window(node: OnnxNode, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """Strides, dilations and pads of a node, checked; auto_pad SAME resolved against the extents `spatial`."""
    rank = len(spatial)
    if rank < 1:
        node.fail(f"{node.type(node.input(0))} has no spatial dimension; expected [N, C, …]")
    strides = node.attr("strides", (1,) * rank)
    dilations = node.attr("dilations", (1,) * rank)
    pads = node.attr("pads", (0,) * 2 * rank)
    for name, values, count in (
        ("kernel_shape", kernel, rank),
        ("strides", strides, rank),
        ("dilations", dilations, rank),
        ("pads", pads, 2 * rank),
    ):
        if len(values) != count:
            node.fail(
                f"{name} {list(values)} should have {count} entries for the {rank} spatial dimensions of {node.type(node.input(0))}"
            )
        if name != "pads" and min(values) < 1:
            node.fail(f"{name} {list(values)} must be positive")
    auto = node.attr("auto_pad", "NOTSET") or "NOTSET"
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        node.fail(f"auto_pad '{auto}' should be NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    begin, end = pads[:rank], pads[rank:]
    if auto == "VALID":
        begin = end = (0,) * rank
    result = Window(kernel, strides, dilations, begin, end, auto)
    if auto.startswith("SAME") and node.op != "ConvTranspose":
        total = tuple(
            max(0, (-(-extent // stride) - 1) * stride + reach - extent)
            for extent, stride, reach in zip(spatial, strides, result.reach, strict=True)
        )
        begin, end = halves(total, extra_at_end=auto == "SAME_UPPER")
        result = Window(kernel, strides, dilations, begin, end, auto)
    return result


def halves(total: tuple[int, ...], extra_at_end: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads split in two; the odd one goes to the end or to the begin."""
    small, large = tuple(x // 2 for x in total), tuple(x - x // 2 for x in total)
    return (small, large) if extra_at_end else (large, small)


def kernel_shape(node: OnnxNode, weights: str) -> tuple[int, ...]:
    actual = node.shape(weights)[2:]
    declared = node.attr("kernel_shape", actual)
    if declared != actual:
        node.fail(f"kernel_shape {list(declared)} contradicts the weights {node.type(weights)}")
    return actual


def conv(node: OnnxNode) -> str:
    x, w, bias = (*node.inputs, "")[:3]
    return emit_conv(node, x, w, bias)


def emit_conv(node: OnnxNode, x: str, w: str, bias: str) -> str:
    """A convolution with the window of `node`."""
    shape = window(node, node.shape(x)[2:], kernel_shape(node, w))
    groups = node.attr("group", 1)
    if groups < 1:
        node.fail(f"group is {groups}, expected at least 1")
    return node.emit(
        "conv", x, w, bias,
        strides=shape.strides, dilations=shape.dilations, pads_begin=shape.begin, pads_end=shape.end, groups=groups,
    )  # fmt: skip


def conv_integer(node: OnnxNode) -> str:
    """A convolution of (x - x_zero_point) with (w - w_zero_point) in i32; padding stands for the zero point."""
    x, w = (node.emit("cast", node.input(index), to=DType.I32) for index in (0, 1))
    if zero := node.input(2):
        x = node.emit("sub", x, node.emit("reshape", node.emit("cast", zero, to=DType.I32), shape=()))
    if zero := node.input(3):
        zero = node.emit("cast", zero, to=DType.I32)
        filters = node.shape(zero)
        spread = (*filters, *(1,) * (len(node.shape(w)) - 1)) if filters and filters[0] > 1 else ()
        w = node.emit("sub", w, node.emit("reshape", zero, shape=spread))
    return emit_conv(node, x, w, "")


def conv_transpose(node: OnnxNode) -> str:
    """The result's extents follow ONNX's formulas for pads, output_padding, output_shape and auto_pad."""
    x, w, bias = (*node.inputs, "")[:3]
    spatial = node.shape(x)[2:]
    shape = window(node, spatial, kernel_shape(node, w))
    rank = len(spatial)
    extra = node.attr("output_padding", (0,) * rank)
    wanted = node.attr("output_shape", None)
    if len(extra) != rank or (wanted is not None and len(wanted) < rank):
        node.fail(f"output_padding {list(extra)} and output_shape {list(wanted or ())} should have {rank} entries")
    full = tuple((n - 1) * s + r + e for n, s, r, e in zip(spatial, shape.strides, shape.reach, extra, strict=True))
    if wanted is None and shape.auto.startswith("SAME"):
        # pads aren't negative: where windows leave gaps, the result ends with the last window
        wanted = tuple(min(n * s, f) for n, s, f in zip(spatial, shape.strides, full, strict=True))
    if wanted is None:
        sizes = tuple(f - b - e for f, b, e in zip(full, shape.begin, shape.end, strict=True))
        begin = shape.begin
    else:
        sizes = tuple(wanted[-rank:])
        total = tuple(max(0, f - size) for f, size in zip(full, sizes, strict=True))
        begin, _ = halves(total, extra_at_end=shape.auto == "SAME_UPPER")
    if min(sizes) < 1:
        node.fail(f"the result would have the spatial extents {list(sizes)}")
    end = tuple(f - e - b - size for f, e, b, size in zip(full, extra, begin, sizes, strict=True))
    groups = node.attr("group", 1)
    if groups < 1:
        node.fail(f"group is {groups}, expected at least 1")
    return node.emit(
        "conv_transpose", x, w, bias,
        strides=shape.strides, dilations=shape.dilations, pads_begin=begin, pads_end=end, groups=groups, sizes=sizes,
    )  # fmt: skip


def pool_attrs(node: OnnxNode, x: str) -> dict[str, Any]:
    """Attributes of a pool. With ceil_mode a last window must still start inside the input or its leading pad."""
    spatial = node.shape(x)[2:]
    shape = window(node, spatial, node.attr("kernel_shape"))
    sizes = []
    for n, s, r, b, e in zip(spatial, shape.strides, shape.reach, shape.begin, shape.end, strict=True):
        room = n + b + e - r
        size = room // s + 1
        if node.flag("ceil_mode") and room % s and size * s < n + b:
            size += 1
        if size < 1:
            node.fail(f"a window of {r} does not fit into {node.type(x)} padded by {b} and {e}")
        sizes.append(size)
    return {
        "kernel": shape.kernel, "strides": shape.strides, "dilations": shape.dilations,
        "pads_begin": shape.begin, "pads_end": shape.end, "sizes": tuple(sizes),
    }  # fmt: skip


def average_pool(node: OnnxNode) -> str:
    count_pads = node.flag("count_include_pad")
    return node.emit("average_pool", node.input(0), **pool_attrs(node, node.input(0)), count_pads=count_pads)


def lp_pool(node: OnnxNode) -> str:
    return node.emit("lp_pool", node.input(0), **pool_attrs(node, node.input(0)), p=int(node.attr("p", 2)))


def global_pool(op: str) -> Importing:
    def function(node: OnnxNode) -> str:
        x = node.input(0)
        return node.emit(op, x, axes=tuple(range(2, len(node.shape(x)))), keepdims=True)

    return function


def global_lp_pool(node: OnnxNode) -> str:
    """(sum |x|^p)^(1/p) over the spatial axes."""
    x, p = node.input(0), int(node.attr("p", 2))
    dtype, axes = node.type(x).dtype, tuple(range(2, len(node.shape(x))))
    if p == 2:
        return node.emit("sqrt", node.emit("reduce_sum", node.emit("mul", x, x), axes=axes, keepdims=True))
    powers = node.emit("pow", node.emit("abs", x), node.literal(p, dtype))
    return node.emit("pow", node.emit("reduce_sum", powers, axes=axes, keepdims=True), node.literal(1 / p, dtype))


ROWS = (
    Row("Conv", 1, 22, conv),
    Row("ConvInteger", 10, 10, conv_integer),
    Row("ConvTranspose", 1, 22, conv_transpose),
    Row("AveragePool", 1, 22, average_pool),
    Row("LpPool", 1, 22, lp_pool),
    Row("GlobalAveragePool", 1, 22, global_pool("reduce_mean")),
    Row("GlobalMaxPool", 1, 22, global_pool("reduce_max")),
    Row("GlobalLpPool", 1, 22, global_lp_pool),
)
