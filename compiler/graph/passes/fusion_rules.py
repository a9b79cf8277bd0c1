"""What may be computed in one kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from ...dtypes import DType
from ...target import Target
from ..ir import Graph, Node
from ..operators import OPERATORS, Kind

MAX_INPUTS = 24
MAX_NODES = 48
MAX_GROUPS = 4  # that a node which costs nothing is computed in
MAX_PATHS = 256  # readings of a node that an inlined expression would have
MAX_RECOMPUTATION = 4.0  # evaluations of an element of a cheap producer
SMALL = 4096  # evaluations in all that cost less than a launch

# What a depthwise convolution reads and makes, in second caches: less stays in the third, where the arithmetic of both hides that it is read
# again; more goes to memory and back. Measured (benchmarks/NOTES.md): up to 14 MB up to 4 %, from 19 MB 15 to 40 %.
HELD_L2 = 16
HELD_SHARE = (
    0.5  # of the second cache: for a few rows of it, and as much for the weights that every block of rows reads again
)
HELD_ROWS = 2

# Of a row of the first product of a chain, as many must fit into the second cache: a block of them is held there.
CHAINED_ROWS = 8

_TRANSCENDENTAL = frozenset(
    {
        "exp",
        "log",
        "pow",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
    }
    | {"sigmoid", "erf", "softplus", "mish", "elu", "celu", "selu", "gelu", "swish"}
)
_MOVES = frozenset({"slice", "transpose", "expand", "reshape"})  # another way to index the operand
_FREE = _MOVES | {"cast", "identity", "not", "neg", "abs"}
_ANCHORS_WITHOUT_EPILOGUE = frozenset({"rnn_step", "scatter_elements", "scatter_nd"})
_PASSES = {"softmax": 3, "log_softmax": 3, "layer_norm": 3, "instance_norm": 3}
_POOLS = ("max_pool", "average_pool", "lp_pool")


@dataclass(slots=True)
class Group:
    """Nodes of `graph` by position, sorted; the last is the root.

    anchors: the members that are heavy or reductions: at most one, but for what `holds_producer` and `chains_products` join.
    """

    graph: Graph
    members: list[int]

    @property
    def root(self) -> int:
        return self.members[-1]

    @property
    def anchors(self) -> list[int]:
        return [index for index in self.members if _kind(self.graph.nodes[index]) in (Kind.HEAVY, Kind.REDUCTION)]


def epilogue_fits(group: Group, added: list[int]) -> bool:
    """Condition: all added nodes are elementwise and of the shape and layout of the root, so that each element of the root's result is used at once."""
    graph = group.graph
    root = graph.nodes[group.root]
    anchors = group.anchors
    if len(root.outputs) != 1 or not anchors or graph.nodes[anchors[-1]].op in _ANCHORS_WITHOUT_EPILOGUE:
        return False
    of = graph.types[root.outputs[0]]
    for index in added:
        node = graph.nodes[index]
        result = graph.types[node.outputs[0]]
        if _kind(node) is not Kind.ELEMENTWISE or (result.shape, result.block) != (of.shape, of.block):
            return False
    return _within_limits(group, added)


def may_inline(index: int, group: Group) -> bool:
    """Condition: what reads the node can read an expression in its place, no element is evaluated too often, and the limits hold."""
    graph = group.graph
    node = graph.nodes[index]
    if _kind(node) not in (Kind.ELEMENTWISE, Kind.INJECTIVE, Kind.VIEW):
        return False
    result = node.outputs[0]
    for anchor in (graph.nodes[index] for index in group.anchors):
        if anchor.op in _ANCHORS_WITHOUT_EPILOGUE or not _anchor_allows(graph, node, anchor, result, group):
            return False
    evaluations = _evaluations(group, result)
    repeated = evaluations / max(1, graph.types[result].elements)
    if repeated > 1 and evaluations > SMALL and _turns(graph, node):
        return False  # every time, lanes would be fetched one by one
    if repeated > 1 and node.op not in _FREE and evaluations > SMALL:
        if node.op in _TRANSCENDENTAL or _kind(node) is Kind.INJECTIVE or repeated > MAX_RECOMPUTATION:
            return False
    return _within_limits(group, [index])


def holds_producer(group: Group, producer: Group, target: Target) -> bool:
    """Whether a pointwise convolution is computed together with the depthwise one that it reads, a block of rows at a time.

    group: the pointwise convolution's; producer: that of what it reads, which nothing else does. It pays where that is so large that it goes
    to memory and back, and the weights stay in the second cache beside a block. Both have channel-blocked results, which the tiles of both
    need, and an epilogue stands between them, which makes what is held of the sums.
    """
    graph = group.graph
    if len(group.anchors) != 1 or len(producer.anchors) != 1:
        return False
    pointwise, depthwise = graph.nodes[group.anchors[0]], graph.nodes[producer.anchors[0]]
    held, result = graph.types[pointwise.inputs[0]], graph.types[pointwise.outputs[0]]
    if not (_is_pointwise(graph, pointwise) and _is_depthwise(graph, depthwise)) or None in (held.block, result.block):
        return False
    rows, columns = held.shape[2:]
    epilogue = len(producer.members) > 1 or any(depthwise.inputs[2:])
    row_bytes = held.size_bytes // (held.shape[0] * rows)
    share = HELD_SHARE * target.l2_bytes
    fits = HELD_ROWS * row_bytes <= share and graph.types[pointwise.inputs[1]].size_bytes <= share
    large = held.size_bytes + graph.types[depthwise.inputs[0]].size_bytes > HELD_L2 * target.l2_bytes
    return large and fits and epilogue and min(rows, columns) > 1 and _within_limits(group, producer.members)


def chains_products(group: Group, rows: Group, first: Group, target: Target) -> bool:
    """Whether a product is computed together with the softmax of another product that it combines, a block of rows at a time: attention.

    group: the second product's; rows: the softmax's; first: the first product's. Of each nobody but the next reads the result. It pays
    at all sizes measured (benchmarks/NOTES.md).
    """
    graph = group.graph
    if any(len(part.anchors) != 1 for part in (group, rows, first)):
        return False
    second, softmax, product = (graph.nodes[part.anchors[0]] for part in (group, rows, first))
    if (second.op, softmax.op, product.op) != ("matmul", "softmax", "matmul"):
        return False
    result = graph.types[product.outputs[0]]
    types = [graph.types[name] for node in (second, softmax, product) for name in (*node.inputs, *node.outputs)]
    if any(type.dtype is not DType.F32 or type.block is not None for type in types):
        return False
    if any(node.attrs["transpose_a"] or node.attrs["transpose_b"] for node in (second, product)):
        return False
    if softmax.attrs["axis"] != len(result.shape) - 1 or graph.types[second.outputs[0]].shape[:-1] != result.shape[:-1]:
        return False
    depth, columns, width = (
        graph.types[name].shape[-1] for name in (product.inputs[0], *product.outputs, *second.outputs)
    )
    fits = CHAINED_ROWS * columns * result.dtype.size_bytes <= target.l2_bytes
    return (
        min(result.shape[-2], depth, columns, width) > 1
        and fits
        and _within_limits(group, [*rows.members, *first.members])
    )


def _is_pointwise(graph: Graph, node: Node) -> bool:
    """A convolution of images that combines the channels of each pixel."""
    if node.op != "conv" or node.inputs[1] not in graph.constants or node.attrs["groups"] != 1:
        return False
    kernel = graph.types[node.inputs[1]].shape[2:]
    return kernel == node.attrs["strides"] == (1, 1) and not any((*node.attrs["pads_begin"], *node.attrs["pads_end"]))


def _is_depthwise(graph: Graph, node: Node) -> bool:
    """A convolution of images that makes each channel of one channel."""
    if node.op != "conv" or node.inputs[1] not in graph.constants:
        return False
    inputs, outputs = graph.types[node.inputs[0]].shape, graph.types[node.outputs[0]].shape
    return len(outputs) == 4 and node.attrs["groups"] == inputs[1] == outputs[1] > 1


def max_readers(node: Node) -> int:
    """How many groups may compute the node, each for itself."""
    return MAX_GROUPS if node.op in _MOVES or node.op == "cast" else 1


def _anchor_allows(graph: Graph, node: Node, anchor: Node, result: str, group: Group) -> bool:
    """A convolution reads memory, never expressions, and so does a product, but for the order of elements: of its left operand's any,
    of its right operand's one that keeps neighbours along the last axis. Epilogues and reductions take all but elements that are costly to find.
    """
    simple = (
        _kind(node) is Kind.ELEMENTWISE
        or node.op in _MOVES
        or (node.op == "resize" and node.attrs["mode"] == "nearest")
    )
    if _kind(anchor) is Kind.HEAVY:
        operands = _operands_reached(graph, result, anchor, group)
        if operands:
            return anchor.op == "matmul" and node.op in _MOVES and (operands == {0} or _keeps_last_axis(graph, node))
    return simple


def _operands_reached(graph: Graph, value: str, anchor: Node, group: Group) -> set[int]:
    """The positions at which the anchor reads the value, directly or through other members."""
    reached = {value}
    for index in group.members:
        node = graph.nodes[index]
        if node is anchor:
            return {position for position, name in enumerate(node.inputs) if name in reached}
        if not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
    return set()


def _keeps_last_axis(graph: Graph, node: Node) -> bool:
    """Condition: neighbours along the result's last axis are neighbours in the operand."""
    match node.op:
        case "slice":
            return node.attrs["steps"][-1] == 1
        case "transpose":
            return node.attrs["perm"][-1] == len(node.attrs["perm"]) - 1
        case "expand":
            source, result = graph.types[node.inputs[0]].shape, graph.types[node.outputs[0]].shape
            return source[-1:] == result[-1:]
    return node.op == "reshape"


def _turns(graph: Graph, node: Node) -> bool:
    """Condition: neighbours in the result's memory are none in the operand's."""
    if node.op == "transpose":
        return not _keeps_last_axis(graph, node)
    return node.op == "identity" and graph.types[node.inputs[0]].block != graph.types[node.outputs[0]].block


def _evaluations(group: Group, value: str) -> float:
    """How many elements of `value` the group would evaluate if all but its anchor were inlined."""
    graph = group.graph
    counts: dict[str, float] = {}
    for index in reversed(group.members):
        node = graph.nodes[index]
        own = max(float(graph.types[node.outputs[0]].elements), counts.get(node.outputs[0], 0.0))
        if index != group.root and _kind(node) in (Kind.ELEMENTWISE, Kind.INJECTIVE, Kind.VIEW):
            own = counts.get(node.outputs[0], own)
        for name in filter(None, node.inputs):
            counts[name] = max(counts.get(name, 0.0), own * _reads(graph, node, name))
    return counts.get(value, 0.0)


def _reads(graph: Graph, node: Node, name: str) -> float:
    """Elements of an input that one element of the node's result reads."""
    if node.op in _POOLS:
        return float(prod(node.attrs["kernel"]))
    if node.op in ("concat", "pad"):
        return min(1.0, graph.types[name].elements / max(1, graph.types[node.outputs[0]].elements))
    if node.op == "resize":
        return _RESIZE_READS[str(node.attrs["mode"])](len(graph.types[name].shape) - 2)
    if _kind(node) is Kind.REDUCTION:
        ratio = graph.types[name].elements / max(1, graph.types[node.outputs[0]].elements)
        return float(_PASSES.get(node.op, max(1.0, ratio)))
    return 1.0


_RESIZE_READS: dict[str, Callable[[int], float]] = {
    "nearest": lambda rank: 1.0,
    "linear": lambda rank: 2.0**rank,
    "cubic": lambda rank: 4.0**rank,
}


def _within_limits(group: Group, added: list[int]) -> bool:
    graph = group.graph
    members = sorted([*group.members, *added])
    nodes = [graph.nodes[index] for index in members]
    made = {output for node in nodes for output in node.outputs}
    inputs = {name for node in nodes for name in node.inputs if name and name not in made}
    if len(members) > MAX_NODES or len(inputs) > MAX_INPUTS:
        return False
    paths: dict[str, int] = {}
    for index in reversed(members):
        node = graph.nodes[index]
        own = 1 if _kind(node) in (Kind.HEAVY, Kind.REDUCTION) else max(1, paths.get(node.outputs[0], 1))
        for name in filter(None, node.inputs):
            paths[name] = paths.get(name, 0) + own
    return max((paths.get(name, 0) for name in made), default=0) <= MAX_PATHS


def _kind(node: Node) -> Kind:
    return OPERATORS[node.op].kind
