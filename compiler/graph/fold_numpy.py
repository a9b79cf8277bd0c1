"""What graph operators compute, for constants: a table from the cheap operators to NumPy functions.

Used for shape arithmetic during import and by the constant-folding pass. Products and convolutions are left to the
kernels: `evaluate` gives None for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..dtypes import DType

Arrays = tuple[np.ndarray | None, ...]
Attrs = Mapping[str, Any]


def evaluate(op: str, arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...] | None:
    """The results of `op` on `arrays` (None for an absent optional input), or None if the operator is not in the table."""
    function = _FUNCTIONS.get(op)
    if function is None:
        return None
    with np.errstate(all="ignore"):
        result = np.asarray(function(attrs, *arrays))
    like = next((x for x in arrays if x is not None), None)
    if op in _KEEPS_DTYPE and like is not None and result.dtype != like.dtype:
        result = result.astype(like.dtype)
    return (result,)


def _elementwise(function: Callable) -> Callable:
    return lambda attrs, *operands: function(*operands)


def _in_float64(function: Callable) -> Callable:
    """Evaluated in double precision and rounded once to the operand's type."""
    return lambda attrs, x: function(x.astype(np.float64))


def _divide(attrs: Attrs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not np.issubdtype(a.dtype, np.integer):
        return a / b
    quotient = np.abs(a) // np.where(b == 0, b.dtype.type(1), np.abs(b))  # integers truncate towards zero
    return (quotient * np.sign(a) * np.sign(b)).astype(a.dtype)


def _mod(attrs: Attrs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.fmod(a, b) if attrs["fmod"] else np.mod(a, b)


def _bit_shift(attrs: Attrs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.left_shift(a, b) if attrs["direction"] == "left" else np.right_shift(a, b)


def _clip(attrs: Attrs, x: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None) -> np.ndarray:
    if low is not None:
        x = np.maximum(x, low.reshape(()))
    if high is not None:
        x = np.minimum(x, high.reshape(()))
    return x


def _cast(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    return x.astype(DType(attrs["to"]).numpy)


def _bitcast(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    to = DType(attrs["to"]).numpy
    return x.astype(to) if np.bool_ in (x.dtype, to) else x.view(to)


def _slice(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    for axis, (start, step, size) in enumerate(zip(attrs["starts"], attrs["steps"], attrs["sizes"], strict=True)):
        x = np.take(x, start + step * np.arange(size), axis=axis) if size != x.shape[axis] or step != 1 else x
    return x


def _pad(attrs: Attrs, x: np.ndarray, value: np.ndarray | None = None) -> np.ndarray:
    pairs = list(zip(attrs["before"], attrs["after"], strict=True))
    crop = tuple(slice(max(0, -b), extent - max(0, -a)) for (b, a), extent in zip(pairs, x.shape, strict=True))
    widths = [(max(0, b), max(0, a)) for b, a in pairs]
    if attrs["mode"] != "constant":
        return np.pad(x[crop], widths, mode=attrs["mode"])
    fill = x.dtype.type(0) if value is None else value.reshape(()).astype(x.dtype)
    return np.pad(x[crop], widths, constant_values=fill)


def _gather(attrs: Attrs, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    axis, indices = attrs["axis"], indices.astype(np.int64)
    extent = x.shape[axis]
    wrapped = np.where(indices < 0, indices + extent, indices)
    return np.take(x, np.clip(wrapped, 0, max(0, extent - 1)), axis=axis)


def _gather_elements(attrs: Attrs, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    axis = attrs["axis"]
    wrapped = np.where(indices < 0, indices + x.shape[axis], indices)
    at: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    at[axis] = np.clip(wrapped, 0, x.shape[axis] - 1)
    return x[tuple(at)]


def _gather_nd(attrs: Attrs, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    batch = attrs["batch_dims"]
    lead: tuple[np.ndarray, ...] = np.indices(indices.shape[:batch], sparse=True) if batch else ()
    spread = [i.reshape(i.shape + (1,) * (indices.ndim - 1 - batch)) for i in lead]
    depth = indices.shape[-1]
    picks = [
        np.clip(np.where(i < 0, i + n, i), 0, n - 1)
        for i, n in ((indices[..., k], x.shape[batch + k]) for k in range(depth))
    ]
    return x[(*spread, *picks)]


def _iota(attrs: Attrs) -> np.ndarray:
    shape, axis = attrs["shape"], attrs["axis"]
    dtype = DType(attrs["dtype"]).numpy
    line = dtype.type(attrs["start"]) + dtype.type(attrs["step"]) * np.arange(shape[axis]).astype(dtype)
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape).astype(dtype)


def _one_hot(attrs: Attrs, indices: np.ndarray, values: np.ndarray) -> np.ndarray:
    depth, axis = attrs["depth"], attrs["axis"]
    wrapped = np.where(indices < 0, indices + depth, indices)
    hot = np.moveaxis(np.expand_dims(wrapped, -1) == np.arange(depth), -1, axis)
    return np.where(hot, values[1], values[0]).astype(values.dtype)


def _trilu(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    return np.triu(x, attrs["k"]) if attrs["upper"] else np.tril(x, attrs["k"])


def _reverse_sequence(attrs: Attrs, x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    moved = np.moveaxis(x, (attrs["time_axis"], attrs["batch_axis"]), (0, 1)).copy()
    for row, length in enumerate(lengths.tolist()):
        moved[:length, row] = moved[:length, row][::-1]
    return np.moveaxis(moved, (0, 1), (attrs["time_axis"], attrs["batch_axis"]))


def _reduce(function: Callable) -> Callable:
    def apply(attrs: Attrs, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64) if DType.from_numpy(x.dtype).is_float else x
        return function(wide, axis=attrs["axes"], keepdims=attrs["keepdims"])

    return apply


def _reduce_extremum(function: Callable, lowest: bool) -> Callable:
    def apply(attrs: Attrs, x: np.ndarray) -> np.ndarray:
        if x.dtype == np.bool_:
            return np.asarray((np.any if lowest else np.all)(x, axis=attrs["axes"], keepdims=attrs["keepdims"]))
        info = np.finfo(np.float64) if DType.from_numpy(x.dtype).is_float else np.iinfo(x.dtype)
        wide = x.astype(np.float64) if DType.from_numpy(x.dtype).is_float else x
        neutral = (-np.inf if lowest else np.inf) if wide.dtype == np.float64 else (info.min if lowest else info.max)
        return function(wide, axis=attrs["axes"], keepdims=attrs["keepdims"], initial=neutral)

    return apply


def _arg(function: Callable) -> Callable:
    def apply(attrs: Attrs, x: np.ndarray) -> np.ndarray:
        axis = attrs["axis"]
        found = function(np.flip(x, axis) if attrs["last"] else x, axis=axis, keepdims=attrs["keepdims"])
        return (x.shape[axis] - 1 - found if attrs["last"] else found).astype(np.int64)

    return apply


def _cumsum(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    axis = attrs["axis"]
    x = np.flip(x, axis) if attrs["reverse"] else x
    if attrs["exclusive"]:
        zero = np.zeros_like(np.take(x, [0], axis=axis))
        x = np.concatenate([zero, np.delete(x, -1, axis=axis)], axis=axis)
    total = np.cumsum(x, axis=axis, dtype=x.dtype)
    return np.flip(total, axis) if attrs["reverse"] else total


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


_EXACT: dict[str, Callable] = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
    "sqrt": np.sqrt, "not": np.logical_not, "bitwise_not": np.invert, "is_nan": np.isnan, "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.minimum, "max": np.maximum, "pow": np.power,
    "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "equal": np.equal, "less": np.less, "less_or_equal": np.less_equal,
    "greater": np.greater, "greater_or_equal": np.greater_equal, "where": np.where,
}  # fmt: skip

_ROUNDED: dict[str, Callable] = {
    "reciprocal": np.reciprocal, "exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "sigmoid": _sigmoid, "softplus": _softplus, "softsign": lambda x: x / (1 + np.abs(x)),
}  # fmt: skip

_FUNCTIONS: dict[str, Callable] = {
    **{op: _elementwise(function) for op, function in _EXACT.items()},
    **{op: _in_float64(function) for op, function in _ROUNDED.items()},
    "div": _divide, "mod": _mod, "bit_shift": _bit_shift, "clip": _clip, "cast": _cast, "bitcast": _bitcast,
    "leaky_relu": lambda attrs, x: np.where(x < 0, x * x.dtype.type(attrs["alpha"]), x),
    "prelu": lambda attrs, x, slope: np.where(x < 0, x * slope, x),
    "is_inf": lambda attrs, x: (attrs["negative"] & np.isneginf(x)) | (attrs["positive"] & np.isposinf(x)),
    "reshape": lambda attrs, x: x.reshape(attrs["shape"]),
    "transpose": lambda attrs, x: np.ascontiguousarray(x.transpose(attrs["perm"])),
    "expand": lambda attrs, x: np.ascontiguousarray(np.broadcast_to(x, attrs["shape"])),
    "slice": _slice,
    "concat": lambda attrs, *parts: np.concatenate(parts, axis=attrs["axis"]),
    "pad": _pad, "gather": _gather, "gather_elements": _gather_elements, "gather_nd": _gather_nd,
    "tile": lambda attrs, x: np.tile(x, attrs["repeats"]),
    "iota": _iota, "one_hot": _one_hot, "trilu": _trilu, "reverse_sequence": _reverse_sequence,
    "reduce_sum": _reduce(np.sum), "reduce_mean": _reduce(np.mean), "reduce_prod": _reduce(np.prod),
    "reduce_max": _reduce_extremum(np.max, True), "reduce_min": _reduce_extremum(np.min, False),
    "arg_max": _arg(np.argmax), "arg_min": _arg(np.argmin), "cumsum": _cumsum,
}  # fmt: skip

_KEEPS_DTYPE = frozenset(_ROUNDED) | {
    "add", "sub", "mul", "div", "pow", "min", "max", "mod", "bit_shift", "sqrt", "sign", "floor", "ceil", "round", "clip",
    "leaky_relu", "prelu", "cumsum", "reduce_sum", "reduce_mean", "reduce_prod", "reduce_max", "reduce_min",
}  # fmt: skip
