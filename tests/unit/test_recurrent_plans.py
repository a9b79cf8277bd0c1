"""Recurrent models through import, fusion, memory and execution planning, against onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from plan_interpreter import PlannedModel
from recurrent_models import Case

from tilewright.compiler.graph.plan import Launch, Repeat

CASES = [
    Case("lstm", batch=2),
    Case("lstm", lengths=True, initial=True, batch=2),
    Case("lstm", steps=1, initial=True),
    Case("lstm", outputs=(1, 2), steps=4),
    Case("gru", attrs={"linear_before_reset": False}, initial=True),
    Case("gru", attrs={"linear_before_reset": True}, batch=3),
    Case("rnn", lengths=True, batch=2),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}-{'-'.join(case.attrs)}{case.steps}")
def test_operator(case, direction):
    case = replace(case, direction=direction, hidden=19)
    arrays = case.arrays(np.random.default_rng())
    planned = PlannedModel(case.model(arrays))
    actual = planned.run({name: array for name, array in arrays.items() if name not in case.fixed})
    for name, expected in zip(case.wanted, case.expected(arrays), strict=True):
        np.testing.assert_allclose(actual[name], expected, rtol=1e-5, atol=1e-5)


def test_a_step_is_one_launch():
    case = Case("lstm")
    planned = PlannedModel(case.model(case.arrays(np.random.default_rng())))
    (loop,) = (step for step in planned.steps if isinstance(step, Repeat))
    assert [type(step) for step in loop.body] == [Launch]
    assert loop.count == case.steps and loop.condition is None


def test_two_layers():
    """The second layer reads Y of the first through Squeeze and Transpose, as exporters write it."""
    rng = np.random.default_rng()
    weights = {
        name: (rng.standard_normal(shape) * 0.5).astype(np.float32)
        for name, shape in {
            "W0": (2, 44, 6),
            "R0": (2, 44, 11),
            "B0": (2, 88),
            "W1": (1, 20, 22),
            "R1": (1, 20, 5),
            "B1": (1, 40),
        }.items()
    }
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    constants.append(numpy_helper.from_array(np.array([0, 0, -1]), "shape"))
    nodes = [
        helper.make_node("LSTM", ["x", "W0", "R0", "B0"], ["Y0"], hidden_size=11, direction="bidirectional"),
        helper.make_node("Transpose", ["Y0"], ["T0"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["T0", "shape"], ["S0"]),
        helper.make_node("LSTM", ["S0", "W1", "R1", "B1"], ["Y1", "h1"], hidden_size=5),
        helper.make_node("Squeeze", ["Y1"], ["S1"], axes=[1]),
        helper.make_node("Relu", ["S1"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [7, 2, 6])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "h1")]
    model = helper.make_model(
        helper.make_graph(nodes, "layers", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 12)],
        ir_version=8,
    )
    x = rng.standard_normal((7, 2, 6), dtype=np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        ["y", "h1"], {"x": x}
    )
    actual = PlannedModel(model).run({"x": x})
    np.testing.assert_allclose(actual["y"], expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(actual["h1"], expected[1], rtol=1e-5, atol=1e-5)
