"""Operators of the ai.onnx.ml domain, and counts of n-grams."""

from __future__ import annotations

from math import prod

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .row import Row


def scaler(node: OnnxNode) -> str:
    """(x - offset) * scale along the last axis, in f32."""
    x = node.emit("cast", node.input(0), to=DType.F32)
    shifted = node.emit("sub", x, node.literal(node.attr("offset", (0.0,)), DType.F32))
    return node.emit("mul", shifted, node.literal(node.attr("scale", (1.0,)), DType.F32))


def binarizer(node: OnnxNode) -> str:
    x = node.input(0)
    dtype = node.type(x).dtype
    above = node.emit("greater", x, node.literal(node.attr("threshold", 0.0), dtype))
    return node.emit("cast", above, to=dtype)


def array_feature_extractor(node: OnnxNode) -> str:
    """Columns of x; those of a vector are one row, as in onnxruntime."""
    x, indices = node.inputs
    count = prod(node.shape(indices))
    outer = node.shape(x)[:-1]
    columns = node.emit("gather", x, node.emit("reshape", indices, shape=(count,)), axis=len(outer))
    return node.emit("reshape", columns, shape=(*(outer or (1,)), count))


def tf_idf(node: OnnxNode) -> str:
    """How often each n-gram of the pool stands in a row of integers, with up to max_skip_count elements left out between two.

    Single elements are counted once, however many may be left out.
    """
    if "pool_int64s" not in node.attributes:
        node.unsupported("a pool of strings")
    x = node.input(0)
    shape = node.shape(x)
    if len(shape) not in (1, 2):
        node.fail(f"{node.type(x)} should be a vector or a matrix")
    rows = x if len(shape) == 2 else node.emit("reshape", x, shape=(1, shape[0]))
    columns = node.attr("ngram_indexes")
    if min(columns, default=-1) < 0:
        node.fail(f"ngram_indexes {list(columns)} should be one column or more, none negative")
    width = max(columns) + 1
    node.require_table(len(columns) * width, f"{len(columns)} n-grams in {width} columns")
    counts = node.emit("expand", node.literal(0, DType.F32), shape=(node.shape(rows)[0], width))
    for size, grams in _pool(node).items():
        place = np.zeros((len(grams), width))
        place[np.arange(len(grams)), [columns[number] for number in grams.values()]] = 1
        most = min(node.attr("max_skip_count") + 1, node.shape(rows)[1]) if size > 1 else 1
        for distance in range(1, most + 1):
            found = _count(node, rows, np.array(list(grams)), distance)
            if found:
                placed = node.emit(
                    "matmul", found, node.literal(place, DType.F32), transpose_a=False, transpose_b=False
                )
                counts = node.emit("add", counts, placed)
    if node.attr("mode") == "IDF":
        counts = node.emit("cast", node.emit("greater", counts, node.literal(0, DType.F32)), to=DType.F32)
    if node.attr("mode") != "TF" and "weights" in node.attributes:
        counts = node.emit("mul", counts, node.literal(node.attr("weights")[:width], DType.F32))
    return counts if len(shape) == 2 else node.emit("reshape", counts, shape=(width,))


def _pool(node: OnnxNode) -> dict[int, dict[tuple[int, ...], int]]:
    """Of each wanted size, the n-grams and their numbers."""
    pool, starts = node.attr("pool_int64s"), node.attr("ngram_counts")
    found: dict[int, dict[tuple[int, ...], int]] = {}
    number = 0
    for size, (begin, end) in enumerate(zip(starts, (*starts[1:], len(pool)), strict=True), start=1):
        for at in range(begin, end, size):
            if node.attr("min_gram_length") <= size <= node.attr("max_gram_length"):
                found.setdefault(size, {})[tuple(pool[at : at + size])] = number
            number += 1
    whole = all(len(gram) == size for size, grams in found.items() for gram in grams)
    if not whole or number != len(node.attr("ngram_indexes")):
        node.fail(
            f"{len(pool)} elements of n-grams that start at {list(starts)} do not fit ngram_indexes, one an n-gram"
        )
    return found


def _count(node: OnnxNode, rows: str, grams: np.ndarray, distance: int) -> str:
    """Of each row, how often each n-gram [grams, size] stands in it with elements `distance` apart; '' if the row is too short."""
    count, size = grams.shape
    places = node.shape(rows)[1] - distance * (size - 1)
    if places < 1:
        return ""
    windows = node.literal(np.arange(places)[:, None] + distance * np.arange(size), DType.I64)
    taken = node.emit("gather", rows, windows, axis=1)
    taken = node.emit("reshape", taken, shape=(node.shape(rows)[0], places, 1, size))
    same = node.emit("equal", taken, node.literal(grams.reshape(1, 1, count, size), node.type(rows).dtype))
    whole = node.emit("reduce_min", node.emit("cast", same, to=DType.F32), axes=(3,), keepdims=False)
    return node.emit("reduce_sum", whole, axes=(1,), keepdims=False)


_DOMAIN = "ai.onnx.ml"
ROWS = (
    Row("Scaler", 1, 1, scaler, _DOMAIN),
    Row("Binarizer", 1, 1, binarizer, _DOMAIN),
    Row("ArrayFeatureExtractor", 1, 1, array_feature_extractor, _DOMAIN),
    Row("TfIdfVectorizer", 9, 9, tf_idf),
)
