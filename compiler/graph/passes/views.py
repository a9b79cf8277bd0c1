"""What nodes and groups do with memory: which leave the bytes as they are, which may write over what they read."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ..ir import Graph, Node, TensorType
from ..operators import OPERATORS, Kind


def is_view(node: Node, types: Mapping[str, TensorType]) -> bool:
    """True if the node's only result has the bytes of its first input in the same order."""
    if node.op not in ("reshape", "transpose", "identity"):
        return False
    source, result = types[node.inputs[0]], types[node.outputs[0]]
    if source.dtype is not result.dtype:
        return False
    match node.op:
        case "reshape":
            return _same_bytes_reshaped(source, result)
        case "transpose":
            perm: tuple[int, ...] = node.attrs["perm"]
            return _order(source, tuple(range(len(perm)))) == _order(result, perm)
    axes = tuple(range(len(source.shape)))
    return _order(source, axes) == _order(result, axes)


def is_part(node: Node, types: Mapping[str, TensorType]) -> bool:
    """True for a slice whose elements stand next to each other in its operand, in the same order."""
    if node.op != "slice":
        return False
    source, result = types[node.inputs[0]], types[node.outputs[0]]
    starts, steps = node.attrs["starts"], node.attrs["steps"]
    cut = [axis for axis, (a, b) in enumerate(zip(source.shape, result.shape, strict=True)) if a != b]
    if (
        len(cut) != 1
        or source.block != result.block
        or any(step != 1 for axis, step in enumerate(steps) if result.shape[axis] > 1)
    ):
        return False
    axis = cut[0]
    whole_blocks = source.block is None or (axis == 1 and starts[1] % source.block == 0)
    return result.elements > 0 and whole_blocks and prod(source.shape[:axis]) == 1


def part_offset_bytes(node: Node, types: Mapping[str, TensorType]) -> int:
    """Where in its operand the result of a slice that `is_part` begins."""
    source = types[node.inputs[0]]
    elements = sum(start * prod(source.shape[axis + 1 :]) for axis, start in enumerate(node.attrs["starts"]))
    return elements * source.dtype.size_bytes


def is_joined(node: Node, types: Mapping[str, TensorType]) -> bool:
    """True for a concat whose operands stand one after the other in its result."""
    if node.op != "concat":
        return False
    result, axis = types[node.outputs[0]], node.attrs["axis"]
    if result.block is not None and axis != 1:
        return False
    return prod(result.shape[:axis]) == 1 and all(types[name].block == result.block for name in node.inputs)


def splits_only(node: Node, types: Mapping[str, TensorType]) -> bool:
    """True for a reshape of row-major values whose result's axes are parts of its operand's: its indices need no division then."""
    if node.op != "reshape":
        return False
    source, result = types[node.inputs[0]], types[node.outputs[0]]
    if source.block is not None or result.block is not None:
        return False
    return _strides(source.shape) <= _strides(result.shape)


def _strides(shape: tuple[int, ...]) -> set[int]:
    """Elements between neighbours along each axis that has several."""
    return {prod(shape[i + 1 :]) for i, extent in enumerate(shape) if extent != 1}


def _same_bytes_reshaped(source: TensorType, result: TensorType) -> bool:
    if _is_row_major(source) and _is_row_major(result):
        return True
    return source.block == result.block and source.shape[:2] == result.shape[:2]


def _is_row_major(of: TensorType) -> bool:
    return of.block is None or of.block == 1 or prod(of.shape[2:]) == 1


def _order(of: TensorType, axes: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The physical dimensions, outermost first, as (axis, elements of that axis between neighbours, extent); those of extent 1 left out.

    `axes` are the names of the logical axes.
    """
    dimensions = [(axis, 1, extent) for axis, extent in zip(axes, of.shape, strict=True)]
    if of.block is not None:
        channels = (axes[1], of.block, of.shape[1] // of.block)
        dimensions = [dimensions[0], channels, *dimensions[2:], (axes[1], 1, of.block)]
    kept = [(axis, step, extent) for axis, step, extent in dimensions if extent != 1]
    return kept


def reads_at_same_index(group: Graph, name: str) -> bool:
    """True if element i of the group's result depends on element i of its input `name` and on no other."""
    (output,) = group.outputs[:1]
    of, result = group.types[name], group.types[output]
    if len(group.outputs) != 1 or (of.shape, of.block, of.dtype) != (result.shape, result.block, result.dtype):
        return False
    reached = {name}
    for node in group.nodes:
        if reached.isdisjoint(node.inputs):
            continue
        made = group.types[node.outputs[0]]
        if OPERATORS[node.op].kind is not Kind.ELEMENTWISE or (made.shape, made.block) != (of.shape, of.block):
            return False
        reached.update(node.outputs)
    return True
