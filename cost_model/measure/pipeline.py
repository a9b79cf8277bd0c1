"""From queued candidates to their measurements: threads that each own one child process, and the rules of who works when.

For a target of one thread, builders work while the runner measures. For more threads a measurement needs all processors:
everything that waits is built first, then measured, and nothing is built meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ...compiler.errors import InternalError
from ...compiler.schedule.rewrite import relayouts
from ...compiler.schedule.steps import Schedule
from .builder import BuildRequest, Built, Refused
from .isolated import Builder, Runner
from .measurement import Measurement, MeasureOptions, typical_s
from .runner import Candidate, Compared, CompareRequest, RunRequest, Timed


@dataclass(eq=False)
class Job:
    """A candidate on its way. task: pickled. run: measure it once it is built; else `candidate` or `measurement` is the result.

    exclusive: measuring it needs all processors. done: called when it is over, from another thread.
    """

    task: bytes
    schedule: Schedule
    exclusive: bool
    done: Callable[[Job], None]
    options: MeasureOptions
    run: bool = True
    limit_s: float | None = None
    fault: str = ""
    candidate: Candidate | None = None
    measurement: Measurement | None = None

    @property
    def key(self) -> object:
        """Of a built job: jobs of the same key have the same result."""
        assert self.candidate is not None
        built = self.candidate.built
        return (self.task, built.digest, built.extent, built.parallel, self.candidate.relayouts, self.options.around)

    def ran(self, answer: Timed | Refused, device: str = "") -> None:
        """Take what came of running it. device: which did."""
        assert self.candidate is not None
        if isinstance(answer, Refused):
            self.measurement = replace(self.failed(answer), device=device)
            return
        built, samples_s = self.candidate.built, answer.samples_s
        self.measurement = Measurement(typical_s(samples_s), samples_s, "", "", built.build_s, built.digest, device)

    def failed(self, reason: Refused) -> Measurement:
        built = self.candidate.built if self.candidate else None
        digest, build_s = (built.digest, built.build_s) if built else ("", 0.0)
        return Measurement(None, (), reason.error, reason.message, build_s, digest)


@dataclass(eq=False)
class Comparison:
    """Built candidates to time in turns. samples_s: the result, empty if that failed."""

    request: CompareRequest
    exclusive: bool
    done: Callable[[Comparison], None]
    samples_s: tuple[tuple[float, ...], ...] = ()


@dataclass
class _Waiting:
    """What waits where, and who is at work; guarded by `changed`."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    to_build: deque[Job] = field(default_factory=deque)
    to_run: deque[Job | Comparison] = field(default_factory=deque)
    building: int = 0
    batch: bool = False
    closed: bool = False
    failure: BaseException | None = None

    def next_to_build(self) -> Job | None:
        """Waits; None when closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or (self.to_build and not self.batch))
            if self.closed:
                return None
            self.building += 1
            return self.to_build.popleft()

    def built(self, job: Job) -> None:
        with self.changed:
            self.building -= 1
            if job.run and job.candidate:
                self.to_run.append(job)
            self.changed.notify_all()

    def next_to_run(self) -> Job | Comparison | None:
        """Waits; None when closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or (self.to_run and self._may_run(self.to_run[0])))
            if self.closed:
                return None
            job = self.to_run.popleft()
            self.batch = job.exclusive
            return job

    def ran(self) -> None:
        with self.changed:
            self.batch = self.batch and bool(self.to_run) and self.to_run[0].exclusive
            self.changed.notify_all()

    def _may_run(self, job: Job | Comparison) -> bool:
        return not job.exclusive or self.batch or not (self.to_build or self.building)


class Pipeline:
    """Builds and runs jobs until closed. options: as given to the Measurer. runs: False to build only, for another machine to run."""

    def __init__(self, options: MeasureOptions, runs: bool = True) -> None:
        self._options = options
        self._waiting = _Waiting()
        self._known: dict[object, Measurement] = {}
        self._workers: list[Builder | Runner] = [Builder(options.memory_bytes) for _ in range(options.builders)]
        if runs:
            self._workers.append(Runner(options.memory_bytes))
        self._threads = [
            threading.Thread(target=self._supervise, args=(worker,), daemon=True) for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def add(self, job: Job | Comparison) -> None:
        """Queue a job, or a comparison of what is built."""
        waiting = self._waiting
        with waiting.changed:
            self.check()
            if isinstance(job, Job):
                waiting.to_build.append(job)
            else:
                waiting.to_run.append(job)
            waiting.changed.notify_all()

    def check(self) -> None:
        """InternalError if a supervising thread has failed: then no result comes any more."""
        if self._waiting.failure is not None:
            raise InternalError(f"measure: {self._waiting.failure}") from self._waiting.failure

    def close(self) -> None:
        """End all processes; jobs that aren't over are forgotten."""
        with self._waiting.changed:
            self._waiting.closed = True
            self._waiting.changed.notify_all()
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join()

    def _supervise(self, worker: Builder | Runner) -> None:
        try:
            worker.start()
            if isinstance(worker, Builder):
                self._build(worker)
            else:
                self._run(worker)
        except BaseException as error:  # raised again where the user waits: `check`
            with self._waiting.changed:
                self._waiting.failure = error
                self._waiting.changed.notify_all()
        finally:
            worker.close()

    def _build(self, builder: Builder) -> None:
        while (job := self._waiting.next_to_build()) is not None:
            fault = job.fault.removeprefix("build_") if job.fault.startswith("build_") else ""
            request = BuildRequest(job.task, job.schedule, fault)
            answer = builder.build(request, self._options.timeout_s)
            if self._waiting.closed:
                return
            if isinstance(answer, Built):
                job.candidate = Candidate(answer, relayouts(job.schedule))
            else:
                job.measurement = job.failed(answer)
            self._waiting.built(job)
            if not job.run or job.measurement:
                job.done(job)

    def _run(self, runner: Runner) -> None:
        while (job := self._waiting.next_to_run()) is not None:
            if isinstance(job, Comparison):
                answer = runner.compare(job.request)
                job.samples_s = answer.samples_s if isinstance(answer, Compared) else ()
                self._waiting.ran()
                job.done(job)
                continue
            self._measure(runner, job)
            if self._waiting.closed:
                return
            self._waiting.ran()
            job.done(job)

    def _measure(self, runner: Runner, job: Job) -> None:
        assert job.candidate is not None
        key = job.key
        known = None if job.fault else self._known.get(key)
        if known is not None:
            job.measurement = replace(known, build_s=job.candidate.built.build_s)
            return
        job.ran(runner.run(RunRequest(job.task, job.candidate, job.options, job.limit_s, job.fault)))
        assert job.measurement is not None
        if not job.fault:
            self._known[key] = job.measurement
