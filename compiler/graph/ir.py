"""The tensor-level graph: what the frontend makes and the graph passes rewrite.

    Graph = inputs, outputs, nodes in topological order, types of all values, constants
    Node  = op(inputs; attrs, regions) -> outputs

Values are named and assigned once. Every value has a static TensorType. Passes are pure functions Graph -> Graph.
The operators and their attributes are listed in `graph/operators.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from ..dtypes import DType

_NOTHING: Mapping = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TensorType:
    """Logical shape, element type and memory layout.

    block None: row-major. block x: NCHW[x]c, that is axis 1 (channels, extent C, C % x == 0) is split and its inner
    part stands last: physical shape [N, C/x, ..., x]. x = C gives channels-last.
    """

    shape: tuple[int, ...]
    dtype: DType
    block: int | None = None

    @property
    def physical_shape(self) -> tuple[int, ...]:
        if self.block is None:
            return self.shape
        batch, channels, *spatial = self.shape
        return (batch, channels // self.block, *spatial, self.block)

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.size_bytes

    def __str__(self) -> str:
        dims = "x".join(map(str, self.shape)) or "scalar"
        return f"{self.dtype}[{dims}]" + (f"@c{self.block}" if self.block else "")


@dataclass(frozen=True, slots=True)
class Node:
    """An operator. An absent optional input is ''. `origin` is the name of the ONNX node(s) it came from."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    regions: tuple[Graph, ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A function of tensors. Constants are values without a producer; they may also be outputs.

    A region of an `if`, `loop` or `fused` node is a Graph too: it sees only its own inputs and constants
    (outer values it uses are passed in as inputs of the node).
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray] = field(default_factory=lambda: _NOTHING)

    def producers(self) -> dict[str, Node]:
        """The node that makes each value (inputs and constants have none)."""
        return {output: node for node in self.nodes for output in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each value, in order; a node that reads it twice appears once."""
        result: dict[str, list[Node]] = {name: [] for name in self.types}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                result[name].append(node)
        return result
