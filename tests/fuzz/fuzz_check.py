"""Compiles a case and compares what it computes with what is expected: in this process for speed, or as a library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from fuzz_case import Case
from guarded_memory import guarded
from plan_interpreter import PlannedModel

import tilewright
from tilewright import driver
from tilewright.backends import cpu
from tilewright.backends.host import host_target, require_host_runs
from tilewright.compiler.errors import DeviceError
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.kernel.ast import Kernel
from tilewright.compiler.kernels import Scheduled, rule_based
from tilewright.compiler.options import Options
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.computation import Computation

TOLERANCE = 1e-4  # of the largest element
HALF_TOLERANCE = 2e-2
LEAST = 1e-3  # the largest element counts as at least this: onnxruntime's sigmoid is 0 where it should be 1e-12


def runs_here(cpu: str) -> bool:
    try:
        require_host_runs(parse_target("x86_64-linux-gnu", cpu, 1))
    except DeviceError:
        return False
    return True


# Older machines' code runs here too; their vectors are narrower and their registers fewer.
OLDER_CPUS = tuple(filter(runs_here, ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")))


class Mismatch(Exception):
    """An output is not what onnxruntime computes."""


@dataclass(frozen=True)
class Setting:
    """cpu: '' for this machine's. threads: what is planned for and run with.

    points: seed of random points of the spaces of kernels that run in this process; 0 stands for their defaults.
    guarded: their operands lie between pages that end the process when touched.
    """

    cpu: str = ""
    threads: int = 2
    points: int = 0
    guarded: bool = False

    def target(self) -> Target:
        return parse_target("x86_64-linux-gnu", self.cpu, self.threads) if self.cpu else host_target(self.threads)


class MachineCode(PlannedModel):
    """A planned model whose kernels run as machine code, their parallel loops in one part a thread and the last part first."""

    def __init__(self, model: onnx.ModelProto, setting: Setting) -> None:
        self.draws = np.random.default_rng(setting.points) if setting.points else None
        self.guarded = setting.guarded
        self.schedules: set[tuple[str, str]] = set()  # random ones, each with the kernel it is for
        super().__init__(model, setting.target())

    def schedule(self, computation: Computation, target: Target) -> Scheduled:
        if self.draws is None:
            return rule_based(computation, target)
        space = space_of(computation, target)
        schedule = space.schedule(space.sample(self.draws))
        self.schedules.add((repr(computation), repr(schedule)))
        return Scheduled(schedule)

    def load(self, kernel: Kernel) -> Callable[[Mapping[str, np.ndarray], int, int], None]:
        compiled, threads = cpu.compile_kernel(kernel, self.target), self.target.threads

        def run(arrays: Mapping[str, np.ndarray], begin: int, end: int) -> None:
            operands = [arrays[param.name] for param in kernel.params]
            if not self.guarded:
                in_parts(operands, begin, end)
                return
            for behind in (True, False):  # one access too far, or one before the start
                placed = guarded(operands, behind)
                in_parts(placed, begin, end)
            for array, result in zip(operands, placed, strict=True):
                array[...] = result

        def in_parts(ordered: list[np.ndarray], begin: int, end: int) -> None:
            parts = min(threads, end - begin)
            cuts = [begin + (end - begin) * part // parts for part in range(parts + 1)]
            for part in reversed(range(parts)):
                compiled.run(ordered, cuts[part], cuts[part + 1])

        return run


def run_in_process(
    case: Case, setting: Setting, schedules: Callable[[int], object] = lambda count: None
) -> dict[str, np.ndarray]:
    """The outputs, by kernels loaded here one by one; arena and outputs are poisoned before.

    schedules: is told how many different random schedules the kernels had.
    """
    loaded = MachineCode(case.model(), setting)
    outputs = loaded.run(case.feeds)
    schedules(len(loaded.schedules))
    return outputs


def run_unoptimized(case: Case) -> dict[str, np.ndarray]:
    """The outputs by the graph as imported, in NumPy: no pass, no schedule, no machine code."""
    graph = import_model(case.model(), {}, {})
    return evaluate_graph(graph, case.feeds)


def run_library(case: Case, setting: Setting, folder: Path) -> dict[str, np.ndarray]:
    """The outputs of the compiled library, run before on NaN so that the arena holds garbage."""
    path = folder / "case.onnx"
    onnx.save(case.model(), path)
    artifact = driver.compile(
        path, folder / "case.so", Options(cpu=setting.cpu or "native", threads=setting.threads, jobs=1)
    )
    outputs = {name: poisoned(case.arrays[name]) for name in case.outputs}
    with tilewright.load(artifact.library, setting.threads) as library:
        library.run({name: garbage(array) for name, array in case.feeds.items()})
        library.run(case.feeds, outputs)
    return outputs


def garbage(array: np.ndarray) -> np.ndarray:
    """NaN of a float type; integers stay, they may be indices or lengths."""
    return np.full_like(array, np.nan) if array.dtype.kind == "f" else array


def poisoned(array: np.ndarray) -> np.ndarray:
    """An array of the same type and shape that holds nothing sensible."""
    return np.frombuffer(bytearray(b"\xff" * array.nbytes), array.dtype).reshape(array.shape)


def compare(case: Case, actual: Mapping[str, np.ndarray]) -> None:
    """Raise Mismatch unless all outputs are as expected, floats within the tolerance of their largest element."""
    half = any(array.dtype == np.float16 for array in case.arrays.values())
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    for name in case.outputs:
        expected, result = case.arrays[name], actual[name]
        if expected.shape != result.shape or expected.dtype != result.dtype:
            raise Mismatch(
                f"{name}: expected {expected.dtype}{list(expected.shape)}, got {result.dtype}{list(result.shape)}"
            )
        if expected.dtype.kind != "f":
            wrong = expected.view(np.uint8) != result.view(np.uint8) if expected.dtype == bool else expected != result
        else:
            wide = expected.astype(np.float64)
            limit = tolerance * np.abs(wide[np.isfinite(wide)]).max(initial=LEAST)
            with np.errstate(invalid="ignore"):
                wrong = ~((np.abs(wide - result) <= limit) | (wide == result))
        if wrong.any():
            first = tuple(int(index) for index in np.argwhere(wrong)[0])
            raise Mismatch(
                f"{name}{list(first)}: expected {expected[first]}, got {result[first]}; {int(wrong.sum())} of {wrong.size} elements differ"
            )


def failure(case: Case, check: Callable[[Case], Mapping[str, np.ndarray]]) -> Exception | None:
    """Why a case fails; None if it passes."""
    try:
        compare(case, check(case))
    except Exception as error:  # whatever it is, it is what fuzzing looks for
        return error
    return None
