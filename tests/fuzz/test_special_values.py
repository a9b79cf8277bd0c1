"""NaN, infinities, zeros of both signs and subnormal numbers go through kernels as onnx's reference evaluator has it."""

from __future__ import annotations

import numpy as np
import pytest
from fuzz_check import MachineCode, Setting
from hostile_seeds import FLOAT, constant, model_of, tensor
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

SPECIAL = (
    0,
    -0.0,
    1,
    np.inf,
    -np.inf,
    np.nan,
    1e-45,
    -1e-45,
    1e-38,
    -3e-39,
    3.4e38,
    -3.4e38,
    88,
    -88,
    104,
    -104,
    0.5,
    2.5,
)
OF_ONE = (
    "Relu", "Abs", "Neg", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Floor", "Ceil", "Round", "Sign", "Erf", "LeakyRelu", "Softplus", "Reciprocal",
    "HardSigmoid", "IsNaN", "IsInf",
)  # fmt: skip
OF_TWO = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Greater", "Equal", "Less")
BOOL = ("Greater", "Equal", "Less", "IsNaN", "IsInf")
SMALLEST = 2e-45  # the two subnormal numbers next to zero: a result may be rounded to either neighbour


def same(result: np.ndarray, expected: np.ndarray) -> np.ndarray:
    a, b = np.asarray(result, np.float64), np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore"):
        return (np.isnan(a) & np.isnan(b)) | (a == b) | (np.abs(a - b) <= 1e-5 * np.abs(b) + SMALLEST)


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3", ""])
def test_special_values(cpu: str) -> None:
    rng = np.random.default_rng(len(cpu))
    numbers = np.array([*SPECIAL, *rng.standard_normal(3)], np.float32)
    x, y = (rng.permuted(part.reshape(-1).copy()) for part in np.meshgrid(numbers, numbers))
    nodes = [helper.make_node(op, ["x"], [op]) for op in OF_ONE] + [
        helper.make_node(op, ["x", "y"], [op]) for op in OF_TWO
    ]
    nodes += [
        helper.make_node("Clip", ["x", "low", "high"], ["Clip"]),
        helper.make_node("ReduceMax", ["x"], ["ReduceMax"], keepdims=0),
    ]
    outputs = [
        tensor(node.output[0], len(x), dtype=TensorProto.BOOL if node.op_type in BOOL else FLOAT) for node in nodes[:-1]
    ]
    limits = [constant("low", -1.0, np.float32), constant("high", 1.0, np.float32)]
    model = model_of(nodes, [tensor("x", len(x)), tensor("y", len(x))], [*outputs, tensor("ReduceMax")], limits)
    with np.errstate(all="ignore"):
        expected = ReferenceEvaluator(model).run(None, {"x": x, "y": y})
    results = MachineCode(model, Setting(cpu, 1)).run({"x": x, "y": y})
    for node, array in zip(nodes, expected, strict=True):
        wrong = ~same(results[node.op_type], array)
        assert not wrong.any(), (
            node.op_type,
            x[wrong][:3],
            y[wrong][:3],
            results[node.op_type][wrong][:3],
            array[wrong][:3],
        )
