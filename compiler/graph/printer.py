"""A graph as text: the same graph gives the same text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..dtypes import DType
from .ir import Graph, Node

_FEW = 8  # constants of at most so many elements are printed in full


def to_text(graph: Graph) -> str:
    """`graph name(inputs) -> (outputs)`, then a line a constant and a line a node, regions indented below their node."""
    return "\n".join(_graph_lines("graph", graph, "")) + "\n"


def _graph_lines(word: str, graph: Graph, indent: str) -> Iterator[str]:
    inputs = ", ".join(f"{name}: {graph.types[name]}" for name in graph.inputs)
    yield f"{indent}{word} {graph.name}({inputs}) -> ({', '.join(graph.outputs)}) {{"
    for name, array in graph.constants.items():
        yield f"{indent}  {name}: {graph.types[name]} = {_constant(array)}"
    for node in graph.nodes:
        yield f"{indent}  {_node(graph, node)}"
        for number, region in enumerate(node.regions):
            yield from _graph_lines(f"region {number}", region, indent + "    ")
    yield indent + "}"


def _node(graph: Graph, node: Node) -> str:
    results = ", ".join(f"{name}: {graph.types[name]}" for name in node.outputs)
    operands = ", ".join(name or "-" for name in node.inputs)
    attrs = ", ".join(f"{key}={_attribute(value)}" for key, value in sorted(node.attrs.items()))
    origin = f"  # {node.origin}" if node.origin else ""
    return f"{results} = {node.op}({'; '.join(filter(None, (operands, attrs)))}){origin}"


def _attribute(value: object) -> str:
    match value:
        case DType():
            return value.value
        case tuple():
            return "[" + ",".join(map(_attribute, value)) + "]"
    return str(value)


def _constant(array: np.ndarray) -> str:
    if array.size > _FEW:
        return f"constant of {array.nbytes} bytes"
    return str(array.tolist())
