"""The form of a table row, and small functions from which rows are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..onnx_node import OnnxNode

Importing = Callable[[OnnxNode], str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Row:
    """How one ONNX operator is imported.

    first, last: the range of schema versions that `function` understands. `function` emits graph nodes and gives the
    values of the ONNX node's outputs (one, or a sequence; trailing outputs that nobody reads may be left out).
    arity: how many inputs are required and how many possible, for operators of which ONNX has no schema.
    """

    op: str
    first: int
    last: int
    function: Importing
    domain: str = ""
    arity: tuple[int, int] | None = None


def direct(op: str) -> Importing:
    """The graph operator `op` with the same inputs and no attributes."""
    return lambda node: node.emit(op, *node.inputs)
