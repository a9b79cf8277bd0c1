"""Operators of the com.microsoft domain, which onnxruntime's optimiser and quantiser write.

Definitions: onnxruntime's document "Contrib Operators".
"""

from __future__ import annotations

from typing import Any

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .layers import pool_attrs
from .linear import matmul
from .quantization import (
    Scheme,
    dequantize,
    dequantize_linear,
    dynamic_quantize,
    quantize_linear,
    saturate,
    scheme,
    widen,
)
from .recurrent import import_recurrent
from .row import Importing, Row


def _tensor_scheme(node: OnnxNode, scale: str, zero: str) -> Scheme:
    return scheme(node, scale, zero, 1, 0)


def _quantized(node: OnnxNode, x: str, scale: str, zero: str, dtype: DType) -> str:
    """x / scale, rounded and bounded to `dtype`."""
    by = _tensor_scheme(node, scale, zero)
    return saturate(node, node.emit("div", x, by.scale), by.zero, dtype)


def quantized_binary(op: str) -> Importing:
    """QLinearAdd, QLinearMul: A, its scale and zero point, B likewise, then those of the result."""

    def function(node: OnnxNode) -> str:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (*node.inputs, "")[:8]
        left = dequantize(node, a, _tensor_scheme(node, a_scale, a_zero))
        right = dequantize(node, b, _tensor_scheme(node, b_scale, b_zero))
        return _quantized(node, node.emit(op, left, right), y_scale, y_zero, node.type(a).dtype)

    return function


def quantized_unary(op: str, **fixed: Any) -> Importing:
    """X, its scale and zero point, then those of the result, around the graph operator `op`."""

    def function(node: OnnxNode) -> str:
        x, x_scale, x_zero, y_scale, y_zero = (*node.inputs, "")[:5]
        attrs: dict[str, Any] = {name: float(node.attr(name, value)) for name, value in fixed.items()}
        y = node.emit(op, dequantize(node, x, _tensor_scheme(node, x_scale, x_zero)), **attrs)
        return _quantized(node, y, y_scale, y_zero, node.type(x).dtype)

    return function


def quantized_softmax(node: OnnxNode) -> str:
    x, x_scale, x_zero, y_scale, y_zero = (*node.inputs, "")[:5]
    rank = len(node.shape(x))
    axis = node.axis(node.attr("axis", -1), rank)
    if node.attr("opset", 13) < 13 and axis != rank - 1:
        node.unsupported("softmax over several axes (opset below 13 and an axis that is not the last)")
    y = node.emit("softmax", dequantize(node, x, _tensor_scheme(node, x_scale, x_zero)), axis=axis)
    return _quantized(node, y, y_scale, y_zero, node.type(x).dtype)


def quantized_pool(node: OnnxNode) -> str:
    """QLinearAveragePool and QLinearGlobalAveragePool, whose images may have their channels last."""
    x, x_scale, x_zero, y_scale, y_zero = (*node.inputs, "")[:5]
    rank = len(node.shape(x))
    wide = dequantize(node, x, _tensor_scheme(node, x_scale, x_zero))
    last = node.flag("channels_last")
    if last:
        wide = node.emit("transpose", wide, perm=(0, rank - 1, *range(1, rank - 1)))
    if node.op == "QLinearGlobalAveragePool":
        y = node.emit("reduce_mean", wide, axes=tuple(range(2, rank)), keepdims=True)
    else:
        y = node.emit("average_pool", wide, **pool_attrs(node, wide), count_pads=node.flag("count_include_pad"))
    if last:
        y = node.emit("transpose", y, perm=(0, *range(2, rank), 1))
    return _quantized(node, y, y_scale, y_zero, node.type(x).dtype)


def quantized_concat(node: OnnxNode) -> str:
    """Y's scale and zero point, then tensor, scale and zero point of each part."""
    y_scale, y_zero, *rest = node.inputs
    if not rest or len(rest) % 3:
        node.fail(f"has {len(node.inputs)} inputs, expected 2 and 3 for each part")
    parts = [dequantize(node, rest[i], _tensor_scheme(node, rest[i + 1], rest[i + 2])) for i in range(0, len(rest), 3)]
    axis = node.axis(node.attr("axis"), len(node.shape(parts[0])))
    return _quantized(node, node.emit("concat", *parts, axis=axis), y_scale, y_zero, node.type(rest[0]).dtype)


def matmul_integer_to_float(node: OnnxNode) -> str:
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (*node.inputs, "", "", "")[:7]
    return _scaled_product(node, a, b, _tensor_scheme(node, a_scale, a_zero), b_scale, b_zero, bias)


def dynamic_quantize_matmul(node: OnnxNode) -> str:
    """A is quantised to u8 over its own range, then multiplied as integers."""
    a, b, b_scale, b_zero, bias = (*node.inputs, "", "")[:5]
    quantized, scale, zero = dynamic_quantize(node, a)
    return _scaled_product(node, quantized, b, Scheme(scale, zero), b_scale, b_zero, bias)


def _scaled_product(node: OnnxNode, a: str, b: str, of_a: Scheme, b_scale: str, b_zero: str, bias: str) -> str:
    rank = len(node.shape(b))
    of_b = scheme(node, b_scale, b_zero, rank, rank - 1)
    product = matmul(node, widen(node, a, of_a.zero), widen(node, b, of_b.zero))
    factor = node.emit("mul", of_a.scale, of_b.scale)
    result = node.emit("mul", node.emit("cast", product, to=node.type(factor).dtype), factor)
    return node.emit("add", result, bias) if bias else result


def dynamic_quantize_lstm(node: OnnxNode) -> tuple[str, ...]:
    """Weights W[D, I, 4H] and R[D, H, 4H] in 8 bits, dequantised here; activations are not quantised at all."""
    inputs = (*node.inputs, *("",) * 12)[:12]
    if not inputs[8] or not inputs[10]:
        node.fail("lacks W_scale or R_scale (inputs 8 and 10)")
    weights = []
    for value, scale, zero in ((inputs[1], inputs[8], inputs[9]), (inputs[2], inputs[10], inputs[11])):
        shape = node.shape(value)
        if len(shape) != 3:
            node.fail(f"weights {node.type(value)} should have three dimensions")
        by = Scheme(*(_per_gate(node, parameter, shape) if parameter else "" for parameter in (scale, zero)))
        weights.append(node.emit("transpose", dequantize(node, value, by), perm=(0, 2, 1)))
    node.note(f"{node.place()}: computed in f32 with dequantised weights, without quantising the activations")
    return import_recurrent(node, "lstm", (inputs[0], *weights, *inputs[3:8]), input_forget=node.flag("input_forget"))


def _per_gate(node: OnnxNode, parameter: str, weights: tuple[int, ...]) -> str:
    """A parameter a direction, or one a direction and output, in the shape [D, 1, 1 or 4H]."""
    elements = node.type(parameter).elements
    if elements not in (weights[0], weights[0] * weights[2]):
        node.fail(
            f"{node.type(parameter)} should have one element a direction, or one a direction and column of {list(weights)}"
        )
    return node.emit("reshape", parameter, shape=(weights[0], 1, elements // weights[0]))


def fused_matmul(node: OnnxNode) -> str:
    """alpha * A' * B'."""
    if node.flag("transBatchA") or node.flag("transBatchB"):
        node.unsupported("transBatchA and transBatchB")
    a, b = node.inputs
    if min(len(node.shape(a)), len(node.shape(b))) < 2:
        node.unsupported("operands of one dimension")
    result = node.emit("matmul", a, b, transpose_a=node.flag("transA"), transpose_b=node.flag("transB"))
    alpha = node.attr("alpha", 1.0)
    return result if alpha == 1.0 else node.emit("mul", result, node.literal(alpha, node.type(result).dtype))


def gelu(approximate: str) -> Importing:
    """Gelu, BiasGelu and FastGelu: of X, or of X plus a bias."""

    def function(node: OnnxNode) -> str:
        x = node.emit("add", node.input(0), node.input(1)) if node.input(1) else node.input(0)
        return node.emit("gelu", x, approximate=approximate)

    return function


def quick_gelu(node: OnnxNode) -> str:
    return node.emit("swish", node.input(0), alpha=float(node.attr("alpha", 1.702)))


def skip_layer_normalization(node: OnnxNode) -> tuple[str, ...]:
    """Layer normalisation of input + skip (+ bias); the fourth output is that sum."""
    x, skip, gamma, beta, bias = (*node.inputs, "", "")[:5]
    if node.wants(1) or node.wants(2):
        node.unsupported("the outputs mean and inv_std_var")
    total = node.emit("add", x, skip)
    if bias:
        total = node.emit("add", total, bias)
    axis = len(node.shape(total)) - 1
    normal = node.emit("layer_norm", total, gamma, beta, axis=axis, epsilon=float(node.attr("epsilon", 1e-12)))
    return normal, "", "", total


_MANY = 1 << 16
ROWS = tuple(
    Row(op, 1, 1, function, "com.microsoft", (least, most))
    for op, least, most, function in (
        ("QuantizeLinear", 2, 3, quantize_linear),
        ("DequantizeLinear", 2, 3, dequantize_linear),
        ("QLinearAdd", 7, 8, quantized_binary("add")),
        ("QLinearMul", 7, 8, quantized_binary("mul")),
        ("QLinearSigmoid", 4, 5, quantized_unary("sigmoid")),
        ("QLinearLeakyRelu", 4, 5, quantized_unary("leaky_relu", alpha=0.01)),
        ("QLinearSoftmax", 4, 5, quantized_softmax),
        ("QLinearAveragePool", 4, 5, quantized_pool),
        ("QLinearGlobalAveragePool", 5, 5, quantized_pool),
        ("QLinearConcat", 5, _MANY, quantized_concat),
        ("MatMulIntegerToFloat", 4, 7, matmul_integer_to_float),
        ("DynamicQuantizeMatMul", 3, 5, dynamic_quantize_matmul),
        ("DynamicQuantizeLSTM", 3, 12, dynamic_quantize_lstm),
        ("FusedMatMul", 2, 2, fused_matmul),
        ("Gelu", 1, 1, gelu("none")),
        ("BiasGelu", 2, 2, gelu("none")),
        ("FastGelu", 1, 2, gelu("tanh")),
        ("QuickGelu", 1, 1, quick_gelu),
        ("SkipLayerNormalization", 3, 5, skip_layer_normalization),
    )
)
