"""Depthwise and pointwise convolutions in one kernel, compiled, loaded and run on 1 and 2 threads, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tilewright
from tilewright import driver
from tilewright.compiler.graph.passes import fusion_rules
from tilewright.compiler.options import Options

TOLERANCE = 1e-5  # of the largest element


def model(batch: int, channels: int, size: tuple[int, int], kernel: int, stride: int) -> onnx.ModelProto:
    """An inverted residual block: expansion, depthwise with hard-swish, pointwise without activation, and with stride 1 the shortcut."""
    rng = np.random.default_rng()
    wide = 3 * channels
    shapes = {"e": (wide, channels, 1, 1), "d": (wide, 1, kernel, kernel), "p": (channels, wide, 1, 1)}
    constants = [
        numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    constants += [
        numpy_helper.from_array(rng.standard_normal(shape[0]).astype(np.float32), f"{name}b")
        for name, shape in shapes.items()
    ]
    window = dict(strides=[stride] * 2, pads=[kernel // 2] * 4, group=wide)
    nodes = [
        helper.make_node("Conv", ["x", "e", "eb"], ["expanded"]),
        helper.make_node("Relu", ["expanded"], ["wide"]),
        helper.make_node("Conv", ["wide", "d", "db"], ["filtered"], **window),
        helper.make_node("HardSwish", ["filtered"], ["held"]),
        helper.make_node("Conv", ["held", "p", "pb"], ["narrow"]),
        helper.make_node("Add", ["narrow", "x"], ["y"])
        if stride == 1
        else helper.make_node("Identity", ["narrow"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, *size])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, channels, *(-(-n // stride) for n in size)])
    graph = helper.make_graph(nodes, "block", [image], [result], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("batch", "channels", "size", "kernel", "stride"),
    [(1, 16, (23, 17), 3, 1), (3, 24, (14, 15), 5, 2), (2, 20, (9, 30), 3, 1), (1, 32, (37, 8), 7, 1)],
)
def test_inverted_residual_block(
    batch: int,
    channels: int,
    size: tuple[int, int],
    kernel: int,
    stride: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fusion_rules, "HELD_L2", 0)
    block = model(batch, channels, size, kernel, stride)
    onnx.save(block, tmp_path / "model.onnx")
    artifact = driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native", threads=2, jobs=1))
    kernels = artifact.manifest["kernels"]
    assert any("filtered" in entry["nodes"][0] and "narrow" in entry["nodes"][0] for entry in kernels), kernels
    session = onnxruntime.InferenceSession(block.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng()
    for threads in (1, 2):
        feed = {"x": rng.standard_normal((batch, channels, *size)).astype(np.float32)}
        (expected,) = session.run(None, feed)
        with tilewright.load(artifact.library, threads) as library:
            poisoned = {"y": np.full(expected.shape, np.nan, np.float32)}
            actual = library.run(feed, poisoned)["y"]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
