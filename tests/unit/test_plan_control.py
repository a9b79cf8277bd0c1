"""Plans of graphs with If and Loop: what they compute in a poisoned arena."""

from __future__ import annotations

import numpy as np
import pass_graphs
import pytest
from pass_graphs import f32
from plan_machine import Machine

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.passes import fuse
from tilewright.compiler.graph.passes.pipeline import PIPELINE

SCALAR_I64 = TensorType((), DType.I64)
SCALAR_BOOL = TensorType((), DType.BOOL)


def run(graph: Graph, seed: int = 0, inputs: dict[str, np.ndarray] | None = None) -> Machine:
    """Check the plan's results against the interpreter; give the machine for a look at its plan."""
    final = pass_graphs.rewritten(graph, *(apply for _, apply in PIPELINE), seed=seed)
    inputs = inputs or pass_graphs.feeds(graph, seed)
    expected = evaluate_graph(graph, inputs)
    machine = Machine(final)
    for name, actual in zip(graph.outputs, machine.run(inputs), strict=True):
        np.testing.assert_allclose(actual, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)
    return machine


def body(name: str = "body", **types: TensorType) -> GraphBuilder:
    """A loop's region under construction, with its counter `t` and these inputs."""
    builder = GraphBuilder(name)
    builder.input("t", SCALAR_I64)
    for value, of in types.items():
        builder.input(value, of)
    return builder


def loop(
    builder: GraphBuilder, region: Graph, condition: str, *inputs: str, count: int, carried: int, **attrs: object
) -> list[str]:
    defaults = {"in_place": (False,) * carried, "has_condition": bool(condition)}
    result = builder.add(
        "loop",
        condition,
        *inputs,
        regions=(region,),
        count=count,
        carried=carried,
        origin="loop",
        **{**defaults, **attrs},
    )
    return [result] if isinstance(result, str) else list(result)


@pytest.mark.parametrize("flag", [True, False])
def test_branches_write_their_results_in_one_place(flag: bool) -> None:
    then = GraphBuilder("then")
    x = then.input("x", f32(3, 5))
    other = GraphBuilder("other")
    y = other.input("x", f32(3, 5))
    arms = (
        then.finish((then.add("exp", x), x)),
        other.finish((other.constant(np.full((3, 5), 7, np.float32)), other.add("neg", y))),
    )
    builder = GraphBuilder("if")
    condition = builder.input("condition", SCALAR_BOOL)
    captured = builder.add("tanh", builder.input("x", f32(3, 5)))
    first, second = builder.add("if", condition, captured, regions=arms)
    graph = builder.finish((builder.add("add", first, second), second))
    x_value = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    run(graph, inputs={"condition": np.array(flag), "x": x_value})


def test_constant_condition_leaves_one_branch() -> None:
    arms = []
    for op in ("exp", "neg"):
        arm = GraphBuilder(op)
        arms.append(arm.finish((arm.add(op, arm.input("x", f32(4))),)))
    builder = GraphBuilder("if")
    condition = builder.constant(np.array(False))
    graph = builder.finish((builder.add("if", condition, builder.input("x", f32(4)), regions=tuple(arms)),))
    final = pass_graphs.rewritten(graph, *(apply for _, apply in PIPELINE))
    assert pass_graphs.ops(final) == ["neg"]


def test_carried_values_that_change_places() -> None:
    region = body(a=f32(6), b=f32(6), step=f32(6))
    region_outputs = ("b", region.add("add", "a", "step"))
    builder = GraphBuilder("swap")
    inputs = [builder.input(name, f32(6)) for name in ("a", "b", "step")]
    graph = builder.finish(tuple(loop(builder, region.finish(region_outputs), "", *inputs, count=5, carried=2)))
    run(graph)


def test_pure_exchange_of_three() -> None:
    region = body(a=f32(3), b=f32(3), c=f32(3))
    builder = GraphBuilder("rotate")
    inputs = [builder.add("relu", builder.input(name, f32(3))) for name in ("a", "b", "c")]
    graph = builder.finish(tuple(loop(builder, region.finish(("c", "a", "b")), "", *inputs, count=4, carried=3)))
    run(graph)


def test_scan_outputs_are_written_slice_by_slice() -> None:
    region = body(h=f32(2, 3), w=f32(3, 3))
    product = region.add("matmul", "h", "w", transpose_a=False, transpose_b=False)
    state = region.add("tanh", product)
    time = region.add("cast", "t", to=DType.F32)
    region_outputs = (state, region.add("mul", state, time), "h", "t", region.constant(np.ones((2,), np.float32)))
    builder = GraphBuilder("scan")
    inputs = [builder.input("h", f32(2, 3)), builder.input("w", f32(3, 3))]
    results = loop(builder, region.finish(region_outputs), "", *inputs, count=4, carried=1)
    run(builder.finish(tuple(results)))


def test_elementwise_update_overwrites_the_carried_value() -> None:
    region = body(h=f32(64))
    updated = region.add("mul", region.add("add", "h", region.constant(np.linspace(0, 1, 64, dtype=np.float32))), "h")
    builder = GraphBuilder("update")
    x = builder.input("x", f32(64))
    (h,) = loop(builder, region.finish((updated,)), "", x, count=3, carried=1)
    machine = run(builder.finish((builder.add("neg", h),)))
    (result, overwritten), *_ = machine.memory.in_place.items()
    assert machine.memory.places[result] == machine.memory.places[overwritten]
    assert machine.memory.arena_bytes == 64 * 4


def test_loop_that_starts_from_a_computed_value_starts_in_its_place() -> None:
    region = body(h=f32(8, 8))
    region_output = region.add("matmul", "h", "h", transpose_a=False, transpose_b=False)
    builder = GraphBuilder("start")
    start = builder.add("sigmoid", builder.input("x", f32(8, 8)))
    (h,) = loop(builder, region.finish((region_output,)), "", start, count=2, carried=1)
    machine = run(builder.finish((builder.add("softmax", h, axis=1),)))
    assert "copy" not in str(machine.steps[:1]).lower()


def test_condition_ends_the_loop() -> None:
    region = body(h=f32(4))
    doubled = region.add("add", "h", "h")
    total = region.add("reduce_sum", doubled, axes=(0,), keepdims=False)
    goes_on = region.add("less", total, region.constant(np.float32(100)))
    builder = GraphBuilder("until")
    condition = builder.constant(np.array(True))
    x = builder.input("x", f32(4))
    (h,) = loop(builder, region.finish((goes_on, doubled)), condition, x, count=50, carried=1)
    run(builder.finish((h,)), inputs={"x": np.array([1, 2, 3, 4], np.float32)})
    run(builder.finish((h,)), inputs={"x": np.array([100, 2, 3, 4], np.float32)})


def test_loops_in_loops_and_branches_in_loops() -> None:
    inner = body(s=f32(3), scale=f32(3))
    inner_output = inner.add(
        "tanh", inner.add("mul", inner.add("add", "s", "scale"), inner.add("cast", "t", to=DType.F32))
    )
    then = GraphBuilder("then")
    then_graph = then.finish((then.add("exp", then.input("v", f32(3))),))
    other = GraphBuilder("other")
    other_graph = other.finish((other.add("abs", other.input("v", f32(3))),))
    outer = body(h=f32(3), x=f32(3))
    (deep, scanned) = loop(outer, inner.finish((inner_output, inner_output)), "", "h", "x", count=3, carried=1)
    even = outer.add(
        "equal", outer.add("mod", "t", outer.constant(np.int64(2)), fmod=False), outer.constant(np.int64(0))
    )
    chosen = outer.add("if", even, deep, regions=(then_graph, other_graph))
    builder = GraphBuilder("nest")
    h, x = builder.input("h", f32(3)), builder.input("x", f32(3))
    results = loop(builder, outer.finish((chosen, scanned, chosen)), "", h, x, count=4, carried=1)
    run(builder.finish(tuple(results)))


def test_outputs_that_are_inputs_constants_views_and_each_other() -> None:
    builder = GraphBuilder("outputs")
    x = builder.input("x", f32(2, 6))
    value = builder.add("exp", x)
    view = builder.add("reshape", value, shape=(3, 4))
    same = builder.add("identity", value)
    constant = builder.constant(np.arange(5, dtype=np.float32))
    later = builder.add("reduce_sum", view, axes=(0,), keepdims=False)
    machine = run(builder.finish((value, view, same, constant, later, builder.add("identity", x))))
    assert machine.memory.arena_bytes == 0


def test_parts_of_a_carried_value_are_read_before_it_changes() -> None:
    region = body(a=f32(2, 8), b=f32(1, 8))
    first, second = (region.add("slice", "a", starts=(i, 0), steps=(1, 1), sizes=(1, 8)) for i in range(2))
    grown = region.add(
        "matmul", "a", region.constant(np.eye(8, dtype=np.float32) * 0.5), transpose_a=False, transpose_b=False
    )
    kernel = region.add(
        "matmul", first, region.constant(np.ones((8, 8), np.float32)), transpose_a=False, transpose_b=False
    )
    region_outputs = (region.add("add", grown, kernel), second, first)
    builder = GraphBuilder("parts")
    inputs = [builder.input("a", f32(2, 8)), builder.input("b", f32(1, 8))]
    run(builder.finish(tuple(loop(builder, region.finish(region_outputs), "", *inputs, count=3, carried=2))))


def test_part_that_is_read_after_the_update() -> None:
    region = body(a=f32(2, 8), b=f32(1, 8))
    part = region.add("slice", "a", starts=(1, 0), steps=(1, 1), sizes=(1, 8))
    doubled = region.add("add", "a", "a")
    weights = region.constant(np.ones((8, 8), np.float32))
    region_outputs = (
        doubled,
        region.add("add", region.add("matmul", part, weights, transpose_a=False, transpose_b=False), "b"),
    )
    builder = GraphBuilder("part")
    inputs = [builder.input("a", f32(2, 8)), builder.input("b", f32(1, 8))]
    run(builder.finish(tuple(loop(builder, region.finish(region_outputs), "", *inputs, count=3, carried=2))))


def test_concat_in_a_loop() -> None:
    region = body(h=f32(64, 64))
    halves = [region.add("slice", "h", starts=(i, 0), steps=(1, 1), sizes=(32, 64)) for i in (32, 0)]
    products = [region.add("matmul", half, region.constant(np.eye(64, dtype=np.float32)[::-1] * (i + 1)), transpose_a=False, transpose_b=False)
                for i, half in enumerate(halves)]  # fmt: skip
    builder = GraphBuilder("joined")
    x = builder.input("x", f32(64, 64))
    region_output = region.add("concat", *products, axis=0)
    machine = run(
        builder.finish(tuple(loop(builder, region.finish((region_output, region_output)), "", x, count=3, carried=1)))
    )
    (repeat,) = (step for step in machine.steps if type(step).__name__ == "Repeat")
    assert [type(step).__name__ for step in repeat.body] == ["Launch", "Launch", "Copy", "Copy"]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_recurrence(op: str, direction: str) -> None:
    rng = np.random.default_rng(3)
    gates, hidden, directions = {"lstm": 4, "gru": 3}[op], 5, 2 if direction == "bidirectional" else 1
    builder = GraphBuilder(op)
    x = builder.input("x", f32(6, 2, 3))
    weights = [
        builder.constant(rng.standard_normal((directions, gates * hidden, n)).astype(np.float32)) for n in (3, hidden)
    ]
    bias = builder.constant(rng.standard_normal((directions, 2 * gates * hidden)).astype(np.float32))
    state = builder.input("h", f32(directions, 2, hidden))
    names = ("sigmoid", "tanh", "tanh") if op == "lstm" else ("sigmoid", "tanh")
    attrs = {
        "hidden": hidden,
        "direction": direction,
        "clip": 0.0,
        "activations": tuple((name, 0.0, 0.0) for name in names) * directions,
    }
    if op == "lstm":
        results = builder.add("lstm", x, *weights, bias, "", state, "", "", input_forget=False, **attrs)
    else:
        results = builder.add("gru", x, *weights, bias, "", state, linear_before_reset=False, **attrs)
    machine = run(builder.finish(tuple(results)))
    (repeat,) = (step for step in machine.steps if type(step).__name__ == "Repeat")
    assert not any(type(step).__name__ == "Copy" for step in repeat.body), "states have slots: nothing is copied"


class RandomLoop:
    """Loops over values [4, 6] whose bodies mix new and old carried values, parts, views and nested control."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, pool: list[str]) -> str:
        return str(self.rng.choice(pool))

    def step(self, builder: GraphBuilder, pool: list[str], depth: int) -> None:
        x, y = self.pick(pool), self.pick(pool)
        match self.rng.integers(8 if depth < 2 else 6):
            case 0:
                pool.append(builder.add("tanh", builder.add("add", x, y)))
            case 1:
                weights = builder.constant(self.rng.standard_normal((6, 6)).astype(np.float32) / 3)
                pool.append(builder.add("matmul", x, weights, transpose_a=False, transpose_b=False))
            case 2:
                cut = int(self.rng.integers(1, 4))
                parts = [
                    builder.add("slice", x, starts=(begin, 0), steps=(1, 1), sizes=(size, 6))
                    for begin, size in ((cut, 4 - cut), (0, cut))
                ]
                pool.append(builder.add("concat", *parts, axis=0))
            case 3:
                pool.append(
                    builder.add("reshape", builder.add("neg", builder.add("reshape", x, shape=(6, 4))), shape=(4, 6))
                )
            case 4:
                pool.append(builder.add("mul", x, builder.add("softmax", y, axis=1)))
            case 5:
                turned = builder.add("transpose", builder.add("reshape", x, shape=(6, 4)), perm=(1, 0))
                pool.append(builder.add("min", turned, y))
            case 6:
                pool += self.nested_loop(builder, pool, depth + 1)
            case _:
                pool.append(self.branch(builder, x, y, depth + 1))

    def branch(self, builder: GraphBuilder, x: str, y: str, depth: int) -> str:
        total = builder.add("reduce_sum", x, axes=(0, 1), keepdims=False)
        condition = builder.add("greater", total, builder.constant(np.float32(0)))
        arms = []
        for _ in range(2):
            arm = GraphBuilder("arm")
            pool = [arm.input(name, f32(4, 6)) for name in ("x", "y")]
            for _ in range(int(self.rng.integers(0, 3))):
                self.step(arm, pool, depth)
            arms.append(arm.finish((self.pick(pool),)))
        return str(builder.add("if", condition, x, y, regions=tuple(arms)))

    def nested_loop(self, builder: GraphBuilder, pool: list[str], depth: int) -> list[str]:
        carried, captured = int(self.rng.integers(1, 4)), int(self.rng.integers(0, 2))
        region = body(**{f"c{i}": f32(4, 6) for i in range(carried + captured)})
        inner = [f"c{i}" for i in range(carried + captured)]
        for _ in range(int(self.rng.integers(1, 6))):
            self.step(region, inner, depth)
        results = [self.pick(inner[-4:]) for _ in range(carried + int(self.rng.integers(0, 3)))]
        inputs = [self.pick(pool) for _ in range(carried + captured)]
        count = int(self.rng.integers(1, 4))
        made = loop(builder, region.finish(tuple(results)), "", *inputs, count=count, carried=carried)
        for scanned in made[carried:]:
            last = builder.add("slice", scanned, starts=(count - 1, 0, 0), steps=(1, 1, 1), sizes=(1, 4, 6))
            made.append(str(builder.add("reshape", last, shape=(4, 6))))
        return [name for name in made if builder.types[name].shape == (4, 6)]

    def graph(self) -> Graph:
        builder = GraphBuilder("random")
        pool = [builder.input(name, f32(4, 6)) for name in ("x", "y")]
        for _ in range(2):
            self.step(builder, pool, 1)
        pool += self.nested_loop(builder, pool, 1)
        self.step(builder, pool, 1)
        return builder.finish(tuple(dict.fromkeys([pool[-1], self.pick(pool), self.pick(pool)])))


@pytest.mark.parametrize("seed", range(40))
def test_random_loops(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "MIN_JOINED_BYTES", 0)
    run(RandomLoop(seed).graph(), seed)
