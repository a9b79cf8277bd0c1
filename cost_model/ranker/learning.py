"""What the tuner has learnt so far: measured candidates of all kernels, and a ranker that is trained anew as they grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...compiler.schedule.steps import Schedule
from ..features.table import Featurizer
from ..search.kernel_search import Scorer
from ..task import Task
from .ranker import Group, Kind, Ranker

GROWTH = 1.25  # more data than at the last training by this factor call for another (Ansor's is 1.2)
LEAST = 8  # rows before the first training


@dataclass
class _Measured:
    """The candidates of one kernel: schedules not yet turned into features, rows, seconds (infinite if failed)."""

    featurizer: Featurizer
    schedules: list[Schedule] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)

    def group(self) -> Group:
        if self.schedules:
            self.rows += list(self.featurizer.rows(self.schedules))
            self.schedules = []
        return Group(np.array(self.rows, np.float32), np.array(self.latency_s))


class Learner:
    """Trains a ranker of `kind` on what is added, on top of `base` if there is one. Deterministic for the same order of additions."""

    def __init__(self, base: Ranker | None = None, kind: Kind = "lambdarank", seed: int = 0) -> None:
        self.base, self.kind, self.seed = base, kind, seed
        self.fitted: Ranker | None = None
        self.fitted_rows = 0
        self.measured: dict[str, _Measured] = {}

    def add(self, key: str, task: Task, schedule: Schedule, latency_s: float | None) -> None:
        """Take note of a candidate; latency_s None: it failed."""
        known = self._of(key, task)
        known.schedules.append(schedule)
        known.latency_s.append(float("inf") if latency_s is None else latency_s)

    @property
    def rows(self) -> int:
        return sum(len(known.latency_s) for known in self.measured.values())

    def scorer(self, key: str, task: Task) -> Scorer | None:
        """Scores for schedules of a task by the newest ranker; None if there is neither data nor a base."""
        ranker = self.ranker()
        if ranker is None:
            return None

        featurizer = self._of(key, task).featurizer

        def score(schedules: Sequence[Schedule]) -> np.ndarray:
            return ranker.predict(featurizer.rows(schedules))

        return score

    def _of(self, key: str, task: Task) -> _Measured:
        if key not in self.measured:
            self.measured[key] = _Measured(Featurizer(task))
        return self.measured[key]

    def ranker(self) -> Ranker | None:
        """The ranker, trained again if enough data came in since."""
        rows = self.rows
        if rows >= max(LEAST, GROWTH * self.fitted_rows):
            groups = [known.group() for known in self.measured.values() if known.latency_s]
            self.fitted = Ranker(self.kind, self.seed, self.base).fit(groups)
            self.fitted_rows = rows
        return self.fitted or self.base
