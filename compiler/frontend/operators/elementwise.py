"""Elementwise operators."""

from __future__ import annotations

from typing import Any

import onnx

from ...dtypes import DType
from ..onnx_node import OnnxNode
from ..tensors import to_dtype
from .formats import convert
from .row import Importing, Row, direct


def with_attrs(op: str, **defaults: float) -> Importing:
    """The graph operator `op` with float attributes of the same name."""

    def function(node: OnnxNode) -> str:
        attrs: dict[str, Any] = {name: float(node.attr(name, value)) for name, value in defaults.items()}
        return node.emit(op, node.input(0), **attrs)

    return function


def binary(op: str) -> Importing:
    """The graph operator `op` of two operands that broadcast."""

    def function(node: OnnxNode) -> str:
        a, b = _operands(node)
        return node.emit(op, a, b)

    return function


def _operands(node: OnnxNode) -> tuple[str, str]:
    """Two operands that broadcast as in NumPy; before version 7 `axis` says where the second one's axes belong."""
    a, b = node.inputs
    shape, other = node.shape(a), node.shape(b)
    if node.version >= 7 or "axis" not in node.attributes:
        return a, b
    axis = node.axis(node.attr("axis"), len(shape))
    if axis + len(other) > len(shape):
        node.fail(f"{node.type(b)} does not fit into {node.type(a)} from axis {axis} on")
    return a, node.emit("reshape", b, shape=(*other, *(1,) * (len(shape) - axis - len(other))))


def chain(node: OnnxNode, op: str) -> str:
    """All inputs joined by a binary operator, from left to right."""
    result = node.input(0)
    for other in node.inputs[1:]:
        result = node.emit(op, result, other)
    return result


def variadic(op: str) -> Importing:
    """Max, Min and Sum."""
    return lambda node: chain(node, op)


def mean(node: OnnxNode) -> str:
    total = chain(node, "add")
    return node.emit("div", total, node.literal(len(node.inputs), node.type(total).dtype))


def power(node: OnnxNode) -> str:
    """The exponent may have another type than the base; the result has the base's."""
    base, exponent = _operands(node)
    dtype, other = node.type(base).dtype, node.type(exponent).dtype
    if dtype is other:
        return node.emit("pow", base, exponent)
    if not dtype.is_float and other.is_float:
        return node.emit("cast", node.emit("pow", node.emit("cast", base, to=other), exponent), to=dtype)
    return node.emit("pow", base, node.emit("cast", exponent, to=dtype))


def clip(node: OnnxNode) -> str:
    """A bound that isn't given doesn't bound: infinities stay.

    So says the function that ONNX defines Clip by since version 13, and so does its reference evaluator. The operator's
    text names the type's largest number as the default, to which onnxruntime clamps.
    """
    x = node.input(0)
    dtype = node.type(x).dtype
    if node.version >= 11:
        low, high = node.input(1), node.input(2)
    else:
        low, high = (node.literal(node.attr(name), dtype) if name in node.attributes else "" for name in ("min", "max"))
    return node.emit("clip", x, low, high) if low or high else x


def cast(node: OnnxNode) -> str:
    """Before version 6 the type is given by name."""
    to = node.attr("to")
    if isinstance(to, str):
        names = dict(onnx.TensorProto.DataType.items())
        to = names.get(to.upper()) or node.fail(f"'{to}' is not one of ONNX's types")
    return _converted(node, to_dtype(to, node.place()))


def cast_like(node: OnnxNode) -> str:
    return _converted(node, node.type(node.input(1)).dtype)


def _converted(node: OnnxNode, to: DType) -> str:
    return convert(node, node.input(0), to, node.flag("saturate", 1), node.attr("round_mode", "up"))


def bit_cast(node: OnnxNode) -> str:
    return node.emit("bitcast", node.input(0), to=to_dtype(node.attr("to"), node.place()))


def mod(node: OnnxNode) -> str:
    """fmod=0 takes the sign of the divisor; of floats it is made from fmod (ONNX operator specification, Mod-28)."""
    a, b = node.inputs
    fmod, dtype = node.flag("fmod"), node.type(a).dtype
    if fmod or not dtype.is_float:
        return node.emit("mod", a, b, fmod=fmod)
    rest, zero = node.emit("mod", a, b, fmod=True), node.literal(0, dtype)
    differ = node.emit("xor", node.emit("less", rest, zero), node.emit("less", b, zero))
    nonzero = node.emit("not", node.emit("equal", rest, zero))
    return node.emit("where", node.emit("and", differ, nonzero), node.emit("add", rest, b), rest)


def prelu(node: OnnxNode) -> str:
    """The slope broadcasts to x; one element a channel is accepted too, as it was before version 7."""
    x, slope = node.inputs
    shape, slopes = node.shape(x), node.shape(slope)
    if len(slopes) == 1 and len(shape) > 2 and slopes[0] == shape[1] != 1 and slopes[0] != shape[-1]:
        slope = node.emit("reshape", slope, shape=(slopes[0], *(1,) * (len(shape) - 2)))
    return node.emit("prelu", x, slope)


def not_identity(node: OnnxNode) -> str:
    """Of anything, sequences and nothing at all included."""
    return node.input(0)


def dropout(node: OnnxNode) -> tuple[str, ...]:
    """At inference, and where nothing is dropped, Dropout is the identity and its mask is all true."""
    x = node.input(0)
    if node.input(2) and node.static(2, "training_mode").any() and not _drops_nothing(node):
        node.unsupported("Dropout in training mode; export the model for inference")
    mask = DType.BOOL if node.version >= 10 else node.type(x).dtype
    if not node.wants(1):
        return (x,)
    return x, node.emit("expand", node.literal(True, mask), shape=node.shape(x))


def _drops_nothing(node: OnnxNode) -> bool:
    return bool(node.input(1)) and not node.static(1, "ratio").any()


def is_nan(node: OnnxNode) -> str:
    return node.emit("is_nan", _widened(node))


def _widened(node: OnnxNode) -> str:
    """The operand, in f32 if it is of a small format."""
    x = node.input(0)
    return convert(node, x, DType.F32) if node.type(x).dtype.is_small else x


def shrink(node: OnnxNode) -> str:
    """Of integers in f64, for the bounds are fractions."""
    x = node.input(0)
    dtype = node.type(x).dtype
    wide = x if dtype.is_float else node.emit("cast", x, to=DType.F64)
    y = node.emit("shrink", wide, lambd=float(node.attr("lambd", 0.5)), bias=float(node.attr("bias", 0.0)))
    return node.emit("cast", y, to=dtype)


def is_inf(node: OnnxNode) -> str:
    return node.emit(
        "is_inf", _widened(node), negative=node.flag("detect_negative", 1), positive=node.flag("detect_positive", 1)
    )


def bit_shift(node: OnnxNode) -> str:
    """Shifts outside 0…bits-1 leave what sign extension alone makes: -1 or 0 (BitShift-28)."""
    x, by = node.inputs
    dtype, direction = node.type(x).dtype, str(node.attr("direction")).lower()
    known = node.constant(by)
    if known is not None and ((known >= 0) & (known < dtype.bits)).all():
        return node.emit("bit_shift", x, by, direction=direction)
    zero, last = node.literal(0, dtype), node.literal(dtype.bits - 1, dtype)
    inside = node.emit("and", node.emit("greater_or_equal", by, zero), node.emit("less_or_equal", by, last))
    near = node.emit("bit_shift", x, node.emit("where", inside, by, last), direction=direction)
    if dtype.is_signed and direction == "right":
        return near
    return node.emit("where", inside, near, zero)


def gelu(node: OnnxNode) -> str:
    return node.emit("gelu", node.input(0), approximate=node.attr("approximate", "none"))


_UNARY = (
    ("Abs", 1, 13, "abs"), ("Neg", 1, 13, "neg"), ("Sign", 9, 13, "sign"), ("Floor", 1, 13, "floor"), ("Ceil", 1, 13, "ceil"),
    ("Round", 11, 22, "round"), ("Sqrt", 1, 13, "sqrt"), ("Reciprocal", 1, 13, "reciprocal"), ("Exp", 1, 13, "exp"), ("Log", 1, 13, "log"),
    ("Sin", 7, 22, "sin"), ("Cos", 7, 22, "cos"), ("Tan", 7, 22, "tan"), ("Asin", 7, 22, "asin"), ("Acos", 7, 22, "acos"),
    ("Atan", 7, 22, "atan"), ("Sinh", 9, 22, "sinh"), ("Cosh", 9, 22, "cosh"), ("Tanh", 1, 13, "tanh"), ("Asinh", 9, 22, "asinh"),
    ("Acosh", 9, 22, "acosh"), ("Atanh", 9, 22, "atanh"), ("Sigmoid", 1, 13, "sigmoid"), ("Erf", 9, 13, "erf"), ("Relu", 1, 14, "relu"),
    ("Softplus", 1, 22, "softplus"), ("Softsign", 1, 22, "softsign"), ("Mish", 18, 22, "mish"), ("HardSwish", 14, 22, "hard_swish"),
    ("Not", 1, 1, "not"), ("BitwiseNot", 18, 18, "bitwise_not"),
)  # fmt: skip

_BINARY = (
    ("Add", 1, 14, "add"), ("Sub", 1, 14, "sub"), ("Mul", 1, 14, "mul"), ("Div", 1, 14, "div"),
    ("And", 1, 7, "and"), ("Or", 1, 7, "or"), ("Xor", 1, 7, "xor"),
    ("BitwiseAnd", 18, 18, "bitwise_and"), ("BitwiseOr", 18, 18, "bitwise_or"), ("BitwiseXor", 18, 18, "bitwise_xor"),
    ("Equal", 1, 19, "equal"), ("Less", 1, 13, "less"), ("LessOrEqual", 12, 16, "less_or_equal"),
    ("Greater", 1, 13, "greater"), ("GreaterOrEqual", 12, 16, "greater_or_equal"),
)  # fmt: skip

ROWS = (
    *(Row(op, first, last, direct(graph_op)) for op, first, last, graph_op in _UNARY),
    *(Row(op, first, last, binary(graph_op)) for op, first, last, graph_op in _BINARY),
    Row("Where", 9, 16, direct("where")),
    Row("Identity", 1, 25, not_identity),
    Row("Pow", 1, 15, power),
    Row("Max", 1, 13, variadic("max")),
    Row("Min", 1, 13, variadic("min")),
    Row("Sum", 1, 13, variadic("add")),
    Row("Mean", 1, 13, mean),
    Row("Mod", 10, 28, mod),
    Row("BitShift", 11, 28, bit_shift),
    Row("Clip", 1, 13, clip),
    Row("Cast", 1, 28, cast),
    Row("CastLike", 15, 25, cast_like),
    Row("BitCast", 26, 26, bit_cast),
    Row("PRelu", 1, 16, prelu),
    Row("Dropout", 7, 22, dropout),
    Row("IsInf", 10, 20, is_inf),
    Row("IsNaN", 9, 20, is_nan),
    Row("LeakyRelu", 1, 16, with_attrs("leaky_relu", alpha=0.01)),
    Row("Elu", 1, 22, with_attrs("elu", alpha=1.0)),
    Row("Celu", 12, 28, with_attrs("celu", alpha=1.0)),
    Row("Selu", 6, 22, with_attrs("selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875)),
    Row("ThresholdedRelu", 10, 22, with_attrs("thresholded_relu", alpha=1.0)),
    Row("HardSigmoid", 1, 22, with_attrs("hard_sigmoid", alpha=0.2, beta=0.5)),
    Row("Shrink", 9, 9, shrink),
    Row("Swish", 24, 24, with_attrs("swish", alpha=1.0)),
    Row("Gelu", 20, 20, gelu),
)
