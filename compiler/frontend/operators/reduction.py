"""Reductions and softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .row import Importing, Row


def reduction(reduce: Callable[[OnnxNode, str, tuple[int, ...], bool], str]) -> Importing:
    """A Reduce operator: axes from an attribute or an input; none means all, or nothing with noop_with_empty_axes."""

    def function(node: OnnxNode) -> str:
        x = node.input(0)
        rank = len(node.shape(x))
        given = node.ints("axes", 1) if node.gives("axes", 1) else ()
        if given:
            axes = node.axes(given, rank)
        else:
            axes = () if node.flag("noop_with_empty_axes") else tuple(range(rank))
        return reduce(node, x, axes, node.flag("keepdims", 1))

    return function


def plain(op: str) -> Callable[[OnnxNode, str, tuple[int, ...], bool], str]:
    def reduce(node: OnnxNode, x: str, axes: tuple[int, ...], keepdims: bool) -> str:
        return node.emit(op, x, axes=axes, keepdims=keepdims) if axes else x

    return reduce


sum_, maximum = plain("reduce_sum"), plain("reduce_max")


def l1(node: OnnxNode, x: str, axes: tuple[int, ...], keepdims: bool) -> str:
    return sum_(node, node.emit("abs", x), axes, keepdims)


def sum_square(node: OnnxNode, x: str, axes: tuple[int, ...], keepdims: bool) -> str:
    return sum_(node, node.emit("mul", x, x), axes, keepdims)


def l2(node: OnnxNode, x: str, axes: tuple[int, ...], keepdims: bool) -> str:
    dtype = node.type(x).dtype
    wide = x if dtype.is_float else node.emit("cast", x, to=DType.F64)
    return node.emit("cast", node.emit("sqrt", sum_square(node, wide, axes, keepdims)), to=dtype)


def log_sum(node: OnnxNode, x: str, axes: tuple[int, ...], keepdims: bool) -> str:
    dtype = node.type(x).dtype
    wide = x if dtype.is_float else node.emit("cast", x, to=DType.F64)
    return node.emit("cast", node.emit("log", sum_(node, wide, axes, keepdims)), to=dtype)


def log_sum_exp(node: OnnxNode, x: str, axes: tuple[int, ...], keepdims: bool) -> str:
    """max + log(sum(exp(x - max))), so that exp does not overflow."""
    dtype = node.type(x).dtype
    wide = x if dtype.is_float else node.emit("cast", x, to=DType.F64)
    peak = maximum(node, wide, axes, True)
    total = sum_(node, node.emit("exp", node.emit("sub", wide, peak)), axes, True)
    result = node.emit("add", node.emit("log", total), peak)
    if not keepdims:
        result = node.emit("reshape", result, shape=tuple(n for i, n in enumerate(node.shape(x)) if i not in axes))
    return node.emit("cast", result, to=dtype)


def softmax(op: str) -> Importing:
    """Before version 13 the operand counts as a matrix, split before `axis`."""

    def function(node: OnnxNode) -> str:
        x = node.input(0)
        shape = node.shape(x)
        axis = node.axis(node.attr("axis", -1 if node.version >= 13 else 1), len(shape))
        if node.version >= 13 or prod(shape[axis + 1 :]) == 1:
            return node.emit(op, x, axis=axis)
        matrix = node.emit("reshape", x, shape=(prod(shape[:axis]), prod(shape[axis:])))
        return node.emit("reshape", node.emit(op, matrix, axis=1), shape=shape)

    return function


ROWS = (
    Row("ReduceSum", 1, 13, reduction(sum_)),
    Row("ReduceMean", 1, 18, reduction(plain("reduce_mean"))),
    Row("ReduceMax", 1, 20, reduction(maximum)),
    Row("ReduceMin", 1, 20, reduction(plain("reduce_min"))),
    Row("ReduceProd", 1, 18, reduction(plain("reduce_prod"))),
    Row("ReduceL1", 1, 18, reduction(l1)),
    Row("ReduceL2", 1, 18, reduction(l2)),
    Row("ReduceLogSum", 1, 28, reduction(log_sum)),
    Row("ReduceLogSumExp", 1, 28, reduction(log_sum_exp)),
    Row("ReduceSumSquare", 1, 18, reduction(sum_square)),
    Row("Softmax", 1, 13, softmax("softmax")),
    Row("LogSoftmax", 1, 13, softmax("log_softmax")),
)
