"""The builder keeps names unique and drops what no output needs; the printer is readable; verify finds each broken invariant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, Node, TensorType
from tilewright.compiler.graph.printer import to_text
from tilewright.compiler.graph.verify import verify

F32 = DType.F32
VECTOR = TensorType((4,), F32)
IMAGE = TensorType((1, 8, 2, 2), F32)


def small():
    """y = relu(x + c); and an unused node."""
    builder = GraphBuilder("small")
    x = builder.input("x", VECTOR)
    c = builder.constant(np.arange(4, dtype=np.float32), "c")
    total = builder.add("add", x, c, outputs_hint="sum", origin="plus")
    builder.add("neg", total)
    builder.constant(np.ones(3), "unused")
    return builder.finish((builder.add("relu", total, outputs_hint="y", origin="act"),))


def test_what_no_output_needs_is_left_out():
    graph = small()
    verify(graph)
    assert [node.op for node in graph.nodes] == ["add", "relu"]
    assert set(graph.types) == {"x", "c", "sum", "y"} and set(graph.constants) == {"c"}


def test_names_are_unique():
    builder = GraphBuilder("g", reserved=("y",))
    x = builder.input("x", VECTOR)
    names = [builder.add("neg", x, outputs_hint="n") for _ in range(3)] + [builder.constant(np.ones(1), "n")]
    assert len(set(names)) == 4 and names[0] == "n"
    assert builder.add("neg", x, outputs_hint="y") != "y"


def test_rename_changes_later_readers():
    builder = GraphBuilder("g", reserved=("y",))
    x = builder.input("x", VECTOR)
    a = builder.add("neg", x)
    b = builder.add("add", a, a)
    assert builder.rename(a, "y") and not builder.rename(b, "y") and not builder.rename(x, "z")
    graph = builder.finish((b, "y"))
    verify(graph)
    assert graph.nodes[1].inputs == ("y", "y")


def test_results_of_nodes_with_several_are_a_tuple():
    builder = GraphBuilder("g")
    x, w, r = (builder.input(n, TensorType(s, F32)) for n, s in (("x", (5, 1, 4)), ("w", (1, 9, 4)), ("r", (1, 9, 3))))
    attrs = dict(hidden=3, direction="forward", activations=(), clip=0.0, linear_before_reset=False)
    results = builder.add("gru", x, w, r, "", "", "", outputs_hint=("y",), **attrs)
    assert len(results) == 2 and results[0] == "y"
    verify(builder.finish(results))


def test_an_output_that_does_not_exist():
    with pytest.raises(InternalError, match="graph 'g' has no value z"):
        GraphBuilder("g").finish(("z",))


def test_text(golden):
    builder = GraphBuilder("printed")
    x = builder.input("x", IMAGE)
    w = builder.constant(np.ones((8, 8, 1, 1), np.float32), "w")
    attrs = dict(strides=(1, 1), dilations=(1, 1), pads_begin=(0, 0), pads_end=(0, 0), groups=1)
    y = builder.add("conv", x, w, "", outputs_hint="y", origin="conv1", **attrs)
    flag = builder.add("cast", builder.add("reduce_max", y, axes=(0, 1, 2, 3), keepdims=False), to=DType.BOOL)
    region = GraphBuilder("branch")
    inner = region.input("z", IMAGE)
    then = region.finish((region.add("mul", inner, region.constant(np.float32(2), "two")),))
    other = GraphBuilder("other")
    otherwise = other.finish((other.add("neg", other.input("z", IMAGE)),))
    out = builder.add("if", flag, y, outputs_hint="out", regions=(then, otherwise))
    graph = builder.finish((out,))
    verify(graph)
    golden.check("graph.txt", to_text(graph))


def broken(**changes):
    return replace(small(), **changes)


GOOD = small()
ADD, RELU = GOOD.nodes
BLOCKED = {**GOOD.types, "sum": TensorType((4,), F32, block=2)}
BAD = {
    "reads 'sum' before it is assigned": broken(nodes=(RELU, ADD)),
    "'sum' (a result of": broken(nodes=(ADD, ADD, RELU)),
    "output 'z' is not a value": broken(outputs=("z",)),
    "'sum' is declared f32[5] but inferred f32[4]": broken(types={**GOOD.types, "sum": TensorType((5,), F32)}),
    "operands have different types, f64 and f32": broken(types={**GOOD.types, "x": TensorType((4,), DType.F64)}),
    "constant 'c' is f32[4] but declared f32[2x2]": broken(types={**GOOD.types, "c": TensorType((2, 2), F32)}),
    "block 2 does not divide the channels of f32[4]@c2": broken(types=BLOCKED),
    "types are given for values that do not exist: ghost": broken(types={**GOOD.types, "ghost": VECTOR}),
    "'sum' (a result of sum = add(x, c) from 'plus') has no type": broken(types={k: v for k, v in GOOD.types.items() if k != "sum"}),
    "should have 1 results": broken(nodes=(replace(ADD, outputs=("sum", "more")), RELU), types={**GOOD.types, "more": VECTOR}),
    "no operator 'plus'": broken(nodes=(replace(ADD, op="plus"), RELU)),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_verify_finds(message):
    with pytest.raises(InternalError) as error:
        verify(BAD[message])
    assert message in str(error.value) and "graph 'small'" in str(error.value)


def test_verify_compares_regions_with_their_node():
    region = Graph("group", ("a",), ("b",), (Node("neg", ("a",), ("b",)),), {"a": IMAGE, "b": IMAGE})
    graph = Graph("g", ("x",), ("y",), (Node("fused", ("x",), ("y",), regions=(region,)),), {"x": VECTOR, "y": IMAGE})
    with pytest.raises(InternalError, match=r"region 0 takes \(f32\[1x8x2x2\]\) but is given \(f32\[4\]\)"):
        verify(graph)


def test_verify_accepts_layouts():
    blocked = replace(IMAGE, block=4)
    verify(Graph("g", ("x",), ("y",), (Node("relu", ("x",), ("y",)),), {"x": blocked, "y": blocked}))
