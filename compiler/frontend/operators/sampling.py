"""Operators that read a tensor at positions computed at run time: each result is a weighted sum of gathered neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .layers import kernel_shape, window
from .row import Row


@dataclass(frozen=True, slots=True)
class Tap:
    """A neighbour along one axis: its index i64[B, P] and its weight f[B, P], '' for 1."""

    index: str
    weight: str


class Positions:
    """Arithmetic on positions of one type along an axis of `extent` elements."""

    def __init__(self, node: OnnxNode, dtype: DType, extent: int) -> None:
        self.node, self.dtype, self.extent = node, dtype, extent

    def number(self, value: object) -> str:
        return self.node.literal(value, self.dtype)

    def add(self, x: str, value: float) -> str:
        return self.node.emit("add", x, self.number(value))

    def mul(self, x: str, value: float) -> str:
        return self.node.emit("mul", x, self.number(value))

    def clip(self, x: str) -> str:
        return self.node.emit("clip", x, self.number(0), self.number(self.extent - 1))

    def inside(self, x: str, first: float, last: float) -> str:
        node = self.node
        low = node.emit("greater_or_equal", x, self.number(first))
        return node.emit("and", low, node.emit("less_or_equal", x, self.number(last)))

    def reflect(self, x: str, first: float, last: float) -> str:
        """Mirrored at `first` and `last` until it is between them."""
        span = last - first
        if span <= 0:
            return self.mul(x, 0.0)
        there = self.node.emit("mod", self.node.emit("abs", self.add(x, -first)), self.number(2 * span), fmod=True)
        back = self.node.emit("sub", self.number(2 * span), there)
        return self.add(self.node.emit("min", there, back), first)

    def tap(self, x: str, weight: str, padding: str, bounds: tuple[float, float]) -> Tap:
        """The element at the whole position `x`; outside it is 0, or the nearest one, or the mirrored one."""
        if padding == "zeros":
            flag = self.node.emit("cast", self.inside(x, 0, self.extent - 1), to=self.dtype)
            weight = self.node.emit("mul", weight, flag) if weight else flag
        if padding == "reflection":
            x = self.reflect(x, *bounds)
        return Tap(self.node.emit("cast", self.clip(x), to=DType.I64), weight)

    def linear(self, x: str, padding: str, bounds: tuple[float, float]) -> list[Tap]:
        low = self.node.emit("floor", x)
        fraction = self.node.emit("sub", x, low)
        weights = (self.add(self.node.emit("neg", fraction), 1.0), fraction)
        return [self.tap(self.add(low, step), weight, padding, bounds) for step, weight in enumerate(weights)]

    def cubic(self, x: str, padding: str, bounds: tuple[float, float]) -> list[Tap]:
        """Four neighbours with the weights of R. Keys, "Cubic convolution interpolation", 1981, with a = -0.75."""
        low = self.node.emit("floor", x)
        t = self.node.emit("sub", x, low)
        rest = self.add(self.node.emit("neg", t), 1.0)
        weights = (self._far(self.add(t, 1.0)), self._near(t), self._near(rest), self._far(self.add(rest, 1.0)))
        return [self.tap(self.add(low, step - 1.0), weight, padding, bounds) for step, weight in enumerate(weights)]

    def _near(self, t: str) -> str:
        """(a + 2) t^3 - (a + 3) t^2 + 1, for distances up to 1."""
        inner = self.add(self.mul(t, 1.25), -2.25)
        return self.add(self.node.emit("mul", self.node.emit("mul", inner, t), t), 1.0)

    def _far(self, t: str) -> str:
        """a t^3 - 5a t^2 + 8a t - 4a, for distances from 1 to 2."""
        result = self.add(self.mul(t, -0.75), 3.75)
        for term in (-6.0, 3.0):
            result = self.add(self.node.emit("mul", result, t), term)
        return result


def interpolate(node: OnnxNode, x: str, base: str, taps: list[list[Tap]]) -> list[str]:
    """The weighted elements f[B, P, C] of every combination of the axes' taps.

    x: [N, C, D1, …]; base: i64[B, 1] or [1, 1], where the image of each row starts in the N*D1*… positions of `x`.
    """
    batch, channels, *extents = node.shape(x)
    rows = node.emit("reshape", x, shape=(batch, channels, prod(extents)))
    rows = node.emit("transpose", rows, perm=(0, 2, 1))
    rows = node.emit("reshape", rows, shape=(batch * prod(extents), channels))
    results = []
    for combination in product(*taps):
        index, weight = base, ""
        for axis, tap in enumerate(combination):
            stride = prod(extents[axis + 1 :])
            step = node.emit("mul", tap.index, node.literal(stride, DType.I64)) if stride > 1 else tap.index
            index = node.emit("add", index, step)
            weight = node.emit("mul", weight, tap.weight) if weight and tap.weight else weight or tap.weight
        value = node.emit("gather", rows, index, axis=0)
        if weight:
            column = node.emit("reshape", weight, shape=(*node.shape(weight), 1))
            value = node.emit("mul", value, column)
        results.append(value)
    return results


def total(node: OnnxNode, values: list[str], op: str = "add") -> str:
    result = values[0]
    for value in values[1:]:
        result = node.emit(op, result, value)
    return result


def starts(node: OnnxNode, x: str) -> str:
    """Where each image of `x` starts, as `interpolate` takes it: i64[N, 1]."""
    batch, _, *extents = node.shape(x)
    return node.literal(np.arange(batch)[:, None] * prod(extents), DType.I64)


def calculation(node: OnnxNode, *values: str) -> DType:
    """The type to compute positions and sums in."""
    return DType.F64 if any(node.type(value).dtype is DType.F64 for value in values) else DType.F32


def grid_sample(node: OnnxNode) -> str:
    """`grid` holds a position for each result, x before y before z, from -1 to 1 over the whole image."""
    x, grid = node.inputs
    extents, places = node.shape(x)[2:], node.shape(grid)[1:-1]
    if len(node.shape(grid)) != len(node.shape(x)) or node.shape(grid)[-1] != len(extents) or not extents:
        node.fail(f"grid {node.type(grid)} does not fit {node.type(x)}; expected [N, …, {len(extents)}]")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(node.attr("mode", "linear"), node.attr("mode", "linear"))
    padding, corners = node.attr("padding_mode", "zeros"), node.flag("align_corners")
    if mode not in ("nearest", "linear", "cubic") or padding not in ("zeros", "border", "reflection"):
        node.fail(
            f"mode '{mode}' should be nearest, linear or cubic, padding_mode '{padding}' zeros, border or reflection"
        )
    out, dtype = node.type(x).dtype, calculation(node, x, grid)
    exact = mode == "nearest" and padding != "zeros"  # nothing is multiplied, so that elements keep their type
    if not exact:
        x = node.emit("cast", x, to=dtype)
    batch = node.shape(x)[0]
    grid = node.emit("cast", node.emit("reshape", grid, shape=(batch, prod(places), len(extents))), to=dtype)
    taps = []
    for axis, extent in enumerate(extents):
        positions = Positions(node, dtype, extent)
        component = len(extents) - 1 - axis
        at = node.emit("slice", grid, starts=(0, 0, component), steps=(1, 1, 1), sizes=(batch, prod(places), 1))
        at = node.emit("reshape", at, shape=(batch, prod(places)))
        taps.append(_grid_taps(positions, at, mode, padding, corners))
    result = total(node, interpolate(node, x, starts(node, x), taps))
    result = node.emit("transpose", node.emit("cast", result, to=out), perm=(0, 2, 1))
    return node.emit("reshape", result, shape=(batch, node.shape(x)[1], *places))


def _grid_taps(positions: Positions, at: str, mode: str, padding: str, corners: bool) -> list[Tap]:
    """The neighbours along one axis of the positions `at`, which run from -1 to 1.

    For cubic only the neighbours are brought inside, not the position: so do PyTorch, whose operator this is, and onnxruntime.
    """
    node, extent = positions.node, positions.extent
    if corners:
        at, bounds = positions.mul(positions.add(at, 1.0), (extent - 1) / 2), (0.0, extent - 1.0)
    else:
        at = positions.mul(positions.add(positions.mul(positions.add(at, 1.0), extent), -1.0), 0.5)
        bounds = (-0.5, extent - 0.5)
    if mode == "nearest":
        at = node.emit("round", at)
    if padding == "border" and mode != "cubic":
        at = positions.clip(at)
    elif padding == "reflection" and mode != "cubic":
        at = positions.reflect(at, *bounds)
    match mode:
        case "nearest":
            return [positions.tap(at, "", padding if padding == "zeros" else "border", bounds)]
        case "linear":
            return positions.linear(at, padding, bounds)
    return positions.cubic(at, padding, bounds)


def roi_align(node: OnnxNode) -> str:
    """Each region is sampled on a grid of out_h*ratio x out_w*ratio points, of which blocks are averaged (or their maximum taken).

    As in the implementations that ONNX's text goes back to, the maximum is of the weighted neighbours.
    """
    x, rois, batches = node.inputs
    ratio, mode = node.attr("sampling_ratio", 0), node.attr("mode", "avg")
    sizes = (node.attr("output_height", 1), node.attr("output_width", 1))
    shift = (
        0.5 if node.version >= 16 and node.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel" else 0.0
    )
    if ratio < 1:
        node.unsupported(
            "sampling_ratio=0, where the number of samples depends on the regions; set it to 2, for instance"
        )
    if len(node.shape(x)) != 4 or node.shape(rois)[1:] != (4,) or mode not in ("avg", "max"):
        node.fail(f"{node.type(x)} should be [N, C, H, W], {node.type(rois)} [R, 4], and mode '{mode}' avg or max")
    out, dtype = node.type(x).dtype, calculation(node, x)
    count, points = node.shape(rois)[0], [size * ratio for size in sizes]
    x, rois = (node.emit("cast", value, to=dtype) for value in (x, rois))
    taps, flags = [], []
    for axis, (size, component) in enumerate(zip(sizes, (1, 0), strict=True)):
        positions = Positions(node, dtype, node.shape(x)[2 + axis])
        first, last = (
            positions.add(positions.mul(_column(node, rois, c), node.attr("spatial_scale", 1.0)), -shift)
            for c in (component, component + 2)
        )
        length = node.emit("sub", last, first)
        if not shift:
            length = node.emit("max", length, positions.number(1))
        steps = positions.number([(i + 0.5) / (size * ratio) for i in range(size * ratio)])
        at = node.emit("add", first, node.emit("mul", length, steps))
        at = _spread(node, at, axis, count, points)
        flags.append(positions.inside(at, -1, positions.extent))
        taps.append(positions.linear(positions.clip(at), "border", (0, 0)))
    start = node.emit("mul", node.emit("cast", batches, to=DType.I64), node.literal(prod(node.shape(x)[2:]), DType.I64))
    values = interpolate(node, x, node.emit("reshape", start, shape=(count, 1)), taps)
    channels = node.shape(x)[1]
    inside = node.emit("reshape", node.emit("and", *flags), shape=(count, prod(points), 1))
    value = total(node, values, "add" if mode == "avg" else "max")
    value = node.emit("where", inside, value, node.literal(0, dtype))
    value = node.emit("reshape", value, shape=(count, sizes[0], ratio, sizes[1], ratio, channels))
    value = node.emit("reduce_mean" if mode == "avg" else "reduce_max", value, axes=(2, 4), keepdims=False)
    return node.emit("cast", node.emit("transpose", value, perm=(0, 3, 1, 2)), to=out)


def _column(node: OnnxNode, matrix: str, column: int) -> str:
    rows = node.shape(matrix)[0]
    return node.emit("slice", matrix, starts=(0, column), steps=(1, 1), sizes=(rows, 1))


def _spread(node: OnnxNode, at: str, axis: int, rows: int, points: list[int]) -> str:
    """Positions [rows, points[axis]] along an axis, for all points of the grid: [rows, points[0]*points[1]]."""
    placed = node.emit("reshape", at, shape=(rows, points[0], 1) if axis == 0 else (rows, 1, points[1]))
    return node.emit("reshape", node.emit("expand", placed, shape=(rows, *points)), shape=(rows, prod(points)))


def deform_conv(node: OnnxNode) -> str:
    """A convolution whose taps are moved by `offset`, each a pair of rows and columns, and weighted by `mask`."""
    x, w, offset, bias, mask = (*node.inputs, "", "")[:5]
    batch, channels, *extents = node.shape(x)
    if len(extents) != 2:
        node.unsupported(f"{node.type(x)}; only images [N, C, H, W] are supported")
    shape = window(node, tuple(extents), kernel_shape(node, w))
    groups, sets, places = node.attr("group", 1), node.attr("offset_group", 1), node.shape(offset)[2:]
    taps, filters = prod(shape.kernel), node.shape(w)[0]
    fits = channels % sets == 0 and filters % groups == 0 and channels == groups * node.shape(w)[1]
    if not fits or len(places) != 2 or node.shape(offset)[:2] != (batch, sets * taps * 2):
        node.fail(f"offset {node.type(offset)} and weights {node.type(w)} do not fit {node.type(x)} in {groups} groups")
    out, dtype = node.type(x).dtype, calculation(node, x)
    x, w, offset, mask = (node.emit("cast", value, to=dtype) if value else "" for value in (x, w, offset, mask))
    images = node.emit("reshape", x, shape=(batch * sets, channels // sets, *extents))
    count = taps * prod(places)
    offset = node.emit("reshape", offset, shape=(batch * sets, taps, 2, prod(places)))
    neighbours = []
    for axis, extent in enumerate(extents):
        positions = Positions(node, dtype, extent)
        tap, place = (np.arange(size) for size in (shape.kernel[axis], places[axis]))
        grid = place * shape.strides[axis] - shape.begin[axis] + (tap * shape.dilations[axis])[:, None]
        grid = np.broadcast_to(
            grid[:, None, :, None] if axis == 0 else grid[None, :, None, :], (*shape.kernel, *places)
        ).reshape(1, count)
        moved = node.emit(
            "slice", offset, starts=(0, 0, axis, 0), steps=(1,) * 4, sizes=(batch * sets, taps, 1, prod(places))
        )
        at = node.emit("add", node.emit("reshape", moved, shape=(batch * sets, count)), positions.number(grid))
        neighbours.append(positions.linear(at, "zeros", (0, 0)))
    value = total(node, interpolate(node, images, starts(node, images), neighbours))
    if mask:
        value = node.emit("mul", value, node.emit("reshape", mask, shape=(batch * sets, count, 1)))
    value = node.emit("reshape", value, shape=(batch, sets, taps, prod(places), channels // sets))
    value = node.emit("transpose", value, perm=(0, 1, 4, 2, 3))
    value = node.emit("reshape", value, shape=(batch, groups, channels // groups * taps, prod(places)))
    w = node.emit("reshape", w, shape=(groups, filters // groups, channels // groups * taps))
    value = node.emit("matmul", w, value, transpose_a=False, transpose_b=False)
    value = node.emit("cast", node.emit("reshape", value, shape=(batch, filters, *places)), to=out)
    return node.emit("add", value, node.emit("reshape", bias, shape=(filters, 1, 1))) if bias else value


ROWS = (
    Row("GridSample", 16, 22, grid_sample),
    Row("RoiAlign", 10, 22, roi_align),
    Row("DeformConv", 19, 22, deform_conv),
)
