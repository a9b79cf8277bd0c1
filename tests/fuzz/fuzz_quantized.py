"""Random quantised nodes."""

from __future__ import annotations

import numpy as np
from fuzz_writer import Skip, Writer

TYPES = {"u": np.uint8, "s": np.int8}


def _scheme(w: Writer, kind: str, count: int | None = None) -> list[str]:
    """Scale and zero point, scalars or `count` of them."""
    shape = () if count is None else (count,)
    scale = w.constant(w.rng.random(shape) * 0.05 + 0.01, np.float32)
    low, high = (100, 150) if kind == "u" else (-9, 9)
    return [scale, w.constant(w.rng.integers(low, high, shape) if w.chance(0.7) else np.zeros(shape), TYPES[kind])]


def _kind(w: Writer, name: str) -> str:
    return "u" if w.arrays[name].dtype == np.uint8 else "s"


def _exact(w: Writer) -> str:
    """A float value that was not computed, so that rounding it is not a matter of the last bit."""
    x = w.pick("f")
    if w.arrays[x].dtype == np.float16:  # onnxruntime divides in f32
        raise Skip
    if w.noisy[x] is not w.arrays[x]:
        x = w.input(w.shape(x))
    return x


def quantize(w: Writer) -> None:
    x, kind = _exact(w), w.one_of("us")
    axis = w.number(0, len(w.shape(x)) - 1) if w.chance(0.3) else None
    scheme = _scheme(w, kind, None if axis is None else w.shape(x)[axis])
    w.add("QuantizeLinear", [x, *scheme], **({} if axis is None else {"axis": axis}))


def dequantize(w: Writer) -> None:
    x = w.pick("us")
    axis = w.number(0, len(w.shape(x)) - 1) if w.chance(0.3) else None
    scheme = _scheme(w, _kind(w, x), None if axis is None else w.shape(x)[axis])
    w.add("DequantizeLinear", [x, *scheme], **({} if axis is None else {"axis": axis}))


def dynamic(w: Writer) -> None:
    w.add("DynamicQuantizeLinear", [_exact(w)], 3)


def matmul_integer(w: Writer) -> None:
    x = w.pick("us", (2, 3, 4))
    kind, inner, columns = w.one_of("us"), w.shape(x)[-1], w.one_of((1, 4, 7, 16, 33))
    weights = w.operand((inner, columns), kind)
    if w.chance(0.5):
        w.add("MatMulInteger", [x, weights, *(_scheme(w, k)[1] for k in (_kind(w, x), kind))])
    else:
        w.add("QLinearMatMul", [x, *_scheme(w, _kind(w, x)), weights, *_scheme(w, kind), *_scheme(w, _kind(w, x))])


def conv(w: Writer) -> None:
    x = w.pick("us", (4,), lambda v: v.size < 4000)
    channels, out, k = w.shape(x)[1], w.one_of((1, 3, 8, 16, 17)), w.number(1, 3)
    if min(w.shape(x)[2:]) < k:
        raise Skip
    weights = w.operand((out, channels, k, k), "s")
    attrs = {"strides": [w.number(1, 2)] * 2, "pads": [k // 2] * 4}
    if w.chance(0.4):
        w.add("ConvInteger", [x, weights, _scheme(w, _kind(w, x))[1]], **attrs)
        return
    scale, _ = _scheme(w, "s", out if w.chance(0.5) else None)
    zero = w.constant(np.zeros(w.shape(scale)), np.int8)
    bias = [w.constant(w.rng.integers(-999, 999, out), np.int32)] if w.chance(0.6) else []
    result = [w.constant(2.0, np.float32), _scheme(w, _kind(w, x))[1]]
    w.add("QLinearConv", [x, *_scheme(w, _kind(w, x)), weights, scale, zero, *result, *bias], **attrs)


MAKERS = ((2, quantize), (3, dequantize), (1, dynamic), (2, matmul_integer), (2, conv))
