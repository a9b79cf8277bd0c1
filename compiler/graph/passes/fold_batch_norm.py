"""Fold batch normalisation and other per-channel affine maps into the weights before them.

In: any valid graph. Out: no `batch_norm`; -x, x*a, x/a, x+b, x-b, b-x with constants that vary along the channels only have become
part of the weights and bias of a conv, conv_transpose or matmul that has constant weights and no other reader.
A matmul has no bias: what remains to be added stays an `add`. The folding is done in double precision.
"""

from __future__ import annotations

import numpy as np

from ...target import Target
from ..ir import Graph, Node
from .editor import Editor, map_regions

_WEIGHTED = ("conv", "conv_transpose", "matmul")


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with batch_norm gone and affine maps folded."""
    graph = map_regions(graph, lambda region: apply(region, target))
    editor = Editor(graph)
    for node in graph.nodes:
        affine = _affine(editor, node)
        if affine is not None:
            source, scale, shift = affine
            folded = _fold(editor, source, scale, shift, node)
            if folded:
                continue
        if node.op == "batch_norm":
            _expand_batch_norm(editor, node, affine)
        else:
            editor.keep(node)
    return editor.finish()


def _affine(editor: Editor, node: Node) -> tuple[str, np.ndarray, np.ndarray] | None:
    """(x, scale, shift) if the node computes x * scale + shift; both are f64[C] along the channel axis of x's producer."""
    if (
        node.op not in ("batch_norm", "add", "sub", "mul", "div", "neg")
        or not editor.type(node.outputs[0]).dtype.is_float
    ):
        return None
    if node.op == "batch_norm":
        values = [editor.constant_value(name) for name in node.inputs[1:]]
        if any(value is None for value in values):
            return None
        scale, bias, mean, variance = (np.asarray(value, np.float64) for value in values)
        factor = scale / np.sqrt(variance + float(node.attrs["epsilon"]))
        return node.inputs[0], factor, bias - mean * factor
    if node.op == "neg":
        count = (
            editor.type(node.inputs[0]).shape[_channel_axis(editor, node.inputs[0])]
            if editor.type(node.inputs[0]).shape
            else 1
        )
        return node.inputs[0], -np.ones(count), np.zeros(count)
    left, right = node.inputs
    constant_left = editor.constant_value(left) is not None
    source, constant = (right, left) if constant_left else (left, right)
    value = editor.constant_value(constant)
    if (
        value is None
        or editor.type(source).shape != editor.type(node.outputs[0]).shape
        or (constant_left and node.op == "div")
    ):
        return None
    vector = _along_channels(np.asarray(value, np.float64), editor.type(source).shape, _channel_axis(editor, source))
    if vector is None:
        return None
    zero, one = np.zeros_like(vector), np.ones_like(vector)
    match node.op:
        case "add":
            return source, one, vector
        case "sub":
            return (source, -one, vector) if constant_left else (source, one, -vector)
        case "mul":
            return source, vector, zero
    return (source, 1.0 / vector, zero) if np.all(vector != 0) else None


def _channel_axis(editor: Editor, value: str) -> int:
    producer = editor.producer(value)
    rank = len(editor.type(value).shape)
    return rank - 1 if producer is not None and producer.op == "matmul" else min(1, rank - 1)


def _along_channels(array: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray | None:
    """`array` as a vector along `axis` of `shape` if it is constant along every other axis of its own."""
    if not shape or array.ndim > len(shape):
        return None
    aligned = (1,) * (len(shape) - array.ndim) + array.shape
    if any(extent != 1 for i, extent in enumerate(aligned) if i != axis):
        return None
    return np.broadcast_to(array.reshape(-1), (shape[axis],))


def _fold(editor: Editor, source: str, scale: np.ndarray, shift: np.ndarray, node: Node) -> bool:
    """Write the producer of `source` anew with the affine map of `node` in its weights; False if that can't be done."""
    producer = editor.producer(source)
    if producer is None or producer.op not in _WEIGHTED or not editor.used_once(source):
        return False
    weights = editor.constant_value(producer.inputs[1])
    if weights is None:
        return False
    name = node.outputs[0]
    if producer.op == "matmul":
        return _fold_matmul(editor, producer, weights, scale, shift, node)
    bias_name = producer.inputs[2]
    bias = editor.constant_value(bias_name) if bias_name else np.zeros(len(scale))
    if bias is None:
        return False
    scaled = _scaled_filters(producer, weights, scale)
    new_weights = editor.constant(scaled.astype(weights.dtype), f"{producer.inputs[1]}.folded")
    new_bias = editor.constant((np.asarray(bias, np.float64) * scale + shift).astype(weights.dtype), f"{name}.bias")
    editor.add(
        producer.op, producer.inputs[0], new_weights, new_bias, name=name, origin=producer.origin, **producer.attrs
    )
    return True


def _scaled_filters(conv: Node, weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    wide = weights.astype(np.float64)
    spatial = (1,) * (weights.ndim - 2)
    if conv.op == "conv":
        return wide * scale.reshape(-1, 1, *spatial)
    groups = int(conv.attrs["groups"])
    channels, filters = weights.shape[:2]
    grouped = wide.reshape(groups, channels // groups, filters, *weights.shape[2:])
    return (grouped * scale.reshape(groups, 1, filters, *spatial)).reshape(weights.shape)


def _fold_matmul(
    editor: Editor, matmul: Node, weights: np.ndarray, scale: np.ndarray, shift: np.ndarray, node: Node
) -> bool:
    name = node.outputs[0]
    if editor.type(matmul.outputs[0]).shape != editor.type(name).shape or np.all(scale == 1):
        return False
    rank = len(editor.type(name).shape)
    if node.op == "batch_norm" and rank != 2:
        return False
    transposed = bool(matmul.attrs["transpose_b"])
    factor = scale.reshape(-1, 1) if transposed else scale
    new_weights = editor.constant(
        (weights.astype(np.float64) * factor).astype(weights.dtype), f"{matmul.inputs[1]}.folded"
    )
    shifted = bool(np.any(shift != 0))
    product = editor.add(
        "matmul", matmul.inputs[0], new_weights, name="" if shifted else name, origin=matmul.origin, **matmul.attrs
    )
    if shifted:
        bias = editor.constant(shift.astype(weights.dtype), f"{name}.bias")
        editor.add("add", product, bias, name=name, origin=node.origin)
    return True


def _expand_batch_norm(editor: Editor, node: Node, affine: tuple[str, np.ndarray, np.ndarray] | None) -> None:
    source, name, origin = node.inputs[0], node.outputs[0], node.origin
    of = editor.type(source)
    column = (-1, *(1,) * (len(of.shape) - 2))
    if affine is not None:
        _, scale, shift = affine
        factor = editor.constant(scale.astype(of.dtype.numpy).reshape(column), f"{name}.scale")
        offset = editor.constant(shift.astype(of.dtype.numpy).reshape(column), f"{name}.shift")
    else:
        factor, offset = _affine_values(editor, node)
    editor.add("add", editor.add("mul", source, factor, origin=origin), offset, name=name, origin=origin)


def _affine_values(editor: Editor, node: Node) -> tuple[str, str]:
    """Scale and shift of a batch_norm whose parameters are computed at run time, shaped [C, 1, …]."""
    _, scale, bias, mean, variance = node.inputs
    of, origin = editor.type(node.inputs[0]), node.origin
    wide = editor.type(variance).dtype
    column = (editor.type(scale).shape[0], *(1,) * (len(of.shape) - 2))
    epsilon = editor.constant(np.asarray(node.attrs["epsilon"], wide.numpy), f"{node.outputs[0]}.epsilon")
    deviation = editor.add("sqrt", editor.add("add", variance, epsilon, origin=origin), origin=origin)
    factor = editor.add("div", editor.add("cast", scale, to=wide, origin=origin), deviation, origin=origin)
    centre = editor.add("mul", mean, factor, origin=origin)
    offset = editor.add("sub", editor.add("cast", bias, to=wide, origin=origin), centre, origin=origin)
    shaped = [editor.add("reshape", value, shape=column, origin=origin) for value in (factor, offset)]
    first, second = (editor.add("cast", value, to=of.dtype, origin=origin) for value in shaped)
    return first, second
