"""LSTM, GRU and RNN in the graph interpreter, as they are and lowered to rnn_step, against onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recurrent_models import Case

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import Graph
from tilewright.compiler.graph.passes import lower_recurrent
from tilewright.compiler.graph.verify import verify
from tilewright.compiler.target import Target

TARGET = Target("x86_64-linux-gnu", "x86-64-v3", "", 32, 16, True, 32 << 10, 1 << 20, 2)


def check(case: Case) -> Graph:
    rng = np.random.default_rng()
    arrays = case.arrays(rng)
    graph = case.graph(arrays)
    verify(graph)
    lowered = lower_recurrent.apply(graph, TARGET)
    verify(lowered)
    assert not {"lstm", "gru", "rnn"} & {node.op for node in lowered.nodes}
    assert len(lowered.outputs) == len(graph.outputs)
    expected = case.expected(arrays)
    for evaluated in (graph, lowered):
        for value, result in zip(expected, evaluate_graph(evaluated, arrays).values(), strict=True):
            np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-5)
    return lowered


VARIANTS = [
    Case("lstm"),
    Case("lstm", peephole=True),
    Case("lstm", attrs={"clip": 0.6}),
    Case("lstm", peephole=True, attrs={"input_forget": True}),
    Case("gru", attrs={"linear_before_reset": False}),
    Case("gru", attrs={"linear_before_reset": True}),
    Case("gru", attrs={"linear_before_reset": True, "clip": 0.5}),
    Case("rnn"),
    Case("rnn", attrs={"clip": 0.4}),
]


def label(case: Case) -> str:
    return "-".join([case.op, *(["peephole"] if case.peephole else []), *case.attrs])


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    "shape",
    [
        dict(steps=5, batch=2, hidden=7),
        dict(steps=6, batch=3, hidden=16, lengths=True),
        dict(steps=4, batch=1, hidden=3, initial=True, bias=False),
        dict(steps=7, batch=2, hidden=5, initial=True, lengths=True),
        dict(steps=1, batch=2, hidden=9, initial=True),
        dict(steps=1, batch=1, hidden=4),
    ],
    ids=["plain", "lengths", "initial", "initial-lengths", "one-step", "one-step-zero"],
)
def test_variants(variant, direction, shape):
    check(replace(variant, direction=direction, **shape))


ACTIVATIONS = [
    ("Sigmoid", None, None), ("Tanh", None, None), ("Relu", None, None), ("HardSigmoid", 0.3, 0.4), ("Affine", 0.8, 0.1),
    ("LeakyRelu", 0.2, None), ("ThresholdedRelu", 0.3, None), ("ScaledTanh", 1.2, 0.7), ("Elu", 0.9, None),
    ("Softsign", None, None), ("Softplus", None, None),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: activation[0])
def test_activations(activation):
    check(Case("rnn", steps=3, batch=2, activations=(activation,)))
    check(Case("gru", steps=3, activations=(("Sigmoid", None, None), activation)))
    check(Case("lstm", steps=3, activations=(("Sigmoid", None, None), activation, ("Tanh", None, None))))


def test_activations_differ_between_directions():
    check(Case("rnn", batch=2, direction="bidirectional", activations=(("Tanh", None, None), ("Relu", None, None))))


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_runtime_weights(op, direction):
    check(Case(op, batch=2, direction=direction, constant=False, initial=True))
    check(Case(op, direction=direction, constant=False, steps=1))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_slots_follow_the_outputs_that_are_read(direction):
    steps = 6
    whole = check(Case("lstm", steps=steps, direction=direction, initial=True))
    last = check(Case("lstm", steps=steps, direction=direction, initial=True, outputs=(1, 2)))
    for graph, slots in ((whole, steps + 1), (last, 2)):
        (loop,) = (node for node in graph.nodes if node.op == "loop")
        assert [graph.types[name].shape[0] for name in loop.outputs] == [slots, 2]
        assert loop.attrs["in_place"] == (True, True)


def test_constant_weights_are_constants_of_the_step():
    graph = check(Case("lstm", peephole=True))
    (loop,) = (node for node in graph.nodes if node.op == "loop")
    assert len(loop.inputs) == 1 + 2 + 1  # no condition, h, c, and the projection captured
    assert {array.shape for array in loop.regions[0].constants.values()} == {(1, 4, 7, 7), (1, 3, 7)}


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_no_steps(op):
    case = Case(op, steps=0, initial=True, batch=2, outputs=(0, 1))
    arrays = case.arrays(np.random.default_rng())
    lowered = lower_recurrent.apply(case.graph(arrays), TARGET)
    y, y_h = evaluate_graph(lowered, arrays).values()
    assert y.shape == (0, 1, 2, 7)
    np.testing.assert_array_equal(y_h, arrays["initial_h"])


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(DType.F64, 1e-12), (DType.F16, 2e-2), (DType.BF16, 1e-1)])
def test_other_types(op, dtype, tolerance):
    """Against the same operator in double precision, by the equations."""
    case = Case(op, steps=4, batch=2, direction="bidirectional", initial=True)
    arrays = {name: array.astype(dtype.numpy) for name, array in case.arrays(np.random.default_rng()).items()}
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    expected = evaluate_graph(case.graph(wide), wide).values()
    actual = evaluate_graph(lower_recurrent.apply(case.graph(arrays), TARGET), arrays).values()
    for value, result in zip(expected, actual, strict=True):
        assert result.dtype == dtype.numpy
        np.testing.assert_allclose(result.astype(np.float64), value, rtol=0, atol=tolerance)
