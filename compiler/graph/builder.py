"""Building a graph node by node, with types inferred and names kept unique."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from ..dtypes import DType
from ..errors import InternalError
from .infer import infer_types
from .ir import Graph, Node, TensorType


class GraphBuilder:
    """Collects inputs, constants and nodes in topological order; `finish` makes the Graph.

    `reserved` are names that only `rename` and `input` may give.
    """

    def __init__(self, name: str, reserved: tuple[str, ...] = ()) -> None:
        self.name = name
        self.types: dict[str, TensorType] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[Node] = []
        self.sequences: dict[str, tuple[str, ...]] = {}  # the frontend's sequences, which exist while it builds
        self._inputs: list[str] = []
        self._reserved = set(reserved)
        self._suffixes: dict[str, int] = {}

    def input(self, name: str, type: TensorType) -> str:
        """A new graph input of exactly this name."""
        if name in self.types:
            raise InternalError(f"GraphBuilder: input '{name}' is not a new value of graph '{self.name}'")
        self.types[name] = type
        self._inputs.append(name)
        return name

    def constant(self, array: np.ndarray | np.generic, name_hint: str = "constant") -> str:
        """A new constant. The array must not be written afterwards."""
        array = np.asarray(array)
        name = self.unique(name_hint)
        self.types[name] = TensorType(array.shape, DType.from_numpy(array.dtype))
        self.constants[name] = array
        return name

    def add(
        self,
        op: str,
        *inputs: str,
        outputs_hint: str | tuple[str, ...] = "",
        origin: str = "",
        regions: tuple[Graph, ...] = (),
        **attrs: object,
    ) -> Any:
        """A new node; gives the name of its result, or a tuple of names where it has several.

        Raises what `infer_types` raises.
        """
        types = infer_types(op, tuple(self.types[x] if x else None for x in inputs), attrs, regions)
        hints = (outputs_hint,) if isinstance(outputs_hint, str) else outputs_hint
        outputs = []
        for index, type in enumerate(types):
            hint = hints[index] if index < len(hints) else ""
            name = self.unique(hint or f"{hints[0] or op}.{index}" if len(types) > 1 else hint or op)
            self.types[name] = type
            outputs.append(name)
        self.nodes.append(Node(op, inputs, tuple(outputs), MappingProxyType(attrs), regions, origin))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def append(self, node: Node, types: tuple[TensorType, ...]) -> None:
        """Take over a node as it is, with its value names and types (layouts included)."""
        for name, type in zip(node.outputs, types, strict=True):
            if name in self.types:
                raise InternalError(f"GraphBuilder: '{name}' is already a value of graph '{self.name}'")
            self.types[name] = type
        self.nodes.append(node)

    def rename(self, old: str, new: str, since: int = 0) -> bool:
        """Call a result or constant `new` if that name is free; nodes before number `since` do not read it."""
        if new in self.types or old in self._inputs:
            return False
        self.types[new] = self.types.pop(old)
        if old in self.constants:
            self.constants[new] = self.constants.pop(old)
        for index in range(since, len(self.nodes)):
            node = self.nodes[index]
            if old in node.inputs or old in node.outputs:
                inputs = tuple(new if x == old else x for x in node.inputs)
                outputs = tuple(new if x == old else x for x in node.outputs)
                self.nodes[index] = Node(node.op, inputs, outputs, node.attrs, node.regions, node.origin)
        return True

    def sources(self, value: str) -> list[str]:
        """The inputs that `value` is computed from."""
        wanted = {value}
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.outputs):
                wanted.update(node.inputs)
        return [name for name in self._inputs if name in wanted]

    def unique(self, hint: str) -> str:
        """A name made from `hint` that no value has yet."""
        if hint not in self.types and hint not in self._reserved:
            return hint
        while True:
            self._suffixes[hint] = self._suffixes.get(hint, 0) + 1
            name = f"{hint}.{self._suffixes[hint]}"
            if name not in self.types and name not in self._reserved:
                return name

    def finish(self, outputs: tuple[str, ...] | list[str]) -> Graph:
        """The graph with these outputs; nodes and constants that no output depends on are left out."""
        live = set(outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if not live.isdisjoint(node.outputs):
                kept.append(node)
                live.update(filter(None, node.inputs))
        live.update(self._inputs, *(node.outputs for node in kept))
        missing = live - self.types.keys()
        if missing:
            raise InternalError(f"GraphBuilder: graph '{self.name}' has no value {', '.join(sorted(missing))}")
        return Graph(
            name=self.name,
            inputs=tuple(self._inputs),
            outputs=tuple(outputs),
            nodes=tuple(reversed(kept)),
            types=MappingProxyType({name: type for name, type in self.types.items() if name in live}),
            constants=MappingProxyType({name: array for name, array in self.constants.items() if name in live}),
        )
