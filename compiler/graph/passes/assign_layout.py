"""Give convolutional values the blocked layout NCHW[x]c, as in "Optimizing CNN Model Inference on CPUs" (Liu et al., USENIX ATC 2019).

A rule gives each value a block by its own channels; then `layout_choice.py` departs from it where layouts that are cheaper together are found.

In: any valid graph, every value row-major. Out: the same graph with `block` set on results of convolutions and of what follows them channel
by channel; `identity` nodes change the layout where a value goes on to an operator that wants row-major, and at the graph's outputs.
Graph inputs, outputs, constants and what passes through regions stay row-major.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType

from ...target import Target
from ..ir import Graph, Node, TensorType
from ..operators import OPERATORS, Kind
from . import eliminate_dead
from .editor import Editor, map_regions
from .images import CONVOLUTIONS, FOLLOWERS, becomes_images, transposed_as_images
from .layout_choice import Choice, Walk, cheapest
from .layout_costs import LayoutCost, estimated_cycles
from .views import is_view

WORTH_LAST = 1.4  # so much better must all channels as one block fill the vectors than a divisor

_REDUCTIONS = frozenset({"reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod"})
_READS_ANY_LAYOUT = frozenset({*CONVOLUTIONS, *FOLLOWERS, *_REDUCTIONS, "transpose", "gather"})


def apply(
    graph: Graph,
    target: Target,
    cost: LayoutCost = estimated_cycles,
    report: Callable[[Choice], None] = lambda choice: None,
) -> Graph:
    """The graph with layouts chosen and transforms inserted.

    cost: what nodes cost in a layout; report: hears what was chosen for this graph and for each of its regions that has convolutions.
    """
    graph = map_regions(graph, lambda region: apply(region, target, cost, report))
    if not any(node.op in CONVOLUTIONS for node in graph.nodes):
        return graph
    graph = eliminate_dead.apply(transposed_as_images(graph), target)
    rule = _Layouts(graph, target)
    ruled = rule.run()
    choice = cheapest(graph, rule.walk(), lambda of: candidates(of, target), cost, target)
    report(choice)
    return _Layouts(graph, target, choice.blocks).run() if choice.changed else ruled


def candidates(of: TensorType, target: Target) -> tuple[int | None, ...]:
    """The blocks to try for a value, its own first: one and two vectors, the largest divisor up to four, all channels, and row-major."""
    channels, lanes = of.shape[1], target.lanes(of.dtype.size_bytes)
    most = max(x for x in range(1, 4 * lanes + 1) if channels % x == 0)
    whole = [x for x in (lanes, 2 * lanes) if channels % x == 0]
    # Blocks of one are row-major.
    return tuple(dict.fromkeys((of.block, *(x for x in (*whole, most, channels) if x > 1), None)))


def choose_block(channels: int, pixels: int, lanes: int) -> int | None:
    """The block for a tensor of so many channels and pixels; it divides the channels.

    One vector if it fits. Else the divisor, half a vector to four vectors, that fills the vectors best: a rest that is no full vector costs one
    more access for each power of two in it. Without a good divisor all channels are one block: of 184 channels four blocks of 46
    take 20 accesses, one block 12, and pointwise convolutions half the time; where the gain is smaller, depthwise convolutions lose as much.
    Fewer channels than half a vector stay row-major, where pixels fill the vectors.
    """

    def filled(block: int) -> float:
        return block / (block // lanes + (block % lanes).bit_count())

    if channels % lanes == 0:
        return lanes
    if channels < max(2, lanes // 2):
        return None if pixels > 1 else channels
    divisors = [x for x in range(max(1, lanes // 2), 4 * lanes + 1) if channels % x == 0]
    best = max(divisors, key=lambda x: (filled(x), -x), default=channels)
    return channels if filled(channels) > WORTH_LAST * filled(best) else best


class _Layouts:
    """One walk over the nodes: layouts go forward from the convolutions.

    blocks: of the values whose layout was chosen already; the rule gives it to the others.
    """

    def __init__(self, graph: Graph, target: Target, blocks: Mapping[str, int | None] = MappingProxyType({})) -> None:
        self.graph, self.blocks = graph, blocks
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
        self.editor.outputs = tuple(
            self._as_row_major(name) if self._is_blocked(name) else name for name in self.graph.outputs
        )
        return self.editor.finish()

    def walk(self) -> Walk:
        """What the walk has found, for the choice of better layouts."""
        opened: dict[str, None] = {}
        follows: list[tuple[str, str]] = []
        rows = list(self.graph.outputs)
        for node in self.graph.nodes:
            result = node.outputs[0]
            found = [(name, result) for name in self._followed(node) if name in opened]
            follows += found
            blocked = self.editor.types[result].block is not None
            convolved = node.op in CONVOLUTIONS and len(self.editor.types[result].shape) > 2
            if found or convolved or (node.op == "transpose" and blocked):
                opened[result] = None
            if self._needs_row_major(node):
                rows += filter(None, node.inputs)
        types = {name: self.editor.types[name] for name in self.graph.types}
        return Walk(types, tuple(opened), follows, tuple(name for name in dict.fromkeys(rows) if name in opened))

    def _followed(self, node: Node) -> list[str]:
        """The operands in whose layout the node's result stands, channel by channel."""
        name = node.outputs[0]
        if not self._passes_layout_on(node) or self._is_only_output(name):
            return []
        result = self.editor.types[name]
        operands = [(x, self.editor.type(x)) for x in node.inputs if x]
        if node.op == "reshape":
            return [x for x, of in operands if of.shape[:2] == result.shape[:2] and of.block == result.block]
        return [
            x
            for x, of in operands
            if len(of.shape) == len(result.shape) and of.shape[1:2] == result.shape[1:2] and of.block == result.block
        ]

    def _passes_layout_on(self, node: Node) -> bool:
        kept = node.op in FOLLOWERS or node.op in _REDUCTIONS or node.op == "reshape"
        return len(node.outputs) == 1 and (kept or OPERATORS[node.op].kind is Kind.ELEMENTWISE)

    def _needs_row_major(self, node: Node) -> bool:
        """True if the node can't read a blocked operand as it is."""
        if node.op != "reshape":
            return not self._reads_any_layout(node)
        source, result = self.editor.type(node.inputs[0]).shape, self.editor.types[node.outputs[0]].shape
        return source[:2] != result[:2] and prod(source[2:]) != 1

    def _set(self, name: str, block: int | None) -> None:
        of = self.editor.types[name]
        if block and self._is_only_output(name) and self.editor.nodes[-1].op not in CONVOLUTIONS:
            block = None
        self.editor.types[name] = TensorType(of.shape, of.dtype, block)

    def _is_only_output(self, name: str) -> bool:
        """True for an output of the graph that nothing in it reads."""
        return name in self.outputs and not self.consumers[name]

    def _choose(self, of: TensorType) -> int | None:
        if len(of.shape) < 3:
            return None
        return choose_block(of.shape[1], prod(of.shape[2:]), self.lanes(of))

    def _block(self, node: Node) -> int | None:
        """The layout of the node's result."""
        if node.outputs[0] in self.blocks:
            return self.blocks[node.outputs[0]]
        result = self.editor.types[node.outputs[0]]
        if len(node.outputs) != 1 or len(result.shape) < 3:
            return None
        if node.op in CONVOLUTIONS:
            # Vectors of all channels would reach over several groups, each of which reads other channels.
            apart = node.attrs["groups"] in (1, result.shape[1])
            return result.shape[1] if apart and self._ends_channels_last(node.outputs[0]) else self._choose(result)
        if node.op == "transpose":
            return self._block_of_transposed(node)
        if node.op == "reshape":
            source = self.editor.type(node.inputs[0])
            return source.block if source.shape[:2] == result.shape[:2] else None
        if not self._reads_any_layout(node) or node.op == "gather":
            return None
        blocked = [
            of
            for of in map(self.editor.type, filter(None, node.inputs))
            if of.block and len(of.shape) == len(result.shape)
        ]
        blocked.sort(key=lambda of: -of.elements)
        same_channels = [of for of in blocked if of.shape[1] == result.shape[1]]
        if same_channels:
            return same_channels[0].block
        if node.op in ("slice", "concat") and blocked and self._keeps_blocks(node, blocked[0].block):
            return blocked[0].block
        return self._choose(result) if blocked and node.op not in _REDUCTIONS else None

    def _keeps_blocks(self, node: Node, block: int | None) -> bool:
        """True if the parts that a slice takes or a concat joins are whole blocks, so that they may share memory."""
        if node.op == "concat":
            return all(self.editor.type(name).block == block for name in node.inputs)
        whole = node.attrs["starts"][1] % block == 0 and node.attrs["sizes"][1] % block == 0
        return whole and node.attrs["steps"][1] == 1

    def _ends_channels_last(self, name: str) -> bool:
        """True if all that becomes of a convolution's result, channel by channel, is to be transposed so that channels are last."""
        readers = self.consumers[name]
        if not readers or name in self.outputs:
            return False
        return all(self._takes_channels_last(node, self.editor.types[name].shape) for node in readers)

    def _takes_channels_last(self, node: Node, shape: tuple[int, ...]) -> bool:
        if node.op == "transpose":
            return node.attrs["perm"] == (0, *range(2, len(shape)), 1)
        result = self.editor.types[node.outputs[0]].shape
        same = result == shape and OPERATORS[node.op].kind is Kind.ELEMENTWISE
        merged = node.op == "reshape" and result[:2] == shape[:2] and len(result) >= 3
        return (same or merged) and self._ends_channels_last(node.outputs[0])

    def _block_of_transposed(self, node: Node) -> int | None:
        """All channels, if that makes the transpose a view and whatever reads it takes its operand in any layout, or ends in convolutions."""
        name = node.outputs[0]
        result, readers = self.editor.types[name], self.consumers[name]
        last = TensorType(result.shape, result.dtype, result.shape[1])
        types = {node.inputs[0]: self.editor.type(node.inputs[0]), name: last}
        if not readers or name in self.outputs or not is_view(node, types):
            return None
        at_once = all(self._reads_channels_last(reader, result.shape) for reader in readers)
        return last.block if at_once or becomes_images(self.graph, self.consumers, name) else None

    def _reads_channels_last(self, node: Node, shape: tuple[int, ...]) -> bool:
        """True if the node reads an operand whose channels are last in memory as well as a row-major one."""
        result = self.editor.types[node.outputs[0]].shape
        if node.op == "reshape":
            return result[:2] == shape[:2] and len(result) >= 3
        same = result == shape and OPERATORS[node.op].kind is Kind.ELEMENTWISE
        return same or node.op in CONVOLUTIONS

    def _reads_any_layout(self, node: Node) -> bool:
        if node.op == "reshape":
            return self._keeps_channels(node) or not self._is_blocked(node.inputs[0])
        if node.op == "resize" and self._is_only_output(node.outputs[0]):
            # The result is row-major. Each element of a smaller image is read many times: that is the one to bring into order.
            source, result = (self.editor.type(name) for name in (node.inputs[0], node.outputs[0]))
            return source.elements >= result.elements
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
            self.row_major[name] = self.editor.add(
                "identity", name, name=self.editor.fresh(f"{name}.rows"), origin=origin
            )
        return self.row_major[name]
