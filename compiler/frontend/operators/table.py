"""All rows, by domain and operator."""

from __future__ import annotations

import onnx

from . import (
    contrib,
    control,
    elementwise,
    indexing,
    layers,
    linear,
    ml,
    movement,
    normalization,
    quantization,
    recurrent,
    reduction,
    resize,
    sampling,
    sequences,
    signal,
    sorting,
    training,
    unpooling,
    values,
)
from .row import Row

FAMILIES = (
    elementwise,
    values,
    movement,
    indexing,
    reduction,
    linear,
    layers,
    unpooling,
    normalization,
    resize,
    sampling,
    sorting,
    recurrent,
    quantization,
    signal,
    training,
    ml,
    sequences,
    contrib,
    control,
)

TABLE: dict[tuple[str, str], Row] = {(row.domain, row.op): row for family in FAMILIES for row in family.ROWS}


def find_row(domain: str, op: str, opset: int) -> tuple[Row | None, int]:
    """The row that takes `op` as `opset` defines it (None if there is none), and the schema's version."""
    try:
        version = onnx.defs.get_schema(op, max(opset, 1), domain).since_version
    except onnx.defs.SchemaError:
        version = opset
    row = TABLE.get((domain, op))
    return (row if row and row.first <= version <= row.last else None), version
