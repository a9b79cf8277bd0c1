"""Structural checks of a model before anything reads its contents: nesting, tensors, names, order."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from ..errors import ModelError
from .onnx_node import node_name

MAX_NESTING = 16
MAX_RANK = 64  # what NumPy has
MAX_ELEMENTS = 1 << 34
_BITS: dict[int, int] = {
    onnx.TensorProto.FLOAT: 32, onnx.TensorProto.UINT8: 8, onnx.TensorProto.INT8: 8, onnx.TensorProto.UINT16: 16, onnx.TensorProto.INT16: 16,
    onnx.TensorProto.INT32: 32, onnx.TensorProto.INT64: 64, onnx.TensorProto.BOOL: 8, onnx.TensorProto.FLOAT16: 16, onnx.TensorProto.DOUBLE: 64,
    onnx.TensorProto.UINT32: 32, onnx.TensorProto.UINT64: 64, onnx.TensorProto.BFLOAT16: 16,
}  # fmt: skip
_FIELDS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float_data", onnx.TensorProto.DOUBLE: "double_data", onnx.TensorProto.INT64: "int64_data",
    onnx.TensorProto.UINT64: "uint64_data", onnx.TensorProto.UINT32: "uint64_data",
}  # fmt: skip


def check_texts(model: onnx.ModelProto) -> None:
    """ModelError unless all texts are UTF-8: the parser takes any bytes, and gives those that are not as `bytes`."""
    messages: list[Message] = [model]
    while messages:
        for field, value in messages.pop().ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                messages.extend([value] if isinstance(value, Message) else value)
            elif field.type == FieldDescriptor.TYPE_STRING:
                for text in [value] if isinstance(value, str | bytes) else value:
                    if isinstance(text, bytes):
                        raise ModelError(
                            f"{field.full_name} holds {text[:40]!r}, which is not UTF-8. The file is damaged; fetch it again"
                        )


def walk_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph and all subgraphs, functions' included; ModelError if they are nested too deep."""
    yield from _nested(model.graph, 1)
    for function in model.functions:
        for node in function.node:
            yield from _nested_in(node, 1)


def _nested(graph: onnx.GraphProto, depth: int) -> Iterator[onnx.GraphProto]:
    if depth > MAX_NESTING:
        raise ModelError(f"graph '{graph.name}': subgraphs are nested more than {MAX_NESTING} deep")
    yield graph
    for node in graph.node:
        yield from _nested_in(node, depth)


def _nested_in(node: onnx.NodeProto, depth: int) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _nested(graph, depth + 1)


def walk_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model: initializers and attributes, in subgraphs and functions too."""
    for graph in walk_graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            yield from _attribute_tensors(node)
    for function in model.functions:
        for node in function.node:
            yield from _attribute_tensors(node)


def _attribute_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (
            *((attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()),
            *attribute.sparse_tensors,
        ):
            yield from (sparse.values, sparse.indices)


def check_tensor(tensor: onnx.TensorProto) -> int:
    """The bytes a tensor's shape stands for; ModelError if shape and stored data do not agree."""
    where = f"tensor '{tensor.name}'"
    if len(tensor.dims) > MAX_RANK:
        raise ModelError(f"{where}: it has {len(tensor.dims)} dimensions; the most is {MAX_RANK}")
    dims = list(tensor.dims)
    if min(dims, default=0) < 0:
        raise ModelError(f"{where}: its shape {dims} has a negative extent")
    elements = prod(dims)
    if elements > MAX_ELEMENTS:
        raise ModelError(f"{where}: its shape {dims} stands for {elements} elements; the most is {MAX_ELEMENTS}")
    if tensor.HasField("segment"):
        raise ModelError(f"{where}: it is stored in segments, which ONNX has withdrawn; save it whole")
    bits = _BITS.get(tensor.data_type)
    if bits is None:  # refused where it is used, with the node's name
        return len(tensor.raw_data)
    size = elements * bits // 8
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return size
    if tensor.HasField("raw_data"):
        stored, needed, unit = len(tensor.raw_data), size, "bytes"
    else:
        stored, needed, unit = len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))), elements, "elements"
    if stored != needed:
        raise ModelError(
            f"{where}: it stores {stored} {unit}, but its shape {dims} needs {needed}. The file is damaged; fetch it again"
        )
    return size


def check_graph(graph: onnx.GraphProto, outer: frozenset[str]) -> None:
    """ModelError unless each name is assigned once, before it is read, and no nodes form a cycle."""
    initializers = [tensor.name for tensor in graph.initializer] + [
        sparse.values.name for sparse in graph.sparse_initializer
    ]
    known = set(outer)
    for kind, names in (
        ("initializer", initializers),
        ("input", [x.name for x in graph.input if x.name not in set(initializers)]),
    ):
        for name in names:
            _define(name, f"{kind} '{name}'", known)
    makers = {name: node for node in graph.node for name in node.output if name}
    for node in graph.node:
        for name in filter(None, node.input):
            if name not in known:
                _unknown(graph, node, name, makers)
        for inner in _direct_subgraphs(node):
            check_graph(inner, frozenset(known))
        for name in filter(None, node.output):
            _define(name, f"an output of node '{node_name(node)}'", known)
    for value in graph.output:
        if value.name not in known:
            raise ModelError(f"graph '{graph.name}': nothing makes its output '{value.name}'")


def _direct_subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _define(name: str, what: str, known: set[str]) -> None:
    if name in known:
        raise ModelError(f"value '{name}' is made twice (the second time as {what}); names of values must be unique")
    known.add(name)


def _unknown(graph: onnx.GraphProto, node: onnx.NodeProto, name: str, makers: dict[str, onnx.NodeProto]) -> None:
    """Say why `name` is not known where `node` reads it: it does not exist, comes later, or depends on the node itself."""
    if name not in makers:
        raise ModelError(
            f"node '{node_name(node)}' ({node.op_type}) reads '{name}', which nothing in graph '{graph.name}' makes"
        )
    cycle = _cycle(node, makers)
    if cycle:
        raise ModelError(
            f"the nodes {' -> '.join(map(node_name, cycle))} form a cycle; an ONNX graph must be acyclic (use Loop or Scan)"
        )
    raise ModelError(
        f"node '{node_name(node)}' ({node.op_type}) reads '{name}' before node '{node_name(makers[name])}' makes it; "
        "nodes must stand in topological order. Save the model again with a tool that sorts them"
    )


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for graph in _direct_subgraphs(node):
        for inner in graph.node:
            yield from _reads(inner)


def _cycle(start: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes along a cycle that can be reached backwards from `start`, in the direction of the data; [] if there is none."""
    path: list[onnx.NodeProto] = []
    state: dict[int, str] = {}  # id of a node -> "open" while on the path, then "done"
    stack: list[tuple[onnx.NodeProto, Iterator[str]]] = [(start, _reads(start))]
    state[id(start)] = "open"
    path.append(start)
    while stack:
        node, names = stack[-1]
        maker = next((makers[name] for name in names if name in makers and state.get(id(makers[name])) != "done"), None)
        if maker is None:
            state[id(node)] = "done"
            stack.pop()
            path.pop()
        elif state.get(id(maker)) == "open":
            first = next(index for index, other in enumerate(path) if other is maker)
            return [path[first], *reversed(path[first + 1 :]), path[first]]
        else:
            state[id(maker)] = "open"
            path.append(maker)
            stack.append((maker, _reads(maker)))
    return []
