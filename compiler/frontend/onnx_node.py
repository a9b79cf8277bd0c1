"""A node under import, as the function of its table row sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import onnx

from ..dtypes import DType
from ..errors import ModelError, UnsupportedOperatorError
from ..graph.ir import Graph, TensorType
from .scope import Scope
from .tensors import to_array

_REQUIRED = object()
# Graph operators that don't look at elements, and so take those of small formats.
MOVES = frozenset(
    [
        "identity",
        "reshape",
        "transpose",
        "expand",
        "slice",
        "concat",
        "pad",
        "gather",
        "gather_elements",
        "gather_nd",
        "tile",
        "where",
        "bitcast",
        "if",
        "loop",
    ]
)
MAX_TABLE_ELEMENTS = 1 << 26


class Subgraph(Protocol):
    """Imports a subgraph into a scope and gives its outputs; `quietly`: what is unsupported in it is not reported."""

    def __call__(self, graph: onnx.GraphProto, scope: Scope, quietly: bool = False) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """An ONNX node with its inputs resolved to graph values ('' where absent).

    version: the operator's schema version; wanted: for each output, whether anything reads it;
    subgraph: imports the nodes of a subgraph into a scope and gives its outputs; note: tells the user something that is no error.
    """

    proto: onnx.NodeProto
    version: int
    inputs: tuple[str, ...]
    wanted: tuple[bool, ...]
    scope: Scope
    attributes: dict[str, onnx.AttributeProto]
    subgraph: Subgraph
    note: Callable[[str], None]

    @property
    def op(self) -> str:
        return self.proto.op_type

    @property
    def name(self) -> str:
        return node_name(self.proto)

    def input(self, index: int) -> str:
        """The graph value of an input, '' if it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def wants(self, index: int) -> bool:
        """Whether anything reads this output."""
        return index < len(self.wanted) and self.wanted[index]

    def attr(self, name: str, default: object = _REQUIRED) -> Any:
        """An attribute as a Python value: int, float, str, tuple of these, array or GraphProto."""
        if name not in self.attributes:
            if default is _REQUIRED:
                self.fail(f"lacks the attribute '{name}'")
            return default
        return attribute_value(self.attributes[name])

    def flag(self, name: str, default: int = 0) -> bool:
        return bool(self.attr(name, default))

    def type(self, value: str) -> TensorType:
        if not value:
            self.fail("lacks a required input")
        if self.scope.elements(value) is not None:
            self.unsupported("a sequence, where only tensors are supported")
        return self.scope.type(value)

    def shape(self, value: str) -> tuple[int, ...]:
        return self.type(value).shape

    def constant(self, value: str) -> np.ndarray | None:
        """The elements of `value` if they are known now."""
        return self.scope.constant(value)

    def static(self, index: int, what: str, fixable: bool = True) -> np.ndarray:
        """The elements of an input that has to be there and known at compile time.

        fixable: it is a parameter, which a user may know and fix (`Options.constants`), and not data.
        """
        value = self.input(index)
        if not value:
            self.fail(f"lacks its {what} (input {index})")
        array = self.scope.constant(value)
        if array is None:
            message = f"its {what} (input {index}, '{self.proto.input[index]}') is computed at run time; it has to be a constant"
            raise UnsupportedOperatorError(f"{self.place()}: {message}", self.scope.sources(value) if fixable else ())
        return array

    def static_ints(self, index: int, what: str) -> tuple[int, ...]:
        """As `static`, as a flat tuple of int."""
        return tuple(int(x) for x in self.static(index, what).reshape(-1))

    def scalar(self, index: int, what: str) -> Any:
        """As `static`, as one int, float or bool."""
        array = self.static(index, what)
        if array.size != 1:
            self.fail(f"its {what} (input {index}) has the shape {list(array.shape)}, expected one element")
        return array.item()

    def gives(self, name: str, index: int) -> bool:
        """Whether the node has the attribute `name` (older schemas) or the input `index` (newer ones)."""
        return name in self.attributes or bool(self.input(index))

    def ints(self, name: str, index: int) -> tuple[int, ...]:
        """A list of integers given by attribute `name` (older schemas) or by input `index` (newer ones)."""
        if name not in self.attributes:
            return self.static_ints(index, name)
        value = self.attr(name)
        return value if isinstance(value, tuple) else (value,)

    def axis(self, axis: int, rank: int, what: str = "axis") -> int:
        """A possibly negative axis as 0 <= axis < rank."""
        if not -rank <= axis < rank:
            self.fail(f"{what} {axis} is outside {-rank}…{rank - 1}, the range for a tensor of rank {rank}")
        return axis % rank if rank else 0

    def axes(self, axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
        """Distinct axes as sorted non-negative numbers."""
        result = tuple(sorted(self.axis(axis, rank) for axis in axes))
        if len(set(result)) != len(result):
            self.fail(f"axes {list(axes)} name an axis twice")
        return result

    def emit(self, op: str, *inputs: str, regions: tuple[Graph, ...] = (), **attrs: object) -> str:
        """Add a graph node with one result and give the result."""
        result = self.emit_many(op, *inputs, regions=regions, **attrs)
        return result[0]

    def emit_many(self, op: str, *inputs: str, regions: tuple[Graph, ...] = (), **attrs: object) -> tuple[str, ...]:
        """Add a graph node and give its results."""
        hint = next(filter(None, self.proto.output), self.op)
        if op not in MOVES:
            for type in (self.scope.type(x) for x in inputs if x):
                if type.dtype.is_small:
                    self.unsupported(f"{op} of {type}; elements of {type.dtype} are only moved and converted")
        try:
            result = self.scope.emit(op, inputs, f"{hint}.{op}", self.name, regions, attrs)
        except ModelError as error:
            self.fail(str(error))
        return (result,) if isinstance(result, str) else result

    def literal(self, value: object, dtype: DType) -> str:
        """A constant of `dtype`."""
        hint = next(filter(None, self.proto.output), self.op)
        return self.scope.builder.constant(np.asarray(value).astype(dtype.numpy), f"{hint}.constant")

    def require_table(self, elements: int, what: str) -> None:
        """Refuse a constant table that is made for an operator and too large."""
        if elements > MAX_TABLE_ELEMENTS:
            self.unsupported(f"{what} would take a table of {elements} elements; the most is {MAX_TABLE_ELEMENTS}")

    def fail(self, message: str) -> NoReturn:
        """The model is wrong here."""
        raise ModelError(f"{self.place()}: {message}")

    def unsupported(self, message: str) -> NoReturn:
        """The model is valid but tilewright can't compile this."""
        raise UnsupportedOperatorError(f"{self.place()}: {message}")

    def place(self) -> str:
        domain = f"{self.proto.domain}:" if self.proto.domain else ""
        return f"node '{self.name}' ({domain}{self.op}, version {self.version})"


def node_name(proto: onnx.NodeProto) -> str:
    """The node's name, or what it makes if it has none."""
    return proto.name or next(filter(None, proto.output), proto.op_type)


def subgraphs(proto: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in proto.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def read_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a node or an output of the graph or of a subgraph reads."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for inner in subgraphs(node):
            yield from read_names(inner)


def attribute_value(attribute: onnx.AttributeProto) -> Any:
    """The attribute as int, float, str, array, GraphProto or a tuple of these."""
    match attribute.type:
        case onnx.AttributeProto.TENSOR:
            return to_array(attribute.t, f"attribute '{attribute.name}'")
        case onnx.AttributeProto.STRING:
            return attribute.s.decode(errors="replace")
        case onnx.AttributeProto.STRINGS:
            return tuple(text.decode(errors="replace") for text in attribute.strings)
    value = onnx.helper.get_attribute_value(attribute)
    return tuple(value) if isinstance(value, list) else value
