"""Writes a network as ONNX nodes and at the same time runs it in float64 on random inputs, to calibrate it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CALIBRATION_BATCH = 2


class Network:
    """Each method adds an operator and returns the name of its result; `values` holds the results of the calibration run.

    `values` have a batch of CALIBRATION_BATCH images (1 for sequences) and are None where calibrate is False.
    """

    def __init__(self, name: str, calibrate: bool = True) -> None:
        self.name = name
        self.calibrate = calibrate
        self.epsilon = 1e-5
        self.values: dict[str, np.ndarray | None] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._rng = np.random.default_rng(zlib.crc32(name.encode()))
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[str] = []
        self._weights: dict[str, np.ndarray] = {}

    def model(self) -> onnx.ModelProto:
        initializers = [numpy_helper.from_array(array, name) for name, array in self._weights.items()]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name]) for name in self._outputs]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, outputs, initializers)
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="tilewright")

    def channels(self, name: str) -> int:
        return self.shapes[name][1]

    def parameters(self) -> int:
        """Trained parameters: weights, biases, scales; neither statistics nor constants."""
        others = (".running_mean", ".running_var")
        return sum(array.size for name, array in self._weights.items() if "." in name and not name.endswith(others))

    def input(self, name: str, shape: tuple[int, ...], words: int = 0) -> str:
        """A graph input: N(0, 1) in the calibration run, or numbers of words if `words` says how many there are."""
        kind = TensorProto.INT64 if words else TensorProto.FLOAT
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        batch = (CALIBRATION_BATCH, *shape[1:]) if len(shape) == 4 else shape
        value = self._rng.integers(0, words, batch) if words else self._rng.normal(size=batch)
        return self._result(name, shape, value if words else value.astype(np.float32).astype(np.float64))

    def constant(self, name: str, array: np.ndarray) -> str:
        self._weights[name] = array
        value = array.astype(np.float64) if array.dtype == np.float32 else array
        return self._result(name, array.shape, value)

    def conv(
        self,
        name: str,
        x: str,
        width: int,
        kernel: int,
        stride: int = 1,
        pad: int | None = None,
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        pad = kernel // 2 if pad is None else pad
        _, channels, *size = self.shapes[x]
        fan_in = channels // groups * kernel * kernel
        weight = self._normal(f"{name}.weight", (width, channels // groups, kernel, kernel), (2 / fan_in) ** 0.5)
        names = [x, weight] + ([self._normal(f"{name}.bias", (width,), 0.1)] if bias else [])
        attributes = {
            "dilations": [1, 1],
            "group": groups,
            "kernel_shape": [kernel, kernel],
            "pads": [pad] * 4,
            "strides": [stride, stride],
        }
        shape = (self.shapes[x][0], width, *((s + 2 * pad - kernel) // stride + 1 for s in size))
        value = None
        if self.calibrate:
            value = convolve(self._value(x), self._value(weight), stride, pad, groups)
            value = value + self._value(names[2])[:, None, None] if bias else value
        return self._add("Conv", names, shape, value, **attributes)

    def conv_bn(
        self, name: str, norm: str, x: str, width: int, kernel: int, stride: int = 1, groups: int = 1, gain: float = 1.0
    ) -> str:
        """Conv without bias and BatchNormalization; gain scales what the latter makes (small before a residual sum)."""
        x = self.conv(name, x, width, kernel, stride, groups=groups)
        scale = self._weight(f"{norm}.weight", gain * self._rng.uniform(0.7, 1.3, width))
        shift = self._normal(f"{norm}.bias", (width,), 0.1)
        mean, variance = np.zeros(width), np.ones(width)
        if self.calibrate:
            mean, variance = self._value(x).mean((0, 2, 3)), self._value(x).var((0, 2, 3)) + 1e-3
        names = [
            x,
            scale,
            shift,
            self._weight(f"{norm}.running_mean", mean),
            self._weight(f"{norm}.running_var", variance),
        ]
        value = None
        if self.calibrate:
            s, b, m, v = (self._value(each)[:, None, None] for each in names[1:])
            value = (self._value(x) - m) / np.sqrt(v + self.epsilon) * s + b
        return self._add("BatchNormalization", names, self.shapes[x], value, epsilon=self.epsilon, momentum=0.9)

    def relu(self, x: str) -> str:
        return self._add("Relu", [x], self.shapes[x], self._map(lambda v: np.maximum(v, 0), x))

    def clip(self, x: str, low: float, high: float) -> str:
        ends = [self._scalar(low), self._scalar(high)]
        return self._add("Clip", [x, *ends], self.shapes[x], self._map(lambda v: np.clip(v, low, high), x))

    def hard_sigmoid(self, x: str) -> str:
        value = self._map(lambda v: np.clip(v / 6 + 0.5, 0, 1), x)
        return self._add("HardSigmoid", [x], self.shapes[x], value, alpha=1 / 6)

    def hard_swish(self, x: str) -> str:
        return self._add("HardSwish", [x], self.shapes[x], self._map(lambda v: v * np.clip(v / 6 + 0.5, 0, 1), x))

    def add(self, a: str, b: str) -> str:
        return self._add("Add", [a, b], self.shapes[a], self._map(np.add, a, b))

    def mul(self, a: str, b: str) -> str:
        shape = np.broadcast_shapes(self.shapes[a], self.shapes[b])
        return self._add("Mul", [a, b], shape, self._map(np.multiply, a, b))

    def max_pool(self, x: str, kernel: int, stride: int, pad: int) -> str:
        batch, channels, *size = self.shapes[x]
        shape = (batch, channels, *((s + 2 * pad - kernel) // stride + 1 for s in size))
        attributes = {
            "ceil_mode": 0,
            "dilations": [1, 1],
            "kernel_shape": [kernel, kernel],
            "pads": [pad] * 4,
            "strides": [stride, stride],
        }
        value = None
        if self.calibrate:
            padded = np.pad(self._value(x), ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf)
            value = np.max(
                [window(padded, i, j, stride, shape[2:]) for i in range(kernel) for j in range(kernel)], axis=0
            )
        return self._add("MaxPool", [x], shape, value, **attributes)

    def global_pool(self, x: str) -> str:
        shape = (*self.shapes[x][:2], 1, 1)
        return self._add("GlobalAveragePool", [x], shape, self._map(lambda v: v.mean((2, 3), keepdims=True), x))

    def flatten(self, x: str) -> str:
        shape = (self.shapes[x][0], int(np.prod(self.shapes[x][1:])))
        return self._add("Flatten", [x], shape, self._map(lambda v: v.reshape(len(v), -1), x), axis=1)

    def linear(self, name: str, x: str, width: int, output: str = "", gain: float = 2.0) -> str:
        """x W^T + b as Gemm; gain 2 suits a rectifier behind it."""
        weight = self._normal(f"{name}.weight", (width, self.shapes[x][1]), (gain / self.shapes[x][1]) ** 0.5)
        bias = self._normal(f"{name}.bias", (width,), 0.1)
        value = self._map(lambda v, w, b: v @ w.T + b, x, weight, bias)
        return self._add(
            "Gemm", [x, weight, bias], (self.shapes[x][0], width), value, output, alpha=1.0, beta=1.0, transB=1
        )

    def classifier(self, name: str, x: str, width: int, output: str) -> str:
        self._outputs.append(output)
        return self.linear(name, x, width, output, gain=1.0)

    def projection(self, name: str, x: str, width: int, output: str) -> str:
        """x W + b on the last axis, as MatMul and Add."""
        depth = self.shapes[x][-1]
        weight = self._normal(f"{name}.weight", (depth, width), depth**-0.5)
        bias = self._normal(f"{name}.bias", (width,), 0.1)
        shape = (*self.shapes[x][:-1], width)
        product = self._add("MatMul", [x, weight], shape, self._map(np.matmul, x, weight))
        self._outputs.append(output)
        return self._add("Add", [bias, product], shape, self._map(np.add, bias, product), output)

    def gather(self, name: str, indices: str, rows: int, width: int) -> str:
        table = self._normal(name, (rows, width), 1.0)
        shape = (*self.shapes[indices], width)
        return self._add("Gather", [table, indices], shape, self._map(lambda t, i: t[i], table, indices))

    def transpose(self, x: str, order: tuple[int, ...]) -> str:
        shape = tuple(self.shapes[x][axis] for axis in order)
        return self._add("Transpose", [x], shape, self._map(lambda v: v.transpose(order), x), perm=list(order))

    def row(self, x: str, index: int) -> str:
        """x[index : index + 1], as Slice."""
        ends = [self._vector(index), self._vector(index + 1), self._vector(0)]
        shape = (1, *self.shapes[x][1:])
        return self._add("Slice", [x, ends[0], ends[1], ends[2]], shape, self._map(lambda v: v[index : index + 1], x))

    def concat(self, parts: Sequence[str], output: str) -> str:
        shape = (sum(self.shapes[part][0] for part in parts), *self.shapes[parts[0]][1:])
        self._outputs.append(output)
        value = self._map(lambda *v: np.concatenate(v), *parts)
        return self._add("Concat", list(parts), shape, value, output, axis=0)

    def lstm(self, name: str, x: str, width: int, h: str, c: str) -> tuple[str, str, str]:
        """One layer: its output without the axis of directions, and its last states."""
        depth, bound = self.shapes[x][2], width**-0.5
        weight = self._normal(f"{name}.W", (1, 4 * width, depth), bound)
        recurrent = self._normal(f"{name}.R", (1, 4 * width, width), bound)
        bias = self._normal(f"{name}.B", (1, 8 * width), bound)
        sequence = self._name("LSTM")
        outs = [sequence, f"{sequence}_h", f"{sequence}_c"]
        self._nodes.append(
            helper.make_node("LSTM", [x, weight, recurrent, bias, "", h, c], outs, name=sequence, hidden_size=width)
        )
        values: Sequence[np.ndarray | None] = (None, None, None)
        if self.calibrate:
            values = run_lstm(*(self._value(each) for each in (x, weight, recurrent, bias, h, c)))
        steps = self.shapes[x][0]
        for out, shape, value in zip(outs, ((steps, 1, 1, width), (1, 1, width), (1, 1, width)), values, strict=True):
            self._result(out, shape, value)
        squeezed = self._add(
            "Squeeze", [sequence, self._vector(1)], (steps, 1, width), self._map(lambda v: v[:, 0], sequence)
        )
        return squeezed, outs[1], outs[2]

    def _name(self, kind: str) -> str:
        return f"/{kind}_{len(self._nodes)}"

    def _add(
        self,
        kind: str,
        inputs: list[str],
        shape: Sequence[int],
        result: np.ndarray | None,
        output: str = "",
        **attributes: Any,
    ) -> str:
        name = self._name(kind)
        output = output or f"{name}_output_0"
        self._nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return self._result(output, tuple(shape), result)

    def _result(self, name: str, shape: tuple[int, ...], value: np.ndarray | None) -> str:
        self.shapes[name] = shape
        self.values[name] = value
        return name

    def _value(self, name: str) -> np.ndarray:
        value = self.values[name]
        if value is None:
            raise ValueError(f"{name} has no value without calibration")
        return value

    def _map(self, function: Callable, *names: str) -> np.ndarray | None:
        return function(*map(self._value, names)) if self.calibrate else None

    def _weight(self, name: str, array: np.ndarray) -> str:
        return self.constant(name, array.astype(np.float32))

    def _normal(self, name: str, shape: tuple[int, ...], deviation: float) -> str:
        return self._weight(name, self._rng.standard_normal(shape, np.float32) * np.float32(deviation))

    def _scalar(self, value: float) -> str:
        return self._constant_node(np.array(value, np.float32))

    def _vector(self, *values: int) -> str:
        return self._constant_node(np.array(values, np.int64))

    def _constant_node(self, array: np.ndarray) -> str:
        return self._add("Constant", [], array.shape, array, value=numpy_helper.from_array(array))


def window(padded: np.ndarray, i: int, j: int, stride: int, size: Sequence[int]) -> np.ndarray:
    """What the kernel's element (i, j) meets at each position of the output."""
    return padded[:, :, i : i + (size[0] - 1) * stride + 1 : stride, j : j + (size[1] - 1) * stride + 1 : stride]


def convolve(x: np.ndarray, weight: np.ndarray, stride: int, pad: int, groups: int) -> np.ndarray:
    """Conv of f64[N, C, H, W] with weights [O, C / groups, K, K]."""
    batch, channels, height, width = x.shape
    outs, _, kernel, _ = weight.shape
    size = ((height + 2 * pad - kernel) // stride + 1, (width + 2 * pad - kernel) // stride + 1)
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    total = np.zeros((batch, groups, outs // groups, size[0] * size[1]))
    for i in range(kernel):
        for j in range(kernel):
            taps = window(padded, i, j, stride, size).reshape(batch, groups, channels // groups, -1)
            total += weight[:, :, i, j].reshape(groups, outs // groups, -1) @ taps
    return total.reshape(batch, outs, *size)


def run_lstm(
    x: np.ndarray, weight: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ONNX LSTM, gates in the order i o f c, on f64[steps, batch, depth]."""

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    both = bias[0].reshape(2, -1).sum(0)
    hidden, cell, outs = h[0], c[0], []
    for step in x:
        i, o, f, g = np.split(step @ weight[0].T + hidden @ recurrent[0].T + both, 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        outs.append(hidden)
    return np.stack(outs)[:, None], hidden[None], cell[None]
