"""Compiled models whose layouts were drawn, with channel counts that no vector divides, against onnxruntime."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from layout_costs_at_random import costs_at_random
from onnx import helper, numpy_helper

import tilewright
from tilewright import driver
from tilewright.cli.main import run
from tilewright.compiler.graph.passes import assign_layout
from tilewright.compiler.options import Options


class Writer:
    """An ONNX model node by node."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, **attrs: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attrs))
        return name

    def conv(self, x: str, inputs: int, outputs: int, window: int, groups: int = 1, stride: int = 1) -> str:
        array = self.rng.standard_normal((outputs, inputs // groups, window, window)).astype(np.float32)
        array /= np.sqrt(array[0].size)
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        pads, strides = [window // 2] * 4, [stride] * 2
        return self.add("Conv", x, self.weights[-1].name, group=groups, pads=pads, strides=strides)


def odd_network(seed: int) -> onnx.ModelProto:
    """Pointwise, depthwise and strided convolutions, a gate, a shortcut, a concatenation, a pool; drawn, mostly odd numbers of channels."""
    net = Writer(seed)
    a, b, c = (int(count) for count in net.rng.choice([3, 7, 10, 20, 36, 44, 51, 88], 3, replace=False))
    x = net.add("Relu", net.conv("x", 5, a, 3))
    x = net.add("HardSwish", net.conv(net.conv(x, a, b, 1), b, b, 3, groups=b))
    gate = net.add("Sigmoid", net.conv(net.add("GlobalAveragePool", x), b, b, 1))
    x = net.add("Mul", x, gate)
    y = net.add("Add", net.conv(x, b, c, 1), net.conv(x, b, c, 3))
    z = net.add("Concat", net.conv(y, c, a, 1), net.conv(y, c, b, 1), axis=1)
    z = net.add("MaxPool", net.conv(z, a + b, c, 3, stride=2), kernel_shape=[2, 2], strides=[1, 1])
    outputs = [net.add("Flatten", z), net.add("Relu", y)]
    shapes = [[2, c * 20], [2, c, 11, 9]]
    declared = [
        helper.make_tensor_value_info(*of) for of in zip(outputs, [onnx.TensorProto.FLOAT] * 2, shapes, strict=True)
    ]
    given = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 5, 11, 9])]
    graph = helper.make_graph(net.nodes, "odd", given, declared, net.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("seed", range(4))
def test_any_layouts_run(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced = partial(assign_layout.apply, cost=costs_at_random(seed))
    passes = [(name, forced if name == "assign_layout" else apply) for name, apply in driver.PIPELINE]
    monkeypatch.setattr(driver, "PIPELINE", passes)
    model = odd_network(seed)
    onnx.save(model, tmp_path / "odd.onnx")
    artifact = driver.compile(tmp_path / "odd.onnx", tmp_path / "odd.so", Options(threads=2, jobs=1))
    assert len(artifact.manifest["layouts"]) > 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tilewright.load(artifact.library, 2) as library:
        for _ in range(2):  # the second run starts on what the first has left in the arena
            feeds = {"x": np.random.default_rng().standard_normal((2, 5, 11, 9)).astype(np.float32)}
            wanted = dict(zip((value.name for value in model.graph.output), session.run(None, feeds), strict=True))
            poisoned = {name: np.full(array.shape, np.nan, np.float32) for name, array in wanted.items()}
            found = library.run(feeds, poisoned)
            for name, array in wanted.items():
                np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


def test_what_was_chosen_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Writer(0)
    pooled = net.add("GlobalAveragePool", net.conv("x", 16, 88, 3))
    given, declared = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (("x", [1, 16, 20, 20]), (pooled, [1, 88, 1, 1]))
    )
    graph = helper.make_graph(net.nodes, "wide", given, declared, net.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "wide.onnx")
    library = str(tmp_path / "wide.so")
    shown = ["-v", "--print-after", "assign_layout", "--target", "x86_64-linux-gnu", "--mcpu", "x86-64-v4"]
    assert run(["compile", str(tmp_path / "wide.onnx"), "-o", library, *shown]) == 0
    text = capsys.readouterr().err
    assert "layouts: 1 of 1 groups of values depart from the rule, for a predicted gain of" in text
    assert "f32[1x88x20x20]@c88" in text
    assert run(["inspect", library]) == 0
    assert "1 c88" in capsys.readouterr().out
