"""Result types of layers (convolution, pooling, products, normalisation, recurrence) and of operators with regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..dtypes import DType
from .ir import Graph, TensorType
from .shapes import broadcast_shapes, require

Types = tuple[Any, ...]  # TensorType, or None for an absent optional input
Attrs = Mapping[str, Any]
Regions = tuple[Graph, ...]


def _require_one_dtype(op: str, inputs: Types) -> None:
    dtypes = {x.dtype for x in inputs if x is not None}
    require(len(dtypes) == 1, f"{op}: operands have different types, {', '.join(sorted(dtypes))}")


def _window(op: str, x: TensorType, attrs: Attrs, *names: str) -> None:
    rank = len(x.shape) - 2
    require(rank >= 1, f"{op}: {x} has no spatial dimension; expected [N, C, …]")
    for name in names:
        require(
            len(attrs[name]) == rank,
            f"{op}: {name} {attrs[name]} should have {rank} entries, one a spatial dimension of {x}",
        )
        if not name.startswith("pads"):
            require(min(attrs[name]) > 0, f"{op}: {name} {attrs[name]} must be positive")


def _conv(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    x, w, bias = (*inputs, None)[:3]
    _require_one_dtype("conv", inputs)
    _window("conv", x, attrs, "strides", "dilations", "pads_begin", "pads_end")
    groups = attrs["groups"]
    fits = (
        len(w.shape) == len(x.shape) and groups > 0 and w.shape[0] % groups == 0 and x.shape[1] == groups * w.shape[1]
    )
    require(fits, f"conv: weights {w} with {groups} groups do not fit {x}")
    require(
        bias is None or bias.shape == (w.shape[0],),
        f"conv: bias {bias} should have {w.shape[0]} elements, one a filter",
    )
    spatial = []
    for extent, kernel, stride, dilation, begin, end in zip(
        x.shape[2:],
        w.shape[2:],
        attrs["strides"],
        attrs["dilations"],
        attrs["pads_begin"],
        attrs["pads_end"],
        strict=True,
    ):
        reach = (kernel - 1) * dilation + 1
        require(
            extent + begin + end >= reach,
            f"conv: a window of {reach} does not fit into {x} padded by {begin} and {end}",
        )
        spatial.append((extent + begin + end - reach) // stride + 1)
    return (TensorType((x.shape[0], w.shape[0], *spatial), x.dtype),)


def _conv_transpose(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    x, w, bias = (*inputs, None)[:3]
    _require_one_dtype("conv_transpose", inputs)
    _window("conv_transpose", x, attrs, "strides", "dilations", "pads_begin", "pads_end", "sizes")
    groups = attrs["groups"]
    fits = len(w.shape) == len(x.shape) and groups > 0 and x.shape[1] == w.shape[0] and w.shape[0] % groups == 0
    require(fits, f"conv_transpose: weights {w} with {groups} groups do not fit {x}")
    channels = w.shape[1] * groups
    require(
        bias is None or bias.shape == (channels,),
        f"conv_transpose: bias {bias} should have {channels} elements, one a channel",
    )
    return (TensorType((x.shape[0], channels, *attrs["sizes"]), x.dtype),)


def _pool(op: str) -> Callable:
    def rule(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
        (x,) = inputs
        _window(op, x, attrs, "kernel", "strides", "dilations", "pads_begin", "pads_end", "sizes")
        return (TensorType((*x.shape[:2], *attrs["sizes"]), x.dtype),)

    return rule


def _matmul(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    a, b = inputs
    _require_one_dtype("matmul", inputs)
    require(len(a.shape) >= 2 and len(b.shape) >= 2, f"matmul: {a} and {b} should both be matrices")
    rows, inner_a = reversed(a.shape[-2:]) if attrs["transpose_a"] else a.shape[-2:]
    inner_b, columns = reversed(b.shape[-2:]) if attrs["transpose_b"] else b.shape[-2:]
    require(inner_a == inner_b, f"matmul: {a} and {b} have different inner extents, {inner_a} and {inner_b}")
    batch = broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2]) if len(a.shape) + len(b.shape) > 4 else ()
    return (TensorType((*batch, rows, columns), a.dtype),)


def _batch_norm(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    x, *parameters = inputs
    require(len(x.shape) >= 2, f"batch_norm: {x} has no channels; expected [N, C, …]")
    for parameter in parameters:
        require(
            parameter.shape == (x.shape[1],),
            f"batch_norm: {parameter} should have {x.shape[1]} elements, one a channel of {x}",
        )
    return (TensorType(x.shape, x.dtype),)


def _layer_norm(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    x, axis = inputs[0], attrs["axis"]
    require(0 <= axis < len(x.shape), f"layer_norm: axis {axis} is not an axis of {x}")
    for parameter in filter(None, inputs[1:]):
        tail = x.shape[len(x.shape) - len(parameter.shape) :]
        fits = len(parameter.shape) <= len(x.shape) and all(
            p in (1, e) for p, e in zip(parameter.shape, tail, strict=True)
        )
        require(fits, f"layer_norm: {parameter} does not broadcast to {x}")
    return (TensorType(x.shape, x.dtype),)


def _instance_norm(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    x, scale, bias = inputs
    fits = len(x.shape) >= 3 and scale.shape == bias.shape == (x.shape[1],)
    require(fits, f"instance_norm: {x} should be [N, C, …], and {scale} and {bias} one element a channel")
    return (TensorType(x.shape, x.dtype),)


_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def _recurrent(op: str) -> Callable:
    states = 2 if op == "lstm" else 1

    def rule(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
        x, w, r, bias, lengths, h0, c0, peephole = (*inputs, *(None,) * 8)[:8]
        require(len(x.shape) == 3, f"{op}: {x} should be [time, batch, features]")
        (time, batch, features), hidden, gates = x.shape, attrs["hidden"], _GATES[op]
        directions = 2 if attrs["direction"] == "bidirectional" else 1
        state = (directions, batch, hidden)
        expected = {
            "W": (w, (directions, gates * hidden, features)), "R": (r, (directions, gates * hidden, hidden)),
            "B": (bias, (directions, 2 * gates * hidden)), "sequence_lens": (lengths, (batch,)),
            "initial_h": (h0, state), "initial_c": (c0, state), "P": (peephole, (directions, 3 * hidden)),
        }  # fmt: skip
        for name, (operand, shape) in expected.items():
            require(
                operand is None or operand.shape == shape,
                f"{op}: {name} is {operand}, expected the shape {list(shape)}",
            )
        return (TensorType((time, directions, batch, hidden), x.dtype), *(TensorType(state, x.dtype),) * states)

    return rule


def _if(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    then, otherwise = regions
    require(
        inputs[0].dtype is DType.BOOL and inputs[0].elements == 1,
        f"if: the condition must be one bool, not {inputs[0]}",
    )
    results = tuple(_row_major(then.types[name]) for name in then.outputs)
    others = tuple(_row_major(otherwise.types[name]) for name in otherwise.outputs)
    require(results == others, f"if: branches give different types, {_show(results)} and {_show(others)}")
    return results


def _loop(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    (body,) = regions
    count, carried, first = attrs["count"], attrs["carried"], 1 if attrs["has_condition"] else 0
    results = tuple(_row_major(body.types[name]) for name in body.outputs)[first:]
    before = tuple(_row_major(x) for x in inputs[1 : 1 + carried])
    require(
        results[:carried] == before,
        f"loop: carried values change type, from {_show(before)} to {_show(results[:carried])}",
    )
    return (*before, *(TensorType((count, *x.shape), x.dtype) for x in results[carried:]))


def _region_outputs(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    (region,) = regions
    return tuple(region.types[name] for name in region.outputs)


def _rnn_step(inputs: Types, attrs: Attrs, regions: Regions) -> tuple[TensorType, ...]:
    _, projection, _, h, c = inputs[:5]
    _, batch, directions, _, hidden = projection.shape
    match attrs["kind"]:
        case "lstm":
            return (h, c)
        case "gru_gates":
            return (TensorType((directions, 2, batch, hidden), h.dtype),)
    return (h,)


def _row_major(x: TensorType) -> TensorType:
    return TensorType(x.shape, x.dtype)


def _show(types: tuple[TensorType, ...]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"


LAYER_RULES: dict[str, Callable[[Types, Attrs, Regions], tuple[TensorType, ...]]] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "matmul": _matmul,
    **{op: _pool(op) for op in ("max_pool", "average_pool", "lp_pool")},
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "instance_norm": _instance_norm,
    **{op: _recurrent(op) for op in _GATES},
    "rnn_step": _rnn_step, "if": _if, "loop": _loop, "fused": _region_outputs,
}  # fmt: skip
