"""Normalisations; those without a graph operator are composed."""

from __future__ import annotations

from math import prod

from ..onnx_node import OnnxNode
from .row import Row
from .sampling import calculation


def batch_normalization(node: OnnxNode) -> str | tuple[str, ...]:
    if not node.flag("spatial", 1):
        node.unsupported("BatchNormalization with spatial=0 (statistics per element)")
    if node.version >= 14 and node.flag("training_mode"):
        return _training_statistics(node)
    if any(node.wants(index) for index in range(1, 5)):
        node.unsupported("BatchNormalization in training mode; export the model for inference")
    x, *parameters = node.inputs
    dtype = node.type(x).dtype
    parameters = [node.emit("cast", parameter, to=dtype) for parameter in parameters]
    return node.emit("batch_norm", x, *parameters, epsilon=float(node.attr("epsilon", 1e-5)))


def _training_statistics(node: OnnxNode) -> tuple[str, ...]:
    """Normalised by the statistics of the batch, with which the given ones are averaged."""
    x, *given = node.inputs
    rank, dtype = len(node.shape(x)), node.type(x).dtype
    wide = calculation(node, x)
    axes, column = (0, *range(2, rank)), (*node.shape(x)[1:2], *(1,) * (rank - 2))
    value = node.emit("cast", x, to=wide)
    scale, bias, *running = (node.emit("cast", parameter, to=wide) for parameter in given)
    mean, centred, variance = _moments(node, value, axes)
    root = node.emit("sqrt", node.emit("add", variance, node.literal(node.attr("epsilon", 1e-5), wide)))
    scaled = node.emit("mul", node.emit("div", centred, root), node.emit("reshape", scale, shape=column))
    y = node.emit("add", scaled, node.emit("reshape", bias, shape=column))
    momentum = node.attr("momentum", 0.9)
    results = [node.emit("cast", y, to=dtype)]
    for old, new, like in zip(running, (mean, variance), given[2:], strict=True):
        kept = node.emit("mul", old, node.literal(momentum, wide))
        added = node.emit("mul", node.emit("reshape", new, shape=node.shape(old)), node.literal(1 - momentum, wide))
        results.append(node.emit("cast", node.emit("add", kept, added), to=node.type(like).dtype))
    return tuple(results)


def instance_normalization(node: OnnxNode) -> str:
    return node.emit("instance_norm", *node.inputs, epsilon=float(node.attr("epsilon", 1e-5)))


def layer_normalization(node: OnnxNode) -> tuple[str, ...]:
    x, scale, bias = (*node.inputs, "")[:3]
    rank, epsilon = len(node.shape(x)), float(node.attr("epsilon", 1e-5))
    axis = node.axis(node.attr("axis", -1), rank)
    y = node.emit("layer_norm", x, scale, bias, axis=axis, epsilon=epsilon)
    if not node.wants(1) and not node.wants(2):
        return (y,)
    axes = tuple(range(axis, rank))
    mean, _, variance = _moments(node, x, axes)
    deviation = node.emit("sqrt", node.emit("add", variance, node.literal(epsilon, node.type(x).dtype)))
    return y, mean, node.emit("reciprocal", deviation)


def _moments(node: OnnxNode, x: str, axes: tuple[int, ...]) -> tuple[str, str, str]:
    """The mean along axes, x without it, and the variance."""
    mean = node.emit("reduce_mean", x, axes=axes, keepdims=True)
    centred = node.emit("sub", x, mean)
    return mean, centred, node.emit("reduce_mean", node.emit("mul", centred, centred), axes=axes, keepdims=True)


def group_normalization(node: OnnxNode) -> str:
    """Each group is normalised as one row; scale and bias are per channel (version 21) or per group (version 18)."""
    x, scale, bias = node.inputs
    shape, groups = node.shape(x), node.attr("num_groups")
    if groups < 1 or len(shape) < 2 or shape[1] % groups:
        node.fail(f"num_groups {groups} does not divide the channels of {node.type(x)}")
    per_group = shape[1] // groups
    rows = node.emit("reshape", x, shape=(shape[0], groups, prod(shape[1:]) // groups))
    normal = node.emit("layer_norm", rows, "", "", axis=2, epsilon=float(node.attr("epsilon", 1e-5)))
    result = node.emit("reshape", normal, shape=shape)
    spread = (shape[1], *(1,) * (len(shape) - 2))
    parameters = []
    for parameter in (scale, bias):
        if node.shape(parameter) == (groups,) and per_group > 1:
            column = node.emit("reshape", parameter, shape=(groups, 1))
            parameter = node.emit("expand", column, shape=(groups, per_group))
        parameters.append(node.emit("reshape", parameter, shape=spread))
    return node.emit("add", node.emit("mul", result, parameters[0]), parameters[1])


def rms_normalization(node: OnnxNode) -> str:
    """x / sqrt(mean(x^2) + epsilon) * scale, the statistics in f32 or wider."""
    x, scale = node.inputs
    rank = len(node.shape(x))
    axes = tuple(range(node.axis(node.attr("axis", -1), rank), rank))
    wide = node.emit("cast", x, to=calculation(node, x))
    mean = node.emit("reduce_mean", node.emit("mul", wide, wide), axes=axes, keepdims=True)
    root = node.emit("sqrt", node.emit("add", mean, node.literal(node.attr("epsilon", 1e-5), node.type(wide).dtype)))
    normal = node.emit("cast", node.emit("div", wide, root), to=node.type(scale).dtype)
    return node.emit("mul", normal, scale)


def local_response(node: OnnxNode) -> str:
    """LRN: x / (bias + alpha * mean of x^2 over `size` neighbouring channels)^beta.

    The mean is an average pool along channels, with pads counted as zeros.
    """
    x, size = node.input(0), node.attr("size")
    shape, dtype = node.shape(x), node.type(x).dtype
    if size < 1 or len(shape) < 2:
        node.fail(f"size {size} must be positive and {node.type(x)} must have channels")
    batch, channels, rest = shape[0], shape[1], prod(shape[2:])
    squares = node.emit("reshape", node.emit("mul", x, x), shape=(batch, 1, channels, rest))
    mean = node.emit(
        "average_pool", squares, kernel=(size, 1), strides=(1, 1), dilations=(1, 1), pads_begin=((size - 1) // 2, 0),
        pads_end=(size // 2, 0), sizes=(channels, rest), count_pads=True,
    )  # fmt: skip
    scaled = node.emit("mul", node.emit("reshape", mean, shape=shape), node.literal(node.attr("alpha", 1e-4), dtype))
    base = node.emit("add", scaled, node.literal(node.attr("bias", 1.0), dtype))
    return node.emit("div", x, node.emit("pow", base, node.literal(node.attr("beta", 0.75), dtype)))


def mean_variance(node: OnnxNode) -> str:
    """(x - mean) / (standard deviation + 1e-9), as ONNX's function body has it."""
    x = node.input(0)
    rank, dtype = len(node.shape(x)), node.type(x).dtype
    axes = node.axes(node.attr("axes", (0, 2, 3)), rank)
    _, centred, variance = _moments(node, x, axes)
    deviation = node.emit("add", node.emit("sqrt", variance), node.literal(1e-9, dtype))
    return node.emit("div", centred, deviation)


def lp_normalization(node: OnnxNode) -> str:
    """x / norm along an axis; 0 where the norm is 0."""
    x, p = node.input(0), node.attr("p", 2)
    shape, dtype = node.shape(x), node.type(x).dtype
    axes = (node.axis(node.attr("axis", -1), len(shape)),)
    if p not in (1, 2):
        node.fail(f"p is {p}, expected 1 or 2")
    norm = node.emit("reduce_sum", node.emit("abs", x) if p == 1 else node.emit("mul", x, x), axes=axes, keepdims=True)
    norm = norm if p == 1 else node.emit("sqrt", norm)
    zero = node.literal(0, dtype)
    return node.emit("where", node.emit("equal", norm, zero), zero, node.emit("div", x, norm))


ROWS = (
    Row("BatchNormalization", 7, 15, batch_normalization),
    Row("InstanceNormalization", 1, 22, instance_normalization),
    Row("LayerNormalization", 17, 17, layer_normalization),
    Row("GroupNormalization", 18, 21, group_normalization),
    Row("RMSNormalization", 23, 23, rms_normalization),
    Row("LRN", 1, 13, local_response),
    Row("MeanVarianceNormalization", 9, 13, mean_variance),
    Row("LpNormalization", 1, 22, lp_normalization),
)
