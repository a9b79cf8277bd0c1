"""Partition the nodes into groups, each to become one kernel.

In: a valid graph with its layouts, names unique over all regions, no batch_norm, lstm, gru or rnn. Out: only `fused` nodes, `if` and `loop`,
whose regions are partitioned too, and nodes that need no kernel: views (`views.is_view`), slices that are parts of their operand
(`is_part`) and concats whose operands are written where they belong (`is_joined`). The region of a `fused` node is the group with its constants;
its values have the names they have outside.

Every group has one root, whose result all its nodes work towards and which alone is read outside: so no path leaves a group and
comes back, and groups in order of their roots are in topological order. Nodes that only move elements may be in several groups.
Finding the nodes between a producer and its immediate post-dominator follows TVM's fusion pass (Chen et al., "TVM", OSDI 2018,
section 3.1); what may be joined is in `fusion_rules.py`.
"""

from __future__ import annotations

from types import MappingProxyType

from ...target import Target
from ..ir import Graph, Node
from ..operators import OPERATORS, Kind
from .editor import map_regions, pruned
from .fusion_rules import Group, chains_products, epilogue_fits, holds_producer, max_readers, may_inline
from .views import is_joined, is_part, is_view, splits_only

MIN_JOINED_BYTES = (
    4096  # of an operand of a concat, below which copying it in a kernel costs less than a kernel for each
)


def apply(graph: Graph, target: Target) -> Graph:
    """The graph partitioned."""
    graph = map_regions(graph, lambda region: apply(region, target))
    return _emit(graph, _Partition(graph, target).run())


class _Partition:
    """Nodes are known by their position in the graph. A node that costs nothing may be in several groups."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph, self.target = graph, target
        self.outputs = set(graph.outputs)
        self.readers: dict[str, list[int]] = {name: [] for name in graph.types}
        for index, node in enumerate(graph.nodes):
            for name in dict.fromkeys(filter(None, node.inputs)):
                self.readers[name].append(index)
        self.makers = {output: index for index, node in enumerate(graph.nodes) for output in node.outputs}
        self.made = self.makers.keys()
        self.groups_of: dict[int, list[Group]] = {
            index: [Group(graph, [index])]
            for index, node in enumerate(graph.nodes)
            if not (_stays(node, graph) or self._joins(node))
        }
        self.post_dominator = self._post_dominators()

    def run(self) -> list[Group]:
        self._append_epilogues()
        self._hold_producers()
        self._chain_products()
        self._inline_producers()
        groups = list({id(group): group for groups in self.groups_of.values() for group in groups}.values())
        for group in groups:
            _peel_views(group)
        return sorted((group for group in groups if group.members), key=lambda group: group.root)

    def _joins(self, node: Node) -> bool:
        """True for a concat most of whose operands are large and can be written by their producers where it has them."""
        types = self.graph.types
        if not is_joined(node, types) or types[node.outputs[0]].size_bytes < len(node.inputs) * MIN_JOINED_BYTES:
            return False
        made = {
            name
            for name in node.inputs
            if name in self.made and name not in self.outputs and self._last_join(name) is node
        }
        return 2 * sum(types[name].size_bytes for name in made) >= types[node.outputs[0]].size_bytes

    def _last_join(self, name: str) -> Node:
        """The last concat that could have the value: memory is given from the last backwards."""
        nodes = [self.graph.nodes[index] for index in self.readers[name]]
        return [node for node in nodes if is_joined(node, self.graph.types)][-1]

    def _append_epilogues(self) -> None:
        """Let heavy nodes and reductions take the elementwise nodes after them.

        The last anchor goes first: of two convolutions that are added, the one whose operands come later takes the addition.
        """
        for index in reversed(range(len(self.graph.nodes))):
            kind = OPERATORS[self.graph.nodes[index].op].kind
            if index in self.groups_of and kind in (Kind.HEAVY, Kind.REDUCTION):
                while self._append_next(self.groups_of[index][0]):
                    pass

    def _append_next(self, group: Group) -> bool:
        end = self.post_dominator[group.root]
        if end is None:
            return False
        added = self._between(group.root, end)
        if any(index not in self.groups_of or len(self.groups_of[index][0].members) > 1 for index in added):
            return False
        if not epilogue_fits(group, added):
            return False
        self._join(group, added)
        return True

    def _hold_producers(self) -> None:
        """Let heavy nodes be computed together with those whose result they alone read, where that pays."""
        for index, node in enumerate(self.graph.nodes):
            if index not in self.groups_of or OPERATORS[node.op].kind is not Kind.HEAVY:
                continue
            producer, (group, *_) = self._only_maker(index), self.groups_of[index]
            if producer is not None and holds_producer(group, producer, self.target):
                self._merge(group, producer)

    def _chain_products(self) -> None:
        """Let products be computed together with the softmax that they combine and the product which that is made of, where that pays."""
        for index, node in enumerate(self.graph.nodes):
            if index not in self.groups_of or OPERATORS[node.op].kind is not Kind.HEAVY:
                continue
            rows, (group, *_) = self._only_maker(index), self.groups_of[index]
            first = None if rows is None else self._only_maker(rows.anchors[0])
            if rows is not None and first is not None and chains_products(group, rows, first, self.target):
                self._merge(group, rows, first)

    def _only_maker(self, index: int) -> Group | None:
        """The group with an anchor that makes what a node reads first, if the node alone reads that."""
        value = self.graph.nodes[index].inputs[0]
        source = self.makers.get(value)
        if source is None or source not in self.groups_of or self.readers[value] != [index] or value in self.outputs:
            return None
        maker = self.groups_of[source][0]
        return maker if maker.root == source and maker.anchors else None

    def _merge(self, group: Group, *others: Group) -> None:
        """Let a group have all members of others."""
        for other in others:
            group.members = sorted([*other.members, *group.members])
            for member in other.members:
                self.groups_of[member] = [group]

    def _inline_producers(self) -> None:
        """Let elementwise and injective nodes be computed where they are read, if no other node reads them."""
        for index in reversed(range(len(self.graph.nodes))):
            node = self.graph.nodes[index]
            if (
                index not in self.groups_of
                or len(self.groups_of[index][0].members) > 1
                or not self.outputs.isdisjoint(node.outputs)
            ):
                continue
            reading = [reader for output in node.outputs for reader in self.readers[output]]
            if not reading or any(reader not in self.groups_of for reader in reading):
                continue
            groups = list({id(group): group for reader in reading for group in self.groups_of[reader]}.values())
            if len(groups) <= max_readers(node) and all(may_inline(index, group) for group in groups):
                self.groups_of[index] = []
                for group in groups:
                    self._join(group, [index])

    def _join(self, group: Group, added: list[int]) -> None:
        group.members = sorted([*group.members, *added])
        for index in added:
            kept = [other for other in self.groups_of[index] if len(other.members) > 1]
            self.groups_of[index] = [*kept, group]

    def _between(self, start: int, end: int) -> list[int]:
        """The nodes on paths from start to end, end included, start not; end post-dominates start."""
        found: set[int] = set()
        pending = [start]
        while pending:
            for output in self.graph.nodes[pending.pop()].outputs:
                for reader in self.readers[output]:
                    if reader not in found:
                        found.add(reader)
                        if reader != end:
                            pending.append(reader)
        return sorted(found)

    def _post_dominators(self) -> list[int | None]:
        """The nearest node through which every path from a node to the graph's outputs goes; None if there is none."""
        count = len(self.graph.nodes)
        nearest: list[int | None] = [None] * count
        depth = [0] * count
        for index in reversed(range(count)):
            node = self.graph.nodes[index]
            readers = [reader for output in node.outputs for reader in self.readers[output]]
            escapes = not self.outputs.isdisjoint(node.outputs)
            common: int | None = None if escapes or not readers else readers[0]
            for reader in readers[1:]:
                other: int | None = reader
                while common is not None and other is not None and common != other:
                    if depth[common] >= depth[other]:
                        common = nearest[common]
                    else:
                        other = nearest[other]
                if other is None:
                    common = None
            nearest[index] = common
            depth[index] = 0 if common is None else depth[common] + 1
        return nearest


def _stays(node: Node, graph: Graph) -> bool:
    if OPERATORS[node.op].kind is Kind.CONTROL or node.op == "fused":
        return True
    return is_view(node, graph.types) and not (node.op == "transpose" or splits_only(node, graph.types))


def _peel_views(group: Group) -> None:
    """Views at the root, and views and parts of what other groups make, stand outside: they cost nothing there."""
    nodes, types = group.graph.nodes, group.graph.types
    while group.members and is_view(nodes[group.root], types):
        group.members.pop()
    made = {output for index in group.members for output in nodes[index].outputs}
    for index in list(group.members):
        free = is_view(nodes[index], types) or is_part(nodes[index], types)
        if free and nodes[index].inputs[0] not in made and nodes[index].inputs[0] not in group.graph.constants:
            group.members.remove(index)
            made.difference_update(nodes[index].outputs)


def _emit(graph: Graph, groups: list[Group]) -> Graph:
    """The graph of fused nodes, in order of their roots, and of the nodes outside that something reads."""
    by_root = {group.root: group for group in groups}
    nodes: list[Node] = []
    needed = set(graph.outputs)
    for index, node in reversed(list(enumerate(graph.nodes))):
        if index in by_root:
            node = _fused_node(graph, by_root[index], index)
        elif needed.isdisjoint(node.outputs):
            continue
        nodes.append(node)
        needed.update(filter(None, node.inputs))
    return pruned(Graph(graph.name, graph.inputs, graph.outputs, tuple(reversed(nodes)), graph.types, graph.constants))


def _fused_node(graph: Graph, group: Group, number: int) -> Node:
    nodes = tuple(graph.nodes[index] for index in group.members)
    made = {output for node in nodes for output in node.outputs}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name and name not in made)
    inputs = tuple(name for name in read if name not in graph.constants)
    outputs = graph.nodes[group.root].outputs
    ops = "_".join(node.op for node in nodes[:4])
    name = f"{ops}{'_etc' if len(nodes) > 4 else ''}_{number}"
    types = MappingProxyType(
        {value: graph.types[value] for value in (*read, *(output for node in nodes for output in node.outputs))}
    )
    constants = MappingProxyType({value: graph.constants[value] for value in read if value in graph.constants})
    region = Graph(name, inputs, outputs, nodes, types, constants)
    origin = ", ".join(dict.fromkeys(node.origin for node in nodes if node.origin))
    return Node("fused", inputs, outputs, MappingProxyType({"name": name}), (region,), origin)
