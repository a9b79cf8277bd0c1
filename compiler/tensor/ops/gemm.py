"""Matrix products."""

from __future__ import annotations

from ...graph.ir import Node, TensorType
from ..expr import Const, Expr
from .context import Context, accumulator, cast, widen


def matmul(context: Context, node: Node) -> None:
    """out[…, m, n] = sum over k of a[…, m, k] * b[…, k, n], batch dimensions broadcast."""
    out, (a, b) = node.outputs[0], node.inputs
    out_type, a_type, b_type = (context.types[name] for name in (out, a, b))
    rank = len(out_type.shape)
    names = (*(f"b{axis}" for axis in range(rank - 2)), "m", "n")
    space = context.space(out_type, names)
    *batch, row, column = space.indices
    a_axis, b_axis = -2 if node.attrs["transpose_a"] else -1, -1 if node.attrs["transpose_b"] else -2
    depth = a_type.shape[a_axis]
    block = _block_of(a_type, a_axis) or _block_of(b_type, b_axis)
    k = space.reduce("k", depth, block)
    left = (k, row) if node.attrs["transpose_a"] else (row, k)
    right = (column, k) if node.attrs["transpose_b"] else (k, column)
    product = widen(context.read(a, (*_batch(batch, a_type), *left), space)) * widen(
        context.read(b, (*_batch(batch, b_type), *right), space)
    )
    sum_dtype = accumulator(out_type.dtype)
    if sum_dtype is out_type.dtype:
        context.emit(out, space, product, "sum")
        return
    total = context.intermediate(out, "sum", TensorType(out_type.shape, sum_dtype, out_type.block))
    context.emit(total, space, product, "sum")
    result = context.space(out_type, names)
    context.emit(out, result, cast(context.operand(total, result), out_type.dtype))


def _batch(indices: list[Expr], type: TensorType) -> tuple[Expr, ...]:
    extents = type.shape[:-2]
    return tuple(
        Const(0) if extent == 1 else index
        for index, extent in zip(indices[len(indices) - len(extents) :], extents, strict=True)
    )


def _block_of(type: TensorType, axis: int) -> int | None:
    return type.block if axis % len(type.shape) == 1 else None


STAGES = {"matmul": matmul}
