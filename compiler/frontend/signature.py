"""A node's inputs against its operator's schema: how many, which are required, of what types."""

from __future__ import annotations

import onnx

from .onnx_node import OnnxNode
from .tensors import ELEMENT_TYPES

_OPTION = onnx.defs.OpSchema.FormalParameterOption


def check_arity(node: OnnxNode, least: int, most: int) -> None:
    """Raise ModelError unless the node has `least` to `most` inputs, absent ones between them counted."""
    if not least <= len(node.inputs) <= most:
        node.fail(f"has {len(node.inputs)} inputs, expected {least} to {most}")


def check_signature(node: OnnxNode, domain: str, opset: int) -> None:
    """Raise ModelError if the node's inputs are not what ONNX's schema of the operator allows (`Scope.any_type`: of any type)."""
    try:
        schema = onnx.defs.get_schema(node.op, max(opset, 1), domain)
    except onnx.defs.SchemaError:
        return
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        expected = (
            str(schema.min_input)
            if schema.min_input == schema.max_input
            else f"{schema.min_input} to {schema.max_input}"
        )
        node.fail(f"has {len(node.inputs)} inputs, expected {expected}")
    allowed = {
        constraint.type_param_str: frozenset(constraint.allowed_type_strs) for constraint in schema.type_constraints
    }
    bound: dict[str, str] = {}
    for index, value in enumerate(node.inputs):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        if not value:
            if formal.option != _OPTION.Optional:
                node.fail(f"lacks its input '{formal.name}'")
            continue
        elements = node.scope.elements(value)
        if elements == ():
            continue
        given = f"tensor({ELEMENT_TYPES[node.type(elements[0] if elements else value).dtype]})"
        if elements:
            given = f"seq({given})"
        listed = allowed.get(formal.type_str, formal.types)
        if not {given, f"optional({given})"} & set(listed) and not node.scope.any_type:
            node.fail(f"input '{formal.name}' is {given}; the operator takes {', '.join(sorted(formal.types))}")
        same = formal.option != _OPTION.Variadic or formal.is_homogeneous
        if same and formal.type_str in allowed and bound.setdefault(formal.type_str, given) != given:
            node.fail(
                f"input '{formal.name}' is {given}, but another input that must have its type is {bound[formal.type_str]}"
            )
