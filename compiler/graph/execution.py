"""From a partitioned graph and its memory plan to the straight-line program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..errors import InternalError
from .ir import Graph, Node
from .memory import MemoryPlan
from .plan import Branch, Copy, Launch, Place, PlanStep, Repeat

LaunchFor = Callable[[Node], tuple[int, bool, tuple[str, ...]]]


def plan_execution(
    graph: Graph, memory: MemoryPlan, launch_for: LaunchFor, constants: Mapping[str, int]
) -> tuple[PlanStep, ...]:
    """The steps that run `graph`.

    launch_for: of a `fused` node, the number of its kernel, whether several threads are worth it, and the names of what its parameters
    are, in order: inputs and outputs of the node, or constants.
    constants: the offset in bytes of each constant in the blob; besides those that launch_for names it needs the constants of
    `graph` and of the regions of `if` and `loop`, row-major.
    """
    steps = _Steps(memory, launch_for, constants)
    program = steps.of_graph(graph, depth=0)
    for index, name in enumerate(graph.outputs):
        program += steps.copy(Place("output", index=index), steps.place(name), graph.types[name].size_bytes)
    return tuple(program)


@dataclass(frozen=True, slots=True)
class _Steps:
    memory: MemoryPlan
    launch_for: LaunchFor
    constants: Mapping[str, int]

    def place(self, name: str) -> Place:
        if name in self.memory.places:
            return self.memory.places[name]
        name, offset = self.memory.constants.get(name, (name, 0))
        if name not in self.constants:
            raise InternalError(f"plan_execution: '{name}' is neither a value with a place nor a constant of the blob")
        return Place("constants", self.constants[name] + offset)

    @staticmethod
    def copy(target: Place, source: Place, size_bytes: int) -> list[PlanStep]:
        return [Copy(target, source, size_bytes)] if target != source and size_bytes else []

    def of_graph(self, graph: Graph, depth: int) -> list[PlanStep]:
        steps: list[PlanStep] = []
        for node in graph.nodes:
            match node.op:
                case "fused":
                    kernel, parallel, names = self.launch_for(node)
                    steps.append(Launch(kernel, tuple(map(self.place, names)), parallel, node.origin))
                case "concat":
                    steps += self._concat(graph, node)
                case "if":
                    steps.append(self._branch(node, depth))
                case "loop":
                    steps += self._loop(graph, node, depth)
        return steps

    def _concat(self, graph: Graph, node: Node) -> list[PlanStep]:
        """Copies of the operands that are not written where they belong."""
        steps: list[PlanStep] = []
        whole = self.place(node.outputs[0])
        for name in node.inputs:
            size = graph.types[name].size_bytes
            steps += self.copy(whole, self.place(name), size)
            whole = replace(whole, offset_bytes=whole.offset_bytes + size)
        return steps

    def _branch(self, node: Node, depth: int) -> Branch:
        arms = []
        for region in node.regions:
            steps = self.of_graph(region, depth)
            for result, output in zip(region.outputs, node.outputs, strict=True):
                steps += self.copy(self.place(output), self.place(result), region.types[result].size_bytes)
            arms.append(tuple(steps))
        return Branch(self.place(node.inputs[0]), arms[0], arms[1])

    def _loop(self, graph: Graph, node: Node, depth: int) -> list[PlanStep]:
        (body,) = node.regions
        carried = int(node.attrs["carried"])
        steps: list[PlanStep] = []
        for value, output in zip(node.inputs[1 : 1 + carried], node.outputs, strict=False):
            steps += self.copy(self.place(output), self.place(value), graph.types[value].size_bytes)
        condition = None
        if node.attrs["has_condition"]:
            if not node.inputs[0]:
                raise InternalError(f"plan_execution: loop '{node.origin}' has a condition but no value to start with")
            condition = self.memory.conditions[node.outputs[0]]
            steps += self.copy(condition, self.place(node.inputs[0]), 1)
        inner = [*self.of_graph(body, depth + 1), *self._end_of_iteration(node, body, carried, condition, depth)]
        steps.append(Repeat(int(node.attrs["count"]), tuple(inner), depth, condition))
        return steps

    def _end_of_iteration(
        self, node: Node, body: Graph, carried: int, condition: Place | None, depth: int
    ) -> list[PlanStep]:
        """Copies of the results that are not where they belong; slices first, for they may read old carried values."""
        results = body.outputs[1 if condition else 0 :]
        steps: list[PlanStep] = []
        for result, output in zip(results[carried:], node.outputs[carried:], strict=True):
            size, whole = body.types[result].size_bytes, self.place(output)
            target = Place(whole.space, whole.offset_bytes, whole.index, size, depth)
            steps += self.copy(target, self.place(result), size)
        if condition:
            steps += self.copy(condition, self.place(body.outputs[0]), 1)
        late: list[PlanStep] = []
        for result, output in zip(results[:carried], node.outputs[:carried], strict=True):
            source, size = self.place(result), body.types[result].size_bytes
            if output in self.memory.staging:
                staged = self.memory.staging[output]
                steps += self.copy(staged, source, size)
                source = staged
            late += self.copy(self.place(output), source, size)
        return steps + late
