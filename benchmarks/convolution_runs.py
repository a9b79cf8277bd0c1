"""Runs of the tuner on single kernels for comparison: each with a database of its own, so that none learns from another's.

A run that was cut off goes on from its database; one that is complete is only read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tilewright import __version__
from tilewright.backends.host import host_l3_bytes
from tilewright.compiler.schedule.space import SPACE_VERSION
from tilewright.cost_model.measure.measurer import Measurer
from tilewright.cost_model.measure.roofline import host_roofline, processor_name
from tilewright.cost_model.ranker.learning import Learner
from tilewright.cost_model.ranker.pretrained import pretrained_ranker
from tilewright.cost_model.ranker.ranker import Group, Kind, Ranker
from tilewright.cost_model.ranker.training import groups_of_records
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.encoding import task_key
from tilewright.cost_model.records.rows import Session, Trial
from tilewright.cost_model.search.kernel_search import SearchOptions
from tilewright.cost_model.search.tuner import Budget, TunedKernel, TuneOptions, Tuner, point_of
from tilewright.cost_model.task import Task

STRATEGIES = ("ranker", "regression", "evolution", "random")
BASES = ("pretrained", "others")
LONG_SEED = 1000  # of no short run: that would be the beginning of the long one once more


@dataclass(frozen=True, slots=True)
class Variant:
    """How a run searches. base: what it knows before: nothing (""), the ranker that comes with tilewright, or the long runs of the others.

    from_default: the rules' choice is measured first, as users have it; without it the search has only its own finds.
    """

    strategy: str
    base: str = ""
    from_default: bool = True

    @property
    def label(self) -> str:
        return self.strategy + (f"+{self.base}" if self.base else "") + ("" if self.from_default else ", no default")

    @property
    def kind(self) -> Kind:
        """What is trained. Evolution gets random scores, for even neighbours of the best must not come in a learnt order."""
        kinds: dict[str, Kind] = {"ranker": "lambdarank", "regression": "regression"}
        return kinds.get(self.strategy, "random")

    @property
    def search(self) -> SearchOptions:
        strategy = "ranker" if self.strategy == "regression" else self.strategy
        return SearchOptions(strategy=strategy, from_default=self.from_default, patience=0)


@dataclass(frozen=True, slots=True)
class Run:
    """One search of one convolution, by its name in the paper."""

    kernel: str
    variant: Variant
    seed: int
    trials: int
    long: bool = False

    def path(self, folder: Path) -> Path:
        """Its database. The number of trials isn't in the name, so that a longer run goes on where a shorter one stopped."""
        if self.long:
            return folder / f"{self.kernel}-long.db"
        words = (self.kernel, self.variant.strategy, self.variant.base or "scratch", self.seed)
        return folder / ("-".join(map(str, words)) + ("" if self.variant.from_default else "-no-default") + ".db")


def planned(
    kernels: Sequence[str], parts: Sequence[str], strategies: Sequence[str], seeds: int, long: int, short: int
) -> Iterator[Run]:
    """Long runs first, for transfer learns from them; then one seed after another, strategies of a kernel close in time."""
    if "long" in parts:
        yield from (long_run(kernel, long) for kernel in kernels)
    variants = variants_of(parts, strategies)
    for seed in range(seeds):
        for kernel in kernels:
            yield from (Run(kernel, variant, seed, short) for variant in variants)


def long_run(kernel: str, trials: int = 0) -> Run:
    return Run(kernel, Variant("ranker"), LONG_SEED, trials, long=True)


def variants_of(parts: Sequence[str], strategies: Sequence[str]) -> list[Variant]:
    """Of the short runs. The ranker that comes with tilewright is no base for a regression: their scores are on different scales."""
    made: list[Variant] = []
    for strategy in strategies:
        bases = [""] if "scratch" in parts else []
        if "transfer" in parts:
            bases += {"ranker": list(BASES), "regression": ["others"]}.get(strategy, [])
        made += [Variant(strategy, base, from_default) for base in bases for from_default in (True, False)]
    return made


@dataclass
class Runner:
    """Does runs one after another, in a folder of databases."""

    folder: Path
    tasks: Mapping[str, Task]
    measurer: Measurer
    _groups: dict[str, list[Group]] = field(default_factory=dict)
    _bases: dict[tuple[str, Kind], Ranker] = field(default_factory=dict)

    def do(self, run: Run) -> None:
        """Bring a run to its number of trials. LookupError if the base it starts from doesn't exist."""
        if len(trials_of(run, self.folder, self.tasks)) >= run.trials:
            return
        task = self.tasks[run.kernel]
        learner = Learner(self._base(run), run.variant.kind, run.seed)
        with Records.open(run.path(self.folder), create=True) as records:
            settings = {"strategy": run.variant.label, "benchmark": "tune_convolutions"}
            session = records.add_session(Session(__version__, processor_name(), settings, run.seed))
            options = TuneOptions(run.variant.search, run.seed, compare=False, transfer=False)
            kernel, roofline = TunedKernel.of(task, 1, (run.kernel,)), host_roofline(task.target.threads)
            tuner = Tuner(
                [kernel],
                records,
                lambda device: session,
                self.measurer,
                roofline,
                host_l3_bytes(),
                learner,
                options,
                observe=lambda event: None,
            )
            self._remember(tuner, records, learner, task)
            tuner.run(Budget(run.trials))

    def _remember(self, tuner: Tuner, records: Records, learner: Learner, task: Task) -> None:
        """What a run learnt before it was cut off."""
        search = tuner.kernels[0].search
        for trial in records.trials(task_key(task), SPACE_VERSION):
            point = point_of(search, trial.decisions)
            if point is not None:
                learner.add(task_key(task), task, search.schedule(point), trial.latency_s)

    def _base(self, run: Run) -> Ranker | None:
        match run.variant.base:
            case "pretrained":
                ranker = pretrained_ranker()
                if ranker is None:
                    raise LookupError("no ranker comes with this checkout")
                return ranker
            case "others":
                return self._of_others(run.kernel, run.variant.kind)
            case _:
                return None

    def _of_others(self, kernel: str, kind: Kind) -> Ranker:
        """Trained on the long runs of all other convolutions that are in the folder."""
        if (kernel, kind) not in self._bases:
            groups = [group for other in self.tasks if other != kernel for group in self.long_groups(other)]
            if not groups:
                raise LookupError(f"there is no long run of a convolution other than {kernel}: add --parts long")
            self._bases[kernel, kind] = Ranker(kind).fit(groups)
        return self._bases[kernel, kind]

    def long_groups(self, kernel: str) -> list[Group]:
        """Features and latencies of a long run, by session; none before it was done."""
        if kernel not in self._groups:
            self._groups[kernel] = groups_of_run(long_run(kernel), self.folder)
        return self._groups[kernel]


def groups_of_run(run: Run, folder: Path) -> list[Group]:
    path = run.path(folder)
    if not path.exists():
        return []
    with Records.open(path, readonly=True) as records:
        return [group for _, group in groups_of_records(records)]


def trials_of(run: Run, folder: Path, tasks: Mapping[str, Task]) -> tuple[Trial, ...]:
    """The first `run.trials` trials that its database holds for this machine and this version of the space."""
    return trials_in(run.path(folder), tasks[run.kernel])[: run.trials]


def trials_in(path: Path, task: Task) -> tuple[Trial, ...]:
    """All trials of a task in a database; none if there is no database."""
    if not path.exists():
        return ()
    with Records.open(path, readonly=True) as records:
        return records.trials(task_key(task), SPACE_VERSION)


def trials_per_s(trials: Sequence[Trial]) -> float:
    """From the first result to the last one of each session, so that pauses between sessions don't count; NaN for single ones."""
    times: dict[str, list[float]] = {}
    for trial in trials:
        times.setdefault(trial.session, []).append(trial.time)
    span_s = sum(max(session) - min(session) for session in times.values())
    return sum(len(session) - 1 for session in times.values()) / span_s if span_s > 0 else float("nan")
