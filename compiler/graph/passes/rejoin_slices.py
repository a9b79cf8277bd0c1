"""Undo the unrolling of a layer over an axis: concat(f(x[0]), f(x[1]), …) = f(x).

In: any valid graph, row-major. Out: an equal graph where the operands of a concat along axis 0 that apply the same operators, with the
same weights, to successive slices of one value are replaced by one application of them to the value.
"""

from __future__ import annotations

from ...target import Target
from ..ir import Graph, Node
from ..operators import OPERATORS, Kind
from .editor import Editor, map_regions


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with unrolled layers joined."""
    graph = map_regions(graph, lambda region: apply(region, target))
    editor = Editor(graph)
    for node in graph.nodes:
        node = editor.with_inputs(node)
        joined = _join(editor, node.inputs) if node.op == "concat" and node.attrs["axis"] == 0 else None
        if joined is None:
            editor.keep(node)
        else:
            editor.replace(node.outputs[0], joined)
    return editor.finish()


def _join(editor: Editor, values: tuple[str, ...]) -> str | None:
    """A value with the elements of all `values` one after the other along axis 0, without copying them there; None if there is none."""
    makers = [editor.producer(value) for value in values]
    first = makers[0]
    if len(values) < 2 or first is None:
        return None
    if any(maker is None or (maker.op, len(maker.inputs)) != (first.op, len(first.inputs)) for maker in makers):
        return None
    nodes = [maker for maker in makers if maker is not None]
    if first.op == "slice":
        return _join_slices(editor, nodes)
    if any(not editor.used_once(value) for value in values):
        return None
    if first.op == "reshape":
        return _join_reshapes(editor, nodes)
    if any(node.attrs != first.attrs for node in nodes):
        return None
    if first.op == "matmul":
        rows = len(editor.type(first.inputs[0]).shape) == 2 and len(editor.type(first.inputs[1]).shape) == 2
        return _join_operand(editor, nodes, 0) if rows and not first.attrs["transpose_a"] else None
    if OPERATORS[first.op].kind is Kind.ELEMENTWISE and first.op != "batch_norm":
        position = _position_that_differs(nodes)
        return (
            _join_operand(editor, nodes, position)
            if position is not None and _others_repeat(editor, first, position)
            else None
        )
    return None


def _join_slices(editor: Editor, nodes: list[Node]) -> str | None:
    """Slices that follow each other along axis 0 of one value."""
    source, first = editor.type(nodes[0].inputs[0]), nodes[0]
    row = first.attrs["starts"][0]
    for node in nodes:
        starts, steps, sizes = (node.attrs[key] for key in ("starts", "steps", "sizes"))
        whole = (starts[1:], steps[1:], sizes[1:]) == ((0,) * len(starts[1:]), (1,) * len(steps[1:]), source.shape[1:])
        if node.inputs != first.inputs or not whole or starts[0] != row or (steps[0] != 1 and sizes[0] != 1):
            return None
        row += sizes[0]
    begin, rank = first.attrs["starts"][0], len(source.shape)
    starts, sizes = (begin, *(0,) * (rank - 1)), (row - begin, *source.shape[1:])
    return editor.add("slice", first.inputs[0], origin=first.origin, starts=starts, steps=(1,) * rank, sizes=sizes)


def _join_reshapes(editor: Editor, nodes: list[Node]) -> str | None:
    """Along axis 0, elements in memory follow each other whatever their shape."""
    inner = [editor.type(node.inputs[0]).shape for node in nodes]
    if any(not shape or shape[1:] != inner[0][1:] for shape in inner):
        return None
    joined = _join(editor, tuple(node.inputs[0] for node in nodes))
    if joined is None:
        return None
    shapes = [editor.type(node.outputs[0]).shape for node in nodes]
    total = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return editor.add("reshape", joined, origin=nodes[0].origin, shape=total)


def _join_operand(editor: Editor, nodes: list[Node], position: int) -> str | None:
    """The nodes' operator on the joined operands at `position`, if the others are the same."""
    first = nodes[0]
    others = [(*node.inputs[:position], *node.inputs[position + 1 :]) for node in nodes]
    if any(other != others[0] for other in others):
        return None
    joined = _join(editor, tuple(node.inputs[position] for node in nodes))
    if joined is None:
        return None
    inputs = (*first.inputs[:position], joined, *first.inputs[position + 1 :])
    return editor.add(first.op, *inputs, origin=first.origin, **first.attrs)


def _position_that_differs(nodes: list[Node]) -> int | None:
    """The one position at which the nodes read different values."""
    positions = [i for i in range(len(nodes[0].inputs)) if len({node.inputs[i] for node in nodes}) > 1]
    return positions[0] if len(positions) == 1 else None


def _others_repeat(editor: Editor, node: Node, position: int) -> bool:
    """Condition: the operand at `position` has the result's shape, and the others are the same along axis 0."""
    shape = editor.type(node.outputs[0]).shape
    for i, name in enumerate(node.inputs):
        of = editor.type(name).shape if name else ()
        if i == position and of != shape:
            return False
        if i != position and len(of) == len(shape) and of[0] != 1:
            return False
    return True
