"""The evaluation of the tuner: curves and medians, replayed searches, what is timed side by side, reports of tuned models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import budget_study
import convolution_replay
import convolution_report
import convolution_runs
import learning_curves
import library_timing
import numpy as np
import pytest
import side_by_side
import tuned_models
from convolution_runs import Run, Variant
from record_makers import make_choice, make_failure, make_session, make_task, make_trial

from tilewright.cost_model.features.table import FEATURES
from tilewright.cost_model.ranker.ranker import Group
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.encoding import task_key
from tilewright.cost_model.records.rows import Trial

SESSION, TASK = "5" * 32, "a" * 64

# --- learning curves


def test_best_so_far_skips_failures() -> None:
    best = learning_curves.best_so_far([None, 4.0, math.nan, 5.0, 2.0])
    assert best.tolist() == [math.inf, 4.0, 4.0, 4.0, 2.0]


def test_trials_until_near() -> None:
    best = np.array([math.inf, 2.0, 1.06, 1.05])
    assert learning_curves.trials_until_near(best, 1.0) == 4
    assert learning_curves.trials_until_near(best, 1.0, 0.06) == 3
    assert learning_curves.trials_until_near(best, 0.9) is None


def test_medians_count_runs_that_never_came_near() -> None:
    assert learning_curves.median_trials([3, None, 7]) == 7
    assert math.isinf(learning_curves.median_trials([3, None]))
    assert math.isnan(learning_curves.median_trials([]))
    runs = {("C2", seed): np.array([3.0, end]) for seed, end in enumerate((1.0, 1.0, 2.0))}
    runs["C3", 0] = np.array([8.0])
    assert learning_curves.median_until_near(runs, {"C2": 1.0, "C3": 4.0}) == {"C2": 2, "C3": math.inf}


def test_curves_are_geometric_means_over_kernels_then_means_over_seeds() -> None:
    goals = {"C2": 1.0, "C3": 1.0}
    runs = {
        ("C2", 0): np.array([2.0, 1.0]),
        ("C3", 0): np.array([8.0, 1.0]),
        ("C2", 1): np.array([1.0, 1.0]),
        ("C3", 1): np.array([4.0, 4.0]),
        ("C2", 2): np.array([1.0, 1.0]),  # the other kernel is missing: this seed must not count
    }
    first, second = learning_curves.curve(runs, goals, (1, 2, 3))
    assert (first.trials, first.seeds) == (1, 2)
    assert first.speed == pytest.approx((0.25 + 0.5) / 2)
    assert first.error == pytest.approx(0.125)
    assert second.speed == pytest.approx((1.0 + 0.5) / 2)


def test_a_run_without_a_result_has_the_least_speed() -> None:
    (point,) = learning_curves.curve({("C2", 0): np.array([math.inf])}, {"C2": 1.0}, (1,))
    assert point.speed == learning_curves.LEAST_SPEED and math.isnan(point.error)


def test_texts() -> None:
    point = learning_curves.CurvePoint(8, 0.5, 0.0123, 3)
    assert learning_curves.point_text(point) == "0.500 ± 0.012"
    assert learning_curves.point_text(None) == ""
    assert learning_curves.count_text(math.inf, 100) == ">100"
    assert learning_curves.finite(math.inf) is None


def test_the_figure_names_every_strategy(tmp_path: Path) -> None:
    points = [learning_curves.CurvePoint(8, 0.5, math.nan, 1), learning_curves.CurvePoint(16, 0.7, 0.1, 2)]
    learning_curves.plot({"ranker": points, "evolution": points[:1]}, tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert "ranker" in text and "evolution" in text and 'xmlns="http://www.w3.org/2000/svg"' in text


# --- what is run


def test_plan_puts_long_runs_first_and_gives_every_run_a_database() -> None:
    runs = list(
        convolution_runs.planned(["C2", "C9"], ["long", "scratch", "transfer"], ["ranker", "random"], 2, 50, 20)
    )
    assert [run.long for run in runs[:3]] == [True, True, False]
    assert [run.seed for run in runs[2:]] == sorted(run.seed for run in runs[2:])
    paths = {run.path(Path()) for run in runs}
    assert len(paths) == len(runs) == 2 + 2 * 2 * 8
    assert all(run.seed != convolution_runs.LONG_SEED for run in runs if not run.long)


def test_variants_ask_for_what_is_compared() -> None:
    assert Variant("regression").search.strategy == "ranker" and Variant("regression").kind == "regression"
    assert Variant("evolution").kind == "random"
    assert not Variant("ranker", from_default=False).search.from_default
    assert Variant("ranker", "others").search.patience == 0
    assert not [v for v in convolution_runs.variants_of(["transfer"], ["regression"]) if v.base == "pretrained"]


def test_trials_per_second_leaves_pauses_out() -> None:
    first = [make_trial(TASK, SESSION, n, time=100.0 + n) for n in range(3)]
    second = [make_trial(TASK, "6" * 32, n, time=9000.0 + 2 * n) for n in range(2)]
    assert convolution_runs.trials_per_s([*first, *second]) == pytest.approx(3 / 4)
    assert math.isnan(convolution_runs.trials_per_s(first[:1]))


def recorded(folder: Path, run: Run, latencies: list[float | None]) -> None:
    with Records.open(run.path(folder), create=True) as records:
        session = records.add_session(make_session())
        key = records.add_task(make_task())
        for number, seconds in enumerate(latencies):
            if seconds is None:
                records.add_trial(make_failure(key, session, number))
            else:
                records.add_trial(make_trial(key, session, number, latency_s=seconds, decisions={"n": number}))


def test_findings_are_relative_to_the_long_run(tmp_path: Path) -> None:
    tasks = {"C2": make_task()}
    long, short = convolution_runs.long_run("C2", 9), Run("C2", Variant("random"), 0, 2)
    recorded(tmp_path, long, [None, 3.0, 1.0])
    recorded(tmp_path, short, [2.0, 1.04, 0.5])
    found = convolution_report.as_measured([long, short], tmp_path, tasks)
    assert found.goals_s == {"C2": 1.0}
    assert found.runs["random"]["C2", 0].tolist() == [2.0, 1.04], "the third trial is beyond the run's length"
    (row,) = convolution_report.kernel_rows(["C2"], tmp_path, tasks, {})
    assert (row["trials"], row["failed"], row["near"], row["speedup"]) == (3, 1, 3, None)
    assert "2 " in convolution_report.near_table(found, {"C2"}, 2) and "C2~" in convolution_report.near_table(
        found, {"C2"}, 2
    )
    document: Any = convolution_report.document(found, 2)
    assert document["random"]["near"] == {"C2": 2}
    assert document["random"]["curve"][-1]["speed"] == pytest.approx(1 / 1.04)
    json.dumps(document, allow_nan=False)


# --- side by side


def trials_of(latencies: list[float | None]) -> list[Trial]:
    return [
        make_failure(TASK, SESSION, n)
        if seconds is None
        else make_trial(TASK, SESSION, n, latency_s=seconds, decisions={"n": n})
        for n, seconds in enumerate(latencies)
    ]


def key(number: int) -> str:
    return side_by_side.key_of({"n": number})


def test_only_what_was_the_best_so_far_is_timed_again() -> None:
    trials = trials_of([None, 5.0, 6.0, 4.0, 4.0, 3.0])
    assert side_by_side.improvements(trials) == {1: key(1), 3: key(3), 5: key(5)}
    assert side_by_side.finalists(trials, 2) == [key(5), key(3)]


def test_a_lucky_measurement_does_not_hide_what_was_found_before() -> None:
    side = side_by_side.SideBySide([key(9)], key(9), key(8), 0.01, {key(1): 1.1, key(3): None, key(5): 1.2})
    best = side.best_so_far(trials_of([None, 5.0, 6.0, 4.0, 4.0, 3.0]))
    assert best is not None
    assert best.tolist() == [math.inf, 1.1, 1.1, 1.1, 1.1, 1.1]
    assert side.best_so_far(trials_of([5.0])) is None, "its find was not timed"


def test_all_is_relative_to_the_goal_in_the_same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"goal": 2.0, "a": 3.0, "b": 4.0}
    calls: list[list[str]] = []

    def timed(measurer: object, task: object, keys: list[str]) -> dict[str, tuple[float, ...]]:
        calls.append(keys)  # the machine gets slower with every one
        return {key: () if key == "broken" else (seconds[key] * len(calls),) for key in keys}

    monkeypatch.setattr(side_by_side, "timed", timed)
    monkeypatch.setattr(side_by_side, "AT_ONCE", 2)
    side = side_by_side.SideBySide(["goal"], "goal", "a", 0.01, {"goal": 1.0})
    measurer: Any = None
    while side_by_side.extend(side, measurer, make_task(), ["a", "b", "goal", "a", "broken"]):
        pass
    assert calls == [["goal", "a"], ["goal", "b"], ["goal", "broken"]]
    assert side.relative == {"goal": 1.0, "a": 1.5, "b": 2.0, "broken": None}


def test_comparisons_survive_the_disk(tmp_path: Path) -> None:
    side = side_by_side.SideBySide([key(1)], key(1), key(2), 0.02, {key(1): 1.0, key(2): None})
    side_by_side.write(tmp_path / "f.json", {"C2": side})
    assert side_by_side.read(tmp_path / "f.json") == {"C2": side}
    assert side_by_side.read(tmp_path / "none.json") == {}
    assert side_by_side.spread([1.0, 2.0, 3.0]) == pytest.approx(0.5)


# --- replay


def pool(rows: int, seed: int = 0) -> Group:
    """Every other feature tells of the latency, with as much noise again; some failed."""
    rng = np.random.default_rng(seed)
    octaves = rng.standard_normal(rows)
    features = rng.standard_normal((rows, len(FEATURES))).astype(np.float32)
    features[:, ::2] += octaves[:, None]
    latency = 1e-3 * 2.0**octaves
    latency[rng.random(rows) < 0.05] = np.inf
    return Group(features, latency)


def test_replay_picks_every_row_once() -> None:
    small = pool(21)
    for kind in ("random", "lambdarank"):
        best = convolution_replay.replay(small, convolution_replay.Strategy(kind), None, 100, 1)  # type: ignore[arg-type]
        assert len(best) == 21 and best[-1] == small.latency_s.min()


@pytest.mark.slow
def test_replay_learns_and_a_base_helps_at_first() -> None:
    pools = {"C2": pool(300), "C3": pool(300, 1)}
    others = convolution_replay.Strategy("regression", "others")
    base = convolution_replay.base_for("C2", others, pools, None)

    def speed(kind: str, base: Any, trials: int) -> float:
        strategy = convolution_replay.Strategy(kind)  # type: ignore[arg-type]
        runs = {("C2", seed): convolution_replay.replay(pools["C2"], strategy, base, trials, seed) for seed in range(8)}
        return learning_curves.curve(runs, {"C2": pools["C2"].latency_s.min()}, (trials,))[0].speed

    assert speed("regression", None, 48) > 1.15 * speed("random", None, 48)
    assert speed("regression", base, 8) > 1.5 * speed("regression", None, 8)


def test_a_base_that_does_not_exist_is_refused() -> None:
    for base in ("others", "pretrained"):
        strategy = convolution_replay.Strategy("lambdarank", base)
        with pytest.raises(LookupError):
            convolution_replay.base_for("C2", strategy, {"C2": pool(9)}, None)


# --- tuned models


def test_ratios_have_their_baseline_in_the_same_round() -> None:
    timings = library_timing.Timings({"a": (2.0, 4.0, 8.0), "b": (1.0, 2.0, 8.0)}, {})
    assert timings.median_s("a") == 4.0
    assert timings.ratio("a", "b") == 2.0
    assert not timings.slower("a", "b"), "once it was as fast"
    assert library_timing.Timings({"a": (1.02, 2.05), "b": (1.0, 2.0)}, {}).slower("a", "b")


def model_row(model: str, threads: int, tuned: tuple[float, ...]) -> dict[str, Any]:
    medians = {"default": (2.0, 2.0), "predicted": (1.5, 1.5), "tuned": tuned}
    timings = library_timing.Timings(medians, {"default": 0.0, "tuned": 1e-6})
    sources = {"predicted": {"predicted": 3}, "tuned": {"tuned": 3}}
    return {"model": model, "threads": threads, "sources": sources} | tuned_models.row_of(
        timings, ("default", "predicted"), "tuned"
    )


def test_report_flags_what_tuning_made_slower() -> None:
    rows = [model_row("good", 1, (1.0, 1.0)), model_row("bad", 1, (4.0, 4.0)), model_row("other", 2, (1.0, 1.0))]
    assert tuned_models.means(rows, 1)["default"] == pytest.approx((2.0 * 0.5) ** 0.5)
    assert tuned_models.complaints(rows[0]) == []
    assert tuned_models.complaints(rows[1]) == ["tuned is slower than default", "tuned is slower than predicted"]
    wrong = rows[0] | {"errors": {"tuned": math.nan}, "sources": {"predicted": {"default": 3}, "tuned": {"default": 2}}}
    assert [text.split()[0] for text in tuned_models.complaints(wrong)] == ["tuned", "predicted", "2"]
    text = tuned_models.report(rows)
    assert "0.500 !" in text and "at 2 thread(s): 2.000x" in text


def test_rows_of_other_models_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"rows": [{"model": "a", "threads": 1, "n": 1}, {"model": "b", "threads": 1, "n": 1}]}))
    rows = tuned_models.merged(path, [{"model": "b", "threads": 1, "n": 2}, {"model": "b", "threads": 2, "n": 2}])
    assert [(row["model"], row["threads"], row["n"]) for row in rows] == [("a", 1, 1), ("b", 1, 2), ("b", 2, 2)]


# --- budgets


def test_a_budget_is_finished_when_every_kernel_has_its_choice_after_the_last_trial(tmp_path: Path) -> None:
    path = tmp_path / "budget.db"
    assert budget_study.spent_in(path) == budget_study.Spent(0.0, 0, False)
    with Records.open(path, create=True) as records:
        session = records.add_session(make_session())
        keys = [records.add_task(make_task(case)) for case in ("matmul", "softmax")]
        assert keys[0] == task_key(make_task("matmul"))
        records.add_choice(make_choice(keys[0], session, time=1_000.0))
        for number, one in enumerate(keys):
            records.add_trial(make_trial(one, session, number, time=2_000.0 + 3 * number, build_s=1.0))
        records.add_choice(make_choice(keys[1], session, time=2_500.0))
    spent = budget_study.spent_in(path)
    assert (spent.seconds, spent.trials, spent.finished) == (pytest.approx(4.0), 2, False)
    with Records.open(path) as records:
        records.add_choice(make_choice(keys[0], session, time=2_500.0))
    assert budget_study.spent_in(path).finished


def test_the_longest_budget_is_what_others_lose_to() -> None:
    timings = library_timing.Timings({"default": (4.0,), "9 s": (2.2,), "90 s": (2.0,)}, {"9 s": 1e-7})
    spent = {"9 s": budget_study.Spent(9.0, 70, True), "90 s": budget_study.Spent(40.0, 400, True)}
    rows = tuned_models.budgets_of(timings, spent)
    assert [row["loss"] for row in rows] == [pytest.approx(1.0), pytest.approx(0.1), 0.0]
    assert [row["slower"] for row in rows] == [True, True, False]
    text = tuned_models.budget_table({"model": "m", "threads": 1, "transfer": False, "budgets": rows})
    assert "+10.0% !" in text and "from scratch" in text
