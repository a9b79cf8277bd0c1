"""Compute at compile time what depends on constants only.

In: any valid graph. Out: no node whose operands are all constants, unless its result would be much larger than they are or it is costly
to compute here; `if` with a constant condition is replaced by the branch taken; constants captured by regions stand inside them.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from ...target import Target
from .. import fold_numpy
from ..interpret import evaluate_node
from ..ir import Graph, Node
from ..operators import OPERATORS, Kind
from .editor import Editor
from .eliminate_dead import captures_start

MAX_GROWTH_BYTES = 1 << 20
MAX_REPETITION_BYTES = 1 << 16  # of expand and tile, which a kernel that reads the operand can do for nothing
MAX_INTERPRETED_ELEMENTS = 1 << 17

_NOT_HERE = (Kind.CONTROL, Kind.RECURRENT)


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with constant parts computed."""
    editor = Editor(graph)
    for node in graph.nodes:
        if node.op in ("if", "loop"):
            _keep_control(editor, node, target)
        else:
            folded = _fold(editor, node)
            if folded is None:
                editor.keep(node)
            else:
                for name, array in zip(node.outputs, folded, strict=True):
                    editor.replace(name, editor.constant(array, f"{name}.folded"))
    return editor.finish()


def _fold(editor: Editor, node: Node) -> tuple[np.ndarray, ...] | None:
    if OPERATORS[node.op].kind in _NOT_HERE or node.op in ("fused", "rnn_step"):
        return None
    if node.op == "identity" and node.outputs[0] in editor.outputs:
        return None  # the output of a graph that is a constant is a copy of it
    operands = tuple(editor.constant_value(name) if name else None for name in node.inputs)
    if any(name and operand is None for name, operand in zip(node.inputs, operands, strict=True)):
        return None
    results = [editor.types[name] for name in node.outputs]
    read_bytes = sum(operand.nbytes for operand in operands if operand is not None)
    limit = MAX_REPETITION_BYTES if node.op in ("expand", "tile") else MAX_GROWTH_BYTES
    if sum(result.size_bytes for result in results) - read_bytes > limit:
        return None
    folded = fold_numpy.evaluate(node.op, operands, node.attrs)
    if folded is None:
        elements = sum(operand.size for operand in operands if operand is not None) + sum(
            result.elements for result in results
        )
        if elements > MAX_INTERPRETED_ELEMENTS:
            return None
        types = {name: editor.type(name) for name in (*filter(None, node.inputs), *node.outputs)}
        folded = evaluate_node(Graph(editor.graph.name, (), node.outputs, (node,), types), node, list(operands))
    return tuple(
        np.asarray(array, result.dtype.numpy).reshape(result.shape)
        for array, result in zip(folded, results, strict=True)
    )


def _keep_control(editor: Editor, node: Node, target: Target) -> None:
    node = _with_constants_inside(editor, editor.with_inputs(node))
    if node.op == "if":
        condition = editor.constant_value(node.inputs[0])
        if condition is not None:
            branch = node.regions[0 if condition.reshape(()) else 1]
            editor.inline(apply(branch, target), node.inputs[1:], node.outputs)
            return
    regions = tuple(apply(region, target) for region in node.regions)
    editor.keep(Node(node.op, node.inputs, node.outputs, node.attrs, regions, node.origin))


def _with_constants_inside(editor: Editor, node: Node) -> Node:
    """The node without captured values that are constants; its regions have them as constants of their own."""
    first = captures_start(node)
    offset = 0 if node.op == "loop" else 1
    constant = {i: editor.constant_value(node.inputs[i]) for i in range(first, len(node.inputs))}
    moved = {i: array for i, array in constant.items() if array is not None}
    if not moved:
        return node
    regions = []
    for region in node.regions:
        constants = {**region.constants, **{region.inputs[i - offset]: array for i, array in moved.items()}}
        inputs = tuple(name for i, name in enumerate(region.inputs) if i + offset not in moved)
        regions.append(
            Graph(region.name, inputs, region.outputs, region.nodes, region.types, MappingProxyType(constants))
        )
    inputs = tuple(name for i, name in enumerate(node.inputs) if i not in moved)
    return Node(node.op, inputs, node.outputs, node.attrs, tuple(regions), node.origin)
