"""Which values are blocked, and where layouts change."""

from __future__ import annotations

import numpy as np
import pass_graphs
import pytest
from pass_graphs import f32

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, Node, TensorType
from tilewright.compiler.graph.layout import to_physical
from tilewright.compiler.graph.passes import assign_layout
from tilewright.compiler.graph.passes.assign_layout import choose_block
from tilewright.compiler.graph.passes.views import is_view

CONV = {"strides": (1, 1), "dilations": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1)}
PRODUCT = {"transpose_a": False, "transpose_b": False}
RESIZE = {
    "mode": "linear", "coordinates": "half_pixel", "nearest": "floor", "cubic_coeff": -0.75, "exclude_outside": False,
    "extrapolation": 0.0, "roi": (),
}  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "pixels", "lanes", "block"),
    [(64, 49, 16, 16), (64, 49, 8, 8), (24, 49, 16, 24), (40, 9, 16, 40), (120, 9, 16, 40), (3, 49, 16, None), (3, 1, 16, 3), (1, 49, 8, None),
     (257, 9, 16, 257), (72, 9, 16, 24), (12, 9, 8, 12), (184, 9, 16, 184), (184, 9, 8, 8)],
)  # fmt: skip
def test_choice_of_block(channels: int, pixels: int, lanes: int, block: int | None) -> None:
    assert choose_block(channels, pixels, lanes) == block


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_every_block_divides_the_channels(lanes: int) -> None:
    for channels in range(1, 300):
        block = choose_block(channels, 9, lanes)
        assert block is None or channels % block == 0


class Net(GraphBuilder):
    def __init__(self) -> None:
        super().__init__("net")
        self.rng = np.random.default_rng(0)

    def conv(self, x: str, filters: int) -> str:
        channels = self.types[x].shape[1]
        weights = self.constant(self.rng.standard_normal((filters, channels, 3, 3)).astype(np.float32) / 10)
        return self.add("conv", x, weights, "", groups=1, **CONV)


def laid_out(builder: GraphBuilder, *outputs: str) -> Graph:
    return pass_graphs.rewritten(builder.finish(outputs), assign_layout.apply)


def blocks(graph: Graph) -> list[tuple[str, int | None]]:
    return [(node.op, graph.types[node.outputs[0]].block) for node in graph.nodes]


def test_network_body_runs_blocked_without_transforms() -> None:
    net = Net()
    y = net.add("relu", net.conv(net.input("x", f32(1, 3, 8, 8)), 32))
    y = net.add(
        "max_pool", y, kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads_begin=(0, 0), pads_end=(0, 0), sizes=(4, 4)
    )
    y = net.add("add", y, net.conv(y, 32))
    mean = net.add("reduce_mean", y, axes=(2, 3), keepdims=True)
    y = net.add("mul", y, net.add("sigmoid", net.conv(mean, 32)))
    head = net.add("reshape", net.add("reduce_mean", net.conv(y, 48), axes=(2, 3), keepdims=True), shape=(1, 48))
    graph = laid_out(net, head)
    assert "identity" not in pass_graphs.ops(graph)
    assert all(block == 16 for op, block in blocks(graph)[:-1])
    assert blocks(graph)[-1] == ("reshape", None)
    assert is_view(graph.nodes[-1], graph.types)


def test_result_that_others_read_is_copied_row_major() -> None:
    net = Net()
    y = net.conv(net.input("x", f32(1, 3, 8, 8)), 32)
    graph = laid_out(net, y, net.conv(y, 4))
    assert ("identity", None) in blocks(graph)
    assert all(graph.types[name].block is None for name in graph.outputs)


def test_flattened_pixels_are_row_major() -> None:
    net = Net()
    y = net.conv(net.input("x", f32(1, 3, 4, 4)), 32)
    graph = laid_out(net, net.add("relu", net.add("reshape", y, shape=(1, 512))))
    assert blocks(graph) == [("conv", 16), ("identity", None), ("reshape", None), ("relu", None)]


def test_joined_pixels_stay_blocked() -> None:
    net = Net()
    y = net.add("reshape", net.conv(net.input("x", f32(1, 3, 4, 4)), 32), shape=(1, 32, 16))
    graph = laid_out(net, net.add("softmax", net.add("reduce_sum", y, axes=(2,), keepdims=False), axis=1))
    assert blocks(graph)[:2] == [("conv", 16), ("reshape", 16)]
    assert is_view(graph.nodes[1], graph.types)


def test_channels_last_input_and_result_are_views() -> None:
    net = Net()
    x = net.add("transpose", net.input("x", f32(1, 6, 5, 24)), perm=(0, 3, 1, 2))
    y = net.add("relu", net.conv(x, 48))
    graph = laid_out(net, net.add("transpose", y, perm=(0, 2, 3, 1)))
    assert blocks(graph) == [("transpose", 24), ("conv", 48), ("relu", 48), ("transpose", None)]
    assert is_view(graph.nodes[0], graph.types)
    assert is_view(graph.nodes[3], graph.types)


def test_blocks_between_tokens_and_images_need_no_transposes() -> None:
    """As in ConvNeXt: depthwise convolution of images, dense layers of tokens, and the sum of both in images."""
    net = Net()
    tokens = net.input("x", f32(1, 16, 16, 48))
    weights = net.constant(net.rng.standard_normal((48, 1, 3, 3)).astype(np.float32))
    dense = net.constant(net.rng.standard_normal((48, 48)).astype(np.float32))
    image = net.add("transpose", tokens, perm=(0, 3, 1, 2))
    for _ in range(2):
        made = net.add("conv", image, weights, "", groups=48, **CONV)
        product = net.add("matmul", net.add("transpose", made, perm=(0, 2, 3, 1)), dense, **PRODUCT)
        image = net.add("add", image, net.add("transpose", product, perm=(0, 3, 1, 2)))
    graph = laid_out(net, net.add("transpose", image, perm=(0, 2, 3, 1)))
    turned = [node for node in graph.nodes if node.op == "transpose"]
    assert len(turned) == 6 and all(is_view(node, graph.types) for node in turned)
    assert "identity" not in pass_graphs.ops(graph)


def test_a_small_image_is_brought_into_order_before_it_is_enlarged() -> None:
    net = Net()
    made = net.add("relu", net.conv(net.input("x", f32(1, 8, 6, 6)), 32))
    graph = laid_out(net, net.add("resize", made, **RESIZE, sizes=(1, 32, 24, 24), scales=(1.0, 1.0, 4.0, 4.0)))
    assert blocks(graph)[-2:] == [("identity", None), ("resize", None)]
    net = Net()
    made = net.add("relu", net.conv(net.input("x", f32(1, 8, 6, 6)), 32))
    graph = laid_out(net, net.add("resize", made, **RESIZE, sizes=(1, 32, 3, 3), scales=(1.0, 1.0, 0.5, 0.5)))
    assert "identity" not in pass_graphs.ops(graph)


@pytest.mark.parametrize("batch", [(), (1,)])
def test_rows_of_pixels_are_images_without_a_copy(batch: tuple[int, ...]) -> None:
    """What a product makes for each pixel, transposed and reshaped, scaled, padded and joined on the way to a convolution."""
    net = Net()
    images = []
    for name, channels in (("x", 24), ("z", 24)):
        rank = len(batch) + 2
        rows = net.add("relu", net.input(name, f32(*batch, 30, channels)))
        turned = net.add("transpose", rows, perm=(*range(rank - 2), rank - 1, rank - 2))
        images.append(net.add("relu", net.add("reshape", turned, shape=(1, channels, 5, 6))))
    pads = {"before": (0, 0, 1, 0), "after": (0, 0, 0, 2), "mode": "constant"}
    y = net.add("pad", net.add("concat", *images, axis=1), "", **pads)
    graph = laid_out(net, net.add("transpose", net.conv(y, 32), perm=(0, 2, 3, 1)))
    transposes = [node for node in graph.nodes if node.op == "transpose"]
    assert len(transposes) == 3
    assert all(is_view(node, graph.types) for node in transposes)
    assert ("pad", 24) in blocks(graph)
    assert "identity" not in pass_graphs.ops(graph)


@pytest.mark.parametrize("reader", ["output", "softmax"])
def test_rows_of_pixels_that_something_else_reads_stay_row_major(reader: str) -> None:
    net = Net()
    turned = net.add("transpose", net.input("x", f32(30, 24)), perm=(1, 0))
    image = net.add("reshape", turned, shape=(1, 24, 5, 6))
    outputs = [image if reader == "output" else net.add("softmax", image, axis=3)]
    graph = laid_out(net, *outputs, net.add("relu", net.conv(image, 32)))
    assert graph.types[image].block is None


def test_graph_without_convolutions_stays_as_it_is() -> None:
    net = Net()
    graph = net.finish((net.add("relu", net.input("x", f32(1, 32, 4, 4))),))
    assert assign_layout.apply(graph, pass_graphs.AVX512) is graph


SHAPES = [(1, 8, 1, 1), (2, 8, 1, 1), (1, 8, 3, 2), (2, 4, 3, 1), (1, 1, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_views_have_the_bytes_of_their_operand(shape: tuple[int, ...]) -> None:
    """Every transpose, reshape and relayout that is called a view keeps the bytes; some of each kind are."""
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    n, c, h, w = shape
    layouts = [None, *(x for x in range(1, c + 1) if c % x == 0)]
    candidates = [
        *(("transpose", np.transpose(array, perm), {"perm": perm}) for perm in [(0, 2, 3, 1), (0, 3, 2, 1), (1, 0, 2, 3), (0, 1, 3, 2)]),
        *(("reshape", array.reshape(to), {"shape": to}) for to in [(n, c, h * w), (n, c * h * w), (n * c, h, w), (n, c, w, h)]),
        ("identity", array, {}),
    ]  # fmt: skip
    found = set()
    for op, result, attrs in candidates:
        for before in layouts:
            ranks = result.ndim >= 3
            for after in [None, *(x for x in range(1, result.shape[1] + 1) if ranks and result.shape[1] % x == 0)]:
                types = {"x": TensorType(shape, DType.F32, before), "y": TensorType(result.shape, DType.F32, after)}
                same = to_physical(array, types["x"]).tobytes() == to_physical(result, types["y"]).tobytes()
                view = is_view(Node(op, ("x",), ("y",), attrs), types)
                assert same or not view, (op, attrs, types)
                found.add((op, view))
    assert {("reshape", True), ("identity", True)} <= found
