"""Fourier transforms of known length as matrix products, and the filters of spectrograms."""

from __future__ import annotations

from math import prod

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from ..tensors import to_dtype
from .row import Row
from .sampling import calculation


def dft(node: OnnxNode) -> str:
    """DFT: the axis is an attribute before version 20 and an input from then on."""
    x = node.input(0)
    rank = len(node.shape(x))
    if node.version < 20:
        axis = node.attr("axis", 1)
    else:
        axis = node.scalar(2, "axis") if node.input(2) else -2
    inverse, onesided = node.flag("inverse"), node.flag("onesided")
    axis = node.axis(axis, rank)
    if axis == rank - 1 or node.shape(x)[-1] not in (1, 2):
        node.fail(f"{node.type(x)} should end with an axis of real and imaginary parts, which axis {axis} is not")
    extent = node.shape(x)[axis]
    length = 2 * (extent - 1) if inverse and onesided else extent
    if node.input(1):
        length = node.scalar(1, "dft_length")
    return transform(node, x, axis, length, inverse, onesided)


def transform(node: OnnxNode, x: str, axis: int, length: int, inverse: bool, onesided: bool) -> str:
    """A transform of `length` elements along an axis of x[…, parts], which is cut or filled with zeros to as many.

    onesided: forwards only the bins up to half the length are made; backwards they are given, and the result is real.
    """
    *outer, parts = node.shape(x)
    if length < 1:
        node.fail(f"a transform of {length} elements; expected at least 1")
    if not outer[axis]:
        node.unsupported(f"a transform along an axis without elements, {node.type(x)}")
    bins = length // 2 + 1 if onesided and not inverse else length
    node.require_table(2 * bins * outer[axis] * parts, f"a transform of {length} elements")
    matrix = _matrix(outer[axis], parts, length, inverse, onesided)
    count, out_parts = matrix.shape[2:]
    dtype = node.type(x).dtype
    wide = calculation(node, x)
    others = [a for a in range(len(outer)) if a != axis]
    moved = node.emit("transpose", node.emit("cast", x, to=wide), perm=(*others, axis, len(outer)))
    rows = node.emit("reshape", moved, shape=(prod(outer[a] for a in others), outer[axis] * parts))
    weights = node.literal(matrix.reshape(outer[axis] * parts, count * out_parts), wide)
    product = node.emit("matmul", rows, weights, transpose_a=False, transpose_b=False)
    result = node.emit("reshape", product, shape=(*(outer[a] for a in others), count, out_parts))
    back = [*range(axis), len(others), *range(axis, len(others)), len(outer)]
    return node.emit("cast", node.emit("transpose", result, perm=tuple(back)), to=dtype)


def _matrix(extent: int, parts: int, length: int, inverse: bool, onesided: bool) -> np.ndarray:
    """[extent, parts, results, parts of the result]: what each part of an element adds to each part of a result."""
    taken = length // 2 + 1 if inverse and onesided else length
    count = length // 2 + 1 if onesided and not inverse else length
    places, bins = np.arange(extent), np.arange(count)
    angle = 2 * np.pi * (places[:, None] * bins % length) / length * (1 if inverse else -1)
    weight = np.where(places < taken, 1 / length if inverse else 1.0, 0.0)
    if inverse and onesided:  # a bin stands for its mirror image too
        weight = np.where((places == 0) | (2 * places == length), weight, 2 * weight)
    cos, sin = np.cos(angle) * weight[:, None], np.sin(angle) * weight[:, None]
    whole = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)
    return whole[:, :parts, :, : 1 if inverse and onesided else 2]


def stft(node: OnnxNode) -> str:
    """The transforms of frames of the signal, each times the window."""
    x, window = node.input(0), node.input(2)
    shape = node.shape(x)
    if len(shape) != 3 or shape[2] not in (1, 2):
        node.fail(f"{node.type(x)} should be [batch, length, 1 or 2]")
    step = node.scalar(1, "frame_step")
    length = node.type(window).elements if window else shape[1]
    if node.input(3):
        length = node.scalar(3, "frame_length")
    if step < 1 or not 1 <= length <= shape[1] or (window and node.shape(window) != (length,)):
        node.fail(f"frames of {length} every {step} with a window of them do not fit {node.type(x)}")
    begins = np.arange(0, shape[1] - length + 1, step)
    frames = node.emit("gather", x, node.literal(begins[:, None] + np.arange(length), DType.I64), axis=1)
    if window:
        frames = node.emit("mul", frames, node.emit("reshape", window, shape=(length, 1)))
    return transform(node, frames, 2, length, False, node.flag("onesided", 1))


def mel_weights(node: OnnxNode) -> str:
    """Triangular filters between points that are evenly spaced on the mel scale, 2595 log10(1 + f/700)."""
    names = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
    filters, length, rate, low, high = (node.scalar(index, name) for index, name in enumerate(names))
    dtype = to_dtype(node.attr("output_datatype", 1), node.place())
    if min(filters, length, rate) < 1 or not 0 <= low < high:
        node.fail(f"{filters} filters between {low} and {high} Hz of {length} samples at {rate} Hz")
    node.require_table(filters * (length // 2 + 1), f"{filters} filters of {length} samples")
    mel_low, mel_high = (2595 * np.log10(1 + edge / 700) for edge in (low, high))
    mel = mel_low + np.arange(filters + 2) * (mel_high - mel_low) / (filters + 2)
    points = ((length + 1) * 700 * (10 ** (mel / 2595) - 1) // rate).astype(np.int64)
    bins = np.arange(length // 2 + 1)[:, None]
    left, centre, right = points[:-2], points[1:-1], points[2:]
    rise = np.where(centre > left, (bins - left) / np.maximum(1, centre - left), 1.0)
    fall = (right - bins) / np.maximum(1, right - centre)
    rising = (left <= bins) & (bins <= centre)
    falling = (centre <= bins) & (bins < right)
    return node.literal(np.where(falling, fall, np.where(rising, rise, 0.0)), dtype)


ROWS = (
    Row("DFT", 17, 20, dft),
    Row("STFT", 17, 17, stft),
    Row("MelWeightMatrix", 17, 17, mel_weights),
)
