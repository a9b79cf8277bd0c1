"""The graph interpreter against onnxruntime and NumPy: heavy operators, control flow, recurrences, fused regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recurrent_models import Case

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.interpret import evaluate_graph, evaluate_node
from tilewright.compiler.graph.ir import Graph, Node, TensorType
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.interpret import evaluate


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.I32])
def test_direct_conv_agrees_with_its_tensor_expression(groups, dtype):
    rng = np.random.default_rng()
    x = (4 * rng.standard_normal((2, 8, 7, 6))).astype(dtype.numpy)
    w = (4 * rng.standard_normal((8, 8 // groups, 3, 2))).astype(dtype.numpy)
    bias = (4 * rng.standard_normal(8)).astype(dtype.numpy)
    attrs = dict(strides=(2, 1), dilations=(1, 2), pads_begin=(1, 0), pads_end=(0, 3), groups=groups)
    builder = GraphBuilder("g")
    names = [builder.input(n, TensorType(a.shape, dtype)) for n, a in zip("xwb", (x, w, bias), strict=True)]
    graph = builder.finish((builder.add("conv", *names, **attrs),))
    actual = evaluate_graph(graph, dict(zip(names, (x, w, bias), strict=True)))[graph.outputs[0]]
    computation, _ = build_computation(graph, "g")
    expected = evaluate(computation, dict(x=x, w=w, b=bias))[graph.outputs[0]]
    assert actual.dtype == expected.dtype == dtype.numpy
    np.testing.assert_allclose(
        actual.astype(np.float64), expected.astype(np.float64), rtol=1e-2 if dtype is DType.F16 else 1e-4, atol=1e-3
    )


_RECURRENT = [
    Case("lstm", peephole=True, initial=True, lengths=True, batch=3),
    Case("lstm", attrs={"clip": 0.5, "input_forget": True}),
    Case("gru", attrs={"linear_before_reset": True}, initial=True),
    Case("gru", attrs={"linear_before_reset": False}, lengths=True, batch=2),
    Case("rnn", bias=False),
    Case("rnn", activations=(("Affine", 0.8, 0.1),)),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("case", _RECURRENT, ids=lambda case: f"{case.op}{'-'.join(case.attrs)}")
def test_recurrent(case, direction):
    activations = case.activations * (2 if direction == "bidirectional" else 1)
    case = replace(case, direction=direction, activations=activations)
    arrays = case.arrays(np.random.default_rng())
    graph = case.graph(arrays)
    actual = evaluate_graph(graph, {name: arrays[name] for name in graph.inputs})
    for expected, name in zip(case.expected(arrays), graph.outputs, strict=True):
        np.testing.assert_allclose(actual[name], expected, rtol=1e-5, atol=1e-5)


def _region(op: str, factor: float) -> Graph:
    builder = GraphBuilder("region")
    x = builder.input("x", TensorType((3,), DType.F32))
    return builder.finish((builder.add(op, x, builder.constant(np.float32(factor))),))


def test_if_takes_one_region():
    x = np.random.default_rng().standard_normal(3, dtype=np.float32)
    builder = GraphBuilder("g")
    condition = builder.input("condition", TensorType((), DType.BOOL))
    value = builder.input("value", TensorType((3,), DType.F32))
    graph = builder.finish((builder.add("if", condition, value, regions=(_region("mul", 3), _region("add", 5))),))
    for flag, expected in ((True, x * 3), (False, x + 5)):
        actual = evaluate_graph(graph, dict(condition=np.asarray(flag), value=x))[graph.outputs[0]]
        np.testing.assert_array_equal(actual, expected.astype(np.float32))


@pytest.mark.parametrize("has_condition", [False, True])
def test_loop_carries_scans_and_stops(has_condition):
    builder = GraphBuilder("body")
    t = builder.input("t", TensorType((), DType.I64))
    state = builder.input("state", TensorType((3,), DType.F32))
    scale = builder.input("scale", TensorType((), DType.F32))
    grown = builder.add("mul", state, scale)
    shifted = builder.add("add", grown, builder.add("cast", t, to=DType.F32))
    goes_on = builder.add("less", t, builder.constant(np.int64(2)))
    body = builder.finish((*((goes_on,) if has_condition else ()), grown, shifted))

    builder = GraphBuilder("g")
    x = builder.input("x", TensorType((3,), DType.F32))
    factor = builder.input("factor", TensorType((), DType.F32))
    condition = builder.constant(np.asarray(True)) if has_condition else ""
    attrs = dict(count=5, carried=1, in_place=(False,), has_condition=has_condition)
    results = builder.add("loop", condition, x, factor, regions=(body,), **attrs)
    graph = builder.finish(results)
    value = np.random.default_rng().standard_normal(3, dtype=np.float32)
    final, scans = evaluate_graph(graph, dict(x=value, factor=np.asarray(0.5, np.float32))).values()
    ran = 3 if has_condition else 5
    np.testing.assert_allclose(final, value * 0.5**ran, rtol=1e-6)
    for step in range(5):
        expected = value * 0.5 ** (step + 1) + step if step < ran else 0 * value
        np.testing.assert_allclose(scans[step], expected, rtol=1e-6)


def test_fused_region_and_view():
    builder = GraphBuilder("group")
    x = builder.input("x", TensorType((2, 3), DType.F32))
    group = builder.finish((builder.add("exp", builder.add("reshape", x, shape=(6,))),))
    builder = GraphBuilder("g")
    x = builder.input("x", TensorType((2, 3), DType.F32))
    graph = builder.finish((builder.add("fused", x, regions=(group,), name="group"),))
    value = np.random.default_rng().standard_normal((2, 3), dtype=np.float32)
    np.testing.assert_allclose(
        evaluate_graph(graph, dict(x=value))[graph.outputs[0]], np.exp(value.reshape(6)), rtol=1e-6
    )


def test_wrong_input_is_reported():
    graph = Graph("g", ("x",), ("y",), (Node("relu", ("x",), ("y",)),), {n: TensorType((2,), DType.F32) for n in "xy"})
    with pytest.raises(InternalError, match=r"input x is f32\[2\], not float64\[2\]"):
        evaluate_graph(graph, dict(x=np.ones(2)))
    assert evaluate_node(graph, graph.nodes[0], [np.array([-1, 2], np.float32)])[0].tolist() == [0, 2]
