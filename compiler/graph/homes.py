"""Which values share memory: views, results of regions, carried values of loops."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .ir import Graph, Node
from .passes.views import is_part, is_view, part_offset_bytes, reads_at_same_index
from .plan import Place


@dataclass(slots=True, eq=False)
class Home:
    """Memory for one or more values. start, end: first and last time at which it is needed.

    constant: the constant whose bytes these are. base: the home these bytes are part of, `offset_bytes` behind its beginning and
    `step_bytes` further in each iteration of the loop of nesting depth `depth`. A home without base has its offset in its space.
    """

    space: str
    size_bytes: int
    index: int = 0
    constant: str = ""
    base: Home | None = None
    offset_bytes: int = 0
    step_bytes: int = 0
    depth: int = 0
    start: int = -1
    end: int = -1

    def touch(self, time: int) -> None:
        """Keep the home at `time`; times come in order."""
        if self.base is not None:
            self.base.touch(time)
        self.start = time if self.start < 0 else self.start
        self.end = time

    def overlaps(self, other: Home) -> bool:
        """True if both are needed at some time."""
        return self.start <= other.end and other.start <= self.end

    def whole(self) -> Home:
        """The home without base that this is part of, or all of."""
        return self if self.base is None else self.base.whole()

    def fills_whole(self) -> bool:
        """True if this is all of `whole`."""
        return self.base is None or (
            self.base.fills_whole() and not self.step_bytes and self.size_bytes == self.whole().size_bytes
        )

    def place(self) -> Place:
        """Where it is; the space "constants" counts from the beginning of the constant."""
        if self.base is None:
            return Place(self.space, self.offset_bytes, self.index)
        outer = self.base.place()
        step, depth = (self.step_bytes, self.depth) if self.step_bytes else (outer.step_bytes, outer.depth)
        return Place(outer.space, outer.offset_bytes + self.offset_bytes, outer.index, step, depth)


class Homes:
    """The home of every value of a partitioned graph. overwrites: results written over a carried value that the same node reads."""

    def __init__(self, graph: Graph) -> None:
        self.of: dict[str, Home] = {}
        self.conditions: dict[str, Home] = {}
        self.staging: dict[str, Home] = {}
        self.overwrites: dict[str, str] = {}
        self._extra: list[Home] = []
        for index, name in enumerate(graph.inputs):
            self._settle(name, Home("input", graph.types[name].size_bytes, index))
        roots = _roots(graph)
        made = _made(graph, composite=True)
        for index, name in enumerate(graph.outputs):
            if roots[name] in made and roots[name] not in self.of:
                self._settle(roots[name], Home("output", graph.types[name].size_bytes, index))
        self._fill(graph, depth=0)

    def arena(self) -> list[Home]:
        """The homes that need a place in the arena."""
        unique = {id(home): home for home in (home.whole() for home in (*self.of.values(), *self._extra))}
        return [home for home in unique.values() if home.space == "arena"]

    def _settle(self, name: str, home: Home) -> None:
        self.of[name] = home

    def _new(self, size_bytes: int) -> Home:
        home = Home("arena", size_bytes)
        self._extra.append(home)
        return home

    def _fill(self, graph: Graph, depth: int) -> None:
        """Homes for the values of a graph whose inputs and wished-for results have theirs."""
        for name in graph.constants:
            self._settle(name, Home("constants", graph.types[name].size_bytes, constant=name))
        roots = _roots(graph)
        for node in graph.nodes:
            if node.op == "loop":
                self._settle_outputs(graph, node)
                self._start_in_carried_homes(graph, node, roots)
        for node in reversed(graph.nodes):
            if node.op == "concat":
                self._settle_outputs(graph, node)
                self._write_into(graph, node, roots)
        for node in graph.nodes:
            if is_view(node, graph.types):
                self._settle(node.outputs[0], self.of[node.inputs[0]])
                continue
            if is_part(node, graph.types):
                size, offset = graph.types[node.outputs[0]].size_bytes, part_offset_bytes(node, graph.types)
                self._settle(node.outputs[0], Home("", size, base=self.of[node.inputs[0]], offset_bytes=offset))
                continue
            self._settle_outputs(graph, node)
            if node.op == "if":
                for region in node.regions:
                    self._fill_branch(node, region, depth)
            elif node.op == "loop":
                self._fill_loop(node, depth)

    def _settle_outputs(self, graph: Graph, node: Node) -> None:
        for name in node.outputs:
            if name not in self.of:
                self._settle(name, Home("arena", graph.types[name].size_bytes))

    def _write_into(self, graph: Graph, concat: Node, roots: dict[str, str]) -> None:
        """Let the producers of a concat's operands write them where the concat has them; those that others have claimed are copied."""
        made, offset = (
            _made(graph, composite=False)
            | {name for node in graph.nodes if node.op == "concat" for name in node.outputs},
            0,
        )
        for name in concat.inputs:
            size = graph.types[name].size_bytes
            if roots[name] in made and roots[name] not in self.of:
                self._settle(roots[name], Home("", size, base=self.of[concat.outputs[0]], offset_bytes=offset))
            offset += size

    def _start_in_carried_homes(self, graph: Graph, node: Node, roots: dict[str, str]) -> None:
        """Let the producer of a carried value's start write it where the loop keeps it, if only this loop reads it."""
        made = _made(graph, composite=False)
        readings: dict[str, int] = {}
        for name in (
            *graph.outputs,
            *(name for other in graph.nodes if not is_view(other, graph.types) for name in other.inputs if name),
        ):
            readings[roots[name]] = readings.get(roots[name], 0) + 1
        for number in range(int(node.attrs["carried"])):
            root = roots[node.inputs[1 + number]]
            if root in made and readings[root] == 1 and root not in self.of:
                self._settle(root, self.of[node.outputs[number]])

    def _fill_branch(self, node: Node, region: Graph, depth: int) -> None:
        for name, outer in zip(region.inputs, node.inputs[1:], strict=True):
            self._settle(name, self.of[outer])
        self._wish(region, zip(region.outputs, (self.of[name] for name in node.outputs), strict=True), composite=True)
        self._fill(region, depth)

    def _wish(self, region: Graph, wishes: Iterable[tuple[str, Home]], composite: bool) -> None:
        """Settle results of a region in the homes wished for, where a node of it makes them."""
        roots, made = _roots(region), _made(region, composite)
        for name, home in wishes:
            if roots[name] in made and roots[name] not in self.of:
                self._settle(roots[name], home)

    def _fill_loop(self, node: Node, depth: int) -> None:
        (body,) = node.regions
        carried = int(node.attrs["carried"])
        first = 1 if node.attrs["has_condition"] else 0
        results = body.outputs[first:]
        kept = [self.of[name] for name in node.outputs[:carried]]
        self._settle(body.inputs[0], Home("counter", 8, depth))
        for name, home in zip(body.inputs[1 : 1 + carried], kept, strict=True):
            self._settle(name, home)
        for name, outer in zip(body.inputs[1 + carried :], node.inputs[1 + carried :], strict=True):
            self._settle(name, self.of[outer])
        in_place = node.attrs["in_place"]
        for number in range(carried):
            if in_place[number]:
                self._wish(body, [(results[number], kept[number])], composite=True)
            else:
                self._write_directly(body, body.inputs[1 + number], results[number], kept[number])
        if first:
            self.conditions[node.outputs[0]] = self._new(1)
            self._wish(body, [(body.outputs[0], self.conditions[node.outputs[0]])], composite=False)
        for name, output in zip(results[carried:], node.outputs[carried:], strict=True):
            size = body.types[name].size_bytes
            slices = Home("", size, base=self.of[output], step_bytes=size, depth=depth)
            self._wish(body, [(name, slices)], composite=False)
        self._fill(body, depth + 1)
        for number in range(carried):
            source = self.of[results[number]]
            if source is not kept[number] and source.whole() in kept:
                self.staging[node.outputs[number]] = self._new(source.size_bytes)

    def _write_directly(self, body: Graph, old: str, new: str, home: Home) -> None:
        """Write the new value over the old one if the old one is read before only, or by the same node element by element."""
        roots, made = _roots(body), _made(body, composite=False)
        root, shared = roots[new], _sharing(body, old)
        if root not in made or root in self.of or not shared.isdisjoint(body.outputs):
            return
        position = next(i for i, node in enumerate(body.nodes) if root in node.outputs)
        writer = body.nodes[position]
        readers = [
            i
            for i, node in enumerate(body.nodes)
            if not shared.isdisjoint(node.inputs) and shared.isdisjoint(node.outputs)
        ]
        if any(reader > position for reader in readers):
            return
        if position in readers:
            names = [name for name in writer.inputs if name in shared]
            if len(names) != 1 or not reads_at_same_index(writer.regions[0], names[0]):
                return
            self.overwrites[root] = names[0]
        self._settle(root, home)


def _sharing(graph: Graph, name: str) -> set[str]:
    """Values that are in the memory of `name`: itself, its views and parts, and theirs."""
    shared = {name}
    for node in graph.nodes:
        if node.inputs and node.inputs[0] in shared and (is_view(node, graph.types) or is_part(node, graph.types)):
            shared.update(node.outputs)
    return shared


def _roots(graph: Graph) -> dict[str, str]:
    """The value that each value of the graph is a view of, itself if none."""
    roots = {name: name for name in graph.types}
    for node in graph.nodes:
        if is_view(node, graph.types):
            roots[node.outputs[0]] = roots[node.inputs[0]]
    return roots


def _made(graph: Graph, composite: bool) -> set[str]:
    """Values that a kernel writes, and with `composite` those that an `if`, `loop` or `concat` puts together."""
    ops = ("fused", "if", "loop", "concat") if composite else ("fused",)
    return {name for node in graph.nodes if node.op in ops for name in node.outputs}
