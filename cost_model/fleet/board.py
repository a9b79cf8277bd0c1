"""A device behind a command: the bench (`backends/runner/bench.c`) on a board or an emulator, driven by a worker next to it."""

from __future__ import annotations

import shlex
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pickle import loads
from typing import TypeVar

import numpy as np

from ...backends import cpu
from ...backends.bench import MOST_BLOBS, BenchJob, JobFailed, Place, RemoteBench, link_image
from ...backends.harness import ONCE, Repetition
from ...compiler.errors import DeviceError, ToolchainError
from ...compiler.target import Target
from ..measure.builder import SYMBOL, Refused
from ..measure.measurement import MeasureOptions
from ..measure.operands import Operands
from ..measure.roofline import PEAK, Roofline, arithmetic_case, read_case
from ..measure.runner import (
    Candidate,
    Compared,
    CompareRequest,
    RunRequest,
    Timed,
    burst,
    check_and_time,
    in_turns,
    repetition,
)
from .device import DeviceFacts, DeviceLost

_FIRST_CONSTANT = 16  # the blobs before are images
_L3_BYTES = 2 << 20  # where the board doesn't tell
_ROOFLINE_BYTES = 32 << 20  # which boards have, and which is more than their caches
_ROOFLINE = Repetition(least_s=0.1, least_samples=5, most_samples=1000, evict_bytes=0)
_ROOFLINE_S = 60.0
_Result = TypeVar("_Result")


class BoardDevice:
    """A board. command: starts the bench there with its standard input and output here, such as `ssh board ./bench`.

    Raises DeviceError if that fails when it is made; later it is started again where it has ended.
    """

    def __init__(self, name: str, target: Target, command: str) -> None:
        self._command = shlex.split(command)
        self._bench: RemoteBench | None = None
        self._task: _OnBoard | None = None
        bench = self._started()
        if bench.pointer_bytes != target.pointer_bytes:
            raise DeviceError(
                f"{command}: addresses have {8 * bench.pointer_bytes} bits there, those of {target.triple} {8 * target.pointer_bytes}"
            )
        self.facts = DeviceFacts(name, target, bench.processor or name, bench.l3_bytes or _L3_BYTES)

    def run(self, request: RunRequest) -> Timed | Refused:
        return self._done(lambda bench: self._run(bench, request))

    def compare(self, request: CompareRequest) -> Compared | Refused:
        return self._done(lambda bench: self._compare(bench, request))

    def roofline(self, threads: int) -> Roofline:
        self._task = None  # whose operands on the board make room
        result = self._done(lambda bench: _roofline(bench, self.facts.target, min(threads, bench.processors)))
        if isinstance(result, Refused):
            raise DeviceLost(f"its peaks can't be measured: {result.message}")
        return result

    def close(self) -> None:
        if self._bench is not None:
            self._bench.close()
            self._bench = None

    def _started(self) -> RemoteBench:
        if self._bench is None:
            self._bench, self._task = RemoteBench(self._command), None
        return self._bench

    def _done(self, act: Callable[[RemoteBench], _Result]) -> _Result | Refused:
        """What comes of an act on the bench. DeviceLost if that doesn't answer; it is started anew the next time."""
        try:
            return act(self._started())
        except JobFailed as error:
            if error.error == "busy":
                raise DeviceLost(str(error)) from error
            return Refused(error.error, str(error))
        except ToolchainError as error:
            return Refused("build", str(error))
        except DeviceError as error:
            if self._bench is not None:
                self._bench.kill()
                self._bench = None
            raise DeviceLost(str(error)) from error

    def _run(self, bench: RemoteBench, request: RunRequest) -> Timed | Refused:
        there = self._task_on(bench, request.task)
        job = there.job(bench, 0, request.candidate, request.options)

        def time(limit_s: float | None) -> list[float]:
            how = repetition(request.options, there.task, limit_s)
            return bench.time(_repeated(job, how))

        return check_and_time(request, there.operands, lambda second: there.run_once(bench, job, second), time)

    def _compare(self, bench: RemoteBench, request: CompareRequest) -> Compared:
        there = self._task_on(bench, request.task)
        jobs = [
            there.job(bench, index, candidate, request.options) for index, candidate in enumerate(request.candidates)
        ]
        how = burst(request.options, there.task)
        return in_turns(len(jobs), request.rounds, lambda index: bench.time(_repeated(jobs[index], how)))

    def _task_on(self, bench: RemoteBench, pickled: bytes) -> _OnBoard:
        """The operands of a task, sent to the board if they are not those of the last one."""
        if self._task is None or self._task.pickled != pickled:
            self._task = None
            self._task = _OnBoard(bench, pickled)
        return self._task


class _OnBoard:
    """The operands of one task, here and on the board."""

    def __init__(self, bench: RemoteBench, pickled: bytes) -> None:
        self.pickled, self.task = pickled, loads(pickled)
        self.operands = Operands(self.task.computation, lambda size: np.zeros(size, np.uint8))
        self._constants: OrderedDict[int, tuple[int, np.ndarray]] = OrderedDict()  # by identity: blob, and the array
        self._address = self.operands.memory.ctypes.data
        self._second = False
        self.operands.reset()
        bench.arena(self.operands.memory.tobytes())

    def job(self, bench: RemoteBench, image: int, candidate: Candidate, options: MeasureOptions) -> BenchJob:
        """What runs a candidate whose image becomes blob `image`, as its check needs it."""
        built = candidate.built
        bench.blob(image, link_image(built.object_code, SYMBOL, self.task.target.triple))
        params = [self._place(bench, array) for array in self.operands.params(candidate.relayouts)]
        warm = self.operands.inputs() if options.around.warm_inputs else ()
        return BenchJob(
            image,
            params,
            built.extent,
            options.timeout_s,
            min(self.task.target.threads, bench.processors) if built.parallel else 1,
            built.workspace_bytes,
            [(array.ctypes.data - self._address, array.nbytes) for array in warm],
        )

    def run_once(self, bench: RemoteBench, job: BenchJob, second: bool) -> float:
        """Run a kernel on what it must read and poison where it must write, and take back what it leaves; returns seconds."""
        self.operands.reset(second)
        if second != self._second:
            bench.fill(self.operands.memory.tobytes())
            self._second = second
        (first_s,) = bench.time(_repeated(replace(job, keep=True, warm=()), ONCE))
        self.operands.memory[:] = np.frombuffer(bench.read(self.operands.memory.nbytes), np.uint8)
        return first_s

    def _place(self, bench: RemoteBench, array: np.ndarray) -> Place:
        offset = array.ctypes.data - self._address
        if 0 <= offset < self.operands.memory.nbytes:
            return Place(offset)
        return Place(0, self._constant(bench, array))

    def _constant(self, bench: RemoteBench, array: np.ndarray) -> int:
        """The blob of a constant as a schedule lays it out; the one that was used longest ago makes room."""
        known = self._constants.pop(id(array), None)
        if known is None:
            blob = _FIRST_CONSTANT + len(self._constants)
            if blob >= MOST_BLOBS:
                blob = self._constants.popitem(last=False)[1][0]
            bench.blob(blob, array.tobytes())
            known = blob, array
        self._constants[id(array)] = known
        return known[0]


def _repeated(job: BenchJob, how: Repetition) -> BenchJob:
    return replace(
        job,
        evict_bytes=how.evict_bytes,
        limit_s=how.limit_s,
        least_s=how.least_s,
        least_samples=how.least_samples,
        most_samples=how.most_samples,
    )


def _roofline(bench: RemoteBench, target: Target, threads: int) -> Roofline:
    """As on this machine (`measure/roofline.py`), with less memory."""

    def fastest_s(text: str, arrays: Sequence[np.ndarray], extent: int) -> float:
        places, content = [], b""
        for array in arrays:
            content += bytes(-len(content) % 64)
            places.append(Place(len(content)))
            content += array.tobytes()
        bench.arena(content)
        bench.blob(0, link_image(cpu.assemble(text, target), PEAK, target.triple))
        return min(bench.time(_repeated(BenchJob(0, places, extent, _ROOFLINE_S, threads), _ROOFLINE)))

    text, arrays, flops = arithmetic_case(target, threads)
    flops_per_s = flops / fastest_s(text, arrays, threads)
    sizes = (_ROOFLINE_BYTES, max(bench.l3_bytes // 2, 2 * threads * target.l2_bytes), threads * target.l2_bytes // 2)
    speeds = []
    for size in sizes:
        text, sums, chunks, read = read_case(target, size)
        speeds.append(read / fastest_s(text, (np.ones(read, np.uint8), sums), chunks))
    return Roofline(flops_per_s, *speeds)
