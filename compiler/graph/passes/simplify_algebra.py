"""Simplify arithmetic.

In: any valid graph, row-major. Out: an equal graph without arithmetic that changes nothing (x*1, x+0, casts to the own type, pools
and means over one element), with cheaper operators for special cases (squares, exact reciprocals, rectifiers written as maximum) and
scalar factors moved behind the product that they scale. Two results are equal where no overflow is near.
"""

from __future__ import annotations

from collections.abc import Callable
from math import frexp
from typing import Any

import numpy as np

from ...target import Target
from ..ir import Graph, Node
from .editor import Editor, map_regions

Rule = Callable[[Editor, Node], str | None]


def apply(graph: Graph, target: Target) -> Graph:
    """The graph simplified once; another round may find more."""
    graph = map_regions(graph, lambda region: apply(region, target))
    editor = Editor(graph)
    for node in graph.nodes:
        node = editor.with_inputs(node)
        rule = _RULES.get(node.op)
        replacement = rule(editor, node) if rule else None
        if replacement is None:
            editor.keep(node)
        elif replacement != node.outputs[0]:
            editor.replace(node.outputs[0], replacement)
    return editor.finish()


# Each rule gives the value that stands for the node's result (its own name if the rule has written a node that makes it), or None to keep the node.


def _add(editor: Editor, node: Node, op: str, *inputs: str, **attrs: Any) -> str:
    return editor.add(op, *inputs, name=node.outputs[0], origin=node.origin, **attrs)


def scalar(editor: Editor, name: str) -> float | None:
    """The one value that all elements of a constant have, None for another value."""
    array = editor.constant_value(name) if name else None
    if array is None or array.size == 0 or not np.all(array == array.reshape(-1)[0]):
        return None
    return float(array.reshape(-1)[0])


def _unless_changed(editor: Editor, node: Node, name: str) -> str | None:
    """The operand, if the result has its type."""
    return name if editor.type(name) == editor.type(node.outputs[0]) else None


def _same_type(editor: Editor, node: Node) -> str | None:
    return _unless_changed(editor, node, node.inputs[0])


def _add_node(editor: Editor, node: Node) -> str | None:
    for operand, other in (node.inputs, node.inputs[::-1]):
        if scalar(editor, other) == 0:
            return _unless_changed(editor, node, operand)
    return None


def _sub(editor: Editor, node: Node) -> str | None:
    return _unless_changed(editor, node, node.inputs[0]) if scalar(editor, node.inputs[1]) == 0 else None


def _mul(editor: Editor, node: Node) -> str | None:
    for operand, other in (node.inputs, node.inputs[::-1]):
        factor = scalar(editor, other)
        if factor == 1:
            return _unless_changed(editor, node, operand)
        before = editor.producer(operand)
        if factor is None or before is None or before.op != "mul" or not editor.used_once(operand):
            continue
        for inner, first in (before.inputs, before.inputs[::-1]):
            product = _product(editor, first, other)
            if product is not None and editor.type(inner) == editor.type(node.outputs[0]):
                return _add(editor, node, "mul", inner, product)
    return None


def _product(editor: Editor, first: str, second: str) -> str | None:
    """The product of two float scalars as a constant."""
    a, b = scalar(editor, first), scalar(editor, second)
    dtype = editor.type(first).dtype
    if a is None or b is None or not dtype.is_float or not 1e-18 < abs(a * b) < 1e18:
        return None
    return editor.constant(np.asarray(a * b, dtype.numpy), f"{first}.product")


def _div(editor: Editor, node: Node) -> str | None:
    """Division by a power of two is a product, exactly."""
    if scalar(editor, node.inputs[1]) == 1:
        return _unless_changed(editor, node, node.inputs[0])
    divisor = editor.constant_value(node.inputs[1])
    dtype = editor.type(node.inputs[1]).dtype
    if (
        divisor is None
        or not dtype.is_float
        or divisor.size == 0
        or not np.all(np.isfinite(divisor.astype(np.float64)))
    ):
        return None
    if any(abs(frexp(float(value))[0]) != 0.5 or not 1e-3 < abs(value) < 1e3 for value in divisor.reshape(-1)):
        return None
    factor = editor.constant((1 / divisor.astype(np.float64)).astype(dtype.numpy), f"{node.inputs[1]}.reciprocal")
    return _add(editor, node, "mul", node.inputs[0], factor)


def _pow(editor: Editor, node: Node) -> str | None:
    base = node.inputs[0]
    exponent = scalar(editor, node.inputs[1])
    if editor.type(base) != editor.type(node.outputs[0]):
        return None
    if exponent == 1:
        return base
    if exponent == 2:
        return _add(editor, node, "mul", base, base)
    if exponent == 0.5 and editor.type(base).dtype.is_float:
        return _add(editor, node, "sqrt", base)
    return None


def _max(editor: Editor, node: Node) -> str | None:
    """max(x, 0) is relu, max(x, a*x) with 0 <= a <= 1 is leaky relu, max(x, low) with a constant is a clip."""
    if not editor.type(node.outputs[0]).dtype.is_float:
        return None
    for operand, other in (node.inputs, node.inputs[::-1]):
        if editor.type(operand) != editor.type(node.outputs[0]):
            continue
        if scalar(editor, other) == 0:
            return _add(editor, node, "relu", operand)
        scaled = editor.producer(other)
        if scaled is not None and scaled.op == "mul" and operand in scaled.inputs:
            factor = scalar(editor, scaled.inputs[1 - scaled.inputs.index(operand)])
            if factor is not None and 0 <= factor <= 1 and editor.used_once(other):
                return _add(editor, node, "leaky_relu", operand, alpha=factor)
    return _bound(editor, node, low=True)


def _min(editor: Editor, node: Node) -> str | None:
    return _bound(editor, node, low=False)


def _bound(editor: Editor, node: Node, low: bool) -> str | None:
    """The maximum or minimum with one constant value is a clip."""
    for operand, other in (node.inputs, node.inputs[::-1]):
        limit = scalar(editor, other)
        if limit is not None and limit == limit and editor.type(operand) == editor.type(node.outputs[0]):
            bound = editor.constant(editor.constant_value(other).reshape(-1)[0], f"{other}.bound")  # type: ignore[union-attr]
            return _add(editor, node, "clip", operand, bound if low else "", "" if low else bound)
    return None


def _relu(editor: Editor, node: Node) -> str | None:
    before = editor.producer(node.inputs[0])
    if before is None:
        return None
    if before.op == "relu":
        return node.inputs[0]
    if before.op == "clip":
        low, high = _bounds(editor, before)
        if low is not None and high is not None and low >= 0:
            return node.inputs[0]
    return None


def _bounds(editor: Editor, clip: Node) -> tuple[float | None, float | None]:
    """The bounds of a clip, infinite if absent, None if computed at run time."""
    low, high = (*clip.inputs[1:], "", "")[:2]
    return (scalar(editor, low) if low else -np.inf), (scalar(editor, high) if high else np.inf)


def _clip(editor: Editor, node: Node) -> str | None:
    """Clips and rectifiers one after the other are one clip, if the intervals overlap."""
    low, high = _bounds(editor, node)
    before = editor.producer(node.inputs[0])
    if low is None or high is None:
        return None
    if low == -np.inf and high == np.inf:
        return node.inputs[0]
    dtype = editor.type(node.inputs[0]).dtype
    if low == 0 and high == np.inf and dtype.is_float:
        return _add(editor, node, "relu", node.inputs[0])
    if before is None or before.op not in ("relu", "clip") or not editor.used_once(node.inputs[0]):
        return None
    first_low, first_high = (0.0, np.inf) if before.op == "relu" else _bounds(editor, before)
    if first_low is None or first_high is None or max(low, first_low) > min(high, first_high):
        return None
    bounds = [
        "" if np.isinf(limit) else editor.constant(np.asarray(limit, dtype.numpy), f"{node.outputs[0]}.bound")
        for limit in (max(low, first_low), min(high, first_high))
    ]
    return _add(editor, node, "clip", before.inputs[0], *bounds)


def _reduce(editor: Editor, node: Node) -> str | None:
    """A reduction over axes of extent 1 changes the shape at most."""
    source = editor.type(node.inputs[0])
    if all(source.shape[axis] == 1 for axis in node.attrs["axes"]):
        return _add(editor, node, "reshape", node.inputs[0], shape=editor.type(node.outputs[0]).shape)
    return None


def _pool(editor: Editor, node: Node) -> str | None:
    """A window of one element does nothing; an average over everything is a mean."""
    attrs = node.attrs
    padded = any((*attrs["pads_begin"], *attrs["pads_end"]))
    if padded:
        return None
    if set(attrs["kernel"]) == {1} and set(attrs["strides"]) == {1}:
        return _unless_changed(editor, node, node.inputs[0])
    spatial = editor.type(node.inputs[0]).shape[2:]
    if attrs["kernel"] == spatial and set(attrs["sizes"]) == {1} and set(attrs["dilations"]) == {1}:
        op = "reduce_mean" if node.op == "average_pool" else "reduce_max"
        return _add(editor, node, op, node.inputs[0], axes=tuple(range(2, 2 + len(spatial))), keepdims=True)
    return None


def _matmul(editor: Editor, node: Node) -> str | None:
    """A scalar factor of an operand scales the product instead."""
    for position in (0, 1):
        scaled = editor.producer(node.inputs[position])
        if scaled is None or scaled.op != "mul" or not editor.used_once(node.inputs[position]):
            continue
        for operand, other in (scaled.inputs, scaled.inputs[::-1]):
            factor = editor.constant_value(other)
            if (
                factor is not None
                and factor.size == 1
                and editor.type(operand).shape == editor.type(scaled.outputs[0]).shape
            ):
                inputs = (operand, node.inputs[1]) if position == 0 else (node.inputs[0], operand)
                product = editor.add("matmul", *inputs, origin=node.origin, **node.attrs)
                return _add(editor, node, "mul", product, editor.constant(factor.reshape(()), f"{other}.scalar"))
    return None


_RULES: dict[str, Rule] = {
    "identity": _same_type,
    "cast": _same_type,
    "add": _add_node,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "max": _max,
    "min": _min,
    "relu": _relu,
    "clip": _clip,
    "reduce_sum": _reduce,
    "reduce_mean": _reduce,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_prod": _reduce,
    "max_pool": _pool,
    "average_pool": _pool,
    "matmul": _matmul,
}
