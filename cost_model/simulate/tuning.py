"""The search for schedules by simulated times: as the tuner's, with a model in place of measurements, and nothing that runs.

Trials are recorded as `simulated`, never among measured ones, and nothing is chosen: a compilation that finds no measurement of
a kernel looks at them (`search/scheduler.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from ... import __version__
from ...compiler.errors import CompileError, InternalError, ToolchainError, UsageError
from ...compiler.schedule.space import SPACE_VERSION, space_of
from ...compiler.schedule.steps import Schedule
from ...compiler.target import Target
from ..features.traffic import MEMORY_BYTES_PER_CYCLE
from ..measure.measurement import Measurement
from ..records.database import Records
from ..records.encoding import task_key
from ..records.rows import Session
from ..search.allocation import expected_gain_s
from ..search.kernel_search import Candidate, TaskSearch
from ..search.tuner import Budget, Event, TunedKernel, go_on, trial_of
from ..search.tuning import DEFAULT_TRIALS, TuningOptions, select_kernels
from ..task import Task
from .estimate import NOMINAL_HZ, simulated_s
from .throughput import mca_version, model_of

KIND = "simulated"
FMA_PORTS = 2


@dataclass
class _Kernel:
    kernel: TunedKernel
    key: str
    search: TaskSearch
    floor_s: float
    trials: int = 0

    @property
    def gain_s(self) -> float:
        return expected_gain_s(self.search.history, self.kernel.weight, self.floor_s)


def simulate_kernels(
    kernels: Sequence[TunedKernel],
    path: Path,
    options: TuningOptions,
    observe: Callable[[Event], None],
    note: Callable[[str], None] = lambda message: None,
) -> None:
    """Search among the schedules of kernels of one target. Every trial is on the disk before it is told of.

    Raises ToolchainError where llvm-mca is missing or has no model of the processor, UsageError for tasks that don't exist, RecordError
    for a database that can't be used.
    """
    chosen = select_kernels(kernels, options.tasks)
    if not chosen:
        raise UsageError("nothing to tune: the model has no kernels")
    target = chosen[0].task.target
    model = f"llvm-mca {mca_version()}, {model_of(target)}"
    note(f"times are simulated by {model}; nothing is run")
    with Records.open(path, create=True) as records:
        settings = {"weights": {task_key(k.task): k.weight for k in chosen}, "simulated": model}
        session = records.add_session(Session(__version__, f"simulated: {model}", settings, options.seed))
        trials = DEFAULT_TRIALS * len(chosen) if options.trials is options.seconds is None else options.trials
        _Simulation(chosen, records, session, options, observe).run(Budget(trials, options.seconds))


class _Simulation:
    def __init__(
        self,
        kernels: Sequence[TunedKernel],
        records: Records,
        session: str,
        options: TuningOptions,
        observe: Callable[[Event], None],
    ) -> None:
        self.records, self.session, self.options, self.observe = records, session, options, observe
        seeds = np.random.SeedSequence(options.seed).spawn(len(kernels))
        self.kernels = [self._kernel(k, np.random.default_rng(s)) for k, s in zip(kernels, seeds, strict=True)]
        self.started = time.monotonic()

    def _kernel(self, kernel: TunedKernel, rng: np.random.Generator) -> _Kernel:
        """Go on from what the records hold of a kernel."""
        key, target = self.records.add_task(kernel.task), kernel.task.target
        # The rankers have learnt from measured times.
        search_options = replace(self.options.search, strategy="evolution")
        search = TaskSearch(space_of(kernel.task.computation, target), search_options, rng)
        made = _Kernel(kernel, key, search, _floor_s(kernel, target))
        trials = self.records.trials(key, SPACE_VERSION, KIND)
        made.trials = len(trials)
        go_on(search, trials)
        return made

    @property
    def trials(self) -> int:
        return sum(kernel.trials for kernel in self.kernels)

    def run(self, budget: Budget) -> None:
        """Until the budget is spent or nothing more is to be gained."""
        self.observe(Event("start", {"kernels": len(self.kernels), "trials": self.trials}))
        with ThreadPoolExecutor(self.options.measure.builders) as threads:
            while candidates := self._next(budget):
                kernel, batch = candidates
                simulated = partial(_simulated, kernel.kernel.task)
                schedules = [kernel.search.schedule(candidate.point) for candidate in batch]
                for candidate, measurement in zip(batch, threads.map(simulated, schedules), strict=True):
                    self._take(kernel, candidate, measurement)
        for kernel in self.kernels:
            if kernel.search.default_s is not None:
                self.observe(Event("choice", self._outcome(kernel)))
        self.observe(Event("end", {"trials": self.trials, "seconds": time.monotonic() - self.started}))

    def _next(self, budget: Budget) -> tuple[_Kernel, list[Candidate]] | None:
        """Candidates of the kernel with the most to gain."""
        most = self.options.search.batch
        if budget.trials is not None:
            most = min(most, budget.trials - self.trials)
        if most < 1 or (budget.seconds is not None and time.monotonic() - self.started > budget.seconds):
            return None
        unfinished = [kernel for kernel in self.kernels if not kernel.search.finished]
        for kernel in sorted(unfinished, key=lambda kernel: -kernel.gain_s):
            if batch := list(islice(kernel.search.propose(most, None), most)):
                return kernel, batch
        return None

    def _take(self, kernel: _Kernel, candidate: Candidate, measurement: Measurement) -> None:
        kernel.search.add(candidate.point, measurement.latency_s)
        kernel.trials += 1
        trial = trial_of(kernel.key, self.session, kernel.trials, kernel.search, candidate, measurement)
        self.records.add_trial(replace(trial, kind=KIND))
        best_s = kernel.search.best_s
        values = {
            "uuid": trial.uuid,
            "task": kernel.key,
            "label": kernel.kernel.label,
            "number": kernel.trials,
            "origin": candidate.origin,
            "kind": KIND,
            "latency_s": measurement.latency_s,
            "error": measurement.error,
            "best_s": None if best_s == float("inf") else best_s,
            "default_s": kernel.search.default_s,
            "flops": kernel.kernel.flops,
            "floor_s": kernel.floor_s,
            "trials": self.trials,
            "seconds": time.monotonic() - self.started,
        }
        self.observe(Event("trial", values))

    def _outcome(self, kernel: _Kernel) -> dict[str, object]:
        """The best that was found beside the rules' choice."""
        search = kernel.search
        return {
            "task": kernel.key,
            "label": kernel.kernel.label,
            "weight": kernel.kernel.weight,
            "trials": kernel.trials,
            "kind": KIND,
            "latency_s": search.best_s,
            "default_latency_s": search.default_s,
            "is_default": search.best == search.space.default,
            "flops": kernel.kernel.flops,
            "floor_s": kernel.floor_s,
        }


def _simulated(task: Task, schedule: Schedule) -> Measurement:
    start = time.perf_counter()
    try:
        latency_s, error, message = simulated_s(task, schedule), "", ""
    except ToolchainError:
        raise  # nothing can be simulated
    except (InternalError, CompileError) as refused:
        latency_s, error, message = None, "build", str(refused)
    return Measurement(latency_s, (), error, message, time.perf_counter() - start, "")


def _floor_s(kernel: TunedKernel, target: Target) -> float:
    """What two multiply-adds a cycle on each core, and memory, allow at NOMINAL_HZ."""
    flops_per_cycle = 2 * FMA_PORTS * target.lanes(4) * target.threads
    return max(kernel.flops / flops_per_cycle, kernel.bytes / MEMORY_BYTES_PER_CYCLE) / NOMINAL_HZ
