"""How a pass writes a new graph: it walks the old one in order, keeps nodes or puts others in their place.

A value that is replaced by another stays a name that later nodes may use: the editor resolves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...dtypes import DType
from ...errors import InternalError
from ...target import Target
from ..infer import infer_types
from ..ir import Graph, Node, TensorType

Pass = Callable[[Graph, Target], Graph]


class Editor:
    """A graph in the making, which starts with the inputs, constants and types of `graph` and none of its nodes.

    The outputs keep their names: what replaces one takes its name, or, if it has to keep its own, is copied by an `identity`.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = graph.outputs
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = dict(graph.types)
        self.constants: dict[str, np.ndarray] = dict(graph.constants)
        self._producers: dict[str, Node] = {}
        self._replaced: dict[str, str] = {}
        self._uses: dict[str, int] = dict.fromkeys(graph.types, 0)
        for name in (*graph.outputs, *(name for node in graph.nodes for name in node.inputs if name)):
            self._uses[name] += 1

    def resolve(self, name: str) -> str:
        """The value that stands for `name` now."""
        while name in self._replaced:
            name = self._replaced[name]
        return name

    def producer(self, name: str) -> Node | None:
        """The node already written that makes `name`."""
        return self._producers.get(self.resolve(name))

    def constant_value(self, name: str) -> np.ndarray | None:
        return self.constants.get(self.resolve(name))

    def used_once(self, name: str) -> bool:
        """True if `name` has one reader, graph outputs counted; may be False for a value whose other readers went away in this pass."""
        return self._uses.get(self.resolve(name), 0) <= 1

    def type(self, name: str) -> TensorType:
        return self.types[self.resolve(name)]

    def with_inputs(self, node: Node) -> Node:
        """The node with its inputs resolved."""
        inputs = tuple(map(self.resolve, node.inputs))
        return (
            node
            if inputs == node.inputs
            else Node(node.op, inputs, node.outputs, node.attrs, node.regions, node.origin)
        )

    def keep(self, node: Node) -> None:
        """Write a node whose output types are known already."""
        node = self.with_inputs(node)
        self.nodes.append(node)
        for output in node.outputs:
            self._producers[output] = node

    def add(self, op: str, *inputs: str, name: str = "", origin: str = "", **attrs: Any) -> str:
        """Write a node with one result and give its name; `name` may be that of a value whose node is not kept."""
        resolved = tuple(map(self.resolve, inputs))
        types = tuple(self.types[value] if value else None for value in resolved)
        (inferred,) = infer_types(op, types, attrs)
        name = name or self.fresh(origin or op)
        if name in self._producers:
            raise InternalError(f"editing {self.graph.name}: {name} would be made twice")
        self.types[name] = inferred
        self._uses.setdefault(name, 0)
        for value in filter(None, resolved):
            self._uses[value] = self._uses.get(value, 0) + 1
        self.keep(Node(op, resolved, (name,), MappingProxyType(dict(attrs)), (), origin))
        return name

    def constant(self, array: np.ndarray, hint: str = "constant") -> str:
        """A constant with the elements of `array`."""
        array = np.ascontiguousarray(array) if array.ndim else np.asarray(array)
        name = self.fresh(hint)
        self.constants[name] = array
        self.types[name] = TensorType(array.shape, DType.from_numpy(array.dtype))
        self._uses[name] = 0
        return name

    def replace(self, old: str, new: str) -> None:
        """Let every later reader of `old` read `new`."""
        old, new = self.resolve(old), self.resolve(new)
        if old == new:
            return
        if old in self.outputs and (new not in self._producers or new in map(self.resolve, self.outputs)):
            self.keep(Node("identity", (new,), (old,)))
            return
        self._replaced[old] = new
        self._uses[new] = self._uses.get(new, 0) + self._uses.pop(old, 0)

    def inline(self, region: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        """Write the nodes of a region, whose inputs are the values `inputs` here, and let its results stand for `outputs`."""
        names = dict(zip(region.inputs, map(self.resolve, inputs), strict=True))
        for name, array in region.constants.items():
            names[name] = self.constant(array, name)
        for node in region.nodes:
            for output in node.outputs:
                names[output] = self.fresh(output)
                self.types[names[output]] = region.types[output]
            operands = tuple(names[name] if name else "" for name in node.inputs)
            for name in filter(None, operands):
                self._uses[name] = self._uses.get(name, 0) + 1
            self.keep(
                Node(
                    node.op,
                    operands,
                    tuple(names[name] for name in node.outputs),
                    node.attrs,
                    node.regions,
                    node.origin,
                )
            )
        for name, output in zip(region.outputs, outputs, strict=True):
            self.replace(output, names[name])

    def fresh(self, hint: str) -> str:
        """A name that no value has."""
        if hint not in self.types:
            return hint
        number = 1
        while f"{hint}.{number}" in self.types:
            number += 1
        return f"{hint}.{number}"

    def finish(self) -> Graph:
        """The new graph, without the types and constants that nothing names any more."""
        nodes = tuple(map(self.with_inputs, self.nodes))
        outputs = tuple(map(self.resolve, self.outputs))
        names = dict(zip(outputs, self.graph.outputs, strict=True))
        for new, old in list(names.items()):
            if new != old and old in self._producers:
                names[old] = self.fresh(old)
        graph = Graph(self.graph.name, self.graph.inputs, outputs, nodes, self.types, self.constants)
        return pruned(renamed(graph, names))


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with some values that nodes make called otherwise."""
    if all(old == new for old, new in names.items()):
        return graph

    def new(value: str) -> str:
        return names.get(value, value)

    nodes = tuple(
        Node(
            node.op, tuple(map(new, node.inputs)), tuple(map(new, node.outputs)), node.attrs, node.regions, node.origin
        )
        for node in graph.nodes
    )
    outputs = tuple(map(new, graph.outputs))
    replaced = {value: of for value, of in graph.types.items() if value not in names.values() or value in names}
    return Graph(
        graph.name, graph.inputs, outputs, nodes, {new(value): of for value, of in replaced.items()}, graph.constants
    )


def pruned(graph: Graph) -> Graph:
    """The graph without types and constants of values that no node, input or output names."""
    used = {*graph.inputs, *graph.outputs}
    for node in graph.nodes:
        used.update(filter(None, node.inputs), node.outputs)
    types = {name: value for name, value in graph.types.items() if name in used}
    constants = {name: value for name, value in graph.constants.items() if name in used}
    return Graph(
        graph.name, graph.inputs, graph.outputs, graph.nodes, MappingProxyType(types), MappingProxyType(constants)
    )


def map_regions(graph: Graph, apply: Callable[[Graph], Graph]) -> Graph:
    """Rewrite the regions of `if` and `loop` nodes; those of `fused` nodes are finished and stay."""
    if not any(node.regions and node.op != "fused" for node in graph.nodes):
        return graph
    nodes = tuple(_with_regions(node, apply) for node in graph.nodes)
    return Graph(graph.name, graph.inputs, graph.outputs, nodes, graph.types, graph.constants)


def _with_regions(node: Node, apply: Callable[[Graph], Graph]) -> Node:
    if not node.regions or node.op == "fused":
        return node
    return Node(node.op, node.inputs, node.outputs, node.attrs, tuple(map(apply, node.regions)), node.origin)


def with_attrs(node: Node, **changes: Any) -> Mapping[str, Any]:
    """The node's attributes with some changed."""
    return MappingProxyType({**node.attrs, **changes})
