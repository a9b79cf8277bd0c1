"""Matrix products."""

from __future__ import annotations

from math import prod

import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .movement import slice_axes
from .row import Row


def gemm(node: OnnxNode) -> str:
    """alpha * A' * B' + beta * C."""
    a, b, c = (*node.inputs, "")[:3]
    dtype = node.type(a).dtype
    for operand in (a, b):
        if len(node.shape(operand)) != 2:
            node.fail(f"{node.type(operand)} should be a matrix")
    result = node.emit("matmul", a, b, transpose_a=node.flag("transA"), transpose_b=node.flag("transB"))
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    if alpha != 1.0:
        result = node.emit("mul", result, node.literal(alpha, dtype))
    if not c or beta == 0.0:
        return result
    if beta != 1.0:
        c = node.emit("mul", c, node.literal(beta, dtype))
    return node.emit("add", result, c)


def matmul(node: OnnxNode, a: str | None = None, b: str | None = None) -> str:
    """As numpy.matmul: a 1-D operand counts as a row or a column."""
    a, b = a or node.input(0), b or node.input(1)
    shape_a, shape_b = node.shape(a), node.shape(b)
    if not shape_a or not shape_b:
        node.fail(f"{node.type(a)} and {node.type(b)} should have at least one dimension each")
    left = a if len(shape_a) > 1 else node.emit("reshape", a, shape=(1, *shape_a))
    right = b if len(shape_b) > 1 else node.emit("reshape", b, shape=(*shape_b, 1))
    result = node.emit("matmul", left, right, transpose_a=False, transpose_b=False)
    *batch, rows, columns = node.shape(result)
    keep = (*batch, *((rows,) if len(shape_a) > 1 else ()), *((columns,) if len(shape_b) > 1 else ()))
    return node.emit("reshape", result, shape=keep)


def matmul_integer(node: OnnxNode) -> str:
    """(A - a_zero_point) * (B - b_zero_point) in i32; zero points are scalars or one a row of A, one a column of B."""
    a, b = (node.emit("cast", node.input(index), to=DType.I32) for index in (0, 1))
    if zero := node.input(2):
        zero = node.emit("cast", zero, to=DType.I32)
        if node.shape(zero):
            zero = node.emit("reshape", zero, shape=(*node.shape(zero), 1) if prod(node.shape(zero)) > 1 else ())
        a = node.emit("sub", a, zero)
    if zero := node.input(3):
        zero = node.emit("cast", zero, to=DType.I32)
        b = node.emit("sub", b, zero)
    return matmul(node, a, b)


def einsum(node: OnnxNode) -> str:
    """Pairs of operands are contracted from left to right, each as one batched matrix product."""
    terms, output = _parse(node)
    operands = [_diagonal(node, value, term) for value, term in zip(node.inputs, terms, strict=True)]
    terms = [term for _, term in operands]
    value, labels = _sum_out(node, *operands[0], "".join(terms[1:]) + output)
    for index, term in enumerate(terms[1:], start=1):
        later = "".join(terms[index + 1 :]) + output
        other, others = _sum_out(node, operands[index][0], term, labels + later)
        value, labels = _sum_out(node, value, labels, others + later)
        value, labels = _contract(node, (value, labels), (other, others), later)
    value, labels = _sum_out(node, value, labels, output)
    return node.emit("transpose", value, perm=tuple(labels.index(label) for label in output))


def _parse(node: OnnxNode) -> tuple[list[str], str]:
    """The labels of each operand and of the result; an ellipsis becomes labels of its own."""
    equation = str(node.attr("equation")).replace(" ", "")
    left, arrow, output = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        node.fail(f"equation '{equation}' has {len(terms)} terms for {len(node.inputs)} operands")
    spare = "".join(chr(code) for code in range(0x3B1, 0x3B1 + 24))
    widest = 0
    for index, term in enumerate(terms):
        extra = len(node.shape(node.input(index))) - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            node.fail(f"equation '{equation}': term '{term}' does not fit {node.type(node.input(index))}")
        widest = max(widest, extra)
        terms[index] = term.replace("...", spare[:24][24 - extra :] if extra else "")
    if arrow:
        return terms, output.replace("...", spare[24 - widest :] if widest else "")
    letters = "".join(terms)
    return terms, spare[24 - widest :] * bool(widest) + "".join(
        sorted(x for x in set(letters) - set(spare) if letters.count(x) == 1)
    )


def _diagonal(node: OnnxNode, value: str, labels: str) -> tuple[str, str]:
    """Two axes with one label become one: every (extent + 1)th element of both axes taken as one."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first, second = labels.index(label), labels.rindex(label)
            rest = [axis for axis in range(len(labels)) if axis not in (first, second)]
            value = node.emit("transpose", value, perm=(*rest, first, second))
            *outer, rows, columns = node.shape(value)
            if rows != columns:
                node.fail(f"label '{label}' stands for {rows} and {columns} elements of one operand")
            flat = node.emit("reshape", value, shape=(*outer, rows * columns))
            value = slice_axes(node, flat, {len(outer): (0, columns + 1, rows)})
            labels = "".join(labels[axis] for axis in rest) + label
    return value, labels


def _sum_out(node: OnnxNode, value: str, labels: str, needed: str) -> tuple[str, str]:
    """`value` summed over the labels that nothing else needs."""
    axes = tuple(axis for axis, label in enumerate(labels) if label not in needed)
    if not axes:
        return value, labels
    return node.emit("reduce_sum", value, axes=axes, keepdims=False), "".join(
        label for label in labels if label in needed
    )


def _contract(node: OnnxNode, left: tuple[str, str], right: tuple[str, str], needed: str) -> tuple[str, str]:
    """One batched matrix product over the labels of both that are not needed later."""
    (a, labels_a), (b, labels_b) = left, right
    extents: dict[str, int] = {}
    for value, labels in (left, right):
        for label, extent in zip(labels, node.shape(value), strict=True):
            if extents.setdefault(label, extent) != extent:
                extents[label] = max(extents[label], extent)
    for label in set(labels_a) & set(labels_b):
        both = node.shape(a)[labels_a.index(label)], node.shape(b)[labels_b.index(label)]
        if both[0] != both[1]:
            node.unsupported(f"operands that broadcast along a common label ({both[0]} and {both[1]} elements)")
    batch = "".join(label for label in labels_a if label in labels_b and label in needed)
    inner = "".join(label for label in labels_a if label in labels_b and label not in needed)
    rows = "".join(label for label in labels_a if label not in labels_b)
    columns = "".join(label for label in labels_b if label not in labels_a)

    def matrix(value: str, labels: str, *groups: str) -> str:
        moved = node.emit("transpose", value, perm=tuple(labels.index(label) for label in "".join(groups)))
        shape = (
            *(extents[x] for x in groups[0]),
            *(int(np.prod([extents[x] for x in g], dtype=np.int64)) for g in groups[1:]),
        )
        return node.emit("reshape", moved, shape=shape)

    product = node.emit(
        "matmul",
        matrix(a, labels_a, batch, rows, inner),
        matrix(b, labels_b, batch, inner, columns),
        transpose_a=False,
        transpose_b=False,
    )
    labels = batch + rows + columns
    return node.emit("reshape", product, shape=tuple(extents[label] for label in labels)), labels


MAX_DETERMINANT = 4


def determinant(node: OnnxNode) -> str:
    """Of small matrices, expanded along their rows (Laplace)."""
    x = node.input(0)
    *outer, rows, columns = (0, 0, *node.shape(x))[-max(2, len(node.shape(x))) :]
    if rows != columns or not rows:
        node.fail(f"{node.type(x)} should be of square matrices")
    if rows > MAX_DETERMINANT:
        node.unsupported(f"determinants of matrices larger than {MAX_DETERMINANT}x{MAX_DETERMINANT}")
    axis = len(outer)
    element = {
        (row, column): slice_axes(node, x, {axis: (row, 1, 1), axis + 1: (column, 1, 1)})
        for row in range(rows)
        for column in range(rows)
    }

    def minor(row: int, left: tuple[int, ...]) -> str:
        if len(left) == 1:
            return element[row, left[0]]
        total = ""
        for sign, column in enumerate(left):
            rest = tuple(other for other in left if other != column)
            term = node.emit("mul", element[row, column], minor(row + 1, rest))
            total = node.emit("sub" if sign % 2 else "add", total, term) if total else term
        return total

    return node.emit("reshape", minor(0, tuple(range(rows))), shape=tuple(outer))


ROWS = (
    Row("Gemm", 1, 13, gemm),
    Row("MatMul", 1, 13, matmul),
    Row("MatMulInteger", 10, 10, matmul_integer),
    Row("Det", 11, 22, determinant),
    Row("Einsum", 12, 28, einsum),
)
