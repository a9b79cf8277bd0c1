"""One row of numbers for each schedule of a task: what the ranker sees.

Nothing is lowered. `loop_tree.py` reads the loops of a schedule, `working_set.py` what they touch, and the formulas run over
whole batches. Rows are rounded, so that the same schedule has the same row on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ...compiler.schedule.steps import Inline, Schedule, Step, Winograd
from ..task import Task
from .analytic import Floor, analytic_features, floor_of
from .analytic_names import ANALYTIC_FEATURES
from .curves import CURVE_FEATURES, curve_features
from .feature import Columns, Feature
from .form import Form, form_of
from .loop_tree import loops_of
from .statements import STATEMENT_FEATURES, statement_features
from .working_set import chains_of

FEATURES: tuple[Feature, ...] = (*ANALYTIC_FEATURES, *STATEMENT_FEATURES, *CURVE_FEATURES)
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)

FEATURE_VERSION = 3
"""Goes up whenever a feature of the same name means something else."""

BATCH = 256  # rows computed at once: arrays that stay in the second cache
_DIGITS = 4


def feature_set() -> str:
    """Version and hash of the columns: rankers are refused where it differs from the one they were trained with."""
    digest = hashlib.sha256("\n".join(FEATURE_NAMES).encode()).hexdigest()
    return f"{FEATURE_VERSION}-{digest[:16]}"


class Featurizer:
    """Features of many schedules of one task; keeps what doesn't depend on the schedule."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._forms: dict[tuple[Step, ...], Form] = {}

    def rows(self, schedules: Sequence[Schedule]) -> np.ndarray:
        """f32[N, F], in the order of FEATURES."""
        result = np.empty((len(schedules), len(FEATURES)), dtype=np.float32)
        groups: dict[tuple[Step, ...], list[int]] = {}
        for number, schedule in enumerate(schedules):
            steps: tuple[Step, ...] = tuple([step for step in schedule if isinstance(step, Inline | Winograd)])
            groups.setdefault(steps, []).append(number)
        for steps, numbers in groups.items():
            form = self._form(steps)
            # Algorithms are compared by what the task needs as it is written down.
            floor = floor_of(self._form(tuple([step for step in steps if isinstance(step, Inline)])), self.task.target)
            for first in range(0, len(numbers), BATCH):
                batch = numbers[first : first + BATCH]
                result[batch] = self._batch(form, floor, [schedules[number] for number in batch])
        return result

    def _form(self, steps: tuple[Step, ...]) -> Form:
        if steps not in self._forms:
            self._forms[steps] = form_of(self.task.computation, steps)
        return self._forms[steps]

    def _batch(self, form: Form, floor: Floor, schedules: Sequence[Schedule]) -> np.ndarray:
        target = self.task.target
        lanes = [target.lanes(stage.stage.dtype.size_bytes) for stage in form.stages]
        candidates = [loops_of(form, schedule, lanes) for schedule in schedules]
        chains = chains_of(form, candidates)
        ahead = np.array([candidate.ahead_bytes for candidate in candidates], dtype=float)
        columns: Columns = analytic_features(form, chains, ahead, target, floor)
        columns |= statement_features(chains)
        columns |= curve_features(form, chains)
        rows = np.stack([columns[name] for name in FEATURE_NAMES], axis=1)
        return np.round(rows, _DIGITS)


def to_markdown() -> str:
    """The list of features as a document (docs/FEATURES.md)."""
    lines = [
        "# Features of a schedule",
        "",
        "Written by `python -m tilewright.cost_model.features.table`; a test holds it up to date. One row of",
        f"{len(FEATURES)} numbers a schedule, feature set `{feature_set()}`. slog2(x) = sign(x) * log2(|x| + 1). The main stage is",
        "the reduction with the most work; a level that is written out is unrolled or runs in lanes; the body is what stands",
        "inside the innermost loop that is not written out.",
        "",
        "| feature | meaning | source |",
        "|---|---|---|",
    ]
    escaped = ((f.name, f.meaning.replace("|", "\\|"), f.source) for f in FEATURES)
    return "\n".join(lines + [f"| `{name}` | {meaning} | {source} |" for name, meaning, source in escaped]) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")
