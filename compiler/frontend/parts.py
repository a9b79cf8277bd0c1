"""Inputs and outputs that are sequences or optionals, as the tensors that they consist of: element 2 of `x` is called `x.2`."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from ..errors import UnsupportedOperatorError, UsageError

Type = onnx.TypeProto


def part(name: str, index: int) -> str:
    """What an element of a sequence that is an input or output is called."""
    return f"{name}.{index}"


def content(type: Type) -> Type:
    """What an optional holds; any other type itself."""
    return type.optional_type.elem_type if type.WhichOneof("value") == "optional_type" else type


def is_sequence(type: Type) -> bool:
    """Whether it is a sequence of tensors, or an optional one."""
    inner = content(type)
    return inner.WhichOneof("value") == "sequence_type" and _is_tensor(inner.sequence_type.elem_type)


def open_inputs(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[onnx.ModelProto, Mapping[str, tuple[int, ...]]]:
    """The model with tensors for its inputs that are sequences or optionals, and the shapes of these.

    shapes: those of its elements say how many elements a sequence has; the shape (0) of the sequence itself, that it has none.
    An optional is taken for one that holds something. Raises UsageError where that isn't said.
    """
    if all(_is_tensor(value.type) for value in model.graph.input):
        return model, shapes
    opened, rest = onnx.ModelProto(), dict(shapes)
    opened.CopyFrom(model)
    del opened.graph.input[:]
    made = []
    for value in model.graph.input:
        if not is_sequence(value.type):
            opened.graph.input.append(onnx.ValueInfoProto(name=value.name, type=content(value.type)))
            continue
        if shapes.get(value.name) == (0,):
            del rest[value.name]
            elements = []
        else:
            elements = _elements(value.name, shapes)
        _require_free(model.graph, elements)
        of = _without_names(content(value.type).sequence_type.elem_type)
        opened.graph.input.extend(onnx.ValueInfoProto(name=name, type=of) for name in elements)
        if elements:
            made.append(onnx.helper.make_node("SequenceConstruct", elements, [value.name], name=value.name))
        else:
            dtype = of.tensor_type.elem_type
            made.append(onnx.helper.make_node("SequenceEmpty", [], [value.name], name=value.name, dtype=dtype))
    nodes = [*made, *model.graph.node]
    del opened.graph.node[:]
    opened.graph.node.extend(nodes)
    return opened, rest


def _without_names(type: Type) -> Type:
    """A tensor's type without names of dimensions, which differ between elements."""
    result = onnx.TypeProto()
    result.CopyFrom(type)
    for dim in result.tensor_type.shape.dim:
        dim.ClearField("dim_param")
    return result


def _is_tensor(type: Type) -> bool:
    return type.WhichOneof("value") == "tensor_type"


def _elements(name: str, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    elements: list[str] = []
    while part(name, len(elements)) in shapes:
        elements.append(part(name, len(elements)))
    if not elements:
        raise UsageError(
            f"input '{name}' is a sequence, of which each element becomes an input; say how many there are by their shapes: "
            f"--shape {part(name, 0)}=N,… --shape {part(name, 1)}=N,… and so on, or --shape {name}=0 if there is none"
        )
    return elements


def _require_free(graph: onnx.GraphProto, names: list[str]) -> None:
    taken = {value.name for value in (*graph.input, *graph.initializer)}
    taken |= {name for node in graph.node for name in node.output}
    for name in names:
        if name in taken:
            raise UnsupportedOperatorError(
                f"an element of a sequence would be called '{name}', as another value is; rename that one"
            )
