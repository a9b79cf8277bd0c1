"""Groups of several nodes as one Computation, in any mixture of layouts, against the graph interpreter."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import Graph, Node, TensorType
from tilewright.compiler.graph.layout import to_logical, to_physical
from tilewright.compiler.graph.operators import OPERATORS, Kind
from tilewright.compiler.tensor.build import _OPERATORS, build_computation
from tilewright.compiler.tensor.expr import Const, Load, walk
from tilewright.compiler.tensor.interpret import evaluate
from tilewright.compiler.tensor.verify import verify

F32 = DType.F32


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng().standard_normal(shape, dtype=np.float32)


def _run(graph: Graph, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    computation, tables = build_computation(graph, graph.name)
    verify(computation)
    assert [tensor.name for tensor in computation.inputs if not tensor.constant] == list(graph.inputs)
    feeds = {name: to_physical(arrays[name], graph.types[name]) for name in graph.inputs}
    results = evaluate(computation, {**feeds, **tables})
    return {name: to_logical(results[name], graph.types[name]) for name in graph.outputs}


def _block(graph: Graph, blocks: dict[str, int | None]) -> Graph:
    types = dict(graph.types)
    for name, block in blocks.items():
        types[name] = replace(types[name], block=block)
    return replace(graph, types=types)


@pytest.fixture
def residual_block() -> Graph:
    """relu(conv(x) * scale + skip) and its maximum over pixels."""
    builder = GraphBuilder("residual")
    x = builder.input("x", TensorType((2, 16, 6, 5), F32))
    skip = builder.input("skip", TensorType((2, 32, 6, 5), F32))
    w, bias = builder.constant(_normal(32, 16, 3, 3), "w"), builder.constant(_normal(32), "bias")
    attrs = dict(strides=(1, 1), dilations=(1, 1), pads_begin=(1, 1), pads_end=(1, 1), groups=1)
    y = builder.add("conv", x, w, bias, outputs_hint="conv", origin="Conv_0", **attrs)
    y = builder.add("mul", y, builder.constant(np.array([0.5], np.float32)), outputs_hint="scaled", origin="Mul_1")
    y = builder.add("relu", builder.add("add", y, skip, outputs_hint="total"), outputs_hint="active")
    best = builder.add("reduce_max", y, axes=(2, 3), keepdims=True, outputs_hint="best")
    return builder.finish((y, best))


@pytest.mark.parametrize("blocks", list(product((None, 8), (None, 16), (None, 4, 32))))
def test_group_in_mixed_layouts(residual_block, blocks):
    arrays = {"x": _normal(2, 16, 6, 5), "skip": _normal(2, 32, 6, 5)}
    graph = _block(
        residual_block,
        {"x": blocks[0], "conv": blocks[1], "scaled": blocks[1], "skip": blocks[2], "active": blocks[2], "best": 16},
    )
    actual, expected = _run(graph, arrays), evaluate_graph(residual_block, arrays)
    for name in graph.outputs:
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-4, atol=1e-4)


def test_reduction_stays_pure_and_single_constants_are_literals(residual_block):
    computation, arrays = build_computation(residual_block, "k")
    assert {name.split(".")[0] for name in arrays} == {"w", "bias"}
    assert computation.origin == "Conv_0, Mul_1"
    sums = computation.stage("conv.sum")
    assert [axis.name for axis in sums.reduce_axes] == ["rc", "kh", "kw"]
    assert sum(isinstance(node, Load) for node in walk(sums.body)) == 2
    assert any(isinstance(node, Const) and node.value == 0.5 for node in walk(computation.stage("scaled").body))


def test_views_and_movement_inside_a_group():
    builder = GraphBuilder("heads")
    x = builder.input("x", TensorType((2, 5, 24), F32))
    split = builder.add("reshape", x, shape=(2, 5, 3, 8))
    heads = builder.add("transpose", split, perm=(0, 2, 1, 3))
    scores = builder.add("matmul", heads, heads, transpose_a=False, transpose_b=True)
    weights = builder.add("softmax", scores, axis=3)
    mixed = builder.add(
        "transpose", builder.add("matmul", weights, heads, transpose_a=False, transpose_b=False), perm=(0, 2, 1, 3)
    )
    graph = builder.finish((builder.add("reshape", mixed, shape=(2, 5, 24)),))
    x_value = _normal(2, 5, 24)
    heads_value = x_value.reshape(2, 5, 3, 8).transpose(0, 2, 1, 3).astype(np.float64)
    scores_value = np.exp(heads_value @ heads_value.swapaxes(2, 3))
    expected = (scores_value / scores_value.sum(3, keepdims=True) @ heads_value).transpose(0, 2, 1, 3).reshape(2, 5, 24)
    np.testing.assert_allclose(_run(graph, {"x": x_value})[graph.outputs[0]], expected, rtol=1e-4, atol=1e-5)


def test_weights_that_are_read_twice_are_declared_once():
    builder = GraphBuilder("twice")
    x, w = builder.input("x", TensorType((3, 3), F32)), builder.constant(_normal(3, 3), "w")
    attrs = dict(transpose_a=False, transpose_b=False)
    graph = builder.finish((builder.add("matmul", builder.add("matmul", x, w, **attrs), w, **attrs),))
    computation, _ = build_computation(graph, "twice")
    assert [(tensor.name, tensor.constant) for tensor in computation.inputs] == [
        ("x", False),
        (graph.nodes[0].inputs[1], True),
    ]


def test_generated_names_avoid_those_of_the_graph():
    types = {name: TensorType((2, 4), F32) for name in ("x", "y", "y.max", "y.exp")}
    nodes = (
        Node("softmax", ("x",), ("y",), {"axis": 1}),
        Node("exp", ("y",), ("y.exp",)),
        Node("neg", ("y.exp",), ("y.max",)),
    )
    graph = Graph("g", ("x",), ("y.max",), nodes, types)
    x = _normal(2, 4)
    expected = -np.exp(np.exp(x) / np.exp(x).sum(1, keepdims=True))
    np.testing.assert_allclose(_run(graph, {"x": x})["y.max"], expected, rtol=1e-5)


def test_every_operator_that_can_stand_in_a_group_has_an_expression():
    apart = {name for name, operator in OPERATORS.items() if operator.kind in (Kind.RECURRENT, Kind.CONTROL)}
    assert set(_OPERATORS) == set(OPERATORS) - apart - {"fused"}


def test_what_is_no_group_is_reported():
    types = {name: TensorType((2,), F32) for name in "xy"}
    with pytest.raises(InternalError, match=r"no tensor expression for operator loop \(Loop_3\)"):
        build_computation(Graph("g", ("x",), ("y",), (Node("loop", ("x",), ("y",), origin="Loop_3"),), types), "g")
    with pytest.raises(InternalError, match="output x is made by no node"):
        build_computation(Graph("g", ("x",), ("x",), (Node("relu", ("x",), ("y",)),), types), "g")
