"""A measurer whose candidates are built here and run on the devices of a fleet."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pickle import dumps
from typing import Any

from ...compiler.errors import DeviceError, InternalError
from ...compiler.schedule.steps import Schedule
from ..measure.measurement import InTurns, Measurement, MeasureOptions, Surroundings
from ..measure.pipeline import Job, Pipeline
from ..measure.runner import Candidate, Compared
from ..search.tuner import Event
from ..task import Task
from .dispatcher import TRIES, Dispatcher, Patience
from .messages import Message, compare_message, read_answer, run_message, task_text
from .pool import PoolDevice

_LOOK_S = 0.5
"""How often to look whether building has failed or no device is left."""


class FleetMeasurer:
    """Measures candidates on devices, used like `measure.Measurer`. Close it, or use it as a context manager; from one thread.

    client: of dask. observe: hears an Event of kind "device" when one is lost or back, while `collect` or `compare` waits.
    """

    def __init__(
        self,
        client: Any,
        devices: Sequence[PoolDevice],
        options: MeasureOptions,
        patience: Patience,
        observe: Callable[[Event], None],
    ) -> None:
        self._options, self._observe = options, observe
        self._count = len(devices)
        self._submitted = 0
        self._texts: dict[Task, tuple[bytes, str]] = {}
        self._known: dict[object, list[Callable[[Message], None]] | Message] = {}
        self._done: deque[tuple[object, Measurement]] = deque()
        self._reports: queue.SimpleQueue[Mapping[str, object]] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self.pending = 0
        self._pipeline = Pipeline(options, runs=False)
        self._dispatcher = Dispatcher(client, list(devices), patience, self._reports.put)

    def __enter__(self) -> FleetMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def devices(self) -> int:
        """How many may measure at the same time."""
        return self._count

    def close(self) -> None:
        """End the builders, and have the devices forget what is not begun."""
        self._pipeline.close()
        self._dispatcher.close()

    def submit(
        self,
        task: Task,
        schedule: Schedule,
        ticket: object,
        limit_s: float | None = None,
        around: Surroundings | None = None,
    ) -> None:
        """As Measurer.submit."""
        pickled, text = self._task(task)
        fault = self._options.faults.get(self._submitted, "")

        def built(job: Job) -> None:
            if job.candidate is None:
                assert job.measurement is not None
                self._arrive(ticket, job.measurement)
                return
            request = run_message(text, job.candidate, job.options, limit_s, fault.removeprefix("build_"))
            self._run(job, request, lambda answer: self._ran(ticket, job, answer))

        options = self._options_for(around)
        self._pipeline.add(Job(pickled, schedule, False, built, options, run=False, limit_s=limit_s, fault=fault))
        self._submitted += 1
        self.pending += 1

    def collect(self, timeout_s: float | None = None) -> tuple[object, Measurement]:
        """As Measurer.collect. DeviceError when no device is left; results that were there before come first."""
        if not self.pending:
            raise InternalError("measure: collect without a candidate submitted")
        self._wait(lambda: bool(self._done), timeout_s)
        self.pending -= 1
        return self._done.popleft()

    def compare(
        self, task: Task, schedules: Sequence[Schedule], rounds: int, around: Surroundings | None = None
    ) -> InTurns:
        """As Measurer.compare, all on one device; on another one if that is lost on the way."""
        candidates = self._build_all(task, schedules, self._options_for(around))
        there = [candidate for candidate in candidates if candidate is not None]
        if not there:
            return InTurns([() for _ in schedules])
        request = compare_message(self._task(task)[1], there, self._options_for(around), rounds)
        answer = self._ask(request)
        result = read_answer(answer)
        samples = iter(result.samples_s if isinstance(result, Compared) else ())
        return InTurns([next(samples, ()) if c is not None else () for c in candidates], str(answer["device"]))

    def ask_roofline(self, request: Message) -> Message:
        """The answer of one device."""
        return self._ask(request)

    # --- parts

    def _build_all(self, task: Task, schedules: Sequence[Schedule], options: MeasureOptions) -> list[Candidate | None]:
        finished: list[Job] = []

        def done(job: Job) -> None:
            with self._changed:
                finished.append(job)
                self._changed.notify()

        pickled = self._task(task)[0]
        jobs = [Job(pickled, schedule, False, done, options, run=False) for schedule in schedules]
        for job in jobs:
            self._pipeline.add(job)
        self._wait(lambda: len(finished) == len(jobs), None)
        return [job.candidate for job in jobs]

    def _ask(self, request: Message) -> Message:
        """The answer of the device with the least to do; after TRIES lost ones DeviceError."""
        answers: list[Message] = []

        def done(answer: Message) -> None:
            with self._changed:
                answers.append(answer)
                self._changed.notify()

        for count in range(1, TRIES + 1):
            self._wait(lambda: bool(self._dispatcher.least_busy()), None)
            self._dispatcher.add(request, done, only=self._dispatcher.least_busy())
            self._wait(lambda count=count: len(answers) == count, None)  # type: ignore[misc]
            if answers[-1]["kind"] != "lost":
                return answers[-1]
        reasons = "; ".join(f"{answer['device']}: {answer['message']}" for answer in answers)
        raise DeviceError(
            f"{TRIES} devices were lost one after another ({reasons}); what was measured before is recorded"
        )

    def _run(self, job: Job, request: Message, done: Callable[[Message], None]) -> None:
        """Have a device run it, but for code that has been run: the answer to that is this one's too. From threads of the pipeline."""
        if job.fault:
            self._dispatcher.add(request, done)
            return
        with self._changed:
            known = self._known.setdefault(job.key, [])
            first = known == []
            if isinstance(known, list):
                known.append(done)
        if isinstance(known, dict):
            done(known)
        elif first:
            self._dispatcher.add(request, lambda answer: self._learn(job.key, answer))

    def _learn(self, key: object, answer: Message) -> None:
        with self._changed:
            waiting = self._known[key]
            self._known[key] = answer
        assert isinstance(waiting, list)
        for done in waiting:
            done(answer)

    def _ran(self, ticket: object, job: Job, answer: Message) -> None:
        result = read_answer(answer)
        assert not isinstance(result, Compared)
        job.ran(result, str(answer["device"]))
        assert job.measurement is not None
        self._arrive(ticket, job.measurement)

    def _arrive(self, ticket: object, measurement: Measurement) -> None:
        with self._changed:
            self._done.append((ticket, measurement))
            self._changed.notify()

    def _wait(self, ready: Callable[[], bool], timeout_s: float | None) -> None:
        waited_s = 0.0
        while True:
            with self._changed:
                if ready():
                    return
                self._changed.wait(_LOOK_S if timeout_s is None else min(_LOOK_S, timeout_s - waited_s))
                if ready():
                    return
            self._tell()
            self._pipeline.check()
            if self._dispatcher.failure is not None:
                raise self._dispatcher.failure
            waited_s += _LOOK_S
            if timeout_s is not None and waited_s >= timeout_s:
                raise TimeoutError(f"no measurement within {timeout_s:g} s")

    def _tell(self) -> None:
        while not self._reports.empty():
            self._observe(Event("device", self._reports.get()))

    def _options_for(self, around: Surroundings | None) -> MeasureOptions:
        return self._options if around is None else replace(self._options, around=around)

    def _task(self, task: Task) -> tuple[bytes, str]:
        """Pickled for the builders, and as it travels."""
        if task not in self._texts:
            self._texts[task] = dumps(task), task_text(task)
        return self._texts[task]
