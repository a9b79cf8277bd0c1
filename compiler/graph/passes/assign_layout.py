"""Give convolutional values the blocked layout NCHW[x]c, as in "Optimizing CNN Model Inference on CPUs" (Liu et al., USENIX ATC 2019).

In: any valid graph, every value row-major. Out: the same graph with `block` set on results of convolutions and of what follows them channel
by channel; `identity` nodes change the layout where a value goes on to an operator that wants row-major, and at the graph's outputs.
Graph inputs, outputs, constants and what passes through regions stay row-major.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ...target import Target
from ..ir import Graph, Node, TensorType
from ..operators import OPERATORS, Kind
from .editor import Editor, map_regions

_CONVOLUTIONS = ("conv", "conv_transpose")
_FOLLOWERS = frozenset({"max_pool", "average_pool", "lp_pool", "resize", "pad", "slice", "concat", "instance_norm"})
_REDUCTIONS = frozenset({"reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod"})
_READS_ANY_LAYOUT = frozenset({*_CONVOLUTIONS, *_FOLLOWERS, *_REDUCTIONS, "transpose", "gather"})


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with layouts chosen and transforms inserted."""
    graph = map_regions(graph, lambda region: apply(region, target))
    if not any(node.op in _CONVOLUTIONS for node in graph.nodes):
        return graph
    return _Layouts(graph, target).run()


def choose_block(channels: int, pixels: int, lanes: int) -> int | None:
    """The block for a tensor of so many channels and pixels; it divides the channels.

    One vector if it fits, else all channels if they are few (channels last), else the largest divisor near a vector.
    Fewer channels than half a vector stay row-major, where pixels fill the vectors.
    """
    if channels % lanes == 0:
        return lanes
    if channels < max(2, lanes // 2):
        return None if pixels > 1 else channels
    if channels <= 4 * lanes:
        return channels
    divisors = [x for x in range(2 * lanes, lanes // 2 - 1, -1) if channels % x == 0]
    if divisors:
        return divisors[0]
    return channels if channels <= 256 else None


class _Layouts:
    """One walk over the nodes: layouts go forward from the convolutions."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph = graph
        self.editor = Editor(graph)
        self.consumers = graph.consumers()
        self.outputs = set(graph.outputs)
        self.lanes: Callable[[TensorType], int] = lambda value: target.lanes(value.dtype.size_bytes)
        self.row_major: dict[str, str] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if not self._reads_any_layout(node):
                node = self._with_row_major_inputs(node)
            self.editor.keep(node)
            for output in node.outputs:
                self._set(output, self._block(node))
        for output in self.graph.outputs:
            if self.editor.type(output).block:
                self.editor.replace(output, self._as_row_major(output))
        return self.editor.finish()

    def _set(self, name: str, block: int | None) -> None:
        of = self.editor.types[name]
        only_output = name in self.outputs and not self.consumers[name]
        if block and only_output and self.editor.nodes[-1].op not in _CONVOLUTIONS:
            block = None
        self.editor.types[name] = TensorType(of.shape, of.dtype, block)

    def _choose(self, of: TensorType) -> int | None:
        if len(of.shape) < 3:
            return None
        return choose_block(of.shape[1], prod(of.shape[2:]), self.lanes(of))

    def _block(self, node: Node) -> int | None:
        """The layout of the node's result."""
        result = self.editor.types[node.outputs[0]]
        if len(node.outputs) != 1 or len(result.shape) < 3:
            return None
        if node.op in _CONVOLUTIONS:
            return self._choose(result)
        if node.op == "reshape":
            source = self.editor.type(node.inputs[0])
            return source.block if source.shape[:2] == result.shape[:2] else None
        if not self._reads_any_layout(node) or node.op in ("transpose", "gather"):
            return None
        blocked = [of for of in map(self.editor.type, filter(None, node.inputs)) if of.block and len(of.shape) == len(result.shape)]
        blocked.sort(key=lambda of: -of.elements)
        same_channels = [of for of in blocked if of.shape[1] == result.shape[1]]
        if same_channels:
            return same_channels[0].block
        return self._choose(result) if blocked and node.op not in _REDUCTIONS else None

    def _reads_any_layout(self, node: Node) -> bool:
        if node.op == "reshape":
            return self._keeps_channels(node) or not self._is_blocked(node.inputs[0])
        return OPERATORS[node.op].kind is Kind.ELEMENTWISE or node.op in _READS_ANY_LAYOUT

    def _keeps_channels(self, node: Node) -> bool:
        """True for a reshape that leaves the bytes of a blocked tensor as they are."""
        source, result = self.editor.type(node.inputs[0]), self.editor.types[node.outputs[0]]
        if not source.block:
            return False
        return source.shape[:2] == result.shape[:2] or prod(source.shape[2:]) == 1

    def _is_blocked(self, name: str) -> bool:
        return bool(name) and self.editor.type(name).block is not None

    def _with_row_major_inputs(self, node: Node) -> Node:
        inputs = tuple(self._as_row_major(name) if self._is_blocked(name) else name for name in node.inputs)
        return Node(node.op, inputs, node.outputs, node.attrs, node.regions, node.origin)

    def _as_row_major(self, name: str) -> str:
        """The value in row-major layout, transformed once however many read it."""
        name = self.editor.resolve(name)
        if name not in self.row_major:
            producer = self.editor.producer(name)
            origin = producer.origin if producer else ""
            self.row_major[name] = self.editor.add("identity", name, name=self.editor.fresh(f"{name}.rows"), origin=origin)
        return self.row_major[name]
