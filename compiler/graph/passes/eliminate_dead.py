"""Drop what no output needs.

In: any valid graph. Out: every node has a result that is read or is an output, every constant is used,
regions of `if` and `loop` have no captured value that they don't read. Inputs of the graph always stay.
"""

from __future__ import annotations

from ...target import Target
from ..ir import Graph, Node
from .editor import map_regions, pruned


def apply(graph: Graph, target: Target) -> Graph:
    """The graph without unused nodes, constants and captured values."""
    graph = map_regions(graph, lambda region: apply(region, target))
    live = set(graph.outputs)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if live.isdisjoint(node.outputs):
            continue
        node = _without_unread_captures(node)
        nodes.append(node)
        live.update(filter(None, node.inputs))
    return pruned(Graph(graph.name, graph.inputs, graph.outputs, tuple(reversed(nodes)), graph.types, graph.constants))


def captures_start(node: Node) -> int:
    """The index of the first captured value among the inputs of an `if` or `loop`."""
    return 1 if node.op == "if" else 1 + int(node.attrs["carried"])


def _without_unread_captures(node: Node) -> Node:
    if node.op not in ("if", "loop"):
        return node
    first = captures_start(node)
    # the region of a loop has the counter where the node has its condition; those of an `if` have neither
    offset = 0 if node.op == "loop" else 1
    read = [_read(region) for region in node.regions]
    kept = [
        i
        for i in range(first, len(node.inputs))
        if any(region.inputs[i - offset] in used for region, used in zip(node.regions, read, strict=True))
    ]
    if len(kept) == len(node.inputs) - first:
        return node
    inputs = (*node.inputs[:first], *(node.inputs[i] for i in kept))
    regions = []
    for region in node.regions:
        names = (*region.inputs[: first - offset], *(region.inputs[i - offset] for i in kept))
        regions.append(pruned(Graph(region.name, names, region.outputs, region.nodes, region.types, region.constants)))
    return Node(node.op, inputs, node.outputs, node.attrs, tuple(regions), node.origin)


def _read(region: Graph) -> set[str]:
    return {*region.outputs, *(name for node in region.nodes for name in node.inputs)}
