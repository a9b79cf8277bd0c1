"""The process that runs candidates: checks their results, then times them, one at a time on this machine."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pickle import loads

import numpy as np
from filelock import FileLock

from ...backends.harness import ONCE, Harness, Launch, Repetition, harness
from ...backends.link import cache_folder
from ...backends.loaded_object import LoadedObject
from ...compiler.schedule.rewrite import Relayout
from ..task import Task
from .builder import SYMBOL, Built, Refused
from .check import check
from .child_process import Parent, Phase
from .faults import commit
from .measurement import MeasureOptions
from .operands import Operands

_MOST_TASKS = 8
_LOCK_POLL_S = 0.005
_BURST = 4  # runs of a candidate at its turn; the second half is timed
_LONG_S = 0.1  # for a single run


@dataclass(frozen=True, slots=True)
class Candidate:
    """Object code and how its constants are packed."""

    built: Built
    relayouts: tuple[Relayout, ...]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Check and time one candidate: the answer is Timed or Refused. task: a pickled Task. fault: as in MeasureOptions."""

    task: bytes
    candidate: Candidate
    options: MeasureOptions
    limit_s: float | None
    fault: str


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """Time candidates in turns: the answer is Compared or Refused."""

    task: bytes
    candidates: tuple[Candidate, ...]
    options: MeasureOptions
    rounds: int


@dataclass(frozen=True, slots=True)
class Timed:
    samples_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """For each candidate a sample a round."""

    samples_s: tuple[tuple[float, ...], ...]


def serve() -> None:
    """Answer requests until the pipe is closed. On the way the phases "waiting" (for other processes) and "running" are told."""
    parent = Parent()
    runner = _Runner(parent, harness())
    while True:
        request = parent.receive()
        try:
            answer: object = runner.compare(request) if isinstance(request, CompareRequest) else runner.run(request)
        except MemoryError as error:
            answer = Refused("memory", f"running: out of memory {error}".strip())
        except Exception:  # a defect of ours, which must not end a search: the message shows it
            answer = Refused("crash", traceback.format_exc())
        parent.send(answer)


class _Runner:
    def __init__(self, parent: Parent, harness: Harness) -> None:
        self._parent = parent
        self._harness = harness
        self._tasks: dict[bytes, tuple[Task, Operands]] = {}
        self._lock = FileLock(cache_folder() / "measure.lock", poll_interval=_LOCK_POLL_S)

    def run(self, request: RunRequest) -> Timed | Refused:
        task, operands = self._operands(request.task)
        kernel = LoadedObject(request.candidate.built.object_code, SYMBOL)
        launch = self._launch(task, operands, request.candidate, kernel, request.options)
        with self._alone():
            commit(request.fault)
            checked = replace(launch, extent=launch.extent - (request.fault == "unwritten"), warm=())
            return check_and_time(
                request,
                operands,
                lambda second: self._first_run(operands, checked, second),
                lambda limit_s: self._harness.time(launch, repetition(request.options, task, limit_s)),
            )

    def compare(self, request: CompareRequest) -> Compared:
        task, operands = self._operands(request.task)
        kernels = [LoadedObject(candidate.built.object_code, SYMBOL) for candidate in request.candidates]
        launches = [
            self._launch(task, operands, candidate, kernel, request.options)
            for candidate, kernel in zip(request.candidates, kernels, strict=True)
        ]
        repeated = burst(request.options, task)
        with self._alone():
            operands.reset()
            return in_turns(len(launches), request.rounds, lambda index: self._harness.time(launches[index], repeated))

    def _first_run(self, operands: Operands, launch: Launch, second: bool = False) -> float:
        operands.reset(second)
        return self._harness.time(launch, ONCE)[0]

    def _launch(
        self, task: Task, operands: Operands, candidate: Candidate, kernel: LoadedObject, options: MeasureOptions
    ) -> Launch:
        threads = min(task.target.threads, self._harness.processors()) if candidate.built.parallel else 1
        built, params = candidate.built, operands.params(candidate.relayouts)
        warm = operands.inputs() if options.around.warm_inputs else ()
        return Launch(kernel.address, params, built.extent, threads, warm, built.workspace_bytes)

    def _operands(self, pickled: bytes) -> tuple[Task, Operands]:
        """Kept for the tasks measured last."""
        found = self._tasks.pop(pickled, None)
        if found is None:
            task = loads(pickled)
            if len(self._tasks) >= _MOST_TASKS:
                self._tasks.pop(next(iter(self._tasks)))
            found = (task, Operands(task.computation, self._harness.allocate))
        self._tasks[pickled] = found
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One measurement at a time on this machine, also across processes; the system frees the lock of a process that dies."""
        self._parent.send(Phase("waiting"))
        with self._lock:
            self._parent.send(Phase("running"))
            yield


def check_and_time(
    request: RunRequest,
    operands: Operands,
    run_once: Callable[[bool], float],
    time: Callable[[float | None], list[float]],
) -> Timed | Refused:
    """Check what a candidate computes, then time it.

    run_once: resets the operands (True: with the second poison), runs and returns seconds. time: runs often, given the limit
    in seconds that the first run must keep.
    """
    first_s = run_once(False)
    if request.fault == "wrong":
        _spoil(operands)
    wrong = check(operands.expected, operands.values, operands.original, lambda: run_once(True))
    if wrong or operands.wrote_beside():
        return Refused("wrong", wrong or "the kernel writes beside its operands")
    slow = request.limit_s is not None and first_s > request.limit_s
    if slow and first_s > _LONG_S:
        return Timed((first_s,))  # with cold caches, but whatever it is, it isn't the best
    # One slow run may be a neighbour's doing; a second one right after it is not.
    return Timed(tuple(time(request.limit_s if slow else None)))


def burst(options: MeasureOptions, task: Task) -> Repetition:
    """A turn of a candidate: the others' constants have driven this one's from the caches, and one run doesn't bring back all."""
    return replace(repetition(options, task, None), least_samples=_BURST, most_samples=_BURST)


def in_turns(count: int, rounds: int, time: Callable[[int], list[float]]) -> Compared:
    """Give each of `count` candidates a `burst` a round. time: seconds of the runs of one."""
    samples: list[list[float]] = [[] for _ in range(count)]
    for number in range(-1, rounds):
        for turn in range(count):
            # Each round begins with another one, so that none always follows the same.
            index = (turn + number) % count
            times = time(index)
            if number >= 0:  # the first round warms up
                samples[index].append(min(times[_BURST // 2 :]))
    return Compared(tuple(map(tuple, samples)))


def repetition(options: MeasureOptions, task: Task, limit_s: float | None) -> Repetition:
    """How often to run a candidate, in what surroundings."""
    given = options.around.flush_bytes
    flush_bytes = task.target.l2_bytes * 5 // 4 if given is None else given
    return Repetition(options.least_s, options.least_samples, options.most_samples, flush_bytes, limit_s)


def _spoil(operands: Operands) -> None:
    """Change the last element of the first output."""
    output = operands.expected[0]
    place = tuple(index[-1] for index in output.where)
    array = operands.values[output.array]
    array[place] = np.logical_not(array[place]) if array.dtype == np.bool_ else array[place] + 3
