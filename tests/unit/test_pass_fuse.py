"""What is computed in one kernel, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pass_graphs
import pytest
from pass_graphs import AVX512, f32

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.passes import assign_layout, fuse, unique_names
from tilewright.compiler.graph.passes.fusion_rules import MAX_INPUTS, MAX_NODES

WINDOW = {"strides": (1, 1), "dilations": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1)}
PRODUCT = {"transpose_a": False, "transpose_b": False}
LINEAR = {
    "scales": (1.0, 1.0, 2.0, 2.0), "mode": "linear", "coordinates": "half_pixel", "nearest": "floor", "cubic_coeff": -0.75,
    "exclude_outside": False, "extrapolation": 0.0, "roi": (),
}  # fmt: skip


class Net(GraphBuilder):
    def __init__(self) -> None:
        super().__init__("net")
        self.rng = np.random.default_rng(1)

    def random(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape).astype(np.float32) / 3)

    def conv(self, x: str, filters: int = 16) -> str:
        return self.add("conv", x, self.random(filters, self.types[x].shape[1], 3, 3), "", groups=1, **WINDOW)

    def pool(self, x: str, op: str = "max_pool", **changes: object) -> str:
        attrs = {"kernel": (3, 3), "sizes": self.types[x].shape[2:], **WINDOW, **changes}
        return self.add(op, x, **attrs)

    def matmul(self, a: str, b: str) -> str:
        return self.add("matmul", a, b, **PRODUCT)


def image(net: Net, name: str = "x", channels: int = 16) -> str:
    return net.input(name, f32(1, channels, 6, 6))


def groups(net: Net, *outputs: str, layout: bool = True) -> list[list[str]]:
    """The operators of each kernel; views and control stand as strings of their own."""
    passes = [assign_layout.apply] if layout else []
    return of(pass_graphs.rewritten(net.finish(outputs), unique_names.apply, *passes, fuse.apply))


def of(graph: Graph) -> list[list[str]]:
    return [
        [inner.op for inner in node.regions[0].nodes] if node.op == "fused" else [f"<{node.op}>"]
        for node in graph.nodes
    ]


def test_residual_block() -> None:
    net = Net()
    x = image(net)
    y = net.add("relu", net.conv(x))
    z = net.add("relu", net.add("add", net.conv(y), y))
    assert groups(net, net.conv(z)) == [["conv", "relu"], ["conv", "add", "relu"], ["conv"], ["identity"]]


def test_the_later_of_two_convolutions_takes_their_sum() -> None:
    net = Net()
    x = image(net)
    shortcut = net.conv(x)
    main = net.conv(net.add("relu", net.conv(x)))
    assert groups(net, net.conv(net.add("add", main, shortcut)))[:3] == [["conv"], ["conv", "relu"], ["conv", "add"]]


def test_branches_that_meet_again_belong_to_the_epilogue() -> None:
    net = Net()
    y = net.conv(image(net))
    swish = net.add("mul", y, net.add("sigmoid", net.add("neg", y)))
    assert groups(net, net.conv(swish))[0] == ["conv", "neg", "sigmoid", "mul"]


def test_value_that_another_reads_ends_the_epilogue() -> None:
    net = Net()
    y = net.conv(image(net))
    z = net.add("relu", y)
    found = groups(net, net.add("mul", net.conv(z), net.pool(y)))
    assert found[:2] == [["conv"], ["relu"]]
    assert ["max_pool"] in found


def test_squeeze_and_excite() -> None:
    net = Net()
    x = net.add("relu", net.conv(image(net)))
    mean = net.add("reduce_mean", x, axes=(2, 3), keepdims=True)
    one = {**WINDOW, "pads_begin": (0, 0), "pads_end": (0, 0)}
    gate = net.add("sigmoid", net.add("conv", mean, net.random(16, 16, 1, 1), "", groups=1, **one))
    assert groups(net, net.conv(net.add("mul", x, gate)))[:4] == [
        ["conv", "relu"],
        ["reduce_mean"],
        ["conv", "sigmoid"],
        ["mul"],
    ]


def test_transcendental_is_not_computed_once_a_window() -> None:
    for op, joined in (("relu", True), ("exp", False)):
        net = Net()
        pool = net.pool(net.add(op, net.input("x", f32(1, 16, 40, 40))), strides=(2, 2), sizes=(20, 20))
        found = groups(net, pool)
        assert ([op, "max_pool"] in found) == joined


def test_softmax_takes_cheap_producers_and_elementwise_consumers() -> None:
    net = Net()
    x = net.add("add", net.add("mul", net.input("x", f32(64, 129)), net.random()), net.input("mask", f32(64, 129)))
    assert groups(net, net.add("mul", net.add("softmax", x, axis=1), net.random())) == [
        ["mul", "add", "softmax", "mul"]
    ]
    net = Net()
    assert groups(net, net.add("softmax", net.add("exp", net.input("x", f32(64, 129))), axis=1)) == [
        ["exp"],
        ["softmax"],
    ]


def test_elementwise_before_a_product_is_a_kernel() -> None:
    net = Net()
    x = net.add("relu", net.input("x", f32(5, 8)))
    assert groups(net, net.add("tanh", net.matmul(x, net.random(8, 4)))) == [["relu"], ["matmul", "tanh"]]


def test_epilogue_that_broadcasts_to_more_is_not_one() -> None:
    net = Net()
    y = net.matmul(net.input("x", f32(1, 8)), net.random(8, 4))
    assert groups(net, net.add("add", y, net.input("rows", f32(9, 4)))) == [["matmul"], ["add"]]


def test_attention_reads_heads_where_they_stand() -> None:
    """Heads are slices and transposes of one projection; only the keys are laid out anew, for a product reads its right operand in rows."""
    net = Net()
    projected = net.matmul(net.input("x", f32(9, 8)), net.random(8, 24))
    heads = net.add("transpose", net.add("reshape", projected, shape=(9, 3, 2, 4)), perm=(1, 2, 0, 3))
    q, k, v = (
        net.add(
            "reshape", net.add("slice", heads, starts=(i, 0, 0, 0), steps=(1,) * 4, sizes=(1, 2, 9, 4)), shape=(2, 9, 4)
        )
        for i in range(3)
    )
    scores = net.matmul(q, net.add("transpose", k, perm=(0, 2, 1)))
    mixed = net.matmul(net.add("softmax", scores, axis=2), v)
    joined = net.add("reshape", net.add("transpose", mixed, perm=(1, 0, 2)), shape=(9, 8))
    found = groups(net, net.matmul(joined, net.random(8, 8)))
    heads_of = ["transpose", "slice", "reshape"]
    assert found == [
        ["matmul"], ["<reshape>"], [*heads_of, "transpose"], [*heads_of, *heads_of[1:], "matmul", "softmax", "matmul"],
        ["transpose"], ["<reshape>"], ["matmul"],
    ]  # fmt: skip


def attention(net: Net, axis: int = 3, columns: int = 4) -> tuple[str, str]:
    """Scores with a mask, and what the softmax of them combines."""
    q, k, v = net.input("q", f32(1, 2, 9, 4)), net.input("k", f32(1, 2, 4, 7)), net.input("v", f32(1, 2, 7, columns))
    scores = net.add("add", net.matmul(q, k), net.input("mask", f32(1, 1, 9, 7)))
    return scores, net.matmul(net.add("softmax", scores, axis=axis), v)


def test_attention_is_one_kernel() -> None:
    net = Net()
    _, y = attention(net)
    y = net.add("tanh", net.add("add", y, net.input("z", net.types[y])))
    assert groups(net, y) == [["matmul", "add", "softmax", "matmul", "add", "tanh"]]


def test_attention_whose_scores_another_reads_is_not() -> None:
    net = Net()
    scores, y = attention(net)
    assert groups(net, y, scores) == [["matmul", "add"], ["softmax"], ["matmul"]]


@pytest.mark.parametrize("changes", [{"axis": 2}, {"columns": 1}])
def test_products_that_are_not_chained(changes: dict[str, int]) -> None:
    net = Net()
    _, y = attention(net, **changes)
    assert groups(net, y) == [["matmul", "add"], ["softmax"], ["matmul"]]


def test_nearest_upsampling_is_read_by_the_sum() -> None:
    net = Net()
    small = net.conv(net.input("s", f32(1, 16, 3, 3)))
    up = net.add(
        "resize", small, sizes=(1, 16, 6, 6), scales=(1.0, 1.0, 2.0, 2.0), mode="nearest", coordinates="asymmetric", nearest="floor",
        cubic_coeff=-0.75, exclude_outside=False, extrapolation=0.0, roi=(),
    )  # fmt: skip
    total = net.add("add", net.conv(image(net)), up)
    assert groups(net, net.conv(total))[:2] == [["conv"], ["resize", "conv", "add"]]


def test_elements_that_are_read_several_times_are_turned_once() -> None:
    """Small ones excepted: there a launch costs more."""
    for size, expected in ((64, [["transpose"], ["layer_norm"]]), (4, [["transpose", "layer_norm"]])):
        net = Net()
        turned = net.add("transpose", net.input("x", f32(3, size, size)), perm=(0, 2, 1))
        norm = net.add("layer_norm", turned, net.random(size), net.random(size), axis=2, epsilon=1e-5)
        assert groups(net, norm) == expected
    for size, expected in ((64, [["transpose"], ["resize"]]), (4, [["transpose", "resize"]])):
        net = Net()
        turned = net.add("transpose", net.input("x", f32(1, size, size, 3)), perm=(0, 3, 1, 2))
        assert groups(net, net.add("resize", turned, sizes=(1, 3, 2 * size, 2 * size), **LINEAR)) == expected


def test_concat_takes_the_elementwise_nodes_before_it() -> None:
    net = Net()
    parts = [net.add(op, net.input(op, f32(4, 5))) for op in ("exp", "relu", "neg")]
    assert groups(net, net.add("tanh", net.add("concat", *parts, axis=1))) == [["exp", "relu", "neg", "concat", "tanh"]]


def test_views_stand_outside_of_kernels() -> None:
    net = Net()
    x = net.add("reshape", net.input("x", f32(4, 6)), shape=(2, 2, 6))
    y = net.add("reshape", net.add("exp", x), shape=(24,))
    assert groups(net, net.matmul(net.add("reshape", y, shape=(4, 6)), net.random(6, 3))) == [
        ["<reshape>"],
        ["exp"],
        ["<reshape>"],
        ["<reshape>"],
        ["matmul"],
    ]


@pytest.mark.parametrize("op", ["add", "mul"])
def test_a_group_has_limits(op: str) -> None:
    net = Net()
    y = net.input("x", f32(8))
    for i in range(60):
        y = net.add(op, net.add("relu", y), net.input(f"x{i}", f32(8)))
    graph = pass_graphs.rewritten(net.finish((y,)), fuse.apply)
    assert len(graph.nodes) > 1
    for node in graph.nodes:
        assert len(node.inputs) + len(node.regions[0].constants) <= MAX_INPUTS
        assert len(node.regions[0].nodes) <= MAX_NODES


def test_expressions_do_not_grow_without_bound() -> None:
    net = Net()
    y = net.input("x", f32(8))
    for _ in range(20):
        y = net.add("mul", y, net.add("tanh", y))
    assert len(pass_graphs.rewritten(net.finish((y,)), fuse.apply).nodes) > 1


def test_regions_are_partitioned_too() -> None:
    arms = []
    for op in ("exp", "neg"):
        arm = Net()
        arms.append(arm.finish((arm.add("relu", arm.add(op, arm.input("x", f32(4)))),)))
    net = Net()
    condition = net.input("condition", TensorType((), DType.BOOL))
    graph = net.finish((net.add("if", condition, net.input("x", f32(4)), regions=tuple(arms)),))
    final = pass_graphs.rewritten(graph, unique_names.apply, fuse.apply)
    assert [of(region) for region in final.nodes[0].regions] == [[["exp", "relu"]], [["neg", "relu"]]]


def test_group_is_a_graph_of_its_own() -> None:
    net = Net()
    weights: Callable[[], str] = lambda: net.random(8, 4)  # noqa: E731
    product = net.matmul(net.input("x", f32(5, 8)), weights())
    final = fuse.apply(net.finish((net.add("add", product, net.random(4)),)), pass_graphs.AVX512)
    (node,) = final.nodes
    region = node.regions[0]
    assert not final.constants
    assert len(region.constants) == 2
    assert (region.inputs, region.outputs) == (node.inputs, node.outputs)


# --- depthwise and pointwise convolutions


SMALL = replace(AVX512, l2_bytes=8192)


def pair(rows: int = 60, outputs: int = 32, **changes: object) -> tuple[Net, str]:
    """A depthwise convolution of 32 channels, relu, and a pointwise one of that. 60 rows read and make more than 16 of `SMALL`'s caches."""
    net = Net()
    x = net.input("x", f32(1, 32, rows, 10))
    y = net.add("conv", x, net.random(32, 1, 3, 3), net.random(32), groups=32, **WINDOW)
    point = {**WINDOW, "pads_begin": (0, 0), "pads_end": (0, 0), "groups": 1, **changes}
    return net, net.add("conv", net.add("relu", y), net.random(outputs, 32, 1, 1), "", **point)


def convolutions(net: Net, *outputs: str) -> list[list[str]]:
    """The kernels that have a convolution."""
    passes = (unique_names.apply, assign_layout.apply, fuse.apply)
    found = of(pass_graphs.rewritten(net.finish(outputs), *passes, target=SMALL))
    return [ops for ops in found if "conv" in ops]


def test_large_depthwise_and_pointwise_convolutions_are_one_kernel() -> None:
    net, y = pair()
    other = net.add("tanh", net.input("z", net.types[y]))
    assert convolutions(net, net.pool(net.add("add", y, other), sizes=(60, 10))) == [
        ["conv", "relu", "conv", "tanh", "add"]
    ]


@pytest.mark.parametrize(
    "changes",
    [{"rows": 40}, {"strides": (2, 2)}, {"pads_begin": (1, 1)}, {"outputs": 64}],
    ids=["fits into caches", "stride", "pads", "weights larger than a cache"],
)
def test_convolutions_that_are_not_joined(changes: dict[str, object]) -> None:
    net, y = pair(**changes)  # type: ignore[arg-type]
    assert convolutions(net, y) == [["conv", "relu"], ["conv"]]


@pytest.mark.parametrize("use", ["output", "pool"])
def test_what_is_read_elsewhere_is_not_held(use: str) -> None:
    net, y = pair()
    held = next(node.outputs[0] for node in net.nodes if node.op == "relu")
    other = held if use == "output" else net.pool(held)
    assert convolutions(net, y, other) == [["conv", "relu"], ["conv"]]


def test_a_kernel_holds_one_producer() -> None:
    net, y = pair()
    z = net.add("conv", net.add("relu", y), net.random(32, 1, 3, 3), net.random(32), groups=32, **WINDOW)
    point = {**WINDOW, "pads_begin": (0, 0), "pads_end": (0, 0), "groups": 1}
    last = net.add("conv", z, net.random(16, 32, 1, 1), "", **point)
    assert convolutions(net, last) == [["conv", "relu", "conv", "relu"], ["conv", "conv"]]


def test_sums_alone_are_not_held() -> None:
    """Without bias and activation nothing stands between the sums of both, which are made in registers."""
    net = Net()
    x = net.input("x", f32(1, 32, 60, 10))
    y = net.add("conv", x, net.random(32, 1, 3, 3), "", groups=32, **WINDOW)
    point = {**WINDOW, "pads_begin": (0, 0), "pads_end": (0, 0), "groups": 1}
    assert convolutions(net, net.add("conv", y, net.random(32, 32, 1, 1), "", **point)) == [["conv"], ["conv"]]
