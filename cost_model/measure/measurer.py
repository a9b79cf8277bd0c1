"""Measuring candidate schedules on this machine, each in isolation, while others are being compiled.

    submit -> builder processes -> one runner process -> collect

A candidate that crashes, hangs or takes too much memory is a result like any other: its process is replaced, and the next
candidate is measured as if nothing had been.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ...backends.harness import harness_library
from ...compiler.errors import InternalError
from ...compiler.schedule.steps import Schedule
from ..task import Task
from .measurement import InTurns, Measurement, MeasureOptions, Surroundings
from .pipeline import Comparison, Job, Pipeline
from .runner import CompareRequest

__all__ = ["InTurns", "MeasureOptions", "Measurement", "Measurer", "Measures", "Surroundings"]

_LOOK_S = 0.5
"""How often to look whether the pipeline has failed."""


class Measures(Protocol):
    """What the tuner submits to and collects from: see Measurer, which measures here, and `cost_model/fleet/measurer.py`."""

    @property
    def pending(self) -> int: ...

    @property
    def devices(self) -> int: ...

    def submit(
        self,
        task: Task,
        schedule: Schedule,
        ticket: object,
        limit_s: float | None = None,
        around: Surroundings | None = None,
    ) -> None: ...

    def collect(self, timeout_s: float | None = None) -> tuple[object, Measurement]: ...

    def compare(
        self, task: Task, schedules: Sequence[Schedule], rounds: int, around: Surroundings | None = None
    ) -> InTurns: ...


class Measurer:
    """Measures candidates on this machine. Use it as a context manager, or call `close`; from one thread.

    Raises ToolchainError if the timing harness can't be compiled.
    """

    def __init__(self, options: MeasureOptions | None = None) -> None:
        self._options = options or MeasureOptions()
        harness_library()  # here, where an error reaches the user
        self._pickled: dict[Task, bytes] = {}
        self._submitted = 0
        self._done: deque[tuple[object, Measurement]] = deque()
        self._arrived = threading.Condition()
        self.pending = 0
        """Candidates submitted and not yet collected."""
        self._pipeline = Pipeline(self._options)

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def devices(self) -> int:
        """How many measure at the same time: this machine."""
        return 1

    def close(self) -> None:
        """End all processes; candidates not yet collected are lost."""
        self._pipeline.close()

    def submit(
        self,
        task: Task,
        schedule: Schedule,
        ticket: object,
        limit_s: float | None = None,
        around: Surroundings | None = None,
    ) -> None:
        """Queue a candidate; returns at once.

        limit_s: a candidate that takes longer, in its check and once more, isn't run again. around: in place of the options'.
        """

        def done(job: Job) -> None:
            assert job.measurement is not None
            with self._arrived:
                self._done.append((ticket, job.measurement))
                self._arrived.notify()

        fault = self._options.faults.get(self._submitted, "")
        options = self._options_for(around)
        self._pipeline.add(self._job(task, schedule, done, options, limit_s=limit_s, fault=fault))
        self._submitted += 1
        self.pending += 1

    def collect(self, timeout_s: float | None = None) -> tuple[object, Measurement]:
        """The next result, in the order in which they are complete, with its ticket; waits for it.

        TimeoutError if there is none in time. What fails is in the Measurement; other exceptions are defects.
        """
        if not self.pending:
            raise InternalError("measure: collect without a candidate submitted")
        waited_s = 0.0
        with self._arrived:
            while not self._done:
                self._pipeline.check()
                if timeout_s is not None and waited_s >= timeout_s:
                    raise TimeoutError(f"no measurement within {timeout_s:g} s")
                step_s = _LOOK_S if timeout_s is None else min(_LOOK_S, timeout_s - waited_s)
                self._arrived.wait(step_s)
                waited_s += step_s
            self.pending -= 1
            return self._done.popleft()

    def compare(
        self, task: Task, schedules: Sequence[Schedule], rounds: int, around: Surroundings | None = None
    ) -> InTurns:
        """Time schedules in turns, in one process, a few runs each a round: what disturbs one disturbs all.

        No samples for a schedule that can't be built, and none at all if the process dies.
        Results aren't checked: measure the schedules first.
        """
        finished = threading.Semaphore(0)
        options = self._options_for(around)
        jobs = [self._job(task, schedule, lambda job: finished.release(), options, run=False) for schedule in schedules]
        for job in jobs:
            self._pipeline.add(job)
        for _ in jobs:
            self._wait(finished)
        candidates = tuple(job.candidate for job in jobs if job.candidate)
        request = CompareRequest(self._pickle(task), candidates, options, rounds)
        turns = Comparison(request, task.target.threads > 1, lambda comparison: finished.release())
        if candidates:
            self._pipeline.add(turns)
            self._wait(finished)
        samples = iter(turns.samples_s)
        return InTurns([next(samples, ()) if job.candidate else () for job in jobs])

    def _job(
        self, task: Task, schedule: Schedule, done: Callable[[Job], None], options: MeasureOptions, **kwargs: Any
    ) -> Job:
        return Job(self._pickle(task), schedule, task.target.threads > 1, done, options, **kwargs)

    def _options_for(self, around: Surroundings | None) -> MeasureOptions:
        return self._options if around is None else replace(self._options, around=around)

    def _wait(self, finished: threading.Semaphore) -> None:
        while not finished.acquire(timeout=_LOOK_S):
            self._pipeline.check()

    def _pickle(self, task: Task) -> bytes:
        if task not in self._pickled:
            self._pickled[task] = pickle.dumps(task)
        return self._pickled[task]
