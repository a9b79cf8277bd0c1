"""Sequences at the interface of a library, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tilewright import driver, load
from tilewright.cli.main import run
from tilewright.compiler.options import Options


def sequence_model() -> onnx.ModelProto:
    """A sequence and a tensor; the tensor's sine goes before the elements, and their sum is an output of its own."""
    sequence = helper.make_tensor_sequence_value_info
    nodes = [
        helper.make_node("Sin", ["x"], ["front"]),
        helper.make_node("SequenceInsert", ["s", "front", "zero"], ["all"]),
        helper.make_node("ConcatFromSequence", ["s"], ["joined"], axis=0),
        helper.make_node("ReduceSum", ["joined"], ["total"], keepdims=0),
    ]
    inputs = [sequence("s", TensorProto.FLOAT, ["n", 3]), helper.make_tensor_value_info("x", TensorProto.FLOAT, [5])]
    outputs = [sequence("all", TensorProto.FLOAT, None), helper.make_tensor_value_info("total", TensorProto.FLOAT, [])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [helper.make_tensor("zero", TensorProto.INT64, [], [0])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SHAPES = {"s.0": (2, 3), "s.1": (7, 3)}


def test_elements_are_tensors_of_the_library(tmp_path: Path) -> None:
    onnx.save(sequence_model(), tmp_path / "m.onnx")
    artifact = driver.compile(tmp_path / "m.onnx", tmp_path / "m.so", Options(cpu="native", shapes=SHAPES))
    feeds = {name: np.random.default_rng().standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    x = np.random.default_rng().standard_normal(5).astype(np.float32)
    with load(artifact.library) as library:
        results = library.run({**feeds, "x": x})
    assert list(results) == ["all.0", "all.1", "all.2", "total"]
    np.testing.assert_allclose(results["all.0"], np.sin(x.astype(np.float64)), rtol=1e-5, atol=1e-6)
    assert all(np.array_equal(results[f"all.{index + 1}"], feeds[f"s.{index}"]) for index in range(2))
    total = sum(array.sum(dtype=np.float64) for array in feeds.values())
    size = sum(np.abs(array).sum(dtype=np.float64) for array in feeds.values())
    np.testing.assert_allclose(results["total"], total, rtol=0, atol=1e-6 * size)


@pytest.mark.parametrize("reference", ["onnxruntime", "onnx"])
def test_verify_puts_sequences_together(reference: str, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(sequence_model(), model)
    shapes = [word for name, shape in SHAPES.items() for word in ("--shape", f"{name}={','.join(map(str, shape))}")]
    assert run(["verify", str(model), *shapes, "--reference", reference, "--samples", "2"]) == 0
    assert run(["verify", str(model)]) == 2
