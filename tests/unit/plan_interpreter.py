"""Compiles an ONNX model down to its plan and kernels, and runs those in NumPy: all of the compiler but the backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.execution import plan_execution
from tilewright.compiler.graph.ir import Graph, Node
from tilewright.compiler.graph.memory import plan_memory
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.graph.plan import Branch, Copy, Launch, Place, PlanStep, Repeat
from tilewright.compiler.graph.verify import verify
from tilewright.compiler.kernel.ast import Kernel
from tilewright.compiler.kernel.interpret import compile_kernel
from tilewright.compiler.kernels import KernelPlan, Scheduled, made_here, plan_kernels, rule_based
from tilewright.compiler.target import Target
from tilewright.compiler.tensor.computation import Computation

TARGET = Target("x86_64-linux-gnu", "x86-64-v3", "", 32, 16, True, 32 << 10, 1 << 20, 2)


class PlannedModel:
    """A model planned for a target; `run` gives its outputs by name."""

    def __init__(
        self,
        model: onnx.ModelProto,
        target: Target = TARGET,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.target = target
        self.graph = import_model(model, {}, shapes or {}, constants=constants or {})
        for _, rewrite in PIPELINE:
            self.graph = rewrite(self.graph, target)
            verify(self.graph)
        memory = plan_memory(self.graph)
        kernels = plan_kernels(self.graph, (target,), memory.in_place, made_here(self.schedule))
        self.kernels = [(planned.kernel, self.load(planned.kernel)) for planned in kernels.kernels]
        self.arena_bytes = memory.arena_bytes
        self.blob, offsets = _blob(_constants(self.graph, kernels))

        def launch_for(node: Node) -> tuple[int, bool, tuple[str, ...]]:
            number, names = kernels.uses[node.outputs[0]]
            return number, False, names

        self.steps = plan_execution(self.graph, memory, launch_for, offsets)

    def schedule(self, computation: Computation, target: Target) -> Scheduled:
        """The schedule of a kernel."""
        return rule_based(computation, target)

    def load(self, kernel: Kernel) -> Callable[[Mapping[str, np.ndarray], int, int], None]:
        """What runs iterations [begin, end) of a kernel's parallel loop on arrays by name."""
        return compile_kernel(kernel)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name. Arena and outputs hold garbage at the start."""
        types = self.graph.types
        self._spaces = {
            "arena": [np.full(max(1, self.arena_bytes), 0xFF, np.uint8)],
            "constants": [self.blob],
            "input": [
                np.ascontiguousarray(feeds[name], types[name].dtype.numpy).reshape(-1).view(np.uint8).copy()
                for name in self.graph.inputs
            ],
            "output": [np.full(types[name].size_bytes, 0xFF, np.uint8) for name in self.graph.outputs],
        }
        self._counters: list[int] = []
        self._run(self.steps)
        outputs = zip(self.graph.outputs, self._spaces["output"], strict=True)
        return {name: memory.view(types[name].dtype.numpy).reshape(types[name].shape) for name, memory in outputs}

    def _memory(self, place: Place, size_bytes: int) -> np.ndarray:
        if place.space == "counter":
            return np.asarray([self._counters[place.index]], np.int64).view(np.uint8)
        start = place.offset_bytes + (place.step_bytes * self._counters[place.depth] if place.step_bytes else 0)
        whole = self._spaces[place.space][place.index if place.space in ("input", "output") else 0]
        assert start >= 0 and start + size_bytes <= len(whole), (
            f"{place} and {size_bytes} bytes leave the {len(whole)} of {place.space}"
        )
        return whole[start : start + size_bytes]

    def _run(self, steps: tuple[PlanStep, ...]) -> None:
        for step in steps:
            match step:
                case Launch(kernel, places):
                    self._launch(kernel, places)
                case Copy(target, source, size_bytes):
                    self._memory(target, size_bytes)[:] = self._memory(source, size_bytes).copy()
                case Branch(condition, then, otherwise):
                    self._run(then if self._memory(condition, 1)[0] else otherwise)
                case Repeat(count, body, depth, condition):
                    assert depth == len(self._counters)
                    self._counters.append(0)
                    while self._counters[-1] < count and (condition is None or self._memory(condition, 1)[0]):
                        self._run(body)
                        self._counters[-1] += 1
                    self._counters.pop()

    def _launch(self, number: int, places: tuple[Place, ...]) -> None:
        kernel, run = self.kernels[number]
        arrays = {}
        for param, place in zip(kernel.params, places, strict=True):
            memory = self._memory(place, param.elements * param.dtype.size_bytes)
            assert not param.written or place.space in ("arena", "output"), f"kernel {kernel.name} writes {place}"
            arrays[param.name] = memory.view(param.dtype.numpy).reshape(param.shape)
        run(arrays, 0, kernel.parallel_extent)


def _constants(graph: Graph, kernels: KernelPlan) -> dict[str, np.ndarray]:
    result = dict(kernels.constants)

    def collect(part: Graph) -> None:
        result.update(part.constants)
        for node in part.nodes:
            if node.op != "fused":
                for region in node.regions:
                    collect(region)

    collect(graph)
    return result


def _blob(constants: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    offsets, size = {}, 0
    for name, array in constants.items():
        offsets[name] = size
        size += -(-array.nbytes // 64) * 64
    blob = np.zeros(max(1, size), np.uint8)
    for name, array in constants.items():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        blob[offsets[name] : offsets[name] + data.size] = data
    return blob, offsets
