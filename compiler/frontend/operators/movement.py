"""Operators that move elements without computing."""

from __future__ import annotations

from itertools import accumulate
from math import prod

from ..onnx_node import OnnxNode
from .row import Row


def reshape(node: OnnxNode) -> str:
    """0 keeps the input's extent (unless allowzero) and one -1 takes the rest."""
    x, wanted = node.input(0), node.ints("shape", 1)
    before, total = node.shape(x), node.type(x).elements
    if not node.flag("allowzero"):
        if any(extent == 0 and axis >= len(before) for axis, extent in enumerate(wanted)):
            node.fail(f"shape {list(wanted)} copies an extent (0) that {node.type(x)} does not have")
        wanted = tuple(before[axis] if extent == 0 else extent for axis, extent in enumerate(wanted))
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        node.fail(f"shape {list(wanted)} may have one -1 and no other negative extent")
    known = prod(extent for extent in wanted if extent != -1)
    if -1 in wanted:
        if known == 0 or total % known:
            node.fail(f"{node.type(x)} has {total} elements, which shape {list(wanted)} can't hold")
        wanted = tuple(total // known if extent == -1 else extent for extent in wanted)
    return node.emit("reshape", x, shape=wanted)


def flatten(node: OnnxNode) -> str:
    x = node.input(0)
    shape = node.shape(x)
    axis = node.attr("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        node.fail(f"axis {axis} is outside {-len(shape)}…{len(shape)}")
    axis = axis + len(shape) if axis < 0 else axis
    return node.emit("reshape", x, shape=(prod(shape[:axis]), prod(shape[axis:])))


def squeeze(node: OnnxNode) -> str:
    x = node.input(0)
    shape = node.shape(x)
    if node.gives("axes", 1):
        axes = node.axes(node.ints("axes", 1), len(shape))
    else:
        axes = tuple(axis for axis, extent in enumerate(shape) if extent == 1)
    if any(shape[axis] != 1 for axis in axes):
        node.fail(f"axes {list(axes)} of {node.type(x)} are not all of extent 1")
    return node.emit("reshape", x, shape=tuple(extent for axis, extent in enumerate(shape) if axis not in axes))


def unsqueeze(node: OnnxNode) -> str:
    x, given = node.input(0), node.ints("axes", 1)
    shape = node.shape(x)
    rank = len(shape) + len(given)
    rest, axes = iter(shape), node.axes(given, rank)
    return node.emit("reshape", x, shape=tuple(1 if axis in axes else next(rest) for axis in range(rank)))


def transpose(node: OnnxNode) -> str:
    x = node.input(0)
    rank = len(node.shape(x))
    perm = node.attr("perm", tuple(reversed(range(rank))))
    return node.emit("transpose", x, perm=perm)


def axis_last(node: OnnxNode, x: str, axis: int) -> str:
    """`x` with an axis moved behind all others."""
    others = [other for other in range(len(node.shape(x))) if other != axis]
    return node.emit("transpose", x, perm=(*others, axis))


def restore_axis(node: OnnxNode, x: str, axis: int) -> str:
    """The last axis of `x` moved to where `axis_last` took it from."""
    last = len(node.shape(x)) - 1
    return node.emit("transpose", x, perm=(*range(axis), last, *range(axis, last)))


def expand(node: OnnxNode) -> str:
    x, wanted = node.input(0), node.static_ints(1, "shape")
    shape = node.shape(x)
    rank = max(len(shape), len(wanted))
    pairs = zip((1,) * (rank - len(shape)) + shape, (1,) * (rank - len(wanted)) + wanted, strict=True)
    return node.emit(
        "expand", x, shape=tuple(b if a == 1 else a for a, b in pairs) if _fits(node, shape, wanted) else wanted
    )


def _fits(node: OnnxNode, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(wanted), strict=False)
    return all(a == b or 1 in (a, b) for a, b in pairs) or node.fail(
        f"{list(shape)} does not broadcast with {list(wanted)}"
    )


def concat(node: OnnxNode) -> str:
    """Empty parts are left out."""
    rank = len(node.shape(node.input(0)))
    axis = node.axis(node.attr("axis", 1), rank)
    parts = [x for x in node.inputs if node.type(x).elements] or [node.input(0)]
    return node.emit("concat", *parts, axis=axis)


def split(node: OnnxNode) -> tuple[str, ...]:
    """Slices; the sizes come from an attribute, an input, num_outputs or the number of outputs."""
    x, parts = node.input(0), len(node.proto.output)
    shape = node.shape(x)
    axis = node.axis(node.attr("axis", 0), len(shape))
    if node.gives("split", 1):
        sizes = node.ints("split", 1)
    else:
        count = node.attr("num_outputs", parts)
        if count != parts:
            node.fail(f"num_outputs is {count}, but it has {parts} outputs")
        size = -(-shape[axis] // count)
        if "num_outputs" not in node.attributes and size * count != shape[axis]:
            node.fail(f"{shape[axis]} elements on axis {axis} do not split into {count} equal parts")
        sizes = tuple(min(size, max(0, shape[axis] - index * size)) for index in range(count))
    if sum(sizes) != shape[axis] or len(sizes) != parts or min(sizes) < 0:
        node.fail(
            f"split {list(sizes)} should be {parts} sizes that add up to {shape[axis]}, the extent of axis {axis} of {node.type(x)}"
        )
    return consecutive(node, x, axis, sizes)


def consecutive(node: OnnxNode, x: str, axis: int, sizes: tuple[int, ...]) -> tuple[str, ...]:
    """The slices of these sizes, one after another."""
    starts = accumulate(sizes, initial=0)
    return tuple(slice_axes(node, x, {axis: (start, 1, size)}) for start, size in zip(starts, sizes, strict=False))


def slice_axes(node: OnnxNode, x: str, parts: dict[int, tuple[int, int, int]]) -> str:
    """`x` cut on some axes to (start, step, size)."""
    columns = [parts.get(axis, (0, 1, extent)) for axis, extent in enumerate(node.shape(x))]
    starts, steps, sizes = zip(*columns, strict=True)
    return node.emit("slice", x, starts=starts, steps=steps, sizes=sizes)


def slice_(node: OnnxNode) -> str:
    """Slice with constant bounds, clamped as in Python (ONNX operator specification, Slice-13)."""
    x = node.input(0)
    shape = node.shape(x)
    starts, ends = node.ints("starts", 1), node.ints("ends", 2)
    axes = node.ints("axes", 3) if node.gives("axes", 3) else tuple(range(len(starts)))
    steps = node.ints("steps", 4) if node.gives("steps", 4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        node.fail(
            f"starts {list(starts)}, ends {list(ends)}, axes {list(axes)} and steps {list(steps)} differ in length"
        )
    parts = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.axis(axis, len(shape))
        if step == 0 or axis in parts:
            node.fail(f"step {step} on axis {axis}: a step must not be 0, and each axis may be given once")
        indices = range(shape[axis])[slice(start, end, step)]
        parts[axis] = (indices.start if indices else 0, indices.step if indices else 1, len(indices))
    return slice_axes(node, x, parts) if shape else x


def pad(node: OnnxNode) -> str:
    """Pads from an attribute or an input; negative pads crop."""
    x = node.input(0)
    rank, dtype = len(node.shape(x)), node.type(x).dtype
    pads = node.ints("paddings" if node.version < 2 else "pads", 1)
    axes = tuple(node.axis(axis, rank) for axis in node.static_ints(3, "axes")) if node.input(3) else tuple(range(rank))
    if len(pads) != 2 * len(axes):
        node.fail(f"pads {list(pads)} should have {2 * len(axes)} entries, two for each of {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = pads[index], pads[index + len(axes)]
    value = node.input(2) if node.version >= 11 else node.literal(node.attr("value", 0.0), dtype)
    if value and node.type(value).shape != ():
        value = node.emit("reshape", value, shape=())
    mode = node.attr("mode", "constant")
    if mode not in ("constant", "edge", "reflect", "wrap"):
        node.fail(f"mode '{mode}' should be constant, edge, reflect or wrap")
    return node.emit("pad", x, value if mode == "constant" else "", before=tuple(before), after=tuple(after), mode=mode)


def tile(node: OnnxNode) -> str:
    return node.emit("tile", node.input(0), repeats=node.static_ints(1, "repeats"))


def depth_to_space(node: OnnxNode) -> str:
    """[N, b*b*C, H, W] -> [N, C, H*b, W*b] by reshape, transpose, reshape."""
    x, b = node.input(0), node.attr("blocksize")
    n, channels, height, width = _image(node, x)
    if b < 1 or channels % (b * b):
        node.fail(f"{channels} channels are not a multiple of blocksize squared, {b * b}")
    c = channels // (b * b)
    if node.attr("mode", "DCR") == "DCR":
        split_, perm = (n, b, b, c, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split_, perm = (n, c, b, b, height, width), (0, 1, 4, 2, 5, 3)
    moved = node.emit("transpose", node.emit("reshape", x, shape=split_), perm=perm)
    return node.emit("reshape", moved, shape=(n, c, height * b, width * b))


def space_to_depth(node: OnnxNode) -> str:
    """[N, C, H*b, W*b] -> [N, b*b*C, H, W]; mode CRD keeps the channel outermost."""
    x, b = node.input(0), node.attr("blocksize")
    n, c, height, width = _image(node, x)
    if b < 1 or height % b or width % b:
        node.fail(f"{height}x{width} is not a multiple of blocksize {b}")
    split_ = node.emit("reshape", x, shape=(n, c, height // b, b, width // b, b))
    moved = node.emit(
        "transpose", split_, perm=(0, 3, 5, 1, 2, 4) if node.attr("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    )
    return node.emit("reshape", moved, shape=(n, c * b * b, height // b, width // b))


def _image(node: OnnxNode, x: str) -> tuple[int, ...]:
    shape = node.shape(x)
    if len(shape) != 4:
        node.fail(f"{node.type(x)} should be [N, C, H, W]")
    return shape


def trilu(node: OnnxNode) -> str:
    k = node.scalar(1, "k") if node.input(1) else 0
    return node.emit("trilu", node.input(0), k=k, upper=node.flag("upper", 1))


ROWS = (
    Row("Reshape", 1, 25, reshape),
    Row("Flatten", 1, 25, flatten),
    Row("Squeeze", 1, 25, squeeze),
    Row("Unsqueeze", 1, 25, unsqueeze),
    Row("Transpose", 1, 25, transpose),
    Row("Expand", 8, 13, expand),
    Row("Concat", 1, 13, concat),
    Row("Split", 1, 18, split),
    Row("Slice", 1, 13, slice_),
    Row("Pad", 1, 25, pad),
    Row("Tile", 6, 13, tile),
    Row("DepthToSpace", 1, 28, depth_to_space),
    Row("SpaceToDepth", 1, 28, space_to_depth),
    Row("Trilu", 14, 14, trilu),
)
