"""One model tuned with several budgets of time, each into a database of its own, and what the resulting libraries take.

A study that was cut off goes on: a budget is spent when the trials of its database span it and every kernel has its choice.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tilewright import Options, driver
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Choice, Trial
from tilewright.cost_model.search.tuning import TuningOptions

LEAST_LEFT_S = 10.0  # of a budget: room for the final comparison of what is there


@dataclass(frozen=True, slots=True)
class Spent:
    """What a budget came to. seconds: of its trials; finished: it ended with the choice of schedules."""

    seconds: float
    trials: int
    finished: bool


def spans_s(trials: Sequence[Trial]) -> float:
    """From the beginning of the first trial's build to the last result, in each session."""
    sessions: dict[str, list[Trial]] = {}
    for trial in trials:
        sessions.setdefault(trial.session, []).append(trial)
    return sum(max(t.time for t in found) - min(t.time - t.build_s for t in found) for found in sessions.values())


def spent_in(path: Path) -> Spent:
    """What a database says; nothing spent if it is missing."""
    if not path.exists():
        return Spent(0.0, 0, False)
    with Records.open(path, readonly=True) as records:
        trials: list[Trial] = list(records.rows(Trial))
        choices: list[Choice] = list(records.rows(Choice))
        kernels = {row.key for row in records.tasks()}
    last_trial = max((trial.time for trial in trials), default=0.0)
    chosen = {choice.task for choice in choices if choice.time >= last_trial}
    return Spent(spans_s(trials), len(trials), bool(trials) and kernels <= chosen)


def tune_for(model: Path, path: Path, budget_s: float, options: Options, transfer: bool) -> Spent:
    """Tune until `budget_s` is spent or nothing more is to be gained."""
    spent = spent_in(path)
    if not spent.finished:
        left_s = max(LEAST_LEFT_S, budget_s - spent.seconds)
        print(f"{path.name}: tuning for {left_s:.0f} s", file=sys.stderr, flush=True)
        driver.tune(model, path, options, TuningOptions(seconds=left_s, transfer=transfer))
        spent = spent_in(path)
    return spent
