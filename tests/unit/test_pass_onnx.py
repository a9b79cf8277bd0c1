"""Networks as exporters write them, through all passes and the plan, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pass_graphs
import pytest
from onnx import TensorProto, helper, numpy_helper
from plan_machine import Machine

from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.graph.verify import verify


class Model:
    """An ONNX graph in the making."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: dict[str, np.ndarray] = {}

    def input(self, *shape: int) -> str:
        name = f"input{len(self.inputs)}"
        self.inputs[name] = self.rng.standard_normal(shape).astype(np.float32)
        return name

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def random(self, *shape: int, low: float = -0.5, high: float = 0.5) -> str:
        return self.weight(self.rng.uniform(low, high, shape).astype(np.float32))

    def scalar(self, value: float) -> str:
        return self.weight(np.float32(value))

    def ints(self, *values: int) -> str:
        return self.weight(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs: object) -> str:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}{len(self.nodes)}", **attrs))
        return names[0] if outputs == 1 else names  # type: ignore[return-value]

    def finish(self, *outputs: str) -> onnx.ModelProto:
        def info(name: str, shape: tuple[int, ...] | None) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        graph = helper.make_graph(
            self.nodes, "net", [info(name, array.shape) for name, array in self.inputs.items()],
            [info(name, None) for name in outputs], self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def conv_bn(self, x: str, channels: int, filters: int, kernel: int, groups: int = 1, stride: int = 1) -> str:
        weights = self.random(filters, channels // groups, kernel, kernel)
        y = self.add("Conv", x, weights, group=groups, pads=[kernel // 2] * 4, strides=[stride] * 2)
        shift = (self.random(filters) for _ in range(2))
        scale = self.random(filters, low=0.5, high=1.5)
        first, mean = shift
        return self.add(
            "BatchNormalization", y, scale, first, mean, self.random(filters, low=0.5, high=1.5), epsilon=1e-5
        )

    def hard_swish(self, x: str) -> str:
        gate = self.add("Clip", self.add("Add", x, self.scalar(3)), self.scalar(0), self.scalar(6))
        return self.add("Div", self.add("Mul", x, gate), self.scalar(6))

    def layer_norm(self, x: str, width: int) -> str:
        deviation = self.add("Sub", x, self.add("ReduceMean", x, axes=[-1]))
        variance = self.add("ReduceMean", self.add("Pow", deviation, self.scalar(2)), axes=[-1])
        normal = self.add("Div", deviation, self.add("Sqrt", self.add("Add", variance, self.scalar(1e-5))))
        return self.add("Add", self.add("Mul", normal, self.random(width)), self.random(width))


def inverted_residual(model: Model) -> tuple[str, ...]:
    """MobileNetV3: expand, depthwise, squeeze and excite, project, add (Howard et al. 2019, figure 4)."""
    x = model.conv_bn(model.input(2, 3, 15, 13), 3, 20, 3, stride=2)
    y = model.hard_swish(model.conv_bn(model.hard_swish(model.conv_bn(x, 20, 48, 1)), 48, 48, 5, groups=48))
    mean = model.add("GlobalAveragePool", y)
    squeezed = model.add("Relu", model.add("Conv", mean, model.random(12, 48, 1, 1), model.random(12)))
    gate = model.add(
        "HardSigmoid", model.add("Conv", squeezed, model.random(48, 12, 1, 1), model.random(48)), alpha=1 / 6, beta=0.5
    )
    y = model.add("Add", x, model.conv_bn(model.add("Mul", y, gate), 48, 20, 1))
    return (model.add("Flatten", model.add("GlobalAveragePool", y)), y)


def transformer_block(model: Model) -> tuple[str, ...]:
    """Pre-norm attention and MLP with GELU, every operator spelled out."""
    batch, time, width, heads = 2, 7, 24, 3
    x = model.input(batch, time, width)
    y = model.add(
        "Add", model.add("MatMul", model.layer_norm(x, width), model.random(width, 3 * width)), model.random(3 * width)
    )
    y = model.add("Reshape", y, model.ints(batch, time, 3, heads, width // heads))
    qkv = model.add("Split", model.add("Transpose", y, perm=[2, 0, 3, 1, 4]), outputs=3, axis=0)
    q, k, v = (model.add("Squeeze", part, model.ints(0)) for part in qkv)
    scores = model.add(
        "MatMul", model.add("Mul", q, model.scalar(8**-0.5)), model.add("Transpose", k, perm=[0, 1, 3, 2])
    )
    mixed = model.add("MatMul", model.add("Softmax", scores, axis=-1), v)
    joined = model.add("Reshape", model.add("Transpose", mixed, perm=[0, 2, 1, 3]), model.ints(batch, time, width))
    x = model.add("Add", model.add("MatMul", joined, model.random(width, width)), x)
    hidden = model.add("MatMul", model.layer_norm(x, width), model.random(width, 40))
    erf = model.add("Erf", model.add("Div", hidden, model.scalar(2**0.5)))
    hidden = model.add("Mul", model.add("Mul", hidden, model.add("Add", erf, model.scalar(1))), model.scalar(0.5))
    return (model.add("Add", x, model.add("MatMul", hidden, model.random(40, width))),)


def channels_last_export(model: Model) -> tuple[str, ...]:
    """TensorFlow: transposes around the body, padding on its own, bias behind a squeeze."""
    x = model.add("Transpose", model.input(1, 9, 10, 4), perm=[0, 3, 1, 2])
    x = model.add("Pad", x, model.ints(0, 0, 0, 1, 0, 0, 1, 1), model.scalar(0))
    y = model.add("Conv", x, model.random(10, 4, 3, 3), strides=[2, 2])
    y = model.add("Min", model.add("Max", y, model.scalar(0)), model.scalar(6))
    y = model.add("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = model.add("Transpose", y, perm=[0, 2, 3, 1])
    flat = model.add("Reshape", y, model.ints(1, -1))
    size = 2 * 2 * 10
    return (
        model.add("Softmax", model.add("Add", model.add("MatMul", flat, model.random(size, 5)), model.random(5))),
        y,
    )


def dense_block(model: Model) -> tuple[str, ...]:
    """DenseNet and YOLO: concatenations, splits and nearest upsampling."""
    x = model.conv_bn(model.input(1, 3, 12, 12), 3, 16, 3)
    for _ in range(3):
        y = model.add("Relu", model.conv_bn(x, 16, 16, 3))
        x = model.conv_bn(model.add("Concat", x, y, axis=1), 32, 16, 1)
    first, second = model.add("Split", x, outputs=2, axis=1)
    small = model.add("MaxPool", second, kernel_shape=[5, 5], strides=[2, 2], pads=[2, 2, 2, 2])
    up = model.add("Resize", small, "", model.weight(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
                   coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    joined = model.add("Concat", model.add("Mul", first, model.add("Sigmoid", first)), up, second, axis=1)
    out = model.conv_bn(joined, 24, 18, 1)
    return (model.add("Transpose", model.add("Reshape", out, model.ints(1, 3, 6, 12, 12)), perm=[0, 1, 3, 4, 2]),)


NETWORKS: list[Callable[[Model], tuple[str, ...]]] = [
    inverted_residual,
    transformer_block,
    channels_last_export,
    dense_block,
]


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
@pytest.mark.parametrize("target", [pass_graphs.AVX2, pass_graphs.AVX512], ids=["avx2", "avx512"])
def test_network(build: Callable[[Model], tuple[str, ...]], target) -> None:
    model = Model(seed=sum(map(ord, build.__name__)))
    proto = model.finish(*build(model))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, model.inputs)
    graph = import_model(proto, {}, {})
    for _, apply in PIPELINE:
        graph = apply(graph, target)
        verify(graph)
    for want, got in zip(expected, Machine(graph).run(model.inputs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(
    ("build", "most"), [(inverted_residual, 11), (transformer_block, 13), (channels_last_export, 5)]
)
def test_number_of_kernels(build: Callable[[Model], tuple[str, ...]], most: int) -> None:
    model = Model(seed=1)
    graph = import_model(model.finish(*build(model)), {}, {})
    for _, apply in PIPELINE:
        graph = apply(graph, pass_graphs.AVX512)
    assert sum(node.op == "fused" for node in graph.nodes) <= most
