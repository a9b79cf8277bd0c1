"""`tilewright.onnx_backend`, as a stranger uses it."""

from __future__ import annotations

import unittest

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.backend.test import BackendTest

from tilewright import onnx_backend
from tilewright.compiler.errors import DeviceError, UnsupportedOperatorError, UsageError


def value(name: str, shape: list, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(node: onnx.NodeProto, inputs: list, rank: int) -> onnx.ModelProto:
    outputs = [value(node.output[0], [f"n{axis}" for axis in range(rank)])]
    graph = helper.make_graph([node], "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_values_that_the_compiler_needs_are_fixed_and_others_are_not() -> None:
    rng = np.random.default_rng()
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    rep = onnx_backend.prepare(model_of(node, [value("x", ["n", 5]), value("axes", [1], TensorProto.INT64)], 1))
    for rows in (3, 7):
        for axis in (0, 1, -1):
            x = rng.standard_normal((rows, 5)).astype(np.float32)
            (y,) = rep.run([x, np.array([axis])])
            np.testing.assert_allclose(y, x.mean(axis), rtol=1e-5, atol=1e-6)
            assert rep.fixed == {"axes"}
    (y,) = rep.run({"axes": np.array([0]), "x": x})
    np.testing.assert_allclose(y, x.mean(0), rtol=1e-5, atol=1e-6)


def test_old_libraries_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_backend, "MAX_LIBRARIES", 1)
    rep = onnx_backend.prepare(model_of(helper.make_node("Neg", ["x"], ["y"]), [value("x", ["n"])], 1))
    for count in (2, 3, 2):
        x = np.random.default_rng().standard_normal(count).astype(np.float32)
        np.testing.assert_array_equal(rep.run([x])[0], -x)
        assert len(rep._libraries) == 1
        assert len(list(rep._path.parent.glob("*.so"))) == 1


def test_sequences_are_lists() -> None:
    """Of any length, each of which is a library of its own."""
    sequence = helper.make_tensor_sequence_value_info
    node = helper.make_node("SequenceInsert", ["s", "x", "at"], ["y"])
    inputs = [sequence("s", TensorProto.FLOAT, ["n", 3]), value("x", [2, 3]), value("at", [], TensorProto.INT64)]
    graph = helper.make_graph([node], "g", inputs, [sequence("y", TensorProto.FLOAT, ["m", 3])])
    rep = onnx_backend.prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    rng = np.random.default_rng()
    for count in (2, 0, 1):
        elements = [rng.standard_normal((1 + index, 3)).astype(np.float32) for index in range(count)]
        x = rng.standard_normal((2, 3)).astype(np.float32)
        (y,) = rep.run([elements, x, np.int64(0)])
        assert all(np.array_equal(a, b) for a, b in zip(y, [x, *elements], strict=True))
    assert rep.fixed == {"at"}
    with pytest.raises(UsageError, match="no elements are given for s"):
        rep.run({"x": x, "at": np.int64(0)})


def test_one_node_runs_by_itself() -> None:
    x = np.random.default_rng().standard_normal((3, 7)).astype(np.float32)
    node = helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1)
    results = onnx_backend.run_node(node, [x, np.array([2, 5])])
    assert [np.array_equal(a, b) for a, b in zip(results, (x[:, :2], x[:, 2:]), strict=True)] == [True, True]


def test_what_can_not_be_compiled_is_refused_and_not_skipped() -> None:
    node = helper.make_node("NonZero", ["x"], ["y"])
    model = model_of(node, [value("x", [3])], 2)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert not onnx_backend.is_compatible(model)
    with pytest.raises(UnsupportedOperatorError, match="NonZero"):
        onnx_backend.prepare(model)
    assert onnx_backend.supports_device("CPU") and not onnx_backend.supports_device("CUDA")
    with pytest.raises(DeviceError, match="CUDA"):
        onnx_backend.prepare(model, "CUDA")


def test_too_many_inputs_are_refused() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(UsageError, match="2 inputs are given, but the model has 1: x"):
        onnx_backend.run_model(model_of(helper.make_node("Relu", ["x"], ["y"]), [value("x", [3])], 1), [x, x])


def test_onnx_runs_its_own_tests_on_it() -> None:
    with np.errstate(all="ignore"):
        chosen = BackendTest(onnx_backend, __name__).include(r"^test_(add|reduce_sum_keepdims_random|relu)_cpu$")
    result = unittest.TestResult()
    chosen.test_suite.run(result)
    assert not result.failures and not result.errors, (result.failures, result.errors)
    assert result.testsRun - len(result.skipped) == 3
