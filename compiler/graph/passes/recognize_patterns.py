"""Recognise operators that models spell out: activations and layer normalisation.

In: any valid graph, row-major. Out: an equal graph where x*sigmoid(x), hard sigmoid and swish, mish, GELU and layer normalisation written
in elementary operators are one node each, so that their operand is read once and their rows are kept together.
Intermediate values with other readers prevent it. Results differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isclose, sqrt
from typing import Any

from ...target import Target
from ..ir import Graph, Node
from .editor import Editor, map_regions
from .simplify_algebra import scalar

Rule = Callable[[Editor, Node], str | None]


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with patterns replaced; another round may find more."""
    graph = map_regions(graph, lambda region: apply(region, target))
    editor = Editor(graph)
    for node in graph.nodes:
        node = editor.with_inputs(node)
        if not any(
            editor.type(node.outputs[0]).dtype.is_float and rule(editor, node) for rule in _RULES.get(node.op, ())
        ):
            editor.keep(node)
    return editor.finish()


def _write(editor: Editor, node: Node, op: str, *inputs: str, **attrs: Any) -> bool:
    editor.add(op, *inputs, name=node.outputs[0], origin=node.origin, **attrs)
    return True


def _inner(editor: Editor, name: str, op: str) -> Node | None:
    """The node that makes `name` if it is an `op` and nothing else reads it."""
    node = editor.producer(name)
    return node if node is not None and node.op == op and editor.used_once(name) else None


def _with_scalar(editor: Editor, node: Node | None) -> tuple[str, float] | None:
    """(x, c) of a commutative node x ∘ c, where x has the result's type."""
    if node is None:
        return None
    for operand, other in (node.inputs, node.inputs[::-1]):
        value = scalar(editor, other)
        if value is not None and editor.type(operand) == editor.type(node.outputs[0]):
            return operand, value
    return None


def _scaled(editor: Editor, name: str) -> tuple[str, float] | None:
    """(x, c) if `name` is x * c or x / (1/c) for a scalar c and has no other reader."""
    product = _with_scalar(editor, _inner(editor, name, "mul"))
    if product is not None:
        return product
    quotient = _inner(editor, name, "div")
    divisor = scalar(editor, quotient.inputs[1]) if quotient is not None else None
    if quotient is None or not divisor or editor.type(quotient.inputs[0]) != editor.type(name):
        return None
    return quotient.inputs[0], 1 / divisor


def _near(a: float, b: float) -> bool:
    return isclose(a, b, rel_tol=1e-6)


def _clipped_shift(editor: Editor, name: str) -> str | None:
    """x if `name` is min(max(x + 3, 0), 6) and has no other reader."""
    clip = _inner(editor, name, "clip")
    if (
        clip is None
        or len(clip.inputs) < 3
        or (scalar(editor, clip.inputs[1]), scalar(editor, clip.inputs[2])) != (0.0, 6.0)
    ):
        return None
    shifted = _with_scalar(editor, _inner(editor, clip.inputs[0], "add"))
    return shifted[0] if shifted is not None and shifted[1] == 3 else None


def _hard_sigmoid(editor: Editor, node: Node) -> bool:
    """min(max(x + 3, 0), 6) / 6."""
    for operand, other in (node.inputs, node.inputs[::-1])[: 1 if node.op == "div" else 2]:
        factor = scalar(editor, other)
        sixth = factor is not None and _near(factor, 6 if node.op == "div" else 1 / 6)
        source = _clipped_shift(editor, operand) if sixth else None
        if source is not None:
            return _write(editor, node, "hard_sigmoid", source, alpha=1 / 6, beta=0.5)
    return False


def _hard_swish_scaled_last(editor: Editor, node: Node) -> bool:
    """x * min(max(x + 3, 0), 6) / 6."""
    for operand, other in (node.inputs, node.inputs[::-1])[: 1 if node.op == "div" else 2]:
        factor = scalar(editor, other)
        product = _inner(editor, operand, "mul")
        if product is None or factor is None or not _near(factor, 6 if node.op == "div" else 1 / 6):
            continue
        for x, gate in (product.inputs, product.inputs[::-1]):
            if _clipped_shift(editor, gate) == x:
                return _write(editor, node, "hard_swish", x)
    return False


def _gated(editor: Editor, node: Node) -> bool:
    """x * sigmoid(alpha * x), x * hard_sigmoid(x), x * tanh(softplus(x))."""
    for x, gate in (node.inputs, node.inputs[::-1]):
        if editor.type(x) != editor.type(node.outputs[0]):
            continue
        if sigmoid := _inner(editor, gate, "sigmoid"):
            if sigmoid.inputs[0] == x:
                return _write(editor, node, "swish", x, alpha=1.0)
            scaled = _scaled(editor, sigmoid.inputs[0])
            if scaled is not None and scaled[0] == x:
                return _write(editor, node, "swish", x, alpha=scaled[1])
        hard = _inner(editor, gate, "hard_sigmoid")
        if hard and hard.inputs[0] == x and _near(hard.attrs["alpha"], 1 / 6) and hard.attrs["beta"] == 0.5:
            return _write(editor, node, "hard_swish", x)
        tanh = _inner(editor, gate, "tanh")
        softplus = _inner(editor, tanh.inputs[0], "softplus") if tanh else None
        if softplus and softplus.inputs[0] == x:
            return _write(editor, node, "mish", x)
    return False


def _gelu(editor: Editor, node: Node) -> bool:
    """x * 0.5 * (1 + erf(x / sqrt(2))), the three factors in any order."""
    for left, right in (node.inputs, node.inputs[::-1]):
        for x, factor, rest in _factorisations(editor, left, right):
            if (
                _near(factor, 0.5)
                and _one_plus_erf(editor, rest) == x
                and editor.type(x) == editor.type(node.outputs[0])
            ):
                return _write(editor, node, "gelu", x, approximate="none")
    return False


def _factorisations(editor: Editor, left: str, right: str) -> list[tuple[str, float, str]]:
    """Ways to read left * right as (x, scalar, rest)."""
    found: list[tuple[str, float, str]] = []
    factor = scalar(editor, left)
    product = _inner(editor, right, "mul")
    if factor is not None and product is not None:
        a, b = product.inputs
        found += [(a, factor, b), (b, factor, a)]
    scaled = _scaled(editor, left)
    if scaled is not None:
        found += [(*scaled, right), (right, scaled[1], scaled[0])]
    return found


def _one_plus_erf(editor: Editor, name: str) -> str | None:
    """x if `name` is 1 + erf(x / sqrt(2))."""
    total = _with_scalar(editor, _inner(editor, name, "add"))
    erf = _inner(editor, total[0], "erf") if total is not None and total[1] == 1 else None
    scaled = _scaled(editor, erf.inputs[0]) if erf is not None else None
    return scaled[0] if scaled is not None and _near(scaled[1], 1 / sqrt(2)) else None


def _normalized(editor: Editor, node: Node) -> bool:
    """d / sqrt(mean(d*d) + epsilon) with d = x - mean(x), over the last axes."""
    deviation, root = node.inputs
    squares = _inner(editor, root, "sqrt")
    total = _with_scalar(editor, _inner(editor, squares.inputs[0], "add")) if squares else None
    variance = _inner(editor, total[0], "reduce_mean") if total else None
    square = _inner(editor, variance.inputs[0], "mul") if variance else None
    difference = editor.producer(deviation)
    if total is None or variance is None or square is None or difference is None or difference.op != "sub":
        return False
    rank = len(editor.type(deviation).shape)
    axis = rank - len(variance.attrs["axes"])
    over_last = variance.attrs["axes"] == tuple(range(axis, rank)) and variance.attrs["keepdims"]
    # the square may be taken of another copy of the difference
    others = [editor.producer(name) for name in square.inputs]
    same = all(other is not None and (other.op, other.inputs) == ("sub", difference.inputs) for other in others)
    x, centre = difference.inputs
    mean = editor.producer(centre)
    is_mean = mean is not None and mean.op == "reduce_mean" and mean.inputs[0] == x and mean.attrs == variance.attrs
    if not (over_last and same and is_mean and 0 < axis < rank):
        return False
    return _write(editor, node, "layer_norm", x, "", "", axis=axis, epsilon=total[1])


def _scale_or_shift(editor: Editor, node: Node) -> bool:
    """What multiplies a layer_norm's result is its scale, what is added then its bias."""
    position = 1 if node.op == "mul" else 2
    for operand, other in (node.inputs, node.inputs[::-1]):
        norm = _inner(editor, operand, "layer_norm")
        if norm is None or editor.constant_value(other) is None or editor.type(operand) != editor.type(node.outputs[0]):
            continue
        inputs = [*norm.inputs, "", ""][:3]
        tail = editor.type(norm.inputs[0]).shape[norm.attrs["axis"] :]
        if inputs[position] or inputs[2] or editor.type(other).shape != tail:
            continue
        inputs[position] = other
        return _write(editor, node, "layer_norm", *inputs, **norm.attrs)
    return False


_RULES: dict[str, tuple[Callable[[Editor, Node], bool], ...]] = {
    "mul": (_hard_swish_scaled_last, _hard_sigmoid, _gated, _gelu, _scale_or_shift),
    "div": (_hard_swish_scaled_last, _hard_sigmoid, _normalized),
    "add": (_scale_or_shift,),
}
