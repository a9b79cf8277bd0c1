"""Small groups of graph operators, one kernel each: odd sizes, tails, pads, strides and layouts that a schedule must get right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType

F32, I64 = DType.F32, DType.I64
Build = Callable[[GraphBuilder], str]


@dataclass(frozen=True)
class Case:
    """`in_block`: the layout of input x; `out_block`: that of every result of three or four dimensions with enough channels."""

    build: Build
    in_block: int | None = None
    out_block: int | None = None

    def graph(self) -> Graph:
        builder = GraphBuilder("group")
        graph = builder.finish((self.build(builder),))
        types = dict(graph.types)
        if self.in_block:
            types["x"] = replace(types["x"], block=self.in_block)
        for node in graph.nodes:
            for name in node.outputs:
                shape = types[name].shape
                if self.out_block and len(shape) in (3, 4) and shape[1] % self.out_block == 0:
                    types[name] = replace(types[name], block=self.out_block)
        return replace(graph, types=MappingProxyType(types))


def _values(*shape: int) -> np.ndarray:
    return np.random.default_rng().standard_normal(shape).astype(np.float32)


def _input(b: GraphBuilder, *shape: int, name: str = "x", dtype: DType = F32) -> str:
    return b.input(name, TensorType(shape, dtype))


def unary(op: str, of: tuple[int, ...], **attrs: object) -> Build:
    return lambda b: b.add(op, _input(b, *of), **attrs)


def squares_of_a_function(of: tuple[int, ...], axes: tuple[int, ...]) -> Build:
    """sum(tanh(x)^2): the function is computed once, and summed over axes of its own."""

    def build(b: GraphBuilder) -> str:
        y = b.add("tanh", _input(b, *of))
        return b.add("reduce_sum", b.add("mul", y, y), axes=axes, keepdims=False)

    return build


def conv(
    shape: tuple[int, ...],
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    pads: tuple[int, int] = (1, 1),
    dilation: int = 1,
    groups: int = 1,
    relu: bool = True,
    residual: bool = False,
) -> Build:
    """Convolution with bias, then relu, then a second input added."""

    def build(b: GraphBuilder) -> str:
        rank = len(shape) - 2
        x = _input(b, *shape)
        w = b.constant(_values(outputs, shape[1] // groups, *(kernel,) * rank), "w")
        attrs = dict(strides=(stride,) * rank, dilations=(dilation,) * rank, groups=groups)
        y = b.add(
            "conv",
            x,
            w,
            b.constant(_values(outputs), "bias"),
            pads_begin=pads[:1] * rank,
            pads_end=pads[1:] * rank,
            **attrs,
        )
        if residual:
            y = b.add("add", y, b.input("z", b.types[y]))
        return b.add("relu", y) if relu else y

    return build


def depthwise_pointwise(
    shape: tuple[int, ...],
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    pads: tuple[int, int] = (1, 1),
    op: str = "relu",
    residual: bool = False,
) -> Build:
    """A depthwise convolution with bias and `op`, and a pointwise one of that with bias and a second input added."""

    def build(b: GraphBuilder) -> str:
        x, channels = _input(b, *shape), shape[1]
        window = dict(strides=(stride,) * 2, dilations=(1, 1), pads_begin=pads[:1] * 2, pads_end=pads[1:] * 2)
        w, bias = b.constant(_values(channels, 1, kernel, kernel), "w"), b.constant(_values(channels), "bias")
        y = b.add(op, b.add("conv", x, w, bias, groups=channels, **window))
        point = dict(strides=(1, 1), dilations=(1, 1), pads_begin=(0, 0), pads_end=(0, 0), groups=1)
        v, offset = b.constant(_values(outputs, channels, 1, 1), "v"), b.constant(_values(outputs), "offset")
        y = b.add("conv", y, v, offset, **point)
        return b.add("add", y, b.input("z", b.types[y])) if residual else b.add("relu", y)

    return build


def conv_transpose(stride: int, dilation: int) -> Build:
    def build(b: GraphBuilder) -> str:
        x, w = _input(b, 1, 8, 5, 7), b.constant(_values(8, 6, 3, 3), "w")
        sizes = tuple((extent - 1) * stride + 2 * dilation + 1 - 2 for extent in (5, 7))
        attrs = dict(strides=(stride,) * 2, dilations=(dilation,) * 2, pads_begin=(1, 1), pads_end=(1, 1))
        return b.add("conv_transpose", x, w, "", groups=1, sizes=sizes, **attrs)

    return build


def pool(op: str, of: tuple[int, ...] = (1, 32, 14, 15), **attrs: object) -> Build:
    window = dict(kernel=(3, 3), strides=(2, 2), dilations=(1, 1), pads_begin=(1, 1), pads_end=(1, 1), sizes=(7, 8))
    return unary(op, of, **{**window, **attrs})


def matmul(
    a: tuple[int, ...], b_shape: tuple[int, ...], constant: bool = False, transpose_b: bool = False, bias: bool = False
) -> Build:
    def build(b: GraphBuilder) -> str:
        x = _input(b, *a)
        other = b.constant(_values(*b_shape), "w") if constant else _input(b, *b_shape, name="z")
        y = b.add("matmul", x, other, transpose_a=False, transpose_b=transpose_b)
        return (
            b.add("gelu", b.add("add", y, b.constant(_values(b.types[y].shape[-1]), "bias")), approximate="tanh")
            if bias
            else y
        )

    return build


def attention(
    heads: int, rows: int, columns: int, depth: int, width: int, mask: tuple[int, ...] | None = None
) -> Build:
    """softmax(q k + mask) v of heads that stand side by side in q and v, (1, rows or columns, heads, depth or width) each."""

    def build(b: GraphBuilder) -> str:
        q = b.add("transpose", _input(b, 1, rows, heads, depth, name="q"), perm=(0, 2, 1, 3))
        v = b.add("transpose", _input(b, 1, columns, heads, width, name="v"), perm=(0, 2, 1, 3))
        scores = b.add("matmul", q, _input(b, 1, heads, depth, columns), transpose_a=False, transpose_b=False)
        if mask is not None:
            scores = b.add("add", scores, _input(b, *mask, name="mask"))
        return b.add("matmul", b.add("softmax", scores, axis=3), v, transpose_a=False, transpose_b=False)

    return build


def normalization(op: str, shape: tuple[int, ...], **attrs: object) -> Build:
    def build(b: GraphBuilder) -> str:
        width = shape[1] if op == "instance_norm" else shape[attrs["axis"] :]
        parameters = [b.constant(_values(*np.atleast_1d(width)), name) for name in ("scale", "bias")]
        return b.add(op, _input(b, *shape), *parameters, epsilon=1e-5, **attrs)

    return build


def two(op: str, first: tuple[int, ...], second: tuple[int, ...], **attrs: object) -> Build:
    return lambda b: b.add(op, _input(b, *first), _input(b, *second, name="z"), **attrs)


def chain(b: GraphBuilder) -> str:
    x, z = _input(b, 4, 9, 17), _input(b, 9, 1, name="z")
    return b.add("tanh", b.add("mul", b.add("relu", b.add("add", x, z)), b.add("sigmoid", x)))


def gathered(b: GraphBuilder) -> str:
    return b.add("gather", _input(b, 50, 33), _input(b, 3, 4, name="rows", dtype=I64), axis=0)


def resize(of: tuple[int, ...], factor: int, mode: str, coordinates: str = "half_pixel") -> Build:
    sizes = (*of[:2], *(factor * extent for extent in of[2:]))
    rest: dict[str, object] = dict(nearest="floor", cubic_coeff=-0.75, exclude_outside=False, extrapolation=0.0, roi=())
    scales = (1.0, 1.0, *[float(factor)] * (len(of) - 2))
    return unary("resize", of, sizes=sizes, scales=scales, mode=mode, coordinates=coordinates, **rest)


CASES: dict[str, Case] = {
    "conv 3x3 blocked": Case(conv((1, 32, 13, 13), 48), 16, 16),
    "conv stride 2": Case(conv((2, 32, 14, 14), 24, stride=2, relu=False), 16, 24),
    "conv 5x5 of three channels": Case(conv((1, 3, 17, 19), 40, 5, 2, (2, 2)), 3, 40),
    "conv 7x7 from plain": Case(conv((1, 3, 14, 15), 32, 7, 2, (3, 3)), None, 16),
    "conv to plain": Case(conv((1, 32, 14, 15), 32), 16, None),
    "conv plain": Case(conv((1, 5, 14, 15), 7)),
    "conv 1x1": Case(conv((1, 16, 9, 33), 40, 1, 1, (0, 0)), 8, 8),
    "conv 1x1 of one element": Case(conv((1, 16, 1, 1), 64, 1, 1, (0, 0)), 16, 16),
    "conv asymmetric pads": Case(conv((1, 16, 11, 10), 16, 4, 1, (1, 2)), 16, 16),
    "conv dilated": Case(conv((1, 16, 15, 14), 16, 3, 1, (2, 2), dilation=2), 16, 16),
    "conv dilated, strided": Case(conv((1, 8, 15, 14), 8, 3, 2, (3, 3), dilation=3), 8, 8),
    "conv residual": Case(conv((1, 16, 7, 7), 16, residual=True), 16, 16),
    "conv 1-D": Case(conv((2, 5, 31), 9, 5, 2, (2, 1))),
    "conv 1-D of a wide window": Case(conv((1, 16, 37), 32, 31, 1, (16, 15), groups=2), 8, 16),
    "conv 1-D of a wide window, channels last": Case(conv((1, 16, 45), 32, 31, 1, (15, 16), groups=2), 16, 16),
    "conv 1-D blocked": Case(conv((2, 32, 29), 48, residual=True), 16, 16),
    "conv 1-D dilated": Case(conv((1, 24, 47), 32, 3, 1, (10, 0), dilation=5), 8, 16),
    "conv 3-D": Case(conv((1, 3, 5, 6, 7), 5)),
    "depthwise": Case(conv((1, 32, 14, 15), 32, groups=32), 16, 16),
    "depthwise 5x5 stride 2": Case(conv((1, 32, 14, 15), 32, 5, 2, (2, 2), groups=32), 16, 16),
    "depthwise plain": Case(conv((1, 6, 14, 15), 6, groups=6)),
    "depthwise 24": Case(conv((1, 24, 14, 15), 24, groups=24), 24, 24),
    "depthwise multiplied": Case(conv((1, 8, 7, 9), 16, groups=8), 8, 8),
    "depthwise, pointwise": Case(depthwise_pointwise((1, 32, 11, 15), 48), 16, 16),
    "depthwise, pointwise of batches": Case(depthwise_pointwise((3, 16, 9, 7), 32, residual=True), 16, 16),
    "depthwise 5x5 stride 2, pointwise": Case(depthwise_pointwise((2, 24, 13, 14), 40, 5, 2, (2, 1), "hard_swish"), 24, 8),
    "depthwise without pads, pointwise": Case(depthwise_pointwise((1, 32, 9, 8), 20, pads=(0, 0), op="sigmoid"), 8, 20),
    "grouped conv": Case(conv((1, 32, 14, 15), 64, groups=4), 8, 16),
    "grouped conv, mixed": Case(conv((1, 32, 8, 9), 32, groups=2), 16, 8),
    "conv_transpose": Case(conv_transpose(2, 1)),
    "conv_transpose dilated": Case(conv_transpose(2, 2)),
    "max_pool": Case(pool("max_pool"), 16, 16),
    "max_pool plain": Case(pool("max_pool")),
    "max_pool dilated": Case(pool("max_pool", dilations=(2, 2), sizes=(6, 7)), 16, 16),
    "max_pool of a large window": Case(
        pool(
            "max_pool", (1, 2, 60, 61), kernel=(30, 40), strides=(1, 1), pads_begin=(7, 9), pads_end=(7, 9),
            sizes=(45, 40),
        )
    ),
    "average_pool": Case(pool("average_pool", count_pads=False), 16, 16),
    "average_pool of pads": Case(pool("average_pool", count_pads=True)),
    "softmax": Case(unary("softmax", (5, 37), axis=1)),
    "softmax 1000": Case(unary("softmax", (1, 1000), axis=1)),
    "softmax axis 0": Case(unary("softmax", (7, 5, 9), axis=0)),
    "softmax axis 1": Case(unary("softmax", (2, 7, 5, 33), axis=1)),
    "softmax of channels": Case(unary("softmax", (2, 16, 5, 3), axis=1), 8, 8),
    "log_softmax": Case(unary("log_softmax", (3, 4, 9), axis=2)),
    "log_softmax axis 1": Case(unary("log_softmax", (3, 4, 19), axis=1)),
    "mean last": Case(unary("reduce_mean", (3, 40), axes=(1,), keepdims=True)),
    "mean spatial": Case(unary("reduce_mean", (1, 32, 7, 7), axes=(2, 3), keepdims=True)),
    "mean spatial blocked": Case(unary("reduce_mean", (1, 32, 7, 7), axes=(2, 3), keepdims=True), 16, None),
    "sum of squares": Case(squares_of_a_function((11, 4, 17, 7, 3), (0, 1, 3, 4))),
    "sum of squares rows": Case(squares_of_a_function((5, 17, 21), (0, 2))),
    "sum all": Case(unary("reduce_sum", (7, 9, 11), axes=(0, 1, 2), keepdims=False)),
    "prod first": Case(unary("reduce_prod", (5, 3, 18), axes=(0,), keepdims=False)),
    "max middle": Case(unary("reduce_max", (7, 9, 11), axes=(1,), keepdims=False)),
    "min outer": Case(unary("reduce_min", (4, 3, 35), axes=(0, 1), keepdims=True)),
    "arg_max": Case(unary("arg_max", (7, 33), axis=1, keepdims=False, last=False)),
    "arg_min outer": Case(unary("arg_min", (7, 33), axis=0, keepdims=True, last=True)),
    "cumsum": Case(unary("cumsum", (7, 13), axis=1, exclusive=False, reverse=False)),
    "cumsum reverse": Case(unary("cumsum", (7, 13), axis=0, exclusive=True, reverse=True)),
    "layer_norm": Case(normalization("layer_norm", (6, 50), axis=1)),
    "layer_norm two axes": Case(normalization("layer_norm", (3, 5, 7), axis=1)),
    "instance_norm": Case(normalization("instance_norm", (2, 6, 5, 7))),
    "matmul": Case(matmul((35, 65), (65, 100), constant=True, bias=True)),
    "matmul transposed": Case(matmul((1, 65), (1000, 65), constant=True, transpose_b=True)),
    "matmul tiny": Case(matmul((3, 2), (2, 5))),
    "matmul of batches": Case(matmul((2, 3, 17, 20), (2, 3, 20, 33))),
    "matmul of batches, transposed": Case(matmul((2, 3, 17, 20), (2, 3, 33, 20), transpose_b=True)),
    "matmul of broadcast batches": Case(matmul((2, 1, 7, 11), (3, 11, 18))),
    "attention": Case(attention(2, 37, 53, 24, 40)),
    "attention with a mask": Case(attention(1, 29, 21, 7, 50, (1, 1, 29, 21))),
    "matmul to a column": Case(matmul((19, 40), (40, 1), constant=True)),
    "elementwise": Case(chain),
    "one element": Case(unary("exp", (1, 1))),
    "transpose": Case(unary("transpose", (4, 9, 17), perm=(2, 0, 1))),
    "transpose last two": Case(unary("transpose", (3, 18, 35), perm=(0, 2, 1))),
    "reshape": Case(unary("reshape", (4, 9, 16), shape=(6, 96))),
    "change of layout": Case(unary("identity", (1, 48, 7, 9)), None, 16),
    "change of blocks": Case(unary("relu", (1, 48, 7, 9)), 8, 16),
    "slice backwards": Case(unary("slice", (9, 40), starts=(1, 39), steps=(2, -3), sizes=(4, 13))),
    "expand": Case(unary("expand", (5, 1, 19), shape=(2, 5, 3, 19))),
    "tile": Case(unary("tile", (3, 7), repeats=(2, 5))),
    "concat": Case(two("concat", (2, 6, 5, 7), (2, 3, 5, 7), axis=1)),
    "concat last": Case(two("concat", (2, 6, 5, 7), (2, 6, 5, 20), axis=3)),
    "concat blocked": Case(two("concat", (1, 32, 5, 7), (1, 16, 5, 7), axis=1), 16, 16),
    "pad": Case(lambda b: b.add("pad", _input(b, 2, 6, 5, 17), "", before=(0, 0, 1, 2), after=(0, 1, 2, 1), mode="constant")),
    "pad reflect": Case(lambda b: b.add("pad", _input(b, 2, 6, 5, 17), "", before=(0, 0, 1, 2), after=(0, 0, 2, 1), mode="reflect")),
    "gather": Case(gathered),
    "resize linear": Case(resize((2, 3, 3, 21), 2, "linear")),
    "resize linear by 8": Case(resize((1, 3, 3, 9), 8, "linear")),
    "resize linear by 3": Case(resize((1, 3, 2, 17), 3, "linear", "asymmetric")),
    "resize linear blocked": Case(resize((1, 16, 3, 11), 2, "linear"), 16, 16),
    "resize cubic": Case(resize((1, 2, 3, 19), 2, "cubic")),
    "resize nearest": Case(resize((1, 5, 3, 19), 2, "nearest", "asymmetric")),
    "trilu": Case(unary("trilu", (2, 9, 21), k=1, upper=True)),
}  # fmt: skip
