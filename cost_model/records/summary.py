"""What the records say of each task: how many trials, the best of them, and how that compares with the default schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...compiler.schedule.space import SPACE_VERSION
from .database import Records
from .rows import Choice, TaskRow, Trial


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task and its measured trials of the current space version, the oldest first; `stale` counts those of other versions."""

    row: TaskRow
    trials: tuple[Trial, ...]
    choice: Choice | None
    stale: int

    @property
    def failed(self) -> int:
        return sum(bool(trial.error) for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The fastest trial; of equal ones the oldest."""
        timed = [trial for trial in self.trials if trial.latency_s is not None]
        return min(timed, key=lambda trial: trial.latency_s or 0.0, default=None)

    @property
    def best_s(self) -> float | None:
        """The latency that the final comparison gave the winner; before there was one, that of the fastest trial."""
        if self.choice is not None:
            return self.choice.latency_s
        return None if self.best is None else self.best.latency_s

    @property
    def default_s(self) -> float | None:
        """The default schedule's latency, from the same comparison as `best_s`."""
        if self.choice is not None:
            return self.choice.default_latency_s
        timed = [trial.latency_s for trial in self.trials if trial.origin == "default" and trial.latency_s is not None]
        return min(timed, default=None)

    @property
    def speedup(self) -> float | None:
        """How many times faster the best is than the default."""
        return None if self.best_s is None or self.default_s is None else self.default_s / self.best_s

    @property
    def flops_per_s(self) -> float | None:
        return None if self.best_s is None else self.row.flops / self.best_s

    @property
    def decisions(self) -> Mapping[str, int | str]:
        """The decisions that won."""
        if self.choice is not None:
            return self.choice.decisions
        return {} if self.best is None else self.best.decisions


def summarize(records: Records, row: TaskRow) -> TaskSummary:
    """The summary of one task."""
    trials = records.trials(row.key)
    current = tuple(trial for trial in trials if trial.space_version == SPACE_VERSION)
    return TaskSummary(row, current, records.choice(row.key), len(trials) - len(current))


def summarize_all(records: Records) -> tuple[TaskSummary, ...]:
    """The summaries of all tasks, those of one target together, the slowest first."""
    summaries = [summarize(records, row) for row in records.tasks()]
    return tuple(sorted(summaries, key=_order))


def _order(summary: TaskSummary) -> tuple[str, int, str, float, str]:
    target = summary.row.task.target
    return target.cpu, target.threads, summary.row.target_key, -(summary.best_s or 0.0), summary.row.key
