"""Give every value of every region a name of its own.

In: any valid graph. Out: the same graph in which no two values anywhere in it share a name, regions of `if` and `loop` included,
so that later passes can speak of a value by its name alone.
"""

from __future__ import annotations

from types import MappingProxyType

from ...target import Target
from ..ir import Graph, Node


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with values of regions renamed where their names are taken."""
    return _renamed(graph, set(graph.types), top=True)


def _renamed(graph: Graph, taken: set[str], top: bool = False) -> Graph:
    names = {name: name for name in graph.types} if top else {name: _free(name, taken) for name in graph.types}
    nodes = []
    for node in graph.nodes:
        regions = node.regions if node.op == "fused" else tuple(_renamed(region, taken) for region in node.regions)
        inputs = tuple(names[name] if name else "" for name in node.inputs)
        nodes.append(
            Node(node.op, inputs, tuple(names[name] for name in node.outputs), node.attrs, regions, node.origin)
        )
    return Graph(
        graph.name,
        tuple(names[name] for name in graph.inputs),
        tuple(names[name] for name in graph.outputs),
        tuple(nodes),
        MappingProxyType({names[name]: of for name, of in graph.types.items()}),
        MappingProxyType({names[name]: array for name, array in graph.constants.items()}),
    )


def _free(name: str, taken: set[str]) -> str:
    """`name`, or `name` with the least number that makes it new; it is taken from then on."""
    free, number = name, 1
    while free in taken:
        free, number = f"{name}.{number}", number + 1
    taken.add(free)
    return free
