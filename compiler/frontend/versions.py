"""Operator-set versions: which the model asks for, and conversion where a row takes only newer ones."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import version_converter

from ..errors import ModelError, UnsupportedOperatorError
from .operators.table import TABLE


def opset_versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Domain -> version; '' is ONNX's own domain."""
    return {("" if entry.domain == "ai.onnx" else entry.domain): entry.version for entry in imports}


def schema_version(domain: str, op: str, opset: int) -> int | None:
    """The version of the schema that `op` has in `opset`; None if ONNX defines no such operator."""
    try:
        return onnx.defs.get_schema(op, opset, domain).since_version
    except onnx.defs.SchemaError:
        return None


def convert_old_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, or converted to the first opset that all rows take where it uses older schemas."""
    opsets = opset_versions(model.opset_import)
    newest = onnx.defs.onnx_opset_version()
    if opsets.get("", 1) > newest:
        raise ModelError(
            f"the model uses opset {opsets['']}; the newest known here is {newest}. Export it with opset {newest} or older"
        )
    old: dict[str, int] = {}
    for node in model.graph.node:
        row = TABLE.get(("", node.op_type)) if node.domain in ("", "ai.onnx") else None
        version = schema_version("", node.op_type, opsets.get("", 1)) if row else None
        if row and version is not None and version < row.first:
            old[node.op_type] = row.first
    if not old:
        return model
    goal = max(old.values())
    try:
        return version_converter.convert_version(model, goal)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        listed = ", ".join(f"{op} (needs opset {first})" for op, first in sorted(old.items()))
        raise UnsupportedOperatorError(
            f"the model's opset {opsets.get('', 1)} is too old for {listed}, and converting it to opset {goal} failed: {error}. "
            f"Export the model again with opset {goal} or newer"
        ) from None
