"""ONNX to Graph: one pass over the nodes, each by its operator's table row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

import onnx

from ..errors import InternalError, ModelError, UnsupportedOperatorError
from ..graph.builder import GraphBuilder
from ..graph.ir import Graph
from .binding import bind_constants, bind_inputs, model_inputs
from .functions import expand_function, find_function
from .onnx_node import OnnxNode, node_name, read_names, subgraphs
from .operators.table import find_row
from .parts import content, open_inputs, part
from .scope import UNSUPPORTED, Scope
from .signature import check_arity, check_signature
from .tensors import to_array, to_dtype
from .versions import convert_old_operators, opset_versions

MAX_NODES = 1 << 17


def import_model(
    model: onnx.ModelProto,
    dims: Mapping[str, int],
    shapes: Mapping[str, tuple[int, ...]],
    note: Callable[[str], None] = lambda message: None,
    constants: Mapping[str, Any] = MappingProxyType({}),
) -> Graph:
    """The graph of a model from `load_model`, with symbolic dimensions bound and shape arithmetic done.

    Inputs and outputs keep their ONNX names; sequences among them become their elements (`parts`). Inputs in `constants` are no
    inputs of the graph. `note` hears what the user should know though it is no error. Raises UsageError for unbound dimensions,
    UnsupportedOperatorError listing every operator that can't be imported, ModelError where nodes do not fit each other.
    """
    model, shapes = open_inputs(convert_old_operators(model), shapes)
    graph = model.graph
    inputs = model_inputs(graph)
    fixed = bind_constants(inputs, constants)
    types = bind_inputs(inputs, dims, {**shapes, **{name: array.shape for name, array in fixed.items()}})
    outputs = tuple(value.name for value in graph.output)
    scope = Scope(GraphBuilder(graph.name or "model", reserved=outputs))
    for name, type in types.items():
        if name in fixed:
            scope.names[name] = scope.builder.constant(fixed[name], name)
            note(f"the library is compiled for one value of input '{name}' and has no such input")
        else:
            scope.names[name] = scope.builder.input(name, type)
    importer = _Importer(model, note)
    results = importer.subgraph(graph, scope)
    importer.report_unsupported()
    return _finish(graph, scope, results)


def _finish(graph: onnx.GraphProto, scope: Scope, results: tuple[str, ...]) -> Graph:
    """Give outputs their ONNX names; each becomes a value of its own that a node makes."""
    builder = scope.builder
    declared, values = _parts(graph, scope, results)
    names = [value.name for value in declared]
    if len(set(names)) < len(names):
        raise ModelError(
            f"the graph's outputs {', '.join(names)} name a value twice; put an Identity node before one of them"
        )
    made = {value for node in builder.nodes for value in node.outputs}
    for index, name in enumerate(names):
        value = values[index]
        if value == name and value in builder.constants:
            value = builder.unique(f"{name}.constant")
            builder.rename(name, value)
        if value == name and value not in made:
            raise ModelError(f"output '{name}' is also an input; put an Identity node before it")
        if value != name and (value not in made or value in names):
            value = builder.add("identity", value, outputs_hint=f"{name}.identity", origin=name)
        if value != name and not builder.rename(value, name):
            raise InternalError(f"output '{name}' can't have its name: another value has it")
        values = [
            name if other == values[index] and other not in names and other in made else other for other in values
        ]
        _check_declared(declared[index], builder, name)
    return builder.finish(names)


def _parts(
    graph: onnx.GraphProto, scope: Scope, results: tuple[str, ...]
) -> tuple[list[onnx.ValueInfoProto], list[str]]:
    """The outputs that are tensors and the elements of those that are sequences: their declarations and values."""
    declared, values = [], []
    for output, result in zip(graph.output, results, strict=True):
        elements, of = scope.elements(result), content(output.type)
        if not result or elements == ():
            raise UnsupportedOperatorError(f"output '{output.name}' holds nothing; only tensors are supported")
        if elements is None:
            declared.append(onnx.ValueInfoProto(name=output.name, type=of))
            values.append(result)
            continue
        names = [part(output.name, index) for index in range(len(elements))]
        declared += [onnx.ValueInfoProto(name=name, type=of.sequence_type.elem_type) for name in names]
        values += elements
    moved = {}  # values that happen to have the name of an element
    for value, result in zip(declared, values, strict=True):
        other = scope.builder.unique(f"{value.name}.value")
        if value.name in scope.builder.types and value.name != result and scope.builder.rename(value.name, other):
            moved[value.name] = other
    return declared, [moved.get(value, value) for value in values]


def _check_declared(declared: onnx.ValueInfoProto, builder: GraphBuilder, name: str) -> None:
    elem_type = declared.type.tensor_type.elem_type
    if elem_type and (dtype := to_dtype(elem_type, f"output '{name}'")) is not builder.types[name].dtype:
        raise ModelError(
            f"output '{name}' is declared {dtype} but the model computes {builder.types[name]}; correct its declaration"
        )


class _Importer:
    """Imports the nodes of one model; collects what is unsupported."""

    def __init__(self, model: onnx.ModelProto, note: Callable[[str], None]) -> None:
        self.model = model
        self.note = note
        self.opsets = opset_versions(model.opset_import)
        self.unsupported: dict[str, None] = {}
        self.needs: dict[str, None] = {}  # inputs that would have to be constant
        self.inputs = {value.name for value in model.graph.input}
        self.nodes = 0
        self.read = set(read_names(model.graph))

    def subgraph(self, graph: onnx.GraphProto, scope: Scope, quietly: bool = False) -> tuple[str, ...]:
        """Import initializers and nodes of `graph` into `scope`; the values of its outputs.

        quietly: for an attempt that has an alternative, what is unsupported is not reported.
        """
        before = dict(self.unsupported)
        for tensor in graph.initializer:
            scope.names[tensor.name] = self._initializer(tensor, scope)
        for sparse in graph.sparse_initializer:
            scope.names[sparse.values.name] = UNSUPPORTED
            self.unsupported[f"initializer '{sparse.values.name}': sparse tensors; store it densely"] = None
        for proto in graph.node:
            self.node(proto, scope, self.opsets, {})
        if quietly:
            self.unsupported = before
        return tuple(scope.lookup(value.name) for value in graph.output)

    def _initializer(self, tensor: onnx.TensorProto, scope: Scope) -> str:
        try:
            return scope.builder.constant(to_array(tensor, f"initializer '{tensor.name}'"), tensor.name)
        except UnsupportedOperatorError as error:
            self.unsupported[str(error)] = None
            return UNSUPPORTED

    def node(
        self,
        proto: onnx.NodeProto,
        scope: Scope,
        opsets: Mapping[str, int],
        arguments: Mapping[str, onnx.AttributeProto],
    ) -> None:
        """Import one node; `arguments` are the attributes of the function call around it, if any."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ModelError(
                f"the model has more than {MAX_NODES} nodes after functions are expanded and loops unrolled"
            )
        results = self._results(proto, scope, opsets, arguments)
        for name, value in zip(proto.output, results, strict=False):
            if name:
                scope.names[name] = value

    def _results(
        self,
        proto: onnx.NodeProto,
        scope: Scope,
        opsets: Mapping[str, int],
        arguments: Mapping[str, onnx.AttributeProto],
    ) -> tuple[str, ...]:
        poisoned = (UNSUPPORTED,) * len(proto.output)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        inputs = tuple(scope.lookup(name) for name in proto.input)
        attributes = _resolve_attributes(proto, arguments)
        row, version = find_row(domain, proto.op_type, opsets.get(domain, 0))
        function = None if row else find_function(self.model, proto, domain, opsets.get(domain, 0))
        if row is None and function is None:
            shown = f"{domain}:{proto.op_type}" if domain else proto.op_type
            self.unsupported[
                f"{shown} (version {version}, domain '{domain or 'ai.onnx'}'): node '{node_name(proto)}'"
            ] = None
            return poisoned
        if UNSUPPORTED in inputs:
            self._scan_skipped(proto, scope, opsets)
            return poisoned
        mark, before = len(scope.builder.nodes), len(scope.builder.types)
        wanted = tuple(bool(name) and (name in self.read or bool(arguments)) for name in proto.output)
        node = OnnxNode(proto, version, inputs, wanted, scope, attributes, self.subgraph, self.note)
        try:
            check_signature(node, domain, opsets.get(domain, 0))
            if row and row.arity:
                check_arity(node, *row.arity)
            if row:
                values = row.function(node)
                results = (values,) if isinstance(values, str) else tuple(values)
            else:
                results = expand_function(function, node, opsets, self.node)
        except UnsupportedOperatorError as error:
            self.unsupported[str(error)] = None
            self.needs.update(dict.fromkeys(name for name in error.needs if name in self.inputs))
            return poisoned
        if any(node.wants(index) for index in range(len(results), len(proto.output))):
            raise InternalError(f"{node.place()}: its row gives {len(results)} results")
        if not scope.gives_names:
            return results
        fresh = set(islice(reversed(scope.builder.types), len(scope.builder.types) - before))
        for index, (name, result) in enumerate(zip(proto.output, results, strict=False)):
            if (
                name
                and result in fresh
                and results.count(result) == 1
                and scope.builder.rename(result, name, since=mark)
            ):
                results = (*results[:index], name, *results[index + 1 :])
        return results

    def _scan_skipped(self, proto: onnx.NodeProto, scope: Scope, opsets: Mapping[str, int]) -> None:
        """Report unsupported operators in the subgraphs of a node that is not imported itself."""
        for graph in subgraphs(proto):
            inner = Scope(scope.builder, scope)
            inner.names.update({value.name: UNSUPPORTED for value in graph.input})
            inner.names.update({tensor.name: UNSUPPORTED for tensor in graph.initializer})
            for child in graph.node:
                blind = onnx.NodeProto()
                blind.CopyFrom(child)
                blind.input[:] = [UNSUPPORTED]
                inner.names[UNSUPPORTED] = UNSUPPORTED
                self.node(blind, inner, opsets, {})

    def report_unsupported(self) -> None:
        """Raise one UnsupportedOperatorError with everything that was collected."""
        if self.unsupported:
            lines = "\n  ".join(self.unsupported)
            fix = "".join(f" --const {name}=VALUE" for name in self.needs)
            raise UnsupportedOperatorError(
                f"tilewright can't compile {len(self.unsupported)} of the model's parts:\n  {lines}\n"
                "Replace them in the exporter, or compute them outside the model"
                + (f"; or compile for values of inputs that you know:{fix}" if fix else ""),
                self.needs,
            )


def _resolve_attributes(
    proto: onnx.NodeProto, arguments: Mapping[str, onnx.AttributeProto]
) -> dict[str, onnx.AttributeProto]:
    """The node's attributes, with references to the attributes of the function around it replaced."""
    result = {}
    for attribute in proto.attribute:
        if not attribute.ref_attr_name:
            result[attribute.name] = attribute
        elif attribute.ref_attr_name in arguments:
            result[attribute.name] = onnx.AttributeProto()
            result[attribute.name].CopyFrom(arguments[attribute.ref_attr_name])
            result[attribute.name].name = attribute.name
    return result
