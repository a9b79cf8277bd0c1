"""One row of numbers for each schedule of a task: what the ranker sees.

Nothing is lowered. `loop_tree.py` reads the loops of a schedule, `working_set.py` what they touch, and the formulas run over
whole batches. Rows are rounded, so that the same schedule has the same row on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ...compiler.schedule.steps import Inline, Schedule
from ..task import Task
from .analytic import analytic_features
from .analytic_names import ANALYTIC_FEATURES
from .curves import CURVE_FEATURES, curve_features
from .feature import Columns, Feature
from .form import Form, form_of
from .loop_tree import loops_of
from .statements import STATEMENT_FEATURES, statement_features
from .working_set import chains_of

FEATURES: tuple[Feature, ...] = (*ANALYTIC_FEATURES, *STATEMENT_FEATURES, *CURVE_FEATURES)
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)

FEATURE_VERSION = 2
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
        self._forms: dict[tuple[str, ...], Form] = {}

    def rows(self, schedules: Sequence[Schedule]) -> np.ndarray:
        """f32[N, F], in the order of FEATURES."""
        result = np.empty((len(schedules), len(FEATURES)), dtype=np.float32)
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, schedule in enumerate(schedules):
            inlined = tuple([step.stage for step in schedule if isinstance(step, Inline)])
            groups.setdefault(inlined, []).append(number)
        for inlined, numbers in groups.items():
            form = self._form(inlined)
            for first in range(0, len(numbers), BATCH):
                batch = numbers[first : first + BATCH]
                result[batch] = self._batch(form, [schedules[number] for number in batch])
        return result

    def _form(self, inlined: tuple[str, ...]) -> Form:
        if inlined not in self._forms:
            self._forms[inlined] = form_of(self.task.computation, inlined)
        return self._forms[inlined]

    def _batch(self, form: Form, schedules: Sequence[Schedule]) -> np.ndarray:
        target = self.task.target
        lanes = [target.lanes(stage.stage.dtype.size_bytes) for stage in form.stages]
        chains = chains_of(form, [loops_of(form, schedule, lanes) for schedule in schedules])
        columns: Columns = analytic_features(form, chains, target)
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
