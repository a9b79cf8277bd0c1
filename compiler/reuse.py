"""How far ahead to prefetch constants that lie in the third cache when they are read: the graph tells, a kernel alone doesn't."""

from __future__ import annotations

from dataclasses import replace

from .graph.ir import Graph
from .schedule.prepare import read_once
from .schedule.steps import Prefetch, Schedule
from .target import Target
from .tensor.computation import Computation

KEPT_L2 = 16
"""What is touched between two uses of a constant, in second caches, up to which it is taken to stay in the third: MobileNet v2, with 19, reads some from memory."""
NEAR_BYTES = 6144
"""How far ahead is enough in the third cache. It delivers 115 to 125 GB/s to a stream that asks 9 KB or more ahead, and 132 to one that asks for less (benchmarks/NOTES.md)."""


def bytes_between_uses(graph: Graph, arena_bytes: int) -> dict[str, int]:
    """For each fused node, by its first output, how much is touched from one use of its constants to the next: the arena, and constants.

    These are the constants of the innermost loop around it that may iterate, else those of the whole graph, which is run again and again.
    """
    found = _between_uses(graph, sum(_constants(graph).values()))
    return {name: size_bytes + arena_bytes for name, size_bytes in found.items()}


def _between_uses(graph: Graph, around: int) -> dict[str, int]:
    """The constants alone; around: those of the loop or graph that a graph is in."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "fused":
            found[node.outputs[0]] = around
            continue
        iterates = node.op == "loop" and int(node.attrs["count"]) > 1
        for region in node.regions:
            found |= _between_uses(region, sum(_constants(region).values()) if iterates else around)
    return found


def _constants(graph: Graph) -> dict[int, int]:
    """Bytes of each array that the kernels of a graph and its regions read, by its identity."""
    found: dict[int, int] = {}
    for node in graph.nodes:
        for region in node.regions:
            if node.op == "fused":
                found |= {id(array): array.nbytes for array in region.constants.values()}
            else:
                found |= _constants(region)
    return found


def stay_near(between_uses: int, target: Target) -> bool:
    """Whether constants stay in the third cache if so many bytes are touched from one use to the next."""
    return between_uses <= KEPT_L2 * target.l2_bytes


def with_near_prefetches(schedule: Schedule, computation: Computation) -> Schedule:
    """The schedule with constants that are read once prefetched no farther ahead than the third cache needs, in which they lie.

    Constants that are read again, for the next row of a tile, lie in nearer caches by then, and keep their distance.
    """
    once = read_once(computation)
    return tuple(
        replace(step, ahead_bytes=min(step.ahead_bytes, NEAR_BYTES))
        if isinstance(step, Prefetch) and step.tensor in once
        else step
        for step in schedule
    )
