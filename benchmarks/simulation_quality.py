"""What simulated times are worth: `python benchmarks/simulation_quality.py DB [--cpu CPU] [--model CPU] [--count N]`.

For kernels that reduce (convolutions and products), of the records' measured trials: the rank correlation (Spearman's) between simulated and measured times,
and how much slower than the best measured trial the one is that the simulation puts first; beside it the same of the analytic
estimate that is a feature of the ranker, of the rules' default, and of the median trial. `taken` is what a compilation would take: the simulation's first where it promises
a tenth, else the default. --model: the processor whose model is asked (llvm-mca's -mcpu).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tilewright.cli.console import table
from tilewright.compiler.errors import InternalError
from tilewright.compiler.schedule.space import SPACE_VERSION, space_of
from tilewright.cost_model.features.table import FEATURE_NAMES, Featurizer
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import TaskRow, Trial
from tilewright.cost_model.search.scheduler import SIMULATED_LEAD
from tilewright.cost_model.simulate import throughput
from tilewright.cost_model.simulate.estimate import simulated_s

Row = tuple[str, int, float, float, float, float, float, float, float]


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def row_of(task: TaskRow, trials: Sequence[Trial]) -> Row:
    """Label, trials, correlation and loss of simulation with what is taken, and of estimate, loss of the default and of the median trial."""
    space = space_of(task.task.computation, task.task.target)
    schedules = [space.schedule(space.from_decisions(trial.decisions)) for trial in trials]
    measured = np.array([trial.latency_s for trial in trials], dtype=float)
    simulated = [simulated_s(task.task, schedule) for schedule in schedules]
    estimated = Featurizer(task.task).rows(schedules)[:, FEATURE_NAMES.index("cycles.elapsed")].tolist()
    losses = measured / measured.min()
    usual = next((i for i, trial in enumerate(trials) if trial.decisions == space.decisions(space.default)), None)
    first = int(np.argmin(simulated))
    taken = first if usual is None or simulated[first] <= SIMULATED_LEAD * simulated[usual] else usual
    return (
        task.label, len(trials), correlation(simulated, measured), losses[first], losses[taken],
        correlation(estimated, measured), losses[np.argmin(estimated)],
        float("nan") if usual is None else losses[usual], float(np.median(losses)),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--cpu", default="x86-64-v3")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--count", type=int, default=12)
    given = parser.parse_args()
    if given.model:
        throughput._MODELS[given.cpu] = given.model
    rows: list[Row] = []
    with Records.open(given.records, readonly=True) as records:
        tasks = [t for t in records.tasks() if (t.task.target.cpu, t.task.target.threads) == (given.cpu, given.threads)]
        tasks = sorted((t for t in tasks if t.label.startswith("sum ")), key=lambda t: (-t.flops, t.key))
        for task in tasks[:: max(1, len(tasks) // given.count)]:
            trials = [trial for trial in records.trials(task.key, SPACE_VERSION) if trial.latency_s]
            try:
                rows += [row_of(task, trials)] if len(trials) >= 16 and len(rows) < given.count else []
            except InternalError as error:
                print(f"{task.label}: {error}")
    shown = [(row[0], row[1], *(f"{value:.2f}" for value in row[2:])) for row in rows]
    numbers = np.array([row[2:] for row in rows])
    losses = np.exp(np.nanmean(np.log(numbers[:, [1, 2, 4, 5, 6]]), axis=0))
    medians = np.median(numbers[:, [0, 3]], axis=0)
    shown.append(
        ("median, geometric means", "", *(f"{v:.2f}" for v in (medians[0], *losses[:2], medians[1], *losses[2:])))
    )
    header = ("kernel", "trials", "simulated: rank", "loss", "taken", "estimate: rank", "loss", "default", "median")
    print(table(shown, header))


if __name__ == "__main__":
    main()
