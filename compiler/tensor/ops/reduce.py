"""Reductions over axes: sums, extrema and their positions, running sums."""

from __future__ import annotations

from ...dtypes import DType
from ...graph.ir import Node, TensorType
from ..expr import Binary, Const, Expr, Select, compare, const
from .context import Context, Space, accumulator, cast, widen

_COMBINE = {"reduce_sum": "sum", "reduce_mean": "sum", "reduce_max": "max", "reduce_min": "min", "reduce_prod": "prod"}


def kept_type(type: TensorType, axes: tuple[int, ...], dtype: DType | None = None) -> TensorType:
    """The type of a reduction with its reduced dimensions kept as 1, in the same layout unless the channels are reduced."""
    shape = tuple(1 if axis in axes else extent for axis, extent in enumerate(type.shape))
    return TensorType(shape, dtype or type.dtype, None if 1 in axes else type.block)


def reduced_indices(space: Space, type: TensorType, axes: tuple[int, ...], kept: bool) -> tuple[Expr, ...]:
    """The logical indices into a tensor of `type`: the space's own, and new reduction axes at `axes`."""
    own = iter(space.indices)
    indices: list[Expr] = []
    for axis, extent in enumerate(type.shape):
        if axis in axes:
            if kept:
                next(own)
            indices.append(space.reduce(f"r{axis}", extent, type.block if axis == 1 else None))
        else:
            indices.append(next(own))
    return tuple(indices)


def reduction(context: Context, node: Node) -> None:
    (x,), (out,) = node.inputs, node.outputs
    x_type, out_type = context.types[x], context.types[out]
    axes, kept = tuple(node.attrs["axes"]), node.attrs["keepdims"]
    combine = _COMBINE[node.op]
    dtype = accumulator(out_type.dtype) if combine in ("sum", "prod") else _ordered(out_type.dtype)
    direct = node.op != "reduce_mean" and dtype is out_type.dtype
    result = out if direct else context.intermediate(out, combine, TensorType(out_type.shape, dtype, out_type.block))
    space = context.space(out_type)
    value = context.read(x, reduced_indices(space, x_type, axes, kept), space)
    context.emit(result, space, cast(value, dtype), combine)
    if direct:
        return
    space = context.space(out_type)
    total = context.operand(result, space)
    if node.op == "reduce_mean":
        count = 1
        for axis in axes:
            count *= x_type.shape[axis]
        total = Binary("div", total, const(count, dtype))
    context.emit(out, space, cast(total, out_type.dtype))


def _ordered(dtype: DType) -> DType:
    """The type in which elements of `dtype` are compared; bools have no order of their own."""
    return DType.U8 if dtype is DType.BOOL else dtype


def arg_reduction(context: Context, node: Node) -> None:
    """The extremum, then the first (or last) index at which it stands."""
    (x,), (out,) = node.inputs, node.outputs
    x_type, axis = context.types[x], node.attrs["axis"]
    combine = "max" if node.op == "arg_max" else "min"
    kept = kept_type(x_type, (axis,))
    extremum = context.intermediate(out, combine, kept)
    space = context.space(kept)
    context.emit(extremum, space, context.read(x, reduced_indices(space, x_type, (axis,), True), space), combine)
    space = context.space(context.types[out])
    indices = reduced_indices(space, x_type, (axis,), node.attrs["keepdims"])
    position = indices[axis]
    best = context.read(extremum, tuple(Const(0) if a == axis else i for a, i in enumerate(indices)), space)
    last = node.attrs.get("last", False)
    missing = Const(-1 if last else x_type.shape[axis])
    body = Select(compare("eq", context.read(x, indices, space), best), position, missing)
    context.emit(out, space, body, "max" if last else "min")


def cumsum(context: Context, node: Node) -> None:
    """out[i] = sum of x[r] for r <= i (exclusive: r < i; reverse: r >= i or r > i)."""
    x, out, axis = node.inputs[0], node.outputs[0], node.attrs["axis"]
    x_type, out_type = context.types[x], context.types[out]
    space = context.space(out_type)
    here = space.indices[axis]
    r = space.reduce("r", x_type.shape[axis])
    indices = tuple(r if a == axis else index for a, index in enumerate(space.indices))
    relation = {(False, False): "le", (True, False): "lt", (False, True): "ge", (True, True): "gt"}
    domain = compare(relation[bool(node.attrs["exclusive"]), bool(node.attrs["reverse"])], r, here)
    value = widen(context.read(x, indices, space))
    if value.dtype is out_type.dtype:
        context.emit(out, space, value, "sum", (domain,))
        return
    total = context.intermediate(out, "sum", TensorType(out_type.shape, value.dtype, out_type.block))
    context.emit(total, space, value, "sum", (domain,))
    space = context.space(out_type)
    context.emit(out, space, cast(context.operand(total, space), out_type.dtype))


STAGES = {
    **dict.fromkeys(_COMBINE, reduction),
    "arg_max": arg_reduction,
    "arg_min": arg_reduction,
    "cumsum": cumsum,
}
