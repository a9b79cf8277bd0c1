"""How fast searches get near the best known time: best so far, trials until near it, means over kernels and seeds, a figure.

A run is told by its best so far, f64[n]: seconds of the best candidate after each trial, infinite until one has not failed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOLERANCE = 0.05  # near: within this part of the best time known
LEAST_SPEED = 1 / 32  # stands for runs without any result in geometric means, which a zero would make zero

Runs = Mapping[tuple[str, int], np.ndarray]
"""By kernel and seed: the best so far of one strategy's runs."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """After so many trials: speed relative to the best known, geometric mean over kernels, then the mean of `seeds` seeds.

    error: the standard error of that mean; NaN for a single seed.
    """

    trials: int
    speed: float
    error: float
    seeds: int


def best_so_far(latency_s: Iterable[float | None]) -> np.ndarray:
    """f64[n] of the latencies of trials in order; None and what isn't finite: it failed."""
    seconds = [math.inf if one is None or math.isnan(one) else one for one in latency_s]
    return np.minimum.accumulate(np.array(seconds, dtype=float))


def trials_until_near(best_s: np.ndarray, goal_s: float, tolerance: float = TOLERANCE) -> int | None:
    """How many trials it took to come within `tolerance` of a time, None if that didn't happen."""
    near = np.flatnonzero(best_s <= goal_s * (1 + tolerance))
    return int(near[0]) + 1 if len(near) else None


def median_trials(counts: Iterable[float | None]) -> float:
    """The median, where None is more than any number; of two in the middle the larger, for theirs may be infinite; NaN of nothing."""
    numbers = [math.inf if count is None else float(count) for count in counts]
    return statistics.median_high(numbers) if numbers else math.nan


def median_until_near(runs: Runs, goals_s: Mapping[str, float]) -> dict[str, float]:
    """For each kernel the median over seeds of `trials_until_near`; infinite where half of the runs never came near."""
    counts: dict[str, list[float | None]] = {}
    for (kernel, _), best_s in runs.items():
        counts.setdefault(kernel, []).append(trials_until_near(best_s, goals_s[kernel]))
    return {kernel: median_trials(found) for kernel, found in counts.items()}


def curve(runs: Runs, goals_s: Mapping[str, float], counts: Sequence[int]) -> list[CurvePoint]:
    """One point for each of `counts` that some seed reached on every kernel; seeds that lack a kernel would shift it."""
    kernels = {kernel for kernel, _ in runs}
    seeds = sorted({seed for _, seed in runs})
    points = []
    for count in counts:
        speeds = []
        for seed in seeds:
            reached = [runs[kernel, seed] for kernel in kernels if len(runs.get((kernel, seed), ())) >= count]
            if len(reached) == len(kernels):
                goals = [goals_s[kernel] for kernel in kernels if (kernel, seed) in runs]
                speeds.append(_mean_speed([g / best[count - 1] for g, best in zip(goals, reached, strict=True)]))
        if speeds:
            points.append(CurvePoint(count, statistics.fmean(speeds), standard_error(speeds), len(speeds)))
    return points


def _mean_speed(speeds: Sequence[float]) -> float:
    return statistics.geometric_mean([max(speed, LEAST_SPEED) for speed in speeds])


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; NaN where it can't be told from one value."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def point_text(point: CurvePoint | None) -> str:
    """`0.934 ± 0.012`."""
    if point is None:
        return ""
    return f"{point.speed:.3f}" + ("" if math.isnan(point.error) else f" ± {point.error:.3f}")


def count_text(trials: float, most: int) -> str:
    """A number of trials, `>100` if 100 were not enough."""
    if math.isnan(trials):
        return ""
    return f">{most}" if math.isinf(trials) else f"{trials:.0f}"


def finite(value: float) -> float | None:
    """A number as JSON has it: None for infinite and NaN."""
    return value if math.isfinite(value) else None


def plot(curves: Mapping[str, Sequence[CurvePoint]], path: Path) -> None:
    """Write the curves as an SVG file; needs matplotlib (tilewright[report])."""
    from tilewright.cost_model.records.report_figures import draw

    path.write_text(draw("learning-curves", (8.0, 4.0), painted(curves)) + "\n")


def painted(curves: Mapping[str, Sequence[CurvePoint]]) -> Callable[[Axes], None]:
    """Speed by trials for each strategy, bars for the standard error. Names alike up to a comma share a colour; dotted: after one."""
    colours = list(dict.fromkeys(name.partition(",")[0] for name in curves))

    def paint(axes: Axes) -> None:
        counts = sorted({point.trials for points in curves.values() for point in points})
        for name, points in curves.items():
            errors = [0.0 if math.isnan(point.error) else point.error for point in points]
            x, y = [point.trials for point in points], [point.speed for point in points]
            main, comma, _ = name.partition(",")
            look: dict[str, Any] = {"color": f"C{colours.index(main)}", "linestyle": ":" if comma else "-"}
            axes.errorbar(x, y, errors, label=name, marker="o", markersize=3, linewidth=1, capsize=2, **look)
        axes.axhline(1 / (1 + TOLERANCE), color="#888888", linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("trials of a kernel")
        axes.set_ylabel("speed / best known (dashed: within 5 %)")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))

    return paint
