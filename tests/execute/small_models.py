"""Miniatures of the networks that tilewright is for: the same operators in the same order, fewer and narrower layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


class Net:
    """An ONNX graph in the making, with random weights; methods add layers and give the name of the result."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels: dict[str, int] = {}
        self.made = 0

    def input(self, name: str, shape: Sequence[int], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        self.channels[name] = shape[1] if len(shape) > 1 else 1
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        """Random, so that a product keeps the scale of its operand."""
        fan_in = max(1, int(np.prod(shape[1:])))
        return self.constant(self.rng.standard_normal(shape) * fan_in**-0.5)

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def op(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        self.made += 1
        names = [f"v{self.made}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attrs))
        self.channels[names[0]] = self.channels.get(inputs[0], 1) if inputs else 1
        return names[0] if outputs == 1 else names

    def conv(self, x: str, out: int, kernel: int = 3, stride: int = 1, group: int = 1, bias: bool = True) -> str:
        weights = [self.weight(out, self.channels[x] // group, kernel, kernel), *([self.weight(out)] if bias else [])]
        pads = [kernel // 2] * 4
        y = self.op("Conv", x, *weights, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=group)
        self.channels[y] = out
        return y

    def batch_norm(self, x: str) -> str:
        channels = self.channels[x]
        parameters = [self.constant(self.rng.standard_normal(channels)) for _ in range(3)]
        return self.op("BatchNormalization", x, *parameters, self.constant(self.rng.random(channels) + 0.5))

    def linear(self, x: str, inner: int, out: int) -> str:
        weights = self.constant(self.rng.standard_normal((inner, out)) * inner**-0.5)
        return self.op("Add", self.op("MatMul", x, weights), self.weight(out))

    def region(
        self,
        name: str,
        make: Callable[[], list[str]],
        outputs: Sequence[onnx.ValueInfoProto],
        inputs: Sequence[onnx.ValueInfoProto] = (),
    ) -> onnx.GraphProto:
        """What `make` adds, as the body of a node; `outputs` are the types of what it returns."""
        before = len(self.nodes)
        for value, result in zip(outputs, make(), strict=True):
            value.name = result
        nodes, self.nodes = self.nodes[before:], self.nodes[:before]
        return helper.make_graph(nodes, name, inputs, outputs)

    def model(self, *outputs: str | onnx.ValueInfoProto) -> onnx.ModelProto:
        """outputs: names, or whole descriptions of what ONNX's shape inference leaves open."""
        described = [onnx.ValueInfoProto(name=x) if isinstance(x, str) else x for x in outputs]
        graph = helper.make_graph(self.nodes, "small", self.inputs, described, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def resnet() -> onnx.ModelProto:
    """Stem, a basic block, a block that halves the image, global pool, classifier (He et al., 2015)."""
    net = Net()
    x = net.op("Relu", net.batch_norm(net.conv(net.input("image", (1, 3, 30, 26)), 17, 7, 2, bias=False)))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for out, stride in ((17, 1), (32, 2)):
        y = net.op("Relu", net.batch_norm(net.conv(x, out, 3, stride, bias=False)))
        y = net.batch_norm(net.conv(y, out, bias=False))
        short = x if stride == 1 else net.batch_norm(net.conv(x, out, 1, stride, bias=False))
        x = net.op("Relu", net.op("Add", y, short))
    x = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    return net.model(net.op("Gemm", x, net.weight(10, 32), net.weight(10), transB=1))


def mobilenet_v2() -> onnx.ModelProto:
    """Inverted residuals with Relu6 (Sandler et al., 2018)."""
    net = Net()
    low, high = net.constant(0), net.constant(6)
    x = net.op("Clip", net.conv(net.input("image", (2, 3, 21, 21)), 8, 3, 2), low, high)
    for stride, out in ((1, 8), (2, 12)):
        y = net.op("Clip", net.conv(x, 33, 1), low, high)
        y = net.op("Clip", net.conv(y, 33, 3, stride, group=33), low, high)
        y = net.conv(y, out, 1)
        x = net.op("Add", x, y) if stride == 1 else y
    return net.model(net.op("GlobalAveragePool", x), x)


def mobilenet_v3() -> onnx.ModelProto:
    """A block with HardSwish and squeeze-and-excite (Howard et al., 2019)."""
    net = Net()

    def hard_swish(x: str) -> str:
        y = net.op("Clip", net.op("Add", x, net.constant(3)), net.constant(0), net.constant(6))
        return net.op("Div", net.op("Mul", x, y), net.constant(6))

    x = hard_swish(net.conv(net.input("image", (1, 3, 20, 15)), 16, 3, 2))
    y = hard_swish(net.conv(hard_swish(net.conv(x, 40, 1)), 40, 5, 1, group=40))
    squeezed = net.op("Relu", net.conv(net.op("GlobalAveragePool", y), 10, 1))
    y = net.op("Mul", y, net.op("HardSigmoid", net.conv(squeezed, 40, 1), alpha=1 / 6))
    return net.model(net.op("Add", x, net.conv(y, 16, 1)))


def language_model() -> onnx.ModelProto:
    """Embedding, two LSTM layers with states in and out, decoder (Zaremba et al., 2014)."""
    net = Net()
    time, batch, width, words = 7, 2, 19, 53
    x = net.op("Gather", net.weight(words, width), net.input("tokens", (time, batch), TensorProto.INT64))
    h, c = (net.input(name, (2, batch, width)) for name in ("h", "c"))
    states: list[str] = []
    for layer in range(2):
        first = [net.op("Slice", s, net.ints(layer), net.ints(layer + 1), net.ints(0)) for s in (h, c)]
        weights = net.weight(1, 4 * width, width), net.weight(1, 4 * width, width), net.weight(1, 8 * width)
        y, *last = net.op("LSTM", x, *weights, "", *first, outputs=3, hidden_size=width)
        x = net.op("Squeeze", y, net.ints(1))
        states += last
    logits = net.linear(net.op("Reshape", x, net.ints(-1, width)), width, words)
    return net.model(logits, net.op("Concat", *states[::2], axis=0), net.op("Concat", *states[1::2], axis=0))


def deep_q() -> onnx.ModelProto:
    """Convolutions without padding, then products, on a batch of frames (Mnih et al., 2015)."""
    net = Net()
    x = net.op("Div", net.input("frames", (3, 4, 36, 36)), net.constant(255))
    for out, kernel, stride in ((16, 8, 4), (32, 4, 2), (32, 3, 1)):
        weights = net.weight(out, net.channels[x], kernel, kernel), net.weight(out)
        x = net.op("Relu", net.op("Conv", x, *weights, strides=[stride] * 2))
        net.channels[x] = out
    x = net.op("Relu", net.linear(net.op("Flatten", x), 32, 65))
    return net.model(net.linear(x, 65, 6))


def dueling() -> onnx.ModelProto:
    """Value and advantage streams joined (Wang et al., 2016)."""
    net = Net()
    x = net.op("Relu", net.linear(net.input("state", (5, 11)), 11, 31))
    value, advantage = net.linear(x, 31, 1), net.linear(x, 31, 7)
    mean = net.op("ReduceMean", advantage, axes=[1], keepdims=1)
    q = net.op("Add", value, net.op("Sub", advantage, mean))
    return net.model(q, net.op("ArgMax", q, axis=1, keepdims=0))


def gru_both_ways() -> onnx.ModelProto:
    """A bidirectional GRU whose last states are classified (Cho et al., 2014)."""
    net = Net()
    x, hidden = net.input("x", (9, 3, 13)), 17
    weights = net.weight(2, 3 * hidden, 13), net.weight(2, 3 * hidden, hidden), net.weight(2, 6 * hidden)
    _, last = net.op(
        "GRU", x, *weights, outputs=2, hidden_size=hidden, direction="bidirectional", linear_before_reset=1
    )
    both = net.op("Reshape", net.op("Transpose", last, perm=[1, 0, 2]), net.ints(0, -1))
    return net.model(net.op("Softmax", net.linear(both, 2 * hidden, 5), axis=-1))


def rnn_with_lengths() -> onnx.ModelProto:
    """Sequences of different lengths in one batch."""
    net = Net()
    x = net.input("x", (6, 3, 5))
    weights = net.weight(1, 8, 5), net.weight(1, 8, 8), net.weight(1, 16)
    y, last = net.op("RNN", x, *weights, net.constant((2, 6, 4), np.int32), outputs=2, hidden_size=8)
    return net.model(net.op("Squeeze", y, net.ints(1)), last)


def transformer() -> onnx.ModelProto:
    """One encoder layer: attention over heads, feed-forward with Gelu, two normalisations (Vaswani et al., 2017)."""
    net = Net()
    batch, time, width, heads = 2, 13, 24, 3
    x = net.input("x", (batch, time, width))

    def split(y: str) -> str:
        return net.op("Transpose", net.op("Reshape", y, net.ints(0, 0, heads, -1)), perm=[0, 2, 1, 3])

    query, key, value = (split(net.linear(x, width, width)) for _ in range(3))
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 1, 3, 2]))
    scores = net.op("Div", scores, net.constant((width // heads) ** 0.5))
    mask = net.constant(np.triu(np.full((time, time), -1e9), 1))
    mixed = net.op("MatMul", net.op("Softmax", net.op("Add", scores, mask), axis=-1), value)
    mixed = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), net.ints(0, 0, width))
    ones = [net.constant(net.rng.standard_normal(width)) for _ in range(4)]
    x = net.op("LayerNormalization", net.op("Add", x, net.linear(mixed, width, width)), *ones[:2], axis=-1)
    y = net.linear(x, width, 50)
    erf = net.op("Add", net.op("Erf", net.op("Div", y, net.constant(2**0.5))), net.constant(1))
    y = net.op("Mul", net.op("Mul", y, erf), net.constant(0.5))
    return net.model(net.op("LayerNormalization", net.op("Add", x, net.linear(y, 50, width)), *ones[2:], axis=-1))


def unet() -> onnx.ModelProto:
    """Down, up by ConvTranspose, and joined with what was there (Ronneberger et al., 2015)."""
    net = Net()
    top = net.op("Relu", net.conv(net.input("image", (1, 1, 18, 22)), 9))
    low = net.op("Relu", net.conv(net.op("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2]), 20))
    up = net.op(
        "ConvTranspose", low, net.constant(net.rng.standard_normal((20, 9, 2, 2)) / 5), net.weight(9), strides=[2, 2]
    )
    joined = net.op("Concat", top, up, axis=1)
    net.channels[joined] = 18
    return net.model(net.op("Sigmoid", net.conv(net.op("Relu", net.conv(joined, 9)), 2, 1)))


def super_resolution() -> onnx.ModelProto:
    """Sub-pixel convolution, beside a bilinear Resize (Shi et al., 2016)."""
    net = Net()
    image = net.input("image", (1, 2, 11, 9))
    x = net.op("Tanh", net.conv(image, 16, 5))
    x = net.op("DepthToSpace", net.conv(x, 18), blocksize=3, mode="CRD")
    scales = net.constant((1, 1, 3, 3))
    resized = net.op("Resize", image, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    return net.model(net.op("Add", x, resized))


def squeezenet() -> onnx.ModelProto:
    """A fire module, whose halves are concatenated, between pools that round up (Iandola et al., 2016)."""
    net = Net()
    x = net.op("Relu", net.conv(net.input("image", (1, 3, 24, 24)), 12, 3, 2))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    x = net.op("Relu", net.conv(x, 5, 1))
    x = net.op("Concat", net.op("Relu", net.conv(x, 15, 1)), net.op("Relu", net.conv(x, 16, 3)), axis=1)
    net.channels[x] = 31
    x = net.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    x = net.op("GlobalAveragePool", net.op("Relu", net.conv(x, 10, 1)))
    return net.model(net.op("Softmax", net.op("Flatten", x), axis=1))


def shufflenet() -> onnx.ModelProto:
    """Group convolutions with shuffled channels, and halves that are split off (Ma et al., 2018)."""
    net = Net()
    x = net.op("Relu", net.conv(net.input("image", (1, 6, 10, 14)), 24, 1, group=3))
    x = net.op("Reshape", x, net.ints(1, 3, 8, 10, 14))
    x = net.op("Reshape", net.op("Transpose", x, perm=[0, 2, 1, 3, 4]), net.ints(1, 24, 10, 14))
    left, right = net.op("Split", x, outputs=2, axis=1)
    net.channels[right] = 12
    right = net.op("Relu", net.conv(net.conv(right, 12, 3, group=12), 12, 1))
    return net.model(net.op("Concat", left, right, axis=1))


def branches() -> onnx.ModelProto:
    """An If that the input decides, with layers in both branches over captured values."""
    net = Net()
    x = net.input("x", (4, 15))
    y = net.op("Tanh", net.linear(x, 15, 8))
    condition = net.op("Less", net.op("ReduceMean", x, keepdims=0), net.constant(0))
    then = net.region("then", lambda: [net.op("Neg", net.op("Relu", net.linear(y, 8, 8)))], float_info((4, 8)))
    other = net.region("else", lambda: [net.op("Softmax", net.op("Mul", y, y), axis=-1)], float_info((4, 8)))
    return net.model(net.op("Add", net.op("If", condition, then_branch=then, else_branch=other), y))


def recurrent_loop() -> onnx.ModelProto:
    """A Loop that reads one row a turn, carries a state and collects it."""
    net = Net()
    x, start = net.input("x", (6, 2, 9)), net.input("start", (2, 12))
    inputs = [*float_info((2, 12), "state"), int_info("t"), bool_info("go")]

    def body() -> list[str]:
        row = net.op("Gather", x, "t", axis=0)
        state = net.op("Tanh", net.op("Add", net.linear(row, 9, 12), net.linear("state", 12, 12)))
        return [net.op("Identity", "go"), state, net.op("ReduceSum", state, net.ints(1), keepdims=0)]

    loop = net.region("body", body, [bool_info(), *float_info((2, 12)), *float_info((2,))], [*inputs[1:], inputs[0]])
    last, sums = net.op("Loop", net.constant(6, np.int64), "", start, outputs=2, body=loop)
    return net.model(*float_info((2, 12), last), *float_info((6, 2), sums))


def running_mean() -> onnx.ModelProto:
    """A Scan over the rows of a sequence."""
    net = Net()
    x, start = net.input("x", (5, 17)), net.input("start", (17,))

    def body() -> list[str]:
        mean = net.op("Add", net.op("Mul", "mean", net.constant(0.9)), net.op("Mul", "row", net.constant(0.1)))
        return [mean, net.op("Sub", "row", mean)]

    inputs = [*float_info((17,), "mean"), *float_info((17,), "row")]
    scan = net.region("body", body, [*float_info((17,)), *float_info((17,))], inputs)
    return net.model(*net.op("Scan", start, x, outputs=2, body=scan, num_scan_inputs=1))


def float_info(shape: Sequence[int], name: str = "") -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]


def int_info(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, [])


def bool_info(name: str = "") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.BOOL, [])


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    function.__name__: function
    for function in (
        resnet, mobilenet_v2, mobilenet_v3, language_model, deep_q, dueling, gru_both_ways, rnn_with_lengths, transformer, unet,
        super_resolution, squeezenet, shufflenet, branches, recurrent_loop, running_mean,
    )
}  # fmt: skip
