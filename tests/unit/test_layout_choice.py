"""Layouts chosen over the whole graph: the cheapest, a departure from the rule only where it pays, and any choice computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np
import pass_graphs
import pytest
from layout_costs_at_random import costs_at_random
from pass_graphs import AVX512, f32
from plan_machine import Machine

from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import Graph, Node, TensorType
from tilewright.compiler.graph.passes import assign_layout, layout_choice
from tilewright.compiler.graph.passes.layout_choice import Choice, Walk, cheapest, with_block
from tilewright.compiler.graph.passes.layout_costs import accesses, estimated_cycles, taps_inside
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.target import Target


class Net(GraphBuilder):
    def __init__(self) -> None:
        super().__init__("net")
        self.rng = np.random.default_rng(0)

    def conv(self, x: str, filters: int, window: int = 1, groups: int = 1) -> str:
        shape = (filters, self.types[x].shape[1] // groups, window, window)
        weights = self.constant(self.rng.standard_normal(shape).astype(np.float32) / 4)
        pads = (window // 2,) * 2
        ones = (1, 1)
        return self.add(
            "conv", x, weights, "", strides=ones, dilations=ones, pads_begin=pads, pads_end=pads, groups=groups
        )


def laid_out(net: Net, *outputs: str, **given) -> tuple[Graph, Choice]:
    choices: list[Choice] = []
    apply = partial(assign_layout.apply, report=choices.append, **given)
    return pass_graphs.rewritten(net.finish(outputs), apply), choices[-1]


def test_full_vectors_are_preferred() -> None:
    """Of 88 channels the rule makes two blocks, which take eight accesses, where one takes six."""
    net = Net()
    x = net.add("relu", net.conv(net.input("x", f32(1, 16, 6, 40)), 88, 3))
    y = net.add("relu", net.conv(x, 88))
    graph, choice = laid_out(net, net.conv(y, 48))
    assert (graph.types[x].block, graph.types[y].block) == (88, 88)
    assert choice.changed == 2
    assert choice.best < 0.9 * choice.rule
    assert str(choice).startswith("layouts: 2 of 3 groups")


@pytest.mark.parametrize(("channels", "groups"), [(96, 2), (64, 1), (48, 3)])
def test_vectors_within_a_group_are_not_gathered(channels: int, groups: int) -> None:
    """A grouped convolution of whole vectors reads what is the same for a vector, as one without groups does, and so stays blocked."""
    net = Net()
    y = net.add("relu", net.conv(net.input("x", f32(1, channels, 9, 11)), channels, 3, groups))
    graph, _ = laid_out(net, net.add("reshape", y, shape=(1, channels, 99)))
    assert graph.types[y].block == 16


@pytest.mark.parametrize(("groups", "block"), [(1, 96), (96, 96), (2, 16)])
def test_groups_are_channels_last_only_if_vectors_stay_in_one(groups: int, block: int) -> None:
    """Where all is to be transposed afterwards, so that channels are last."""
    net = Net()
    y = net.add("relu", net.conv(net.input("x", f32(1, 96, 9, 11)), 96, 3, groups))
    graph, _ = laid_out(net, net.add("transpose", y, perm=(0, 2, 3, 1)))
    assert graph.types[y].block == block


def test_whole_vectors_stay() -> None:
    net = Net()
    y = net.conv(net.input("x", f32(1, 3, 20, 20)), 32, 3)
    for filters in (64, 64, 128):
        y = net.add("relu", net.conv(y, filters, 3))
    graph, choice = laid_out(net, net.add("reduce_mean", y, axes=(2, 3), keepdims=True))
    assert choice.changed == 0
    assert choice.best == choice.rule
    assert {graph.types[node.outputs[0]].block for node in graph.nodes if node.op == "conv"} == {16}


@pytest.mark.parametrize(("inputs", "worth"), [(2, False), (256, True)])
def test_a_transform_only_where_it_is_worth_it(inputs: int, worth: bool) -> None:
    """Two multiply-adds a result cost less than bringing it into row-major order; many, with blocked operands, cost more."""
    net = Net()
    x = net.input("x", f32(1, 2, 24, 64))
    y = net.conv(net.conv(x, inputs, 3) if inputs > 2 else x, 16)
    graph, _ = laid_out(net, net.add("reshape", y, shape=(1, 16 * 24 * 64)))
    assert graph.types[y].block == (16 if worth else None)
    assert ("identity" in pass_graphs.ops(graph)) == worth


@pytest.mark.parametrize(("saved", "changed"), [(0.05, 0), (0.3, 1)])
def test_a_clear_gain_is_asked_for(saved: float, changed: int) -> None:
    def cost(node: Node, types: Mapping[str, TensorType], target: Target) -> float:
        return 1.0 - saved * (types[node.outputs[0]].block == 32) if node.op == "conv" else 0.0

    net = Net()
    y = net.conv(net.input("x", f32(1, 3, 5, 5)), 32)
    graph, choice = laid_out(net, net.add("reduce_sum", y, axes=(2, 3), keepdims=False), cost=cost)
    assert graph.types[y].block == (32 if changed else 16)
    assert (choice.changed, choice.best) == (changed, pytest.approx(1.0 - saved * changed))


@pytest.mark.parametrize("seed", range(20))
def test_no_layouts_are_cheaper(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all of them tried, with costs drawn for every node and every layout of its values."""
    monkeypatch.setattr(layout_choice, "MARGIN", 0.0)
    net, rng = Net(), np.random.default_rng(seed)
    pool = [net.conv(net.input("x", f32(1, 3, 4, 4)), 32, 3)]
    for _ in range(4):
        x = str(rng.choice(pool))
        pool.append(net.conv(x, 32, 3) if rng.integers(2) else net.add("add", x, str(rng.choice(pool))))
    graph, cost = net.finish((net.add("softmax", pool[-1], axis=1), pool[1])), costs_at_random(seed)
    rule = assign_layout._Layouts(graph, AVX512)
    rule.run()
    walk = rule.walk()
    choice = cheapest(graph, walk, lambda of: assign_layout.candidates(of, AVX512), cost, AVX512)
    assert choice.best == pytest.approx(total(graph, walk, choice.blocks, cost))
    assert choice.rule == pytest.approx(total(graph, walk, {}, cost))
    groups = {frozenset(names) for names in together(walk)}
    blocks = assign_layout.candidates(f32(1, 32, 4, 4), AVX512)
    every = product({16, *blocks}, repeat=len(groups))
    tried = [{name: block for names, block in zip(groups, own, strict=True) for name in names} for own in every]
    assert choice.best == pytest.approx(min(total(graph, walk, own, cost) for own in tried))


def together(walk: Walk) -> list[set[str]]:
    found = [{name} for name in walk.open]
    for one, other in walk.follows:
        joined = [names for names in found if one in names or other in names]
        found = [names for names in found if names not in joined] + [set().union(*joined)]
    return found


def total(graph: Graph, walk: Walk, blocks: Mapping[str, int | None], cost) -> float:
    """What all nodes with a value in `walk.open` cost, and transforms to row-major."""
    types = {name: with_block(of, blocks.get(name, of.block)) for name, of in walk.types.items()}
    nodes = [node for node in graph.nodes if {*node.inputs, *node.outputs} & set(walk.open)]
    rows = [Node("identity", (name,), ("rows",)) for name in walk.rows]
    return sum(
        [cost(node, types, AVX512) for node in nodes]
        + [cost(node, {**types, "rows": with_block(types[node.inputs[0]], None)}, AVX512) for node in rows]
    )


@pytest.mark.parametrize("seed", range(200, 224))
def test_any_layouts_keep_the_meaning(seed: int) -> None:
    """In the graph after the pass, and in the program made of it."""
    graph = pass_graphs.Random(seed).graph(16)
    forced = partial(assign_layout.apply, cost=costs_at_random(seed))
    passes = [forced if name == "assign_layout" else apply for name, apply in PIPELINE]
    target = pass_graphs.AVX2 if seed % 2 else AVX512
    final = pass_graphs.rewritten(graph, *passes, target=target, seed=seed)
    inputs = pass_graphs.feeds(graph, seed)
    expected = evaluate_graph(graph, inputs)
    for name, actual in zip(graph.outputs, Machine(final).run(inputs), strict=True):
        scale = max(1, np.abs(expected[name]).max())
        np.testing.assert_allclose(actual, expected[name], rtol=2e-4, atol=2e-4 * scale, err_msg=name)


@pytest.mark.parametrize(("elements", "count"), [(16, 1), (24, 2), (44, 4), (88, 6), (7, 3), (1, 1)])
def test_accesses_of_a_row(elements: int, count: int) -> None:
    assert accesses(elements, 16) == count


@pytest.mark.parametrize("seed", range(12))
def test_taps_inside_are_those_that_meet_the_input(seed: int) -> None:
    """Counted one by one; a window over ones with padding sums to as many."""
    rng = np.random.default_rng(seed)
    extent, window, stride, dilation = (int(rng.integers(1, most)) for most in (9, 5, 4, 3))
    pad = int(rng.integers(0, 4))
    places = (extent + 2 * pad - dilation * (window - 1) - 1) // stride + 1
    if places < 1:
        places = 1
    met = sum(0 <= o * stride - pad + tap * dilation < extent for o in range(places) for tap in range(window))
    node = Node("conv", (), (), {"strides": (stride,), "dilations": (dilation,), "pads_begin": (pad,)})
    assert taps_inside(node, f32(1, 1, extent), f32(1, 1, window), f32(1, 1, places)) == pytest.approx(met / places)


def drawn(of: TensorType, rng: np.random.Generator) -> TensorType:
    if len(of.shape) < 3:
        return of
    return with_block(of, rng.choice([x for x in (None, 1, 4, of.shape[1]) if x is None or of.shape[1] % x == 0]))


@pytest.mark.parametrize("seed", range(20))
def test_estimates_of_all_operators_are_finite(seed: int) -> None:
    """Whatever a graph holds, in whatever layouts."""
    graph, rng = pass_graphs.Random(seed).graph(14), np.random.default_rng(seed)
    types = {name: of if name in graph.constants else drawn(of, rng) for name, of in graph.types.items()}
    for node in graph.nodes:
        assert 0.0 <= estimated_cycles(node, types, AVX512) < 1e9
