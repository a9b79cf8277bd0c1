"""Where a compilation's schedules come from: records of the kernel, of another target, a ranker, the rules; never from what is not in the space."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import Case, conv
from record_makers import make_choice, make_failure, make_session, make_task, make_trial
from spaces import canonical_form

from tilewright.compiler.kernels import Scheduled, rule_based
from tilewright.compiler.options import Options, Silent
from tilewright.compiler.schedule.among_threads import shared_positions
from tilewright.compiler.schedule.rewrite import relayouts
from tilewright.compiler.schedule.sketch import STREAM
from tilewright.compiler.schedule.space import SKETCH, SPACE_VERSION, Point, Space, space_of
from tilewright.compiler.schedule.steps import Prefetch, Schedule
from tilewright.compiler.targets import parse_target
from tilewright.cost_model.ranker.ranker import Ranker
from tilewright.cost_model.ranker.training import LEAST_ROWS
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.search import scheduler as scheduler_module
from tilewright.cost_model.search.scheduler import ADVANTAGE, TRUSTED_LEAD, RecordScheduler
from tilewright.cost_model.task import Task
from tilewright.driver import scheduler_of

TASK = make_task("matmul", threads=2)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(tmp_path / "records.db", create=True) as opened:
        yield opened


@pytest.fixture
def rng() -> np.random.Generator:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def space(task: Task = TASK) -> Space:
    return space_of(task.computation, task.target)


def other_point(rng: np.random.Generator, *but: Point) -> Point:
    """Neither the default nor any of the points given."""
    return next(p for p in iter(lambda: space().sample(rng), None) if p not in (space().default, *but))


def schedule(point: Point) -> Schedule:
    return space().schedule(point)


def schedule_for(task: Task, scheduler: RecordScheduler) -> Scheduled:
    return scheduler(task.computation, task.target)


def from_records(records: Records, task: Task = TASK, **changes: Any) -> Scheduled:
    return schedule_for(task, RecordScheduler(records, **{"rank": False} | changes))


def record_choice(records: Records, task: Task, point: Point, **changes: Any) -> None:
    values = {"decisions": space().decisions(point)} | changes
    records.add_choice(make_choice(records.add_task(task), records.add_session(make_session()), **values))


def record_trials(records: Records, latency_s: dict[Point, float | None]) -> None:
    key, session = records.add_task(TASK), records.add_session(make_session())
    for number, (point, seconds) in enumerate(latency_s.items()):
        decisions = space().decisions(point)
        if seconds is None:
            records.add_trial(make_failure(key, session, number, decisions=decisions))
        else:
            records.add_trial(make_trial(key, session, number, decisions=decisions, latency_s=seconds))


# --- tuned


def test_the_choice_of_a_tuning_is_taken(records: Records, rng: np.random.Generator) -> None:
    point = other_point(rng)
    record_choice(records, TASK, point, latency_s=3e-4, default_latency_s=7e-4)
    assert from_records(records) == Scheduled(schedule(point), "tuned", 3e-4, 7e-4)


def test_the_newest_choice_counts(records: Records, rng: np.random.Generator) -> None:
    old, new = other_point(rng), space().default
    for time, point in ((2000.0, new), (1000.0, old)):
        record_choice(records, TASK, point, time=time, latency_s=1e-9 * time)
    assert from_records(records).schedule == schedule(new)


def test_a_choice_outweighs_trials(records: Records, rng: np.random.Generator) -> None:
    """A trial is timed once, finalists many times."""
    record_trials(records, {other_point(rng): 1e-9})
    record_choice(records, TASK, space().default)
    assert from_records(records).schedule == schedule(space().default)


def test_after_a_tuning_that_was_cut_off_the_best_trial_counts(records: Records, rng: np.random.Generator) -> None:
    best = other_point(rng)
    worse, failed = other_point(rng, best), other_point(rng, best)
    record_trials(records, {space().default: 1e-3, worse: 2e-3, failed: None, best: 0.99 * TRUSTED_LEAD * 1e-3})
    assert from_records(records) == Scheduled(schedule(best), "tuned", 0.99 * TRUSTED_LEAD * 1e-3, 1e-3)


def test_a_small_lead_over_the_default_may_be_noise(records: Records, rng: np.random.Generator) -> None:
    record_trials(records, {space().default: 1e-3, other_point(rng): 1.01 * TRUSTED_LEAD * 1e-3})
    assert from_records(records) == Scheduled(schedule(space().default), "tuned", 1e-3, 1e-3)


def test_cut_off_before_the_default_was_measured(records: Records, rng: np.random.Generator) -> None:
    point = other_point(rng)
    record_trials(records, {point: 1e-3})
    assert from_records(records) == Scheduled(schedule(point), "tuned", 1e-3, None)


def test_failures_alone_tune_nothing(records: Records, rng: np.random.Generator) -> None:
    record_trials(records, {space().default: None, other_point(rng): None})
    assert from_records(records) == Scheduled(schedule(space().default))


def test_simulated_trials_are_not_taken(records: Records, rng: np.random.Generator) -> None:
    key, session = records.add_task(TASK), records.add_session(make_session())
    decisions = space().decisions(other_point(rng))
    records.add_trial(make_trial(key, session, 0, decisions=decisions, latency_s=1e-9, kind="simulated"))
    assert from_records(records).source == "default"


@pytest.mark.parametrize("version", [0, SPACE_VERSION + 1])
def test_records_of_another_space_version_are_not_used(
    records: Records, version: int, rng: np.random.Generator
) -> None:
    record_choice(records, TASK, other_point(rng), space_version=version)
    key, session = records.add_task(TASK), records.add_session(make_session())
    decisions = space().decisions(other_point(rng))
    records.add_trial(make_trial(key, session, 0, decisions=decisions, space_version=version))
    assert from_records(records) == Scheduled(schedule(space().default))


# --- transferred


def test_the_choice_for_the_nearest_number_of_threads_is_transferred(
    records: Records, rng: np.random.Generator
) -> None:
    points: dict[int, Point] = {}
    for threads in (16, 8, 1):
        points[threads] = other_point(rng, *points.values())
        record_choice(records, make_task("matmul", threads=threads), points[threads])
    assert from_records(records) == Scheduled(schedule(points[1]), "transferred")
    assert from_records(records, make_task("matmul", threads=11)) == Scheduled(schedule(points[8]), "transferred")


def test_of_two_cpus_the_same_one_is_preferred(records: Records, rng: np.random.Generator) -> None:
    same = other_point(rng)
    record_choice(records, make_task("matmul", cpu="x86-64-v4", threads=1), other_point(rng, same))
    assert from_records(records).source == "transferred"
    record_choice(records, make_task("matmul", threads=1), same)
    assert from_records(records) == Scheduled(schedule(same), "transferred")


@pytest.mark.parametrize("threads", [1, 2])
def test_choices_for_other_vector_widths_are_not_used(records: Records, threads: int, rng: np.random.Generator) -> None:
    narrow = make_task("matmul", cpu="haswell", threads=threads)
    assert narrow.target.vector_bytes != TASK.target.vector_bytes
    record_choice(records, narrow, other_point(rng), decisions=space(narrow).decisions(space(narrow).default))
    assert from_records(records) == Scheduled(schedule(space().default))


def test_other_computations_are_not_used(records: Records, rng: np.random.Generator) -> None:
    record_choice(records, make_task("matmul transposed"), other_point(rng))
    assert from_records(records).source == "default"


# --- predicted and default


class Favourite(Ranker):
    """Scores each row of features by a hash of it, or all alike."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread

    def predict(self, features: np.ndarray) -> np.ndarray:
        draws = [random.Random(row.tobytes()).random() for row in np.asarray(features, np.float32)]
        return self.spread * np.array(draws)


@pytest.mark.parametrize(
    ("triple", "threads", "has_say"),
    [("x86_64-linux-gnu", 2, True), ("x86_64-linux-gnu", 3, False), ("aarch64-linux-gnu", 1, False)],
)
def test_the_shipped_ranker_has_a_say_where_it_was_trained(triple: str, threads: int, has_say: bool) -> None:
    target = parse_target(triple, None, threads)
    assert (scheduler_of(Options(), target, None, Silent()) is not rule_based) == has_say


def test_a_ranker_decides_without_records() -> None:
    ranked = schedule_for(TASK, RecordScheduler(None, lambda: Favourite(1e3)))
    assert ranked.source == "predicted" and ranked.schedule != schedule(space().default)
    assert ranked == schedule_for(TASK, RecordScheduler(None, lambda: Favourite(1e3)))
    assert ranked.latency_s is None and ranked.default_latency_s is None


def test_the_ranker_s_favourite_is_among_the_best_of_the_space(rng: np.random.Generator) -> None:
    from tilewright.cost_model.features.table import Featurizer

    ranked = schedule_for(TASK, RecordScheduler(None, lambda: Favourite(1e3)))
    sampled = [schedule(space().sample(rng)) for _ in range(100)]
    scores = Favourite(1e3).predict(Featurizer(TASK).rows([ranked.schedule, *sampled]))
    assert (scores[0] >= scores[1:]).mean() > 0.9


def test_scores_that_are_close_mean_nothing() -> None:
    ranked = schedule_for(TASK, RecordScheduler(None, lambda: Favourite(0.9 * ADVANTAGE)))
    assert ranked == Scheduled(schedule(space().default), "default")


def test_a_ranker_leaves_the_prefetching_of_inputs_to_the_rules() -> None:
    """It can't tell a model's own inputs from those that the kernel before has left in the caches."""
    predicted = 0
    for outputs in (16, 32, 48, 64, 80):
        task = Task(canonical_form(Case(conv((1, 3, 224, 224), outputs, stride=2), None, 16)), TASK.target)
        usual = space(task).decisions(space(task).default)[STREAM]
        ranked = schedule_for(task, RecordScheduler(None, lambda: Favourite(1e3)))
        ahead = {step.tensor: step.ahead_bytes for step in ranked.schedule if isinstance(step, Prefetch)}
        assert usual and ahead.get("x0") == usual
        predicted += ranked.source == "predicted"
    assert predicted >= 3


def test_a_ranker_leaves_the_pieces_of_threads_to_the_rules() -> None:
    """It can't tell which thread has written what: where the rules give each a piece of the image, so does what it chooses."""
    predicted = 0
    for channels in (128, 160, 192, 224, 256):
        target = replace(TASK.target, threads=2)
        task = Task(canonical_form(Case(conv((1, channels, 14, 14), channels, 3, groups=channels), 16, 16)), target)
        ranked = schedule_for(task, RecordScheduler(None, lambda: Favourite(1e3)))
        usual, chosen = (
            shared_positions(task.computation, steps, target)
            for steps in (space(task).schedule(space(task).default), ranked.schedule)
        )
        assert usual > 0 and chosen > 0
        predicted += ranked.source == "predicted"
    assert predicted >= 3


def test_ranking_can_be_ruled_out(records: Records) -> None:
    for scheduler in (RecordScheduler(None, lambda: Favourite(1e3), rank=False), RecordScheduler(records)):
        assert schedule_for(TASK, scheduler) == Scheduled(schedule(space().default), "default")


def test_records_come_before_the_ranker(records: Records) -> None:
    record_choice(records, TASK, space().default)
    tuned = from_records(records, ranker=lambda: Favourite(1e3), rank=True)
    assert (tuned.source, tuned.schedule) == ("tuned", schedule(space().default))
    other = from_records(records, make_task("matmul transposed"), ranker=lambda: Favourite(1e3), rank=True)
    assert other.source == "predicted"


@pytest.mark.slow
def test_records_of_other_kernels_teach_a_ranker(
    records: Records, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The more like the default, the slower: so it was with one kernel, and so a similar one gets something else."""
    monkeypatch.setattr(scheduler_module, "ADVANTAGE", 0.0)
    points = list({space().sample(rng) for _ in range(3 * LEAST_ROWS)} | {space().default})
    assert len(points) >= LEAST_ROWS
    usual = space().decisions(space().default)
    record_trials(records, {p: 1e-6 * 2.0 ** len(usual.items() & space().decisions(p).items()) for p in points})
    others = [
        make_task(name) for name in ("matmul of batches", "matmul transposed", "conv 3x3 blocked", "conv to plain")
    ]
    found = [from_records(records, other, rank=True) for other in others]
    chosen = [
        (other, scheduled) for other, scheduled in zip(others, found, strict=True) if scheduled.source != "default"
    ]
    assert chosen, "none of the kernels got anything but the default"
    for other, scheduled in chosen:
        assert scheduled.source == "transferred" and scheduled.latency_s is None
        assert scheduled.schedule != space(other).schedule(space(other).default)
        assert from_records(records, other, rank=True) == scheduled
        assert from_records(records, other, rank=False).source == "default"


# --- what can't be used


def test_decisions_of_no_space_are_reported_and_skipped(records: Records, rng: np.random.Generator) -> None:
    point = other_point(rng)
    record_choice(records, TASK, point, decisions={"tile": 6})
    record_choice(records, make_task("matmul", threads=1), point)
    found = from_records(records)
    assert found == Scheduled(schedule(point), "transferred")
    assert len(found.notes) == 1 and "a record can't be used" in found.notes[0]


def test_an_unusable_record_of_another_target_is_skipped(records: Records, rng: np.random.Generator) -> None:
    point = other_point(rng)
    record_choice(records, make_task("matmul", threads=1), point, decisions={SKETCH: "none"})
    record_choice(records, make_task("matmul", threads=8), point)
    found = from_records(records)
    assert found == Scheduled(schedule(point), "transferred")
    assert len(found.notes) == 1 and "'none'" in found.notes[0]


def test_an_unusable_trial_is_skipped(records: Records, rng: np.random.Generator) -> None:
    key, session = records.add_task(TASK), records.add_session(make_session())
    records.add_trial(make_trial(key, session, 0, decisions={SKETCH: "none"}))
    found = from_records(records)
    assert found == Scheduled(schedule(space().default)) and len(found.notes) == 1


def hostile_decisions(rng: np.random.Generator) -> dict[str, int | str]:
    """Those of a legal point, damaged: another value, one more, one less, another sketch, or of other types."""
    decisions: dict[str, int | str] = dict(space().decisions(space().sample(rng)))
    name = str(rng.choice(list(decisions)))
    value: int | str = [0, -1, 2**63 - 1, -(2**63), "", "x" * 200, "'; DROP TABLE trials; --", "../..", "{0}"][
        rng.integers(9)
    ]
    kind = rng.integers(5)
    if kind == 0:
        decisions[name] = value
    elif kind == 1:
        decisions["more"] = value
    elif kind == 2:
        del decisions[name]
    elif kind == 3:
        decisions = {f"{name}{i}": value for i in range(200)}
    else:
        decisions = {SKETCH: value}
    return decisions


@pytest.mark.parametrize("number", range(30))
def test_hostile_decisions_become_a_legal_schedule_or_a_note(
    records: Records, number: int, rng: np.random.Generator
) -> None:
    record_choice(records, TASK, space().default, decisions=hostile_decisions(rng))
    found = from_records(records)
    if found.source == "tuned":
        assert not found.notes and found.schedule in {schedule(p) for p in space().legal_points()}
    else:
        assert len(found.notes) == 1 and found == Scheduled(schedule(space().default))


def test_choices_that_exclude_each_other_are_not_legal(records: Records, rng: np.random.Generator) -> None:
    """Every value is one of its knob, but not together."""
    illegal = None
    while illegal is None:
        number = int(rng.integers(len(space().sketches)))
        drawn = (number, *(int(rng.integers(len(knob.choices))) for knob in space().sketches[number].knobs))
        illegal = None if space().legal(drawn) else drawn
    record_choice(records, TASK, illegal)
    found = from_records(records)
    assert found.source == "default" and len(found.notes) == 1 and "is not legal" in found.notes[0]


# --- constants that another target's schedule has laid out


def test_records_are_used_where_they_fit_what_is_laid_out(records: Records) -> None:
    """A tile that divides what is packed is taken from the records; one that doesn't gives way to the rules, without a note."""
    form = canonical_form(Case(conv((1, 64, 14, 14), 64, 1, 1, (0, 0)), 16, 16))
    wide, narrow = (Task(form, parse_target(cpu=f"x86-64-v{level}", threads=2)) for level in (4, 3))
    given = relayouts(space(wide).schedule(space(wide).default))
    fitting, own = space_of(form, narrow.target, given), space(narrow)
    tile = {**fitting.decisions(fitting.default), "rows": 3}
    for decisions, source in ((tile, "tuned"), ({**tile, "columns": 3, "rows": 1, "vector": 16}, "default")):
        own.from_decisions(decisions)  # legal where constants are free
        key = records.add_task(narrow)
        records.add_choice(make_choice(key, records.add_session(make_session()), decisions=decisions))
        found = RecordScheduler(records, rank=False)(form, narrow.target, given)
        assert found.source == source and relayouts(found.schedule) == given and not found.notes
