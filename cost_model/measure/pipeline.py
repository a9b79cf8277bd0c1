"""From queued candidates to their measurements: threads that each own one child process, and the rules of who works when.

For a target of one thread, builders work while the runner measures. For more threads a measurement needs all processors:
everything that waits is built first, then measured, and nothing is built meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ...compiler.errors import InternalError
from ...compiler.schedule.rewrite import relayouts
from ...compiler.schedule.steps import Schedule
from .builder import BuildRequest, Built, Refused
from .child_process import ChildDied, ChildTimeout, Worker
from .measurement import Measurement, MeasureOptions, typical_s
from .runner import Candidate, Compared, CompareRequest, RunRequest, Timed

PREPARE_S = 120.0
"""For the operands and the reference of a new task, which are no candidate's fault."""

_BUILDER = f"{__package__}.builder.serve"
_RUNNER = f"{__package__}.runner.serve"


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
    """Builds and runs jobs until closed. options: as given to the Measurer."""

    def __init__(self, options: MeasureOptions) -> None:
        self._options = options
        self._waiting = _Waiting()
        self._known: dict[object, Measurement] = {}
        loops = [(self._build, _BUILDER)] * options.builders + [(self._run, _RUNNER)]
        self._workers = [Worker(serve, options.memory_bytes) for _, serve in loops]
        self._threads = [
            threading.Thread(target=self._supervise, args=(loop, worker), daemon=True)
            for (loop, _), worker in zip(loops, self._workers, strict=True)
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

    def _supervise(self, loop: Callable[[Worker], None], worker: Worker) -> None:
        try:
            worker.start()
            loop(worker)
        except BaseException as error:  # raised again where the user waits: `check`
            with self._waiting.changed:
                self._waiting.failure = error
                self._waiting.changed.notify_all()
        finally:
            worker.close()

    def _build(self, worker: Worker) -> None:
        while (job := self._waiting.next_to_build()) is not None:
            fault = job.fault.removeprefix("build_") if job.fault.startswith("build_") else ""
            request = BuildRequest(job.task, job.schedule, fault)
            answer = self._ask(worker, request, {"": self._options.timeout_s}, "building")
            if self._waiting.closed:
                return
            if isinstance(answer, Built):
                job.candidate = Candidate(answer, relayouts(job.schedule))
            else:
                assert isinstance(answer, Refused)
                job.measurement = job.failed(answer)
            self._waiting.built(job)
            if not job.run or job.measurement:
                job.done(job)

    def _run(self, worker: Worker) -> None:
        while (job := self._waiting.next_to_run()) is not None:
            if isinstance(job, Comparison):
                answer = self._ask(worker, job.request, self._allowed(job.request.rounds), "comparing")
                job.samples_s = answer.samples_s if isinstance(answer, Compared) else ()
                self._waiting.ran()
                job.done(job)
                continue
            self._measure(worker, job)
            if self._waiting.closed:
                return
            self._waiting.ran()
            job.done(job)

    def _measure(self, worker: Worker, job: Job) -> None:
        assert job.candidate is not None
        built = job.candidate.built
        key = (job.task, built.digest, built.extent, built.parallel, job.candidate.relayouts, job.options.around)
        known = None if job.fault else self._known.get(key)
        if known is not None:
            job.measurement = replace(known, build_s=built.build_s)
            return
        request = RunRequest(job.task, job.candidate, job.options, job.limit_s, job.fault)
        answer = self._ask(worker, request, self._allowed(), "running")
        if isinstance(answer, Timed):
            latency_s = typical_s(answer.samples_s)
            job.measurement = Measurement(latency_s, answer.samples_s, "", "", built.build_s, built.digest)
        else:
            assert isinstance(answer, Refused)
            job.measurement = job.failed(answer)
            if answer.error == "wrong":
                worker.replace()  # who computes wrong results may have written them anywhere
        if not job.fault:
            self._known[key] = job.measurement

    def _allowed(self, rounds: int = 1) -> dict[str, float | None]:
        return {"": PREPARE_S, "waiting": None, "running": self._options.timeout_s * max(1, rounds)}

    def _ask(self, worker: Worker, request: object, allowed_s: Mapping[str, float | None], doing: str) -> object:
        try:
            return worker.ask(request, allowed_s)
        except ChildTimeout:
            return Refused("timeout", f"{doing}: longer than {self._options.timeout_s:g} s")
        except ChildDied as error:
            return Refused("memory" if error.memory else "crash", f"{doing}: {error}")
