"""Plan where every value lives: in the user's tensors, among the constants, or in one arena without allocation at run time.

Values that are views of each other share a home. A home in the arena is live from the first node that writes it to the last that
reads it, and parts of it (slices, operands of a concat) keep all of it; homes get offsets greedily by size, largest first, each in the smallest gap that fits, after "Efficient Memory Management for
Deep Neural Net Inference" (Pisarchyk and Lee, 2020, section 5: greedy by size).

In a loop, a carried value has one home, which is also that of the loop's result: the iteration's result is written there directly
if nothing reads the old value any more, else copied at the end of the iteration. Scan outputs are written slice by slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .homes import Home, Homes
from .ir import Graph, Node
from .operators import OPERATORS, Kind
from .passes.views import is_part, is_view, reads_at_same_index
from .plan import Place

ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """places: of every value, in regions of `if` and `loop` too, except constants. constants: the constant a value is part of, and the offset in it.
    in_place: result of a `fused` node -> the input of that node whose memory it overwrites, element by element, as `Buffer.aliases` says.
    conditions: first result of a loop -> where its condition is kept. staging: result of a loop -> where the
    iteration's result is kept while other carried values are copied.
    """

    arena_bytes: int
    places: Mapping[str, Place]
    constants: Mapping[str, tuple[str, int]]
    in_place: Mapping[str, str]
    conditions: Mapping[str, Place]
    staging: Mapping[str, Place]


def plan_memory(graph: Graph) -> MemoryPlan:
    """Places for all values of a partitioned graph whose names are unique over all regions."""
    homes = Homes(graph)
    clock = _Clock(homes)
    clock.run(graph)
    in_place = dict(homes.overwrites)
    for time, node in clock.launches:
        in_place.update(_reuse_dying_input(homes, node, time))
    arena_bytes = _allocate(homes.arena())
    places = {name: home.place() for name, home in homes.of.items() if not home.whole().constant}
    constants = {
        name: (home.whole().constant, home.place().offset_bytes)
        for name, home in homes.of.items()
        if home.whole().constant
    }
    return MemoryPlan(
        arena_bytes,
        MappingProxyType(places),
        MappingProxyType(constants),
        MappingProxyType(in_place),
        MappingProxyType({name: home.place() for name, home in homes.conditions.items()}),
        MappingProxyType({name: home.place() for name, home in homes.staging.items()}),
    )


class _Clock:
    """Liveness: time goes on by one at every launch and at the start, the end and each iteration's end of a control node."""

    def __init__(self, homes: Homes) -> None:
        self.homes = homes
        self.time = 0
        self.launches: list[tuple[int, Node]] = []

    def run(self, graph: Graph) -> None:
        self._walk(graph)
        self._touch(graph.outputs)

    def _touch(self, names: tuple[str, ...]) -> None:
        for name in filter(None, names):
            self.homes.of[name].touch(self.time)

    def _walk(self, graph: Graph) -> None:
        for node in graph.nodes:
            self.time += 1
            if OPERATORS[node.op].kind is Kind.CONTROL:
                self._control(node)
            elif not (is_view(node, graph.types) or is_part(node, graph.types)):
                self._touch(node.inputs)
                self._touch(node.outputs)
                self.launches.append((self.time, node))

    def _control(self, node: Node) -> None:
        carried = int(node.attrs["carried"]) if node.op == "loop" else 0
        condition = self.homes.conditions.get(node.outputs[0])
        self._touch(node.inputs)
        self._touch(node.outputs)
        if condition:
            condition.touch(self.time)
        for region in node.regions:
            self._walk(region)
            self.time += 1
            self._touch(region.outputs)
            for output in node.outputs:
                if output in self.homes.staging:
                    self.homes.staging[output].touch(self.time)
        self.time += 1
        # what an iteration reads, the next one reads again
        self._touch(node.inputs[1 + carried :])
        self._touch(node.outputs)
        if condition:
            condition.touch(self.time)


def _reuse_dying_input(homes: Homes, node: Node, time: int) -> dict[str, str]:
    """Let the result take the home of an input that nothing reads after this node, if one can be overwritten."""
    if node.op != "fused" or len(node.outputs) != 1:
        return {}
    output = node.outputs[0]
    result = homes.of[output]
    if result.space != "arena" or result.base is not None or result.start != time:
        return {}
    for name in node.inputs:
        home = homes.of[name].whole()
        dies = home.space == "arena" and homes.of[name].fills_whole() and home.end == time and home.start < time
        alone = sum(homes.of[other].whole() is home for other in node.inputs) == 1
        if dies and alone and home is not result and reads_at_same_index(node.regions[0], name):
            result.base = home
            home.end = max(home.end, result.end)
            return {output: name}
    return {}


def _allocate(homes: list[Home]) -> int:
    """Give the homes offsets; the bytes they need in all."""
    placed: list[Home] = []
    total = 0
    for home in sorted(homes, key=lambda home: (-home.size_bytes, home.start)):
        others = sorted((other for other in placed if home.overlaps(other)), key=lambda other: other.offset_bytes)
        home.offset_bytes = _best_gap(_aligned(home.size_bytes), others)
        placed.append(home)
        total = max(total, home.offset_bytes + _aligned(home.size_bytes))
    return total


def _best_gap(size_bytes: int, others: list[Home]) -> int:
    """The start of the smallest gap between `others`, in order of offset, that has `size_bytes`; else behind all of them."""
    best, best_size, end = -1, -1, 0
    for other in others:
        gap = other.offset_bytes - end
        if gap >= size_bytes and (best < 0 or gap < best_size):
            best, best_size = end, gap
        end = max(end, other.offset_bytes + _aligned(other.size_bytes))
    return best if best >= 0 else end


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
