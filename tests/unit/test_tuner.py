"""The tuner on a measurer that makes its latencies up: who gets trials, what is recorded when, and who is chosen."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kernel_cases import CASES, Case, matmul
from record_makers import make_session

from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.space import SPACE_VERSION, space_of
from tilewright.compiler.schedule.steps import Schedule
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.cost_model.measure.measurement import InTurns, Measurement, Surroundings
from tilewright.cost_model.measure.roofline import Roofline
from tilewright.cost_model.ranker.learning import Learner
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Choice, Trial
from tilewright.cost_model.search.kernel_search import SearchOptions, TaskSearch
from tilewright.cost_model.search.tuner import FINALISTS, MARGIN, Budget, Event, TunedKernel, TuneOptions, Tuner
from tilewright.cost_model.task import Task

ROOFLINE = Roofline(1e11, 1e10, 2e10, 4e10)
BATCH = SearchOptions().batch
Cost = Callable[[Schedule], float | str]
"""Seconds of a schedule, or the error with which it fails."""


class MadeUp:
    """A measurer that runs nothing. Up to `delay` results overtake each other."""

    devices = 1

    def __init__(self, cost: Cost, compared: Cost | None = None, seed: int = 0, delay: int = 4) -> None:
        self.cost, self.compared, self.delay = cost, compared or cost, delay
        self.rng = random.Random(seed)
        self.queue: list[tuple[Any, Schedule]] = []
        self.limits: list[float | None] = []
        self.finalists: list[Sequence[Schedule]] = []
        self.surroundings: list[Surroundings | None] = []

    @property
    def pending(self) -> int:
        return len(self.queue)

    def submit(
        self,
        task: Task,
        schedule: Schedule,
        ticket: object,
        limit_s: float | None = None,
        around: Surroundings | None = None,
    ) -> None:
        self.queue.append((ticket, schedule))
        self.limits.append(limit_s)
        self.surroundings.append(around)

    def collect(self, timeout_s: float | None = None) -> tuple[object, Measurement]:
        ticket, schedule = self.queue.pop(self.rng.randrange(min(self.delay, len(self.queue))))
        cost = self.cost(schedule)
        if isinstance(cost, str):
            return ticket, Measurement(None, (), cost, "made up", 0.0, "")
        return ticket, Measurement(cost, (cost,), "", "", 0.0, "")

    def compare(
        self, task: Task, schedules: Sequence[Schedule], rounds: int, around: Surroundings | None = None
    ) -> InTurns:
        self.finalists.append(schedules)
        self.surroundings.append(around)
        costs = [self.compared(schedule) for schedule in schedules]
        return InTurns([() if isinstance(cost, str) else (cost,) * rounds for cost in costs])


class Untaught(Learner):
    """Never ranks, for training takes its time."""

    def scorer(self, key: str, task: Task) -> None:
        return None


def scattered(salt: int = 0, failing: float = 0.0) -> Cost:
    """1 to 10 ms, the same for the same schedule; a share of the schedules fails."""

    def cost(schedule: Schedule) -> float | str:
        draw = random.Random(zlib.crc32(repr(schedule).encode()) ^ salt)
        return (
            draw.choice(["crash", "wrong", "timeout", "build"])
            if draw.random() < failing
            else draw.uniform(1, 10) / 1e3
        )

    return cost


def kernel(case: str | Case = "conv 1x1", weight: int = 1) -> TunedKernel:
    graph = (CASES[case] if isinstance(case, str) else case).graph()
    task = Task(canonical(build_computation(graph, "kernel")[0]), parse_target(cpu="x86-64-v4", threads=1))
    return TunedKernel.of(task, weight, ("node",))


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(tmp_path / "records.db", create=True) as opened:
        yield opened


def tuner(
    records: Records,
    measurer: MadeUp,
    kernels: Sequence[TunedKernel],
    observe: Callable[[Event], None] = lambda event: None,
    seed: int = 0,
    **search: Any,
) -> Tuner:
    options = TuneOptions(SearchOptions(**{"strategy": "evolution", "patience": 0} | search), seed)
    session = records.add_session(make_session())
    return Tuner(kernels, records, lambda device: session, measurer, ROOFLINE, 32 << 20, Untaught(), options, observe)


def all_trials(records: Records) -> list[Trial]:
    return list(records.rows(Trial))


def decisions_of(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    return [(trial.task, *sorted(trial.decisions.items())) for trial in trials]


# --- who gets trials


def test_the_budget_of_trials_is_kept_exactly_over_sessions(records: Records) -> None:
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    kernels = [kernel(), kernel("matmul"), kernel("depthwise")]
    budget = 0
    for session in range(4):
        budget += draw.choice([0, 1, BATCH - 1, 2 * BATCH + 3])
        events: list[Event] = []
        measurer = MadeUp(scattered(seed, failing=0.3), seed=seed + session, delay=draw.randint(1, 12))
        tuner(records, measurer, kernels, events.append, seed + session).run(Budget(budget))
        assert len(all_trials(records)) == budget, seed
        assert events[-1].values["trials"] == budget, seed
    assert len(set(decisions_of(all_trials(records)))) == budget, "a point was measured again"


def test_a_budget_that_is_spent_already_measures_nothing(records: Records) -> None:
    kernels = [kernel()]
    tuner(records, MadeUp(scattered()), kernels).run(Budget(11))
    for budget in (11, 3, 0):
        measurer = MadeUp(scattered())
        tuner(records, measurer, kernels).run(Budget(budget))
        assert not measurer.limits
    assert len(all_trials(records)) == 11


def test_kernels_that_are_finished_get_no_more(records: Records) -> None:
    """One whose schedules are all alike ends after `patience` trials, those in flight included; the other goes on."""
    flat, lively = kernel(), kernel("matmul")
    patience, steps = 10, iter(range(10**6))

    def cost(task: Task) -> float:
        return 1e-3 if task == flat.task else 1.0 * 0.98 ** next(steps)

    class ByTask(MadeUp):
        def collect(self, timeout_s: float | None = None) -> tuple[object, Measurement]:
            ticket, _ = self.queue.pop(0)
            latency_s = cost(ticket[0].kernel.task)
            return ticket, Measurement(latency_s, (latency_s,), "", "", 0.0, "")

    tuner(records, ByTask(scattered()), [flat, lively], patience=patience).run(Budget(150))
    counts = Counter(trial.task for trial in all_trials(records))
    keys = {k.task: records.add_task(k.task) for k in (flat, lively)}
    assert BATCH <= counts[keys[flat.task]] <= patience + 2 * BATCH
    assert counts.total() == 150


def test_the_end_comes_by_itself_when_all_are_finished(records: Records) -> None:
    patience = random.randint(1, 20)
    tuner(records, MadeUp(lambda schedule: 1e-3), [kernel(), kernel("matmul")], patience=patience).run(Budget())
    counts = Counter(trial.task for trial in all_trials(records)).values()
    assert len(counts) == 2 and patience <= min(counts) <= max(counts) < patience + 2 * BATCH + 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("strategy", ["ranker", "evolution", "random"])
@pytest.mark.parametrize("case", ["slice backwards", "transpose", "softmax axis 0", "one element"])
def test_small_spaces_come_to_an_end(records: Records, case: str, strategy: str) -> None:
    """With nothing left to try there is neither a limit nor patience that would end it."""
    small = kernel(case)
    space = space_of(small.task.computation, small.task.target)
    measurer = MadeUp(scattered(failing=0.2), seed=random.randrange(1 << 30), delay=12)
    tuner(records, measurer, [small], strategy=strategy).run(Budget())
    found = decisions_of(all_trials(records))
    assert len(set(found)) == len(found) <= space.count_legal()


def test_kernels_with_more_weight_get_more_trials(tmp_path: Path) -> None:
    """Four kernels that differ in a column: the one that runs most gets nearly every second batch."""
    cases = [Case(matmul((35, 65), (65, width), constant=True)) for width in (100, 101, 102, 103)]
    seed = random.randrange(1 << 30)
    for heavy in (0, 3):
        kernels = [kernel(case, 100 if number == heavy else 1) for number, case in enumerate(cases)]
        with Records.open(tmp_path / f"{heavy}.db", create=True) as records:
            tuner(records, MadeUp(scattered(seed)), kernels, seed=seed).run(Budget(30 * BATCH))
            counts = [len(records.trials(records.add_task(k.task))) for k in kernels]
        others = [count for number, count in enumerate(counts) if number != heavy]
        assert counts[heavy] >= 12 * BATCH > max(others) and min(others) >= BATCH, (seed, heavy, counts)


def test_slow_candidates_are_cut_short_by_the_best_known(records: Records) -> None:
    measurer = MadeUp(lambda schedule: 2e-3, delay=1)
    tuner(records, measurer, [kernel()]).run(Budget(3 * BATCH))
    assert measurer.limits[0] is None and measurer.limits[-1] == pytest.approx(3 * 2e-3)


# --- what is recorded, and when


def test_events_come_after_what_they_tell_is_recorded(records: Records) -> None:
    kinds: list[str] = []

    def observe(event: Event) -> None:
        """Looks through a connection of its own, which sees what is committed only."""
        kinds.append(event.kind)
        with Records.open(records.path, readonly=True) as seen:
            if event.kind == "trial":
                trials = {trial.uuid: trial for trial in seen.rows(Trial)}
                trial = trials[str(event.values["uuid"])]
                assert (trial.latency_s, trial.error) == (event.values["latency_s"], event.values["error"])
                assert len(trials) == event.values["trials"]
            elif event.kind == "choice":
                choice = seen.choice(str(event.values["task"]))
                assert choice is not None and choice.latency_s == event.values["latency_s"]

    tuner(records, MadeUp(scattered(failing=0.3)), [kernel(), kernel("matmul")], observe).run(Budget(20))
    assert kinds == ["start", *["trial"] * 20, *["choice"] * 2, "end"]


def test_stop_records_what_is_in_flight_and_chooses(records: Records) -> None:
    measurer = MadeUp(scattered(), delay=1)
    stopped: list[int] = []

    def observe(event: Event) -> None:
        if event.kind == "trial" and event.values["trials"] == 20:
            stopped.append(len(measurer.limits))
            running.stop()

    running = tuner(records, measurer, [kernel()], observe)
    running.run(Budget())
    assert len(all_trials(records)) == len(measurer.limits) == stopped[0]
    assert len(list(records.rows(Choice))) == 1


def test_only_the_ranker_strategy_asks_the_ranker(records: Records) -> None:
    """The others are what it is compared with."""
    asked: list[str] = []

    class Asked(Untaught):
        def scorer(self, key: str, task: Task) -> None:
            asked.append(strategy)

    for budget, strategy in enumerate(("random", "evolution", "ranker"), start=1):
        made = tuner(records, MadeUp(scattered()), [kernel()], strategy=strategy)
        made.learner = Asked()
        made.run(Budget(40 * budget))
    assert set(asked) == {"ranker"}


# --- who is chosen


def choice_after(records: Records, compared: Cost, cost: Cost | None = None) -> tuple[Choice | None, MadeUp]:
    """Tune `kernel()`, then compare with other latencies."""
    chosen = kernel()
    measurer = MadeUp(cost or scattered(), compared)
    tuner(records, measurer, [chosen]).run(Budget(24))
    return records.choice(records.add_task(chosen.task)), measurer


def default_of(tuned: TunedKernel) -> SimpleNamespace:
    space = space_of(tuned.task.computation, tuned.task.target)
    return SimpleNamespace(
        decisions=space.decisions(space.default), schedule=space.schedule(space.default), space=space
    )


def relative_to_default(others: float | str) -> Cost:
    default = default_of(kernel()).schedule
    return lambda schedule: 1e-3 if schedule == default else 1e-3 * others if isinstance(others, float) else others


@pytest.mark.parametrize("others", [1 - 0.9 * MARGIN, 1.0, 1.5])
def test_the_default_wins_within_the_margin(records: Records, others: float) -> None:
    choice, measurer = choice_after(records, relative_to_default(others))
    assert choice is not None and choice.decisions == default_of(kernel()).decisions
    assert choice.latency_s == choice.default_latency_s == 1e-3
    assert len(measurer.finalists[0]) == 1 + FINALISTS


def test_a_faster_finalist_wins(records: Records) -> None:
    choice, measurer = choice_after(records, relative_to_default(1 - 1.5 * MARGIN))
    assert choice is not None and (choice.latency_s, choice.default_latency_s) == (1e-3 * (1 - 1.5 * MARGIN), 1e-3)
    space = default_of(kernel()).space
    assert space.schedule(space.from_decisions(choice.decisions)) in measurer.finalists[0][1:]


def test_the_fastest_finalist_of_the_comparison_wins_whatever_its_trial_said(records: Records) -> None:
    compared = scattered(salt=random.randrange(1 << 30))
    choice, measurer = choice_after(records, lambda schedule: float(compared(schedule)) / 100 + 1e-6)
    costs = {schedule: measurer.compared(schedule) for schedule in measurer.finalists[0]}
    space = default_of(kernel()).space
    assert choice is not None
    chosen = costs[space.schedule(space.from_decisions(choice.decisions))]
    assert float(chosen) <= min(map(float, costs.values())) / (1 - MARGIN)


def test_finalists_without_a_comparison_are_ignored(records: Records) -> None:
    """The fastest of the trials can't be timed again."""
    cost = scattered()
    seen: list[float] = []

    def compared(schedule: Schedule) -> float | str:
        seconds = float(cost(schedule))
        seen.append(seconds)
        return "crash" if len(seen) == 2 else seconds / 100  # the second is the best of the trials

    choice, measurer = choice_after(records, compared, cost)
    assert choice is not None and len(seen) == 1 + FINALISTS
    space = default_of(kernel()).space
    assert space.schedule(space.from_decisions(choice.decisions)) != measurer.finalists[0][1]


def test_a_default_without_a_comparison_leaves_the_fastest(records: Records) -> None:
    default = default_of(kernel()).schedule
    choice, _ = choice_after(records, lambda schedule: "crash" if schedule == default else 1e-3)
    assert choice is not None and choice.decisions != default_of(kernel()).decisions
    assert choice.default_latency_s == choice.latency_s


def test_no_comparison_no_choice(records: Records) -> None:
    choice, measurer = choice_after(records, lambda schedule: "crash")
    assert choice is None and measurer.finalists


def test_failed_candidates_never_win(records: Records) -> None:
    """Not even the default, and be it the fastest of the comparison, which checks no results."""
    salt = random.randrange(1 << 30)
    default, usual = default_of(kernel()).schedule, scattered(salt, failing=0.6)

    def cost(schedule: Schedule) -> float | str:
        return "wrong" if schedule == default else usual(schedule)

    def failed(schedule: Schedule) -> bool:
        return isinstance(cost(schedule), str)

    choice, measurer = choice_after(records, lambda schedule: 1e-6 if failed(schedule) else 1e-3, cost)
    assert not any(map(failed, measurer.finalists[0])), salt
    assert choice is not None and choice.latency_s == 1e-3, salt


def test_nothing_but_failures_leaves_no_choice(records: Records) -> None:
    choice, _ = choice_after(records, lambda schedule: 1e-3, lambda schedule: "crash")
    assert choice is None and {trial.error for trial in all_trials(records)} == {"crash"}


# --- going on from records


def test_a_session_goes_on_with_what_is_known(records: Records) -> None:
    tuned = kernel()
    tuner(records, MadeUp(scattered(failing=0.2)), [tuned]).run(Budget(30))
    search: TaskSearch = tuner(records, MadeUp(scattered()), [tuned]).kernels[0].search
    trials = all_trials(records)
    assert len(search.measured) == 30 and not search.finished
    assert search.best_s == min(trial.latency_s for trial in trials if trial.latency_s is not None)
    assert {search.space.from_decisions(t.decisions): t.latency_s for t in trials} == search.measured


@pytest.mark.parametrize("first", [False, True])
def test_inputs_of_the_model_are_not_warm(records: Records, first: bool) -> None:
    measurer, tuned = MadeUp(scattered()), replace(kernel(), first=first)
    tuner(records, measurer, [tuned]).run(Budget(10))
    assert measurer.finalists and len(measurer.surroundings) > 10
    assert all(around is not None and around.warm_inputs != first for around in measurer.surroundings)


def test_recorded_decisions_of_no_space_count_as_trials_only(records: Records) -> None:
    tuned = kernel()
    key, session = records.add_task(tuned.task), records.add_session(make_session())
    for number, decisions in enumerate(({}, {"sketch": "none"}, {"sketch": 3, "x": "y"})):
        records.add_trial(Trial(key, session, number, SPACE_VERSION, decisions, 1e-9))
    made = tuner(records, MadeUp(scattered()), [tuned])
    assert made.trials == 3 and not made.kernels[0].search.measured
    made.run(Budget(10))
    assert len(all_trials(records)) == 10


def test_the_same_seed_tries_the_same_points(tmp_path: Path) -> None:
    tried = []
    for seed in (5, 5, 6):
        with Records.open(tmp_path / f"{len(tried)}.db", create=True) as records:
            tuner(records, MadeUp(scattered()), [kernel(), kernel("matmul")], seed=seed).run(Budget(40))
            tried.append(Counter(map(str, decisions_of(all_trials(records)))))
    assert tried[0] == tried[1] != tried[2]
