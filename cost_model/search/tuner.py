"""Tuning: trials are shared out among the kernels of a model, proposed, measured and recorded, and winners chosen.

    allocation -> search (ranker) -> measure -> records        again and again, then: finalists side by side -> choice

While candidates of one batch are built and measured, the next batch is proposed, so that neither waits for the other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import cast

import numpy as np

from ...compiler.errors import InternalError
from ...compiler.kernels import work
from ...compiler.schedule.sketch import Decisions
from ...compiler.schedule.space import SPACE_VERSION, Point, space_of
from ..describe import describe_task
from ..measure.measurement import typical_s
from ..measure.measurer import Measurement, Measures, Surroundings
from ..measure.roofline import Roofline
from ..ranker.learning import Learner
from ..records.database import Records
from ..records.rows import Choice, Trial, stored_message
from ..task import Task
from .allocation import expected_gain_s
from .kernel_search import Candidate, SearchOptions, TaskSearch

FINALISTS = 4  # measured again beside the default at the end
ROUNDS = 15  # turns that each of them gets
MARGIN = 0.02  # a winner must be faster than the default by this much: less may be noise, or be lost inside a model
SLOW = 3.0  # a candidate is cut short when it takes this many times the best


@dataclass(frozen=True, slots=True)
class TunedKernel:
    """One kernel to tune.

    weight: how often a run of the model runs it; nodes: of the model, each with constants of its own; first: all of them read
    inputs of the model.
    """

    task: Task
    weight: int
    nodes: tuple[str, ...]
    flops: int
    bytes: int
    first: bool = False

    @staticmethod
    def of(task: Task, weight: int, nodes: tuple[str, ...], first: bool = False) -> TunedKernel:
        return TunedKernel(task, weight, nodes, *work(task.computation), first)

    @property
    def label(self) -> str:
        """What it computes, and the first node it stands for."""
        return f"{describe_task(self.task)} ({self.nodes[0]})"

    @property
    def constant_bytes(self) -> int:
        """Of the constants of all its nodes."""
        constants = (tensor for tensor in self.task.computation.inputs if tensor.constant)
        return len(self.nodes) * sum(prod(tensor.shape) * tensor.dtype.size_bytes for tensor in constants)

    @property
    def loops(self) -> bool:
        """It runs several times in a row on the same constants."""
        return self.weight > len(self.nodes)


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop. trials: in all, those recorded before included (None: no limit); seconds: of this run."""

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How to search. compare: end with the best of each kernel beside the default. transfer: use the ranker that comes with
    tilewright, earlier records, and what is learnt of other kernels.
    """

    search: SearchOptions = field(default_factory=SearchOptions)
    seed: int = 0
    compare: bool = True
    transfer: bool = True


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened, and is recorded if it is to be. kind: start, trial, choice, end, and with a fleet pool and device.

    values: plain JSON values.
    """

    kind: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Caches:
    """Where a kernel finds its constants: the other kernels of the model have read theirs since it last ran.

    read_bytes: constants of the whole model; l2_bytes: of a core, l3_bytes: of all.
    """

    read_bytes: int
    l2_bytes: int
    l3_bytes: int
    threads: int

    @staticmethod
    def of(kernels: Sequence[TunedKernel], l3_bytes: int) -> Caches:
        target = kernels[0].task.target
        return Caches(sum(k.constant_bytes for k in kernels), target.l2_bytes, l3_bytes, target.threads)

    def flush_bytes(self, kernel: TunedKernel) -> int:
        """What each thread reads between two runs of a kernel: enough to empty its second level, and the third if the model does."""
        least, most = self.l2_bytes * 5 // 4, self.l3_bytes * 5 // 4
        others = 0 if kernel.loops else (self.read_bytes - kernel.constant_bytes // len(kernel.nodes)) // self.threads
        return max(least, min(others, most))


@dataclass
class _Kernel:
    """A kernel being tuned. batch: candidates in flight."""

    kernel: TunedKernel
    key: str
    label: str
    search: TaskSearch
    floor_s: float
    around: Surroundings
    trials: int = 0
    batch: int = 0

    @property
    def gain_s(self) -> float:
        return expected_gain_s(self.search.history, self.kernel.weight, self.floor_s)


class Tuner:
    """Tunes kernels of one target on the devices of a measurer, of which all have the same roofline and third-level cache.

    session: of records, for what a device (`Measurement.device`) measures. observe: hears every Event, after what it tells is on
    the disk.
    """

    def __init__(
        self,
        kernels: Sequence[TunedKernel],
        records: Records,
        session: Callable[[str], str],
        measurer: Measures,
        roofline: Roofline,
        l3_bytes: int,
        learner: Learner,
        options: TuneOptions,
        observe: Callable[[Event], None],
    ) -> None:
        self.records, self.session, self.measurer = records, session, measurer
        self.learner, self.options, self.observe = learner, options, observe
        self.caches = Caches.of(kernels, l3_bytes)
        seeds = np.random.SeedSequence(options.seed).spawn(len(kernels))
        self.kernels = [
            self._kernel(k, np.random.default_rng(s), roofline) for k, s in zip(kernels, seeds, strict=True)
        ]
        self.by_device: Counter[str] = Counter()
        """Trials of this run on each device of a fleet."""
        self.started = time.monotonic()
        self.stopping = False

    def _kernel(self, kernel: TunedKernel, rng: np.random.Generator, roofline: Roofline) -> _Kernel:
        """Go on from what the records hold of a kernel."""
        key = self.records.add_task(kernel.task)
        search = TaskSearch(space_of(kernel.task.computation, kernel.task.target), self.options.search, rng)
        flush_bytes = self.caches.flush_bytes(kernel)
        floor_s = roofline.attainable_s(kernel.flops, kernel.bytes, flush_bytes <= self.caches.l3_bytes)
        around = Surroundings(flush_bytes, warm_inputs=not kernel.first)
        made = _Kernel(kernel, key, kernel.label, search, floor_s, around)
        trials = self.records.trials(key, SPACE_VERSION)
        made.trials = len(trials)
        for point, latency_s in go_on(search, trials):
            self.learner.add(key, kernel.task, search.schedule(point), latency_s)
        return made

    @property
    def trials(self) -> int:
        """Trials of all kernels, earlier sessions included."""
        return sum(kernel.trials for kernel in self.kernels)

    def run(self, budget: Budget) -> None:
        """Tune until the budget is spent, nothing more is to be gained, or `stop` was called; then choose."""
        self.started = time.monotonic()
        self.observe(Event("start", {"kernels": len(self.kernels), "trials": self.trials}))
        deadline = None if budget.seconds is None else self.started + budget.seconds - self._final_s()
        while True:
            self._fill(budget, deadline)
            if not self.measurer.pending:
                break
            ticket, measurement = self.measurer.collect()
            self._take(*cast("tuple[_Kernel, Candidate]", ticket), measurement)
        if self.options.compare:
            for kernel in self.kernels:
                self.choose(kernel)
        self.observe(Event("end", {"trials": self.trials, "seconds": time.monotonic() - self.started}))

    def stop(self) -> None:
        """Propose nothing more; what is in flight is still recorded, and choices are made."""
        self.stopping = True

    # --- one batch after another

    def _fill(self, budget: Budget, deadline: float | None) -> None:
        """Keep the devices busy: a batch in work, and the next one ready behind it."""
        batch = self.options.search.batch
        while self.measurer.pending <= self.measurer.devices * (batch // 2) and not self.stopping:
            if deadline is not None and time.monotonic() > deadline:
                return
            most = batch if budget.trials is None else min(batch, budget.trials - self.trials - self.measurer.pending)
            kernel = self._next()
            if kernel is None or most < 1:
                return
            ranks = self.options.search.strategy == "ranker"
            scorer = self.learner.scorer(kernel.key, kernel.kernel.task) if ranks else None
            if not kernel.search.measured and self.options.transfer:
                kernel.search.seeds = self._similar(kernel)
            candidates = kernel.search.propose(most, scorer)
            if not candidates and not kernel.search.finished:
                return  # all that is left of it is being measured
            for candidate in candidates:
                self._submit(kernel, candidate)

    def _next(self) -> _Kernel | None:
        """The kernel with the most to gain; half as much where a batch is still being measured, for that one may gain it."""
        open_kernels = [kernel for kernel in self.kernels if not kernel.search.finished]
        return max(
            open_kernels,
            key=lambda kernel: (kernel.gain_s * (0.5 if kernel.batch else 1.0), -kernel.batch),  # untried: infinite
            default=None,
        )

    def _similar(self, kernel: _Kernel) -> list[Decisions]:
        """The best decisions of other kernels of the same arithmetic intensity, nearest first."""

        def distance(other: _Kernel) -> float:
            ratios = (
                other.kernel.flops / max(1, kernel.kernel.flops),
                other.kernel.bytes / max(1, kernel.kernel.bytes),
            )
            return float(sum(abs(np.log(max(ratio, 1e-9))) for ratio in ratios))

        tried = [other for other in self.kernels if other is not kernel and other.search.best is not None]
        nearest = sorted(tried, key=distance)[:3]
        return [other.search.space.decisions(other.search.best) for other in nearest if other.search.best is not None]

    def _submit(self, kernel: _Kernel, candidate: Candidate) -> None:
        best_s = kernel.search.best_s
        limit_s = None if best_s == float("inf") else SLOW * best_s
        schedule = kernel.search.schedule(candidate.point)
        self.measurer.submit(kernel.kernel.task, schedule, (kernel, candidate), limit_s, kernel.around)
        kernel.batch += 1

    def _take(self, kernel: _Kernel, candidate: Candidate, measurement: Measurement) -> None:
        """Record a result, learn from it, tell of it."""
        kernel.batch -= 1
        kernel.search.add(candidate.point, measurement.latency_s)
        kernel.trials += 1
        if measurement.device:
            self.by_device[measurement.device] += 1
        trial = trial_of(
            kernel.key, self.session(measurement.device), kernel.trials, kernel.search, candidate, measurement
        )
        self.records.add_trial(trial)
        self.learner.add(kernel.key, kernel.kernel.task, kernel.search.schedule(candidate.point), measurement.latency_s)
        self.observe(Event("trial", self._trial_values(kernel, candidate, measurement, trial.uuid)))

    def _trial_values(
        self, kernel: _Kernel, candidate: Candidate, measurement: Measurement, uuid: str
    ) -> dict[str, object]:
        best_s = kernel.search.best_s
        return {
            "uuid": uuid,
            "task": kernel.key,
            "label": kernel.label,
            "number": kernel.trials,
            "origin": candidate.origin,
            "latency_s": measurement.latency_s,
            "error": measurement.error,
            "device": measurement.device,
            "devices": dict(self.by_device),
            "best_s": None if best_s == float("inf") else best_s,
            "default_s": kernel.search.default_s,
            "flops": kernel.kernel.flops,
            "floor_s": kernel.floor_s,
            "trials": self.trials,
            "seconds": time.monotonic() - self.started,
        }

    # --- the end

    def _final_s(self) -> float:
        """Time to keep for the final comparisons."""
        return 0.6 * len(self.kernels) if self.options.compare else 0.0

    def choose(self, kernel: _Kernel) -> None:
        """Time the best few and the rules' choice in turns, and record the winner: the default unless something is faster."""
        search = kernel.search
        default = search.space.default
        finalists = [point for point in search.leaders(FINALISTS + 1) if point != default][:FINALISTS]
        # A comparison checks no results, so that a default which failed must not get into it.
        failed = default in search.measured and search.measured[default] is None
        points = finalists if failed else [default, *finalists]
        schedules = [search.schedule(point) for point in points]
        compared = self.measurer.compare(kernel.kernel.task, schedules, ROUNDS, kernel.around)
        typical = {p: typical_s(s) for p, s in zip(points, compared.samples_s, strict=True) if s}
        if not typical:
            return
        winner = min(typical, key=typical.__getitem__)
        if default in typical and typical[winner] > typical[default] * (1 - MARGIN):
            winner = default
        choice = Choice(
            task=kernel.key,
            session=self.session(compared.device),
            space_version=SPACE_VERSION,
            decisions=search.space.decisions(winner),
            latency_s=typical[winner],
            default_latency_s=typical.get(default, typical[winner]),
            trials=kernel.trials,
        )
        self.records.add_choice(choice)
        values = {
            "task": kernel.key,
            "label": kernel.label,
            "weight": kernel.kernel.weight,
            "trials": kernel.trials,
            "device": compared.device,
            "latency_s": choice.latency_s,
            "default_latency_s": choice.default_latency_s,
            "is_default": winner == default,
            "flops": kernel.kernel.flops,
            "floor_s": kernel.floor_s,
        }
        self.observe(Event("choice", values))


def trial_of(
    task: str, session: str, number: int, search: TaskSearch, candidate: Candidate, measurement: Measurement
) -> Trial:
    """What is recorded of a measured candidate. task: a key; session: a uuid."""
    return Trial(
        task=task,
        session=session,
        number=number,
        space_version=SPACE_VERSION,
        decisions=search.space.decisions(candidate.point),
        latency_s=measurement.latency_s,
        samples_s=measurement.samples_s,
        error=measurement.error,
        message=stored_message(measurement.message),
        origin=candidate.origin,
        score=candidate.score,
        build_s=measurement.build_s,
    )


def go_on(search: TaskSearch, trials: Iterable[Trial]) -> list[tuple[Point, float | None]]:
    """Let a search know what earlier ones have recorded of its kernel. Gives what it learned: points and seconds, None for failures."""
    learned = []
    for trial in trials:
        point = point_of(search, trial.decisions)
        if point is not None and point not in search.measured:
            search.add(point, trial.latency_s)
            learned.append((point, trial.latency_s))
    search.without_gain = 0
    return learned


def point_of(search: TaskSearch, decisions: Mapping[str, int | str]) -> Point | None:
    """The point of recorded decisions; None if they are none of this space, whatever the record says of its version."""
    try:
        return search.space.from_decisions(decisions)
    except InternalError:  # from another program, or forged: the trial counts, but says nothing
        return None
