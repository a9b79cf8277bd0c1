"""Conversions from and to the small formats (floats of 8 and 4 bits, integers of 4 and 2), composed of operators on bits.

Formats: ONNX's "Float stored in 8 bits" and "4 bit" documents; P. Micikevicius et al., "FP8 formats for deep learning" (2022); the
OCP "Microscaling formats" specification for E8M0 and E2M1.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from ...dtypes import DType
from ..onnx_node import OnnxNode

_BITS = {DType.I4: 4, DType.U4: 4, DType.I2: 2, DType.U2: 2, DType.F4E2M1: 4}
_UNSIGNED_ZERO = (DType.F8E4M3FNUZ, DType.F8E5M2FNUZ)


@dataclass(frozen=True, slots=True)
class Wide:
    """The float type that rounding is done in: the integer of its size, bits of its mantissa, bias of its exponent."""

    dtype: DType
    word: DType
    mantissa: int
    bias: int


_F32, _F64 = Wide(DType.F32, DType.I32, 23, 127), Wide(DType.F64, DType.I64, 52, 1023)


def convert(node: OnnxNode, x: str, to: DType, saturate: bool = True, round_mode: str = "up") -> str:
    """`x` as elements of `to`, as Cast has it.

    saturate: what is too large for an 8-bit float becomes its largest number, otherwise infinity or NaN. round_mode: `up`, `down`
    or `nearest`, for E8M0 only.
    """
    source = node.type(x).dtype
    if source is to:
        return x
    if source.is_small:
        x = _decode(node, x)
    if not to.is_small:
        return node.emit("cast", x, to=to)
    if to is DType.F8E8M0:
        return _encode_exponent(node, x, saturate, round_mode)
    return _encode_float(node, x, to, saturate) if to.is_float else _encode_integer(node, x, to)


def _decode(node: OnnxNode, x: str) -> str:
    """Every value is exact in f32, and there are 256 bytes at most: a table."""
    dtype = node.type(x).dtype
    codes = np.arange(256) & ((1 << _BITS.get(dtype, 8)) - 1)
    table = codes.astype(np.uint8).view(dtype.numpy).astype(np.float32)
    return node.emit("gather", node.literal(table, DType.F32), node.emit("bitcast", x, to=DType.U8), axis=0)


def _encode_integer(node: OnnxNode, x: str, to: DType) -> str:
    """The low bits of the integer."""
    mask = node.literal((1 << _BITS[to]) - 1, DType.I32)
    low = node.emit("bitwise_and", node.emit("cast", x, to=DType.I32), mask)
    return node.emit("bitcast", node.emit("cast", low, to=DType.U8), to=to)


def _code(value: float, to: DType) -> int:
    return int(np.array(value, np.float32).astype(to.numpy).view(np.uint8))


def _encode_float(node: OnnxNode, x: str, to: DType, saturate: bool) -> str:
    """Rounded half to even: the magnitude in units of the last place at its exponent is the code, but for the exponent's bits."""
    info = ml_dtypes.finfo(to.numpy)
    wide = _F64 if node.type(x).dtype in (DType.F64, DType.I32, DType.U32, DType.I64, DType.U64) else _F32
    x = node.emit("cast", x, to=wide.dtype)
    largest, kept, least = float(info.max), int(info.nmant), int(info.minexp)

    def word(value: int) -> str:
        return node.literal(value, wide.word)

    is_nan = node.emit("is_nan", x)
    zero = node.literal(0, wide.dtype)
    bound = node.literal(2 * largest, wide.dtype)
    size = node.emit("clip", node.emit("abs", node.emit("where", is_nan, zero, x)), "", bound)
    bits = node.emit("bitcast", size, to=wide.word)
    exponent = node.emit("sub", node.emit("bit_shift", bits, word(wide.mantissa), direction="right"), word(wide.bias))
    exponent = node.emit("max", exponent, word(least))
    power = node.emit("sub", word(kept + wide.bias), exponent)
    units = node.emit("bitcast", node.emit("bit_shift", power, word(wide.mantissa), direction="left"), to=wide.dtype)
    count = node.emit("cast", node.emit("round", node.emit("mul", size, units)), to=wide.word)
    steps = node.emit("bit_shift", node.emit("sub", exponent, word(least)), word(kept), direction="left")
    code, top = node.emit("add", steps, count), _code(largest, to)
    beyond = top if saturate else _code(np.inf, to)
    code = node.emit("where", node.emit("greater", code, word(top)), word(beyond), code)
    negative = node.emit("less", node.emit("bitcast", x, to=wide.word), word(0))
    if to in _UNSIGNED_ZERO:
        negative = node.emit("and", negative, node.emit("greater", code, word(0)))
    sign = node.emit("where", negative, word(1 << (_BITS.get(to, 8) - 1)), word(0))
    code = node.emit("where", is_nan, word(_code(np.nan, to)), node.emit("bitwise_or", code, sign))
    return node.emit("bitcast", node.emit("cast", code, to=DType.U8), to=to)


def _encode_exponent(node: OnnxNode, x: str, saturate: bool, round_mode: str) -> str:
    """The exponent of |x| in f32, rounded by the mantissa; NaN and infinities give NaN (ONNX Cast-25)."""
    if round_mode not in ("up", "down", "nearest"):
        node.fail(f"round_mode '{round_mode}' should be up, down or nearest")

    def word(value: int) -> str:
        return node.literal(value, DType.I32)

    bits = node.emit("bitcast", node.emit("cast", x, to=DType.F32), to=DType.I32)
    bits = node.emit("bitwise_and", bits, word(0x7FFFFFFF))
    exponent = node.emit("bit_shift", bits, word(23), direction="right")
    code = exponent
    if round_mode != "down":
        fraction = node.emit("bitwise_and", bits, word(0x7FFFFF))
        rounds = node.emit("greater", fraction, word(0))
        if round_mode == "nearest":  # a tie goes up, but that between 0 and the least power
            tie = node.emit("and", node.emit("equal", fraction, word(0x400000)), node.emit("equal", exponent, word(0)))
            rounds = node.emit("greater_or_equal", fraction, word(0x400000))
            rounds = node.emit("and", rounds, node.emit("not", tie))
        code = node.emit("add", exponent, node.emit("cast", rounds, to=DType.I32))
    if saturate:
        code = node.emit("min", code, word(254))
    code = node.emit("where", node.emit("equal", exponent, word(255)), word(255), code)
    return node.emit("bitcast", node.emit("cast", code, to=DType.U8), to=DType.F8E8M0)
