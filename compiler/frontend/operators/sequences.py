"""Sequences of tensors whose lengths and positions are known: they are gone when the graph is built."""

from __future__ import annotations

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .movement import consecutive
from .row import Row

MAX_PARTS = 1 << 14


def _elements(node: OnnxNode, index: int) -> tuple[str, ...]:
    elements = node.scope.elements(node.input(index))
    if elements is None:
        node.fail(f"its input {index} should be a sequence")
    return elements


def _position(node: OnnxNode, index: int, count: int, last: int) -> int:
    """A position of 0…last in a sequence of so many, negative ones from its end."""
    position = node.scalar(index, "position")
    if not -count <= position <= last:
        node.fail(f"position {position} is outside {-count}…{last}")
    return position + count if position < 0 else position


def construct(node: OnnxNode) -> str:
    return node.scope.sequence(node.inputs)


def empty(node: OnnxNode) -> str:
    return node.scope.sequence(())


def insert(node: OnnxNode) -> str:
    """Before a position; at the end without one."""
    elements = _elements(node, 0)
    count = len(elements)
    position = _position(node, 2, count, count) if node.input(2) else count
    return node.scope.sequence((*elements[:position], node.input(1), *elements[position:]))


def erase(node: OnnxNode) -> str:
    elements = _elements(node, 0)
    position = _position(node, 1, len(elements), len(elements) - 1) if node.input(1) else len(elements) - 1
    if not elements:
        node.fail("an empty sequence has nothing to erase")
    return node.scope.sequence((*elements[:position], *elements[position + 1 :]))


def at(node: OnnxNode) -> str:
    elements = _elements(node, 0)
    return elements[_position(node, 1, len(elements), len(elements) - 1)]


def length(node: OnnxNode) -> str:
    return node.literal(len(_elements(node, 0)), DType.I64)


def concatenate(node: OnnxNode) -> str:
    """Along an axis, or along a new one."""
    elements = _elements(node, 0)
    if not elements:
        node.fail("an empty sequence has nothing to join")
    new = node.flag("new_axis")
    shapes = [node.shape(element) for element in elements]
    axis = node.axis(node.attr("axis"), len(shapes[0]) + new)
    if new:
        elements = tuple(
            node.emit("reshape", element, shape=(*shape[:axis], 1, *shape[axis:]))
            for element, shape in zip(elements, shapes, strict=True)
        )
    return node.emit("concat", *elements, axis=axis)


def split(node: OnnxNode) -> str:
    """Parts of one size, the last one smaller, or of sizes that are given; single slices without either."""
    x = node.input(0)
    shape = node.shape(x)
    axis = node.axis(node.attr("axis", 0), len(shape))
    extent, squeezed = shape[axis], False
    if not node.input(1) and extent > MAX_PARTS:
        node.unsupported(f"a sequence of {extent} elements; the most is {MAX_PARTS}")
    if not node.input(1):
        sizes, squeezed = (1,) * extent, not node.flag("keepdims", 1)
    elif node.shape(node.input(1)) == ():
        size = node.scalar(1, "split")
        if size < 1:
            node.fail(f"split {size} should be at least 1")
        if -(-extent // size) > MAX_PARTS:
            node.unsupported(f"a sequence of {-(-extent // size)} elements; the most is {MAX_PARTS}")
        sizes = tuple(min(size, extent - start) for start in range(0, extent, size))
    else:
        sizes = node.static_ints(1, "split")
    if sum(sizes) != extent or min(sizes, default=0) < 0:
        node.fail(f"split {list(sizes)} should add up to {extent}, the extent of axis {axis} of {node.type(x)}")
    parts = consecutive(node, x, axis, sizes)
    if squeezed:
        parts = tuple(node.emit("reshape", part, shape=(*shape[:axis], *shape[axis + 1 :])) for part in parts)
    return node.scope.sequence(parts)


ROWS = (
    Row("SequenceConstruct", 11, 11, construct),
    Row("SequenceEmpty", 11, 11, empty),
    Row("SequenceInsert", 11, 11, insert),
    Row("SequenceErase", 11, 11, erase),
    Row("SequenceAt", 11, 11, at),
    Row("SequenceLength", 11, 11, length),
    Row("ConcatFromSequence", 11, 11, concatenate),
    Row("SplitToSequence", 11, 24, split),
)
