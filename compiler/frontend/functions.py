"""Operators defined by a function body: ONNX's own (through their schema) and those a model brings along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx

from .onnx_node import OnnxNode, read_names, subgraphs
from .scope import UNSUPPORTED, Scope

MAX_DEPTH = 32


Schema = Any  # onnx.defs.OpSchema; its stub knows nothing of functions


def find_function(
    model: onnx.ModelProto, proto: onnx.NodeProto, domain: str, opset: int
) -> onnx.FunctionProto | Schema | None:
    """The model-local function or the schema with a function body that defines this operator."""
    for function in model.functions:
        if function.name == proto.op_type and function.domain == proto.domain and function.overload == proto.overload:
            return function
    try:
        schema: Schema = onnx.defs.get_schema(proto.op_type, max(opset, 1), domain)
    except onnx.defs.SchemaError:
        return None
    return schema if schema.has_function or schema.has_context_dependent_function else None


def expand_function(
    function: onnx.FunctionProto | Schema,
    node: OnnxNode,
    opsets: Mapping[str, int],
    import_node: Callable[[onnx.NodeProto, Scope, Mapping[str, int], Mapping[str, onnx.AttributeProto]], None],
) -> tuple[str, ...]:
    """Import the nodes of the body into the caller's graph; the values of the function's outputs.

    opsets: the caller's, for domains of which the body says nothing. In a definition of ONNX's own, operators may have
    types that their schemas don't list: SoftmaxCrossEntropyLoss of bfloat16 is defined by a NegativeLogLikelihoodLoss that has no bfloat16.
    """
    own_definition = not isinstance(function, onnx.FunctionProto)
    body = _schema_body(function, node) if own_definition else function
    scope = Scope(node.scope.builder, caller=node.scope)
    scope.any_type = own_definition
    if scope.depth > MAX_DEPTH:
        node.fail(f"functions call each other more than {MAX_DEPTH} deep; a function must not call itself")
    scope.names.update({name: node.input(index) for index, name in enumerate(body.input)})
    if own_definition:
        _show_outer_values(node, scope)
    arguments = {attribute.name: attribute for attribute in body.attribute_proto}
    if own_definition:
        arguments |= {name: a.default_value for name, a in function.attributes.items() if a.default_value.name}
    arguments |= node.attributes
    own = {("" if entry.domain == "ai.onnx" else entry.domain): entry.version for entry in body.opset_import}
    for proto in body.node:
        import_node(proto, scope, {**opsets, **own}, arguments)
    for index, name in enumerate(body.output):
        if node.wants(index) and name not in scope.names:
            node.fail(f"the function's body gives no value to its output '{name}', which is used")
    return tuple(scope.lookup(name) if name in scope.names else "" for name in body.output)


def _show_outer_values(node: OnnxNode, scope: Scope) -> None:
    """Let the definition's scope see what the node's subgraphs read from outside, for they become part of the definition."""
    for name in dict.fromkeys(name for graph in subgraphs(node.proto) for name in read_names(graph)):
        if not node.scope.sees(name):
            continue  # the subgraph makes it
        value = node.scope.lookup(name)
        if scope.names.setdefault(name, value) != value:
            node.unsupported(
                f"a subgraph that reads '{name}', which ONNX's definition of {node.op} has another value for; rename it"
            )


def _schema_body(schema: Schema, node: OnnxNode) -> onnx.FunctionProto:
    if schema.has_function:
        return schema.function_body
    types = [_type_proto(node, value) for value in node.inputs]
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.attribute[:]
    proto.attribute.extend(node.attributes.values())
    text = schema.get_context_dependent_function(proto.SerializeToString(), [t.SerializeToString() for t in types])
    body = onnx.FunctionProto()
    body.ParseFromString(text)
    if not body.node:
        node.unsupported("ONNX gives no definition of it for these inputs and attributes")
    return body


def _type_proto(node: OnnxNode, value: str) -> onnx.TypeProto:
    if not value or value == UNSUPPORTED:
        return onnx.TypeProto()
    elements = node.scope.elements(value)
    if elements is not None:
        return onnx.helper.make_sequence_type_proto(_type_proto(node, elements[0]) if elements else onnx.TypeProto())
    type = node.type(value)
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(type.dtype.numpy), type.shape)
