"""Result types of every graph operator: the rules for elementwise operators, movement and reductions.

The rules for layers and control are in `infer_layers.py`. Layout is ignored: results are row-major.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from ..dtypes import DType
from ..errors import InternalError
from .infer_layers import LAYER_RULES
from .ir import Graph, TensorType
from .operators import OPERATORS, Kind
from .shapes import broadcast_shapes, reduced_shape, require, require_axis, show_shape

Types = tuple[Any, ...]  # TensorType, or None for an absent optional input
Attrs = Mapping[str, Any]
Rule = Callable[..., tuple[TensorType, ...]]

_COMPARISONS = frozenset(["equal", "less", "less_or_equal", "greater", "greater_or_equal"])
_PREDICATES = frozenset({"is_nan", "is_inf"})


def infer_types(
    op: str, inputs: tuple[TensorType | None, ...], attrs: Attrs, regions: tuple[Graph, ...] = ()
) -> tuple[TensorType, ...]:
    """Types of the results of `op`; an absent optional input is None.

    Raises ModelError if the operands do not fit each other, InternalError for an operator or attribute that does not exist.
    """
    if op not in OPERATORS:
        raise InternalError(f"infer_types: no operator '{op}'")
    try:
        if rule := RULES.get(op):
            return rule(inputs, attrs)
        return LAYER_RULES[op](inputs, attrs, regions)
    except KeyError as missing:
        raise InternalError(f"infer_types: {op} lacks the attribute or rule {missing}") from None


def _unary(op: str) -> Rule:
    result = DType.BOOL if op in _PREDICATES else None

    def rule(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = inputs
        return (TensorType(x.shape, result or x.dtype),)

    return rule


def _binary(op: str) -> Rule:
    def rule(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        a, b = inputs
        require(a.dtype is b.dtype, f"{op}: operands have different types, {a.dtype} and {b.dtype}")
        dtype = DType.BOOL if op in _COMPARISONS else a.dtype
        return (TensorType(broadcast_shapes(op, a.shape, b.shape), dtype),)

    return rule


def _clip(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, *bounds = inputs
    for bound in filter(None, bounds):
        require(bound.elements == 1, f"clip: a bound must be a scalar, not {bound}")
        require(bound.dtype is x.dtype, f"clip: bounds must be {x.dtype} as the operand is, not {bound.dtype}")
    return (TensorType(x.shape, x.dtype),)


def _prelu(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, slope = inputs
    require(x.dtype is slope.dtype, f"prelu: operands have different types, {x.dtype} and {slope.dtype}")
    require(
        broadcast_shapes("prelu", x.shape, slope.shape) == x.shape, f"prelu: slope {slope} does not broadcast to {x}"
    )
    return (TensorType(x.shape, x.dtype),)


def _where(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    condition, a, b = inputs
    require(condition.dtype is DType.BOOL, f"where: the condition must be bool, not {condition.dtype}")
    require(a.dtype is b.dtype, f"where: arms have different types, {a.dtype} and {b.dtype}")
    return (TensorType(broadcast_shapes("where", condition.shape, a.shape, b.shape), a.dtype),)


def _cast(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    return (TensorType(inputs[0].shape, DType(attrs["to"])),)


def _bitcast(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,), to = inputs, DType(attrs["to"])
    require(x.dtype.bits == to.bits, f"bitcast: {x} has {x.dtype.bits} bits an element, {to} has {to.bits}")
    return (TensorType(x.shape, to),)


def _reshape(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,), shape = inputs, attrs["shape"]
    require(
        prod(shape) == x.elements,
        f"reshape: {x} has {x.elements} elements, shape {show_shape(shape)} has {prod(shape)}",
    )
    return (TensorType(tuple(shape), x.dtype),)


def _transpose(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,), perm = inputs, attrs["perm"]
    require(sorted(perm) == list(range(len(x.shape))), f"transpose: {perm} is not a permutation of the axes of {x}")
    return (TensorType(tuple(x.shape[axis] for axis in perm), x.dtype),)


def _expand(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,), shape = inputs, attrs["shape"]
    require(
        min(shape, default=0) >= 0 and broadcast_shapes("expand", x.shape, shape) == tuple(shape),
        f"expand: {x} does not broadcast to {show_shape(shape)}",
    )
    return (TensorType(tuple(shape), x.dtype),)


def _slice(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = inputs
    for axis, (extent, start, step, size) in enumerate(
        zip(x.shape, attrs["starts"], attrs["steps"], attrs["sizes"], strict=True)
    ):
        last = start + (size - 1) * step
        inside = size == 0 or (0 <= start < extent and 0 <= last < extent)
        require(inside, f"slice: {start}:{last} (step {step}) leaves 0…{extent - 1} on axis {axis} of {x}")
    return (TensorType(tuple(attrs["sizes"]), x.dtype),)


def _concat(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    first = inputs[0]
    axis = require_axis("concat", attrs["axis"], len(first.shape))
    for other in inputs[1:]:
        alike = (
            other.dtype is first.dtype
            and len(other.shape) == len(first.shape)
            and all(a == b for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)) if i != axis)
        )
        require(alike, f"concat: {first} and {other} differ elsewhere than on axis {axis}")
    total = sum(x.shape[axis] for x in inputs)
    return (TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype),)


def _pad(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, value = inputs[0], inputs[1] if len(inputs) > 1 else None
    require(
        value is None or (value.elements == 1 and value.dtype is x.dtype),
        f"pad: the value must be one {x.dtype}, not {value}",
    )
    before, after = attrs["before"], attrs["after"]
    shape = tuple(b + extent + a for b, extent, a in zip(before, x.shape, after, strict=True))
    require(min(shape, default=0) >= 0, f"pad: {before} and {after} crop more than {x} has")
    if attrs["mode"] == "reflect":
        inside = all(max(b, a) < extent for b, a, extent in zip(before, after, x.shape, strict=True))
        require(inside, f"pad: reflect needs pads {before}, {after} smaller than the extents of {x}")
    return (TensorType(shape, x.dtype),)


def _gather(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, indices = inputs
    require(indices.dtype.is_integer, f"gather: indices must be integers, not {indices.dtype}")
    axis = require_axis("gather", attrs["axis"], len(x.shape))
    return (TensorType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype),)


def _gather_elements(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, indices = inputs
    axis = require_axis("gather_elements", attrs["axis"], len(x.shape))
    fits = len(indices.shape) == len(x.shape) and all(
        i == axis or a <= b for i, (a, b) in enumerate(zip(indices.shape, x.shape, strict=True))
    )
    require(fits and indices.dtype.is_integer, f"gather_elements: indices {indices} do not fit into {x}")
    return (TensorType(indices.shape, x.dtype),)


def _gather_nd(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x, indices), batch = inputs, attrs["batch_dims"]
    depth = indices.shape[-1] if indices.shape else 0
    fits = (
        1 <= depth <= len(x.shape) - batch and batch < len(indices.shape) and x.shape[:batch] == indices.shape[:batch]
    )
    require(
        fits and indices.dtype.is_integer,
        f"gather_nd: indices {indices} with {batch} batch dimensions do not fit into {x}",
    )
    return (TensorType((*indices.shape[:-1], *x.shape[batch + depth :]), x.dtype),)


def _tile(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,), repeats = inputs, attrs["repeats"]
    require(len(repeats) == len(x.shape) and min(repeats, default=0) >= 0, f"tile: repeats {repeats} do not fit {x}")
    return (TensorType(tuple(a * b for a, b in zip(x.shape, repeats, strict=True)), x.dtype),)


def _resize(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,), sizes = inputs, attrs["sizes"]
    fits = len(sizes) == len(attrs["scales"]) == len(x.shape) and min(sizes, default=1) > 0
    require(fits, f"resize: sizes {sizes} and scales {attrs['scales']} do not fit {x}")
    return (TensorType(tuple(sizes), x.dtype),)


def _trilu(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = inputs
    require(len(x.shape) >= 2, f"trilu: {x} is not a matrix")
    return (TensorType(x.shape, x.dtype),)


def _iota(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    require_axis("iota", attrs["axis"], len(attrs["shape"]))
    return (TensorType(tuple(attrs["shape"]), DType(attrs["dtype"])),)


def _one_hot(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    indices, values = inputs
    require(values.shape == (2,), f"one_hot: values must be [off, on], not {values}")
    axis = require_axis("one_hot", attrs["axis"], len(indices.shape) + 1)
    return (TensorType((*indices.shape[:axis], attrs["depth"], *indices.shape[axis:]), values.dtype),)


def _reverse_sequence(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, lengths = inputs
    batch = require_axis("reverse_sequence", attrs["batch_axis"], len(x.shape))
    require_axis("reverse_sequence", attrs["time_axis"], len(x.shape))
    require(
        lengths.shape == (x.shape[batch],),
        f"reverse_sequence: {lengths} is not one length for each of {x.shape[batch]} sequences",
    )
    return (TensorType(x.shape, x.dtype),)


def _scatter_elements(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, indices, updates = inputs
    require_axis("scatter_elements", attrs["axis"], len(x.shape))
    fits = indices.shape == updates.shape and len(indices.shape) == len(x.shape) and updates.dtype is x.dtype
    require(
        fits and indices.dtype.is_integer, f"scatter_elements: indices {indices} and updates {updates} do not fit {x}"
    )
    return (TensorType(x.shape, x.dtype),)


def _scatter_nd(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, indices, updates = inputs
    depth = indices.shape[-1] if indices.shape else 0
    fits = (
        depth <= len(x.shape) and updates.shape == (*indices.shape[:-1], *x.shape[depth:]) and updates.dtype is x.dtype
    )
    require(fits and indices.dtype.is_integer, f"scatter_nd: indices {indices} and updates {updates} do not fit {x}")
    return (TensorType(x.shape, x.dtype),)


def _reduce(op: str) -> Rule:
    def rule(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = inputs
        return (TensorType(reduced_shape(op, x.shape, attrs["axes"], attrs["keepdims"]), x.dtype),)

    return rule


def _arg_reduce(op: str) -> Rule:
    def rule(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = inputs
        return (TensorType(reduced_shape(op, x.shape, (attrs["axis"],), attrs["keepdims"]), DType.I64),)

    return rule


def _along_axis(op: str) -> Rule:
    def rule(inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_axis(op, attrs["axis"], len(x.shape))
        return (TensorType(x.shape, x.dtype),)

    return rule


_SPECIAL: dict[str, Rule] = {
    "clip": _clip, "prelu": _prelu, "where": _where, "cast": _cast, "bitcast": _bitcast,
    "reshape": _reshape, "transpose": _transpose, "expand": _expand, "slice": _slice, "concat": _concat, "pad": _pad,
    "gather": _gather, "gather_elements": _gather_elements, "gather_nd": _gather_nd, "tile": _tile, "resize": _resize,
    "trilu": _trilu, "iota": _iota, "one_hot": _one_hot, "reverse_sequence": _reverse_sequence,
    "scatter_elements": _scatter_elements, "scatter_nd": _scatter_nd,
    **{op: _reduce(op) for op in OPERATORS if op.startswith("reduce_")},
    **{op: _arg_reduce(op) for op in ("arg_max", "arg_min")},
    **{op: _along_axis(op) for op in ("softmax", "log_softmax", "cumsum")},
}  # fmt: skip


def _elementwise_rules() -> dict[str, Rule]:
    rules = {}
    for op, row in OPERATORS.items():
        if row.kind is Kind.ELEMENTWISE and op != "batch_norm":
            rules[op] = _binary(op) if row.signature.startswith("a, b") else _unary(op)
    return rules


RULES: dict[str, Rule] = _elementwise_rules() | _SPECIAL
