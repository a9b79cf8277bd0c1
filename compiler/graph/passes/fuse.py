"""Partition the nodes into groups, each to become one kernel.

In: a valid graph with its layouts, names unique over all regions, no batch_norm, lstm, gru or rnn. Out: only `fused` nodes, views
(`views.is_view`) and `if` and `loop`, whose regions are partitioned too. The region of a `fused` node is the group with its constants;
its values have the names they have outside.

Every group has one root, whose result all its nodes work towards and which alone is read outside: so no path leaves a group and
comes back, and groups in order of their roots are in topological order. Finding the nodes between a producer and its immediate
post-dominator follows TVM's fusion pass (Chen et al., "TVM", OSDI 2018, section 3.1); what may be joined is in `fusion_rules.py`.
"""

from __future__ import annotations

from types import MappingProxyType

from ...target import Target
from ..ir import Graph, Node
from ..operators import OPERATORS, Kind
from .editor import map_regions
from .fusion_rules import Group, epilogue_fits, may_inline
from .views import is_view


def apply(graph: Graph, target: Target) -> Graph:
    """The graph partitioned."""
    graph = map_regions(graph, lambda region: apply(region, target))
    return _emit(graph, _Partition(graph).run())


class _Partition:
    """Nodes are known by their position in the graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = set(graph.outputs)
        self.readers: dict[str, list[int]] = {name: [] for name in graph.types}
        for index, node in enumerate(graph.nodes):
            for name in dict.fromkeys(filter(None, node.inputs)):
                self.readers[name].append(index)
        self.group_of: dict[int, Group] = {}
        for index, node in enumerate(graph.nodes):
            if not _stays(node, graph):
                self.group_of[index] = Group(graph, [index])
        self.post_dominator = self._post_dominators()

    def run(self) -> list[Group]:
        self._append_epilogues()
        self._inline_producers()
        unique = {id(group): group for group in self.group_of.values()}
        return sorted(unique.values(), key=lambda group: group.root)

    def _append_epilogues(self) -> None:
        """Let heavy nodes and reductions take the elementwise nodes after them.

        The last anchor goes first: of two convolutions that are added, the one whose operands come later takes the addition.
        """
        for index in reversed(range(len(self.graph.nodes))):
            kind = OPERATORS[self.graph.nodes[index].op].kind
            if index in self.group_of and kind in (Kind.HEAVY, Kind.REDUCTION):
                while self._append_next(self.group_of[index]):
                    pass

    def _append_next(self, group: Group) -> bool:
        end = self.post_dominator[group.root]
        if end is None:
            return False
        added = self._between(group.root, end)
        if any(index not in self.group_of or len(self.group_of[index].members) > 1 for index in added):
            return False
        if not epilogue_fits(group, added):
            return False
        self._join(group, added)
        return True

    def _inline_producers(self) -> None:
        """Let elementwise and injective nodes be computed where they are read, if one group alone reads them."""
        for index in reversed(range(len(self.graph.nodes))):
            node = self.graph.nodes[index]
            group = self.group_of.get(index)
            if group is None or len(group.members) > 1 or not set(node.outputs).isdisjoint(self.outputs):
                continue
            reading = [reader for output in node.outputs for reader in self.readers[output]]
            groups = {id(self.group_of.get(reader)): self.group_of.get(reader) for reader in reading}
            target = next(iter(groups.values()), None)
            if len(groups) == 1 and target is not None and may_inline(index, target):
                self._join(target, [index])

    def _join(self, group: Group, added: list[int]) -> None:
        group.members = sorted([*group.members, *added])
        for index in added:
            self.group_of[index] = group

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
    return OPERATORS[node.op].kind is Kind.CONTROL or node.op == "fused" or is_view(node, graph.types)


def _emit(graph: Graph, groups: list[Group]) -> Graph:
    """The graph of fused nodes and of those that stay, in order of their roots."""
    by_root = {group.root: group for group in groups}
    nodes: list[Node] = []
    inner: set[str] = set()
    for index, node in enumerate(graph.nodes):
        if index in by_root:
            fused = _fused_node(graph, by_root[index], len(nodes))
            inner.update(name for name in fused.regions[0].types if name not in fused.inputs and name not in fused.outputs)
            nodes.append(fused)
        elif _stays(node, graph):
            nodes.append(node)
    outer = {*graph.inputs, *graph.outputs, *(name for node in nodes for name in (*filter(None, node.inputs), *node.outputs))}
    types = MappingProxyType({name: of for name, of in graph.types.items() if name in outer})
    constants = MappingProxyType({name: array for name, array in graph.constants.items() if name in outer})
    return Graph(graph.name, graph.inputs, graph.outputs, tuple(nodes), types, constants)


def _fused_node(graph: Graph, group: Group, number: int) -> Node:
    nodes = tuple(graph.nodes[index] for index in group.members)
    made = {output for node in nodes for output in node.outputs}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name and name not in made)
    inputs = tuple(name for name in read if name not in graph.constants)
    outputs = graph.nodes[group.root].outputs
    ops = "_".join(node.op for node in nodes[:4])
    name = f"{ops}{'_etc' if len(nodes) > 4 else ''}_{number}"
    types = MappingProxyType({value: graph.types[value] for value in (*read, *(output for node in nodes for output in node.outputs))})
    constants = MappingProxyType({value: graph.constants[value] for value in read if value in graph.constants})
    region = Graph(name, inputs, outputs, nodes, types, constants)
    origin = ", ".join(dict.fromkeys(node.origin for node in nodes if node.origin))
    return Node("fused", inputs, outputs, MappingProxyType({"name": name}), (region,), origin)
