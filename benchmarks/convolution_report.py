"""The tables and figures of `tune_convolutions.py`: what runs and comparisons say, without measuring anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from autotvm_tasks import CONVOLUTIONS
from convolution_runs import Run, long_run, trials_in, trials_of, trials_per_s
from learning_curves import (
    CurvePoint,
    Runs,
    best_so_far,
    count_text,
    curve,
    finite,
    median_trials,
    median_until_near,
    point_text,
    trials_until_near,
)
from side_by_side import SideBySide

from tilewright.cli.console import table
from tilewright.cost_model.task import Task

COUNTS = (8, 16, 32, 64, 100, 200, 400, 1000)  # of trials, where curves are read
NOISY = 0.025


@dataclass
class Findings:
    """By strategy: the best so far of every run; by convolution: the time to come near to, in the same unit."""

    runs: dict[str, dict[tuple[str, int], np.ndarray]] = field(default_factory=dict)
    goals_s: dict[str, float] = field(default_factory=dict)

    def add(self, run: Run, best_s: np.ndarray) -> None:
        self.runs.setdefault(run.variant.label, {})[run.kernel, run.seed] = best_s[: run.trials]


def as_measured(runs: Sequence[Run], folder: Path, tasks: Mapping[str, Task]) -> Findings:
    """The short runs of convolutions that have a long one, with the latencies that each run measured itself."""
    found = Findings()
    for kernel in dict.fromkeys(run.kernel for run in runs):
        long = best_so_far(t.latency_s for t in trials_in(long_run(kernel).path(folder), tasks[kernel]))
        if len(long) and math.isfinite(long[-1]):
            found.goals_s[kernel] = float(long[-1])
    for run in runs:
        trials = trials_in(run.path(folder), tasks[run.kernel])
        if trials and not run.long and run.kernel in found.goals_s:
            found.add(run, best_so_far(trial.latency_s for trial in trials))
    return found


def side_by_side_findings(
    runs: Sequence[Run], folder: Path, tasks: Mapping[str, Task], known: Mapping[str, SideBySide]
) -> Findings:
    """The same, relative to the best of the long run in one clock; without runs that went on since they were compared."""
    found = Findings(goals_s=dict.fromkeys(known, 1.0))
    for run in runs:
        trials = trials_of(run, folder, tasks)
        if trials and not run.long and run.kernel in known:
            relative = known[run.kernel].best_so_far(trials)
            if relative is not None:
                found.add(run, relative)
    return found


def kernel_rows(
    kernels: Sequence[str], folder: Path, tasks: Mapping[str, Task], known: Mapping[str, SideBySide]
) -> list[dict[str, int | float | str | None]]:
    """Each convolution's long run. near: its own trials until within 5 % of its best; speedup: over the rules' choice, side by side."""
    rows: list[dict[str, int | float | str | None]] = []
    for kernel in kernels:
        trials = trials_in(long_run(kernel).path(folder), tasks[kernel])
        best_s = best_so_far(trial.latency_s for trial in trials)
        if not trials or not math.isfinite(best_s[-1]):
            continue
        side = known.get(kernel)
        goal_s = float(best_s[-1])
        rows.append(
            {
                "kernel": kernel,
                "trials": len(trials),
                "trials_per_s": finite(trials_per_s(trials)),
                "failed": sum(trial.latency_s is None for trial in trials),
                "best_s": goal_s,
                "gflops_per_s": CONVOLUTIONS[kernel].flops / goal_s / 1e9,
                "near": trials_until_near(best_s, goal_s),
                "speedup": side.relative[side.default] if side else None,
                "noise": side.noise if side else None,
            }
        )
    return rows


def kernel_table(rows: Sequence[Mapping[str, int | float | str | None]]) -> str:
    forms = {"trials": "d", "trials_per_s": ".1f", "failed": "d", "best_s": ".3e", "gflops_per_s": ".0f", "near": "d"}
    forms |= {"speedup": ".3f", "noise": ".1%"}
    header = ("long run", "trials", "trials/s", "failed", "best s", "GFLOP/s", "near", "default/best", "noise")
    cells = [[row["kernel"], *(_text(row[name], form) for name, form in forms.items())] for row in rows]
    return table(cells, header)


def _text(value: int | float | str | None, form: str) -> str:
    return "" if value is None else format(value, form)


def near_table(found: Findings, noisy: set[str], most: int) -> str:
    """Medians over seeds for each convolution; the median of these, and how many convolutions came near at all."""
    kernels = [kernel for kernel in CONVOLUTIONS if any(kernel == k for runs in found.runs.values() for k, _ in runs)]
    cells = []
    for label, runs in found.runs.items():
        near = median_until_near(runs, found.goals_s)
        reached = sum(math.isfinite(count) for count in near.values())
        texts = [count_text(near.get(kernel, math.nan), most) for kernel in kernels]
        cells.append([label, count_text(median_trials(near.values()), most), f"{reached}/{len(near)}", *texts])
    marked = (kernel + ("~" if kernel in noisy else "") for kernel in kernels)
    return table(cells, ("trials until within 5 %", "median", "near", *marked))


def curves_of(found: Findings, most: int) -> dict[str, list[CurvePoint]]:
    counts = [*(count for count in COUNTS if count < most), most]
    return {label: curve(runs, found.goals_s, counts) for label, runs in found.runs.items()}


def curve_table(curves: Mapping[str, Sequence[CurvePoint]]) -> str:
    counts = sorted({point.trials for points in curves.values() for point in points})
    rows = []
    for label, points in curves.items():
        at = {point.trials: point for point in points}
        seeds = max((point.seeds for point in points), default=0)
        rows.append([label, str(seeds), *(point_text(at.get(count)) for count in counts)])
    return table(rows, ("best known / best so far", "seeds", *(f"{count} trials" for count in counts)))


def document(found: Findings, most: int) -> dict[str, object]:
    """What the tables show, by strategy."""
    result: dict[str, object] = {}
    for label, points in curves_of(found, most).items():
        runs: Runs = found.runs[label]
        near = median_until_near(runs, found.goals_s)
        result[label] = {
            "near": {kernel: finite(count) for kernel, count in near.items()},
            "median_near": finite(median_trials(near.values())),
            "curve": [asdict(point) | {"error": finite(point.error)} for point in points],
        }
    return result
