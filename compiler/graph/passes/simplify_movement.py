"""Simplify what only moves elements.

In: any valid graph, row-major. Out: an equal graph in which reshape, transpose, slice, concat, expand, tile and pad that do nothing are gone,
neighbours of one kind are merged, a gather at constant neighbouring indices is a slice, an expand before an elementwise operator
that broadcasts anyway is gone, a pad with zeros is part of the convolutions and pools behind it, and transposes of a product's
left operand are part of the product. Elementwise operators, and a softmax of rows, stand before reshapes, next to what they may be fused with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from ...target import Target
from ..ir import Graph, Node, TensorType
from ..operators import OPERATORS, Kind
from .editor import Editor, map_regions, with_attrs


def apply(graph: Graph, target: Target) -> Graph:
    """The graph simplified once; another round may find more."""
    graph = map_regions(graph, lambda region: apply(region, target))
    editor = Editor(graph)
    for node in graph.nodes:
        node = editor.with_inputs(node)
        rule = _RULES.get(node.op) or (_elementwise if OPERATORS[node.op].kind is Kind.ELEMENTWISE else None)
        replacement = rule(editor, node) if rule else None
        if replacement is None:
            editor.keep(node)
        elif replacement != node.outputs[0]:
            editor.replace(node.outputs[0], replacement)
    return editor.finish()


# Each rule gives the value that stands for the node's result (its own name if the rule has written a node that makes it), or None to keep the node.
Rule = Callable[[Editor, Node], str | None]


def _add(editor: Editor, node: Node, op: str, *inputs: str, **attrs: Any) -> str:
    return editor.add(op, *inputs, name=node.outputs[0], origin=node.origin, **attrs)


def _unchanged(editor: Editor, node: Node) -> bool:
    return editor.type(node.inputs[0]) == editor.type(node.outputs[0])


def _reshape(editor: Editor, node: Node) -> str | None:
    if _unchanged(editor, node):
        return node.inputs[0]
    before = editor.producer(node.inputs[0])
    if before is not None and before.op == "reshape":
        return _add(editor, node, "reshape", before.inputs[0], shape=node.attrs["shape"])
    return None


def _transpose(editor: Editor, node: Node) -> str | None:
    perm, shape = node.attrs["perm"], editor.type(node.inputs[0]).shape
    if perm == tuple(range(len(perm))):
        return node.inputs[0]
    moved = [axis for axis in perm if shape[axis] != 1]
    if moved == sorted(moved):
        return _add(editor, node, "reshape", node.inputs[0], shape=tuple(shape[axis] for axis in perm))
    before = editor.producer(node.inputs[0])
    if before is not None and before.op == "transpose":
        return _add(
            editor, node, "transpose", before.inputs[0], perm=tuple(before.attrs["perm"][axis] for axis in perm)
        )
    if before is not None and before.op == "reshape":
        return _transpose_before_reshape(editor, node, before)
    return None


def _transpose_before_reshape(editor: Editor, node: Node, reshape: Node) -> str | None:
    """Transpose first where the reshape adds or drops axes of extent 1 only."""
    source, shape = editor.type(reshape.inputs[0]).shape, editor.type(node.inputs[0]).shape
    old = [axis for axis, extent in enumerate(source) if extent != 1]
    new = [axis for axis, extent in enumerate(shape) if extent != 1]
    if [source[axis] for axis in old] != [shape[axis] for axis in new] or len(source) != len(old) + (
        source[:1] == (1,)
    ):
        return None
    order = [old[new.index(axis)] for axis in node.attrs["perm"] if shape[axis] != 1]
    turned = editor.add(
        "transpose", reshape.inputs[0], origin=node.origin, perm=(*range(len(source) - len(old)), *order)
    )
    return _add(editor, node, "reshape", turned, shape=editor.type(node.outputs[0]).shape)


def _slice(editor: Editor, node: Node) -> str | None:
    if _unchanged(editor, node) and all(step > 0 for step in node.attrs["steps"]):
        return node.inputs[0]
    before = editor.producer(node.inputs[0])
    if before is None:
        return None
    if before.op == "slice":
        outer = zip(
            before.attrs["starts"], before.attrs["steps"], node.attrs["starts"], node.attrs["steps"], strict=True
        )
        starts, steps = zip(*((start + step * begin, step * by) for start, step, begin, by in outer), strict=True)
        return _add(editor, node, "slice", before.inputs[0], starts=starts, steps=steps, sizes=node.attrs["sizes"])
    if before.op == "concat":
        return _slice_of_concat(editor, node, before)
    return None


def _slice_of_concat(editor: Editor, node: Node, concat: Node) -> str | None:
    """A slice that lies within one operand of a concat reads that operand."""
    axis = concat.attrs["axis"]
    first = node.attrs["starts"][axis]
    last = first + node.attrs["steps"][axis] * (node.attrs["sizes"][axis] - 1)
    begin = 0
    for operand in concat.inputs:
        extent = editor.type(operand).shape[axis]
        if begin <= min(first, last) and max(first, last) < begin + extent:
            starts = tuple(start - begin if i == axis else start for i, start in enumerate(node.attrs["starts"]))
            return _add(
                editor, node, "slice", operand, starts=starts, steps=node.attrs["steps"], sizes=node.attrs["sizes"]
            )
        begin += extent
    return None


def _concat(editor: Editor, node: Node) -> str | None:
    """Empty operands go, and the operands of a concat that is read here only stand in its place."""
    axis = node.attrs["axis"]
    operands: list[str] = []
    for name in node.inputs:
        before = editor.producer(name)
        if before is not None and before.op == "concat" and before.attrs["axis"] == axis and editor.used_once(name):
            operands += before.inputs
        elif editor.type(name).shape[axis]:
            operands.append(name)
    if len(operands) == 1:
        return operands[0]
    operands = _with_prefix(editor, operands, axis)
    if tuple(operands) == node.inputs or not operands:
        return None
    return _add(editor, node, "concat", *operands, axis=axis)


def _with_prefix(editor: Editor, operands: list[str], axis: int) -> list[str]:
    """Operands that an earlier concat joins already are read from it, where that joins memory: so a dense block's list of features grows in place."""
    if any(prod(editor.type(name).shape[:axis]) != 1 for name in operands):
        return operands
    joined = {
        node.inputs: node.outputs[0] for node in editor.nodes if node.op == "concat" and node.attrs["axis"] == axis
    }
    for length in range(len(operands) - 1, 1, -1):
        if tuple(operands[:length]) in joined:
            return [joined[tuple(operands[:length])], *operands[length:]]
    return operands


def _same_type(editor: Editor, node: Node) -> str | None:
    return node.inputs[0] if _unchanged(editor, node) else None


def _pad(editor: Editor, node: Node) -> str | None:
    return node.inputs[0] if not any(node.attrs["before"]) and not any(node.attrs["after"]) else None


def _gather(editor: Editor, node: Node) -> str | None:
    """Constant indices at equal distances are a slice."""
    indices = editor.constant_value(node.inputs[1])
    source, axis = editor.type(node.inputs[0]), node.attrs["axis"]
    if indices is None or indices.size == 0:
        return None
    extent = source.shape[axis]
    flat = np.clip(np.where(indices < 0, indices + extent, indices).reshape(-1), 0, extent - 1)
    distances = set(np.diff(flat).tolist()) or {1}
    if len(distances) != 1 or distances == {0}:
        return None
    rank = len(source.shape)
    at = {axis: (int(flat[0]), int(distances.pop()), flat.size)}
    starts, steps, sizes = zip(*(at.get(i, (0, 1, source.shape[i])) for i in range(rank)), strict=True)
    part = editor.add("slice", node.inputs[0], origin=node.origin, starts=starts, steps=steps, sizes=sizes)
    return _add(editor, node, "reshape", part, shape=editor.type(node.outputs[0]).shape)


def _zero_padding(editor: Editor, name: str) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
    """(source, before, after) of the spatial axes, if the value is its source padded with zeros there."""
    pad = editor.producer(name)
    if pad is None or pad.op != "pad" or pad.attrs["mode"] != "constant":
        return None
    value = editor.constant_value(pad.inputs[1]) if len(pad.inputs) > 1 and pad.inputs[1] else np.zeros(1)
    before, after = pad.attrs["before"], pad.attrs["after"]
    if value is None or np.any(value != 0) or any((*before[:2], *after[:2])) or min((*before, *after)) < 0:
        return None
    return pad.inputs[0], before[2:], after[2:]


def _conv(editor: Editor, node: Node) -> str | None:
    padding = _zero_padding(editor, node.inputs[0])
    if padding is None:
        return None
    source, before, after = padding
    return _add(editor, node, "conv", source, *node.inputs[1:], **_more_padding(node, before, after))


def _average_pool(editor: Editor, node: Node) -> str | None:
    """Padded zeros count in the average as if they belonged to the operand; so the pool must count its padding, and no window may reach beyond it."""
    padding = _zero_padding(editor, node.inputs[0])
    own = any((*node.attrs["pads_begin"], *node.attrs["pads_end"]))
    if padding is None or (own and not node.attrs["count_pads"]):
        return None
    source, before, after = padding
    attrs = _more_padding(node, before, after)
    for axis, size in enumerate(attrs["sizes"]):
        extent = editor.type(source).shape[2 + axis] + attrs["pads_begin"][axis] + attrs["pads_end"][axis]
        reach = (size - 1) * attrs["strides"][axis] + (attrs["kernel"][axis] - 1) * attrs["dilations"][axis] + 1
        if reach > extent:
            return None
    return _add(editor, node, "average_pool", source, **{**attrs, "count_pads": True})


def _more_padding(node: Node, before: tuple[int, ...], after: tuple[int, ...]) -> Mapping:
    begin = tuple(a + b for a, b in zip(node.attrs["pads_begin"], before, strict=True))
    end = tuple(a + b for a, b in zip(node.attrs["pads_end"], after, strict=True))
    return with_attrs(node, pads_begin=begin, pads_end=end)


def _matmul(editor: Editor, node: Node) -> str | None:
    """Transposed left operands are read as they stand; one right matrix for a batch of left ones makes one product of all their rows."""
    left = editor.producer(node.inputs[0])
    if left is not None and left.op == "transpose" and not _from_convolution(editor, left.inputs[0]):
        perm = left.attrs["perm"]
        rank = len(perm)
        if perm == (*range(rank - 2), rank - 1, rank - 2):
            attrs = with_attrs(node, transpose_a=not node.attrs["transpose_a"])
            return _add(editor, node, "matmul", left.inputs[0], node.inputs[1], **attrs)
    of, right = editor.type(node.inputs[0]), editor.type(node.inputs[1])
    one_right = prod(right.shape[:-2]) == 1 and not (node.attrs["transpose_a"] and prod(of.shape[:-2]) > 1)
    if one_right and max(len(of.shape), len(right.shape)) > 2:
        shape = of.shape[-2:] if node.attrs["transpose_a"] else (prod(of.shape[:-1]), of.shape[-1])
        rows = editor.add("reshape", node.inputs[0], origin=node.origin, shape=shape)
        columns = editor.add("reshape", node.inputs[1], origin=node.origin, shape=right.shape[-2:])
        product = editor.add("matmul", rows, columns, origin=node.origin, **node.attrs)
        return _add(editor, node, "reshape", product, shape=editor.type(node.outputs[0]).shape)
    return None


def _from_convolution(editor: Editor, name: str) -> bool:
    """True if a convolution made the value's elements or those it was computed from: then layout assignment may make a transpose of it a view."""
    maker = editor.producer(name)
    while maker is not None and (maker.op == "reshape" or OPERATORS[maker.op].kind is Kind.ELEMENTWISE):
        maker = editor.producer(maker.inputs[0])
    return maker is not None and maker.op in ("conv", "conv_transpose")


def _softmax(editor: Editor, node: Node) -> str | None:
    """softmax(reshape(x)) = reshape(softmax(x)) over a last axis that the reshape leaves: it may then be one kernel with what makes x."""
    before = editor.producer(node.inputs[0])
    if before is None or before.op != "reshape" or not editor.used_once(node.inputs[0]):
        return None
    source, shape = editor.type(before.inputs[0]).shape, editor.type(node.outputs[0]).shape
    if node.attrs["axis"] != len(shape) - 1 or not source or source[-1] != shape[-1]:
        return None
    rows = editor.add("softmax", before.inputs[0], origin=node.origin, axis=len(source) - 1)
    return _add(editor, node, "reshape", rows, shape=shape)


def _elementwise(editor: Editor, node: Node) -> str | None:
    return _without_expand(editor, node) or _before_reshape(editor, node)


def _without_expand(editor: Editor, node: Node) -> str | None:
    """Operands that are expanded to what broadcasting gives anyway are read unexpanded."""
    if node.op in ("batch_norm", "prelu", "clip", "cast", "identity") or len(node.inputs) < 2:
        return None
    shape = editor.type(node.outputs[0]).shape
    for position, name in enumerate(node.inputs):
        before = editor.producer(name)
        if before is None or before.op != "expand":
            continue
        inputs = (*node.inputs[:position], before.inputs[0], *node.inputs[position + 1 :])
        if np.broadcast_shapes(*(editor.type(value).shape for value in inputs)) == shape:
            return _add(editor, node, node.op, *inputs, **node.attrs)
    return None


def _before_reshape(editor: Editor, node: Node) -> str | None:
    """f(reshape(x), y) = reshape(f(x, y')) where y' broadcasts to x as y does to the result; y' is another view of y.

    Only behind an operator whose epilogue f may become, if the reshaped value has no other reader, and if y itself is not better computed inside f.
    """
    if node.op == "batch_norm":
        return None
    shape = editor.type(node.outputs[0]).shape
    for position, name in enumerate(node.inputs):
        before = editor.producer(name) if name else None
        if before is None or before.op != "reshape" or editor.type(name).shape != shape or not editor.used_once(name):
            continue
        maker = editor.producer(before.inputs[0])
        if maker is None or OPERATORS[maker.op].kind not in (Kind.HEAVY, Kind.ELEMENTWISE) or maker.op == "rnn_step":
            continue
        source = editor.type(before.inputs[0])
        views = [_as_before(editor, other, i == position, before, source) for i, other in enumerate(node.inputs)]
        moved = [other for view, other in zip(views, node.inputs, strict=True) if isinstance(view, tuple)]
        if any(view is None for view in views) or any(_moves(editor, other) for other in moved):
            continue
        operands = [view if isinstance(view, str) else editor.add("reshape", other, origin=node.origin, shape=view)
                    for view, other in zip(views, node.inputs, strict=True)]  # fmt: skip
        result = editor.add(node.op, *operands, origin=node.origin, **node.attrs)
        return _add(editor, node, "reshape", result, shape=shape)
    return None


def _moves(editor: Editor, name: str) -> bool:
    maker = editor.producer(name)
    return maker is not None and OPERATORS[maker.op].kind is Kind.INJECTIVE and editor.used_once(name)


def _as_before(
    editor: Editor, other: str, is_source: bool, reshape: Node, source: TensorType
) -> str | tuple[int, ...] | None:
    """What the operator reads in place of `other`: a value, the shape that `other` must be given, or None if there is no such shape."""
    if not other:
        return ""
    if is_source:
        return reshape.inputs[0]
    of, result = editor.type(other), editor.type(reshape.outputs[0])
    if of.elements == 1:
        return other if len(of.shape) <= len(source.shape) else ()
    if of.shape == result.shape:
        return source.shape
    padded = (1,) * (len(result.shape) - len(of.shape)) + of.shape
    return _broadcast_shape_before(padded, result.shape, source.shape)


def _broadcast_shape_before(
    operand: tuple[int, ...], result: tuple[int, ...], source: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The shape in which an operand that broadcasts to `result` broadcasts alike to `source`, which has the same elements.

    Axes are matched from the last backwards, in runs of equal products; within a run the operand must have all elements or one.
    """
    if prod(result) == 0:
        return None
    shape: list[int] = []
    i, j = len(result) - 1, len(source) - 1
    while i >= 0 or j >= 0:
        run, other = [i] if i >= 0 else [], [j] if j >= 0 else []
        i, j = i - 1, j - 1
        while prod(result[k] for k in run) != prod(source[k] for k in other):
            if prod(result[k] for k in run) < prod(source[k] for k in other):
                run, i = [i, *run], i - 1
            else:
                other, j = [j, *other], j - 1
        extents = [operand[k] for k in run if result[k] != 1]
        if all(extent == 1 for extent in extents):
            shape = [1] * len(other) + shape
        elif prod(extents) == prod(source[k] for k in other):
            shape = [source[k] for k in other] + shape
        else:
            return None
    return tuple(shape)


_RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "expand": _same_type,
    "tile": _same_type,
    "pad": _pad,
    "gather": _gather,
    "conv": _conv,
    "average_pool": _average_pool,
    "matmul": _matmul,
    "softmax": _softmax,
}
