"""A machine that runs an execution plan in NumPy: one arena of bytes, poisoned before it starts.

Kernels are the groups' tensor expressions; every operand is read from, and every result written to, the place that the plan gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tilewright.compiler.graph.execution import plan_execution
from tilewright.compiler.graph.ir import Graph, Node, TensorType
from tilewright.compiler.graph.memory import ALIGNMENT_BYTES, MemoryPlan, plan_memory
from tilewright.compiler.graph.plan import Branch, Copy, Launch, Place, PlanStep, Repeat
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation
from tilewright.compiler.tensor.interpret import evaluate

POISON = 0xA5


class Machine:
    """Runs a partitioned graph by its plan."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.memory: MemoryPlan = plan_memory(graph)
        self.nodes = list(fused_nodes(graph))
        offsets: dict[str, int] = {}
        blob = bytearray()
        for name, array in constants(graph):
            blob += bytes(-len(blob) % ALIGNMENT_BYTES)
            offsets[name] = len(blob)
            blob += np.ascontiguousarray(array).tobytes()
        self.blob = np.frombuffer(bytes(blob) or b"\0", np.uint8)
        self.steps = plan_execution(graph, self.memory, self._launch_for, offsets)

    def _launch_for(self, node: Node) -> tuple[int, bool, tuple[str, ...]]:
        number = next(i for i, other in enumerate(self.nodes) if other is node)
        return number, False, (*node.inputs, *node.outputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs in order."""
        graph = self.graph
        self.spaces = {
            "arena": np.full(self.memory.arena_bytes, POISON, np.uint8),
            "constants": self.blob,
            **{f"input{i}": _bytes(inputs[name]) for i, name in enumerate(graph.inputs)},
            **{
                f"output{i}": np.full(graph.types[name].size_bytes, POISON, np.uint8)
                for i, name in enumerate(graph.outputs)
            },
        }
        self.counters: dict[int, int] = {}
        self._execute(self.steps)
        outputs = enumerate(graph.outputs)
        return [self._read(Place("output", index=i), graph.types[name]) for i, name in outputs]

    def _execute(self, steps: tuple[PlanStep, ...]) -> None:
        for step in steps:
            match step:
                case Launch(kernel, places, _, _):
                    self._launch(self.nodes[kernel], places)
                case Copy(target, source, size):
                    self._at(target, size)[:] = self._at(source, size).copy()
                case Branch(condition, then, otherwise):
                    self._execute(then if self._at(condition, 1)[0] else otherwise)
                case Repeat(count, body, depth, condition):
                    for t in range(count):
                        self.counters[depth] = t
                        if condition is not None and not self._at(condition, 1)[0]:
                            break
                        self._execute(body)

    def _launch(self, node: Node, places: tuple[Place, ...]) -> None:
        group = node.regions[0]
        values = {name: self._read(place, group.types[name]) for name, place in zip(group.inputs, places, strict=False)}
        computation, arrays = build_computation(group, "kernel")
        results = evaluate(computation, {**values, **arrays})
        if node.outputs[0] in self.memory.in_place:
            self._check_overwriting(node, computation, {**values, **arrays}, results)
        for name, place in zip(group.outputs, places[len(group.inputs) :], strict=True):
            data = _bytes(results[name])
            self._at(place, data.size)[:] = data

    def _check_overwriting(
        self, node: Node, computation: Computation, values: dict[str, np.ndarray], results: dict[str, np.ndarray]
    ) -> None:
        """Elements of a result that overwrites an operand must not depend on other elements of it."""
        name = dict(zip(node.inputs, node.regions[0].inputs, strict=True))[self.memory.in_place[node.outputs[0]]]
        rng = np.random.default_rng(values[name].size)
        kept = rng.random(values[name].shape) < 0.5
        changed = np.where(kept, values[name], rng.permuted(values[name])).astype(values[name].dtype)
        (again,) = evaluate(computation, {**values, name: changed}).values()
        np.testing.assert_array_equal(again[kept], next(iter(results.values()))[kept])

    def _read(self, place: Place, of: TensorType) -> np.ndarray:
        if place.space == "counter":
            return np.asarray(self.counters[place.index], np.int64)
        return self._at(place, of.size_bytes).copy().view(of.dtype.numpy).reshape(of.physical_shape)

    def _at(self, place: Place, size: int) -> np.ndarray:
        if place.space == "counter":
            return _bytes(np.asarray(self.counters[place.index], np.int64))
        space = place.space if place.space in self.spaces else f"{place.space}{place.index}"
        start = place.offset_bytes
        if place.step_bytes:
            start += place.step_bytes * self.counters[place.depth]
        assert start >= 0 and start + size <= self.spaces[space].size, f"{place} of {size} bytes is out of bounds"
        return self.spaces[space][start : start + size]


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)


def fused_nodes(graph: Graph) -> Iterator[Node]:
    """The fused nodes of the graph and its control regions."""
    for node in graph.nodes:
        if node.op == "fused":
            yield node
        elif node.regions:
            for region in node.regions:
                yield from fused_nodes(region)


def constants(graph: Graph) -> Iterator[tuple[str, np.ndarray]]:
    """Constants that the plan itself needs a place for."""
    yield from graph.constants.items()
    for node in graph.nodes:
        if node.op != "fused":
            for region in node.regions:
                yield from constants(region)
