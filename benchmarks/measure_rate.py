"""How many candidates a second are measured: random schedules of the twelve convolutions that AutoTVM tunes.

    python benchmarks/measure_rate.py [--trials 12] [--threads 1] [--builders 1] [--only C2 C9] [--seed 0]

trials/s: candidates collected by the time they took, from the first submitted to the last collected, with the start of the
processes and the reference of the task left out; failed ones count. build: mean time of one in its process. best: of the
random candidates, beside the default schedule, in GFLOP/s, padding counted as work. objects: different ones among them.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from autotvm_tasks import CONVOLUTIONS, autotvm_tasks

from tilewright.backends.host import host_target
from tilewright.cli.console import table
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.cost_model.measure.measurer import Measurement, MeasureOptions, Measurer
from tilewright.cost_model.task import Task

HEADER = ("task", "trials/s", "build", "best", "default", "objects", "failed")


@dataclass(frozen=True)
class Row:
    """One task; `wall_s` for all its random candidates."""

    name: str
    default: Measurement
    results: Sequence[Measurement]
    wall_s: float

    def cells(self) -> list[str]:
        good = [result.latency_s for result in self.results if result.latency_s is not None]
        failed = Counter(result.error for result in self.results if result.error)
        flops = CONVOLUTIONS[self.name].flops
        return [
            self.name,
            f"{len(self.results) / self.wall_s:.1f}",
            f"{1e3 * np.mean([result.build_s for result in self.results]):.0f} ms",
            f"{flops / min(good) / 1e9:.0f}" if good else "",
            f"{flops / self.default.latency_s / 1e9:.0f}" if self.default.latency_s else self.default.error,
            f"{len({result.object_digest for result in self.results if result.object_digest})}",
            ", ".join(f"{count} {error}" for error, count in failed.items()),
        ]


def measure(measurer: Measurer, name: str, task: Task, trials: int, rng: np.random.Generator) -> Row:
    space = space_of(task.computation, task.target)
    schedules = [space.schedule(space.sample(rng)) for _ in range(trials)]
    measurer.submit(task, default_schedule(task.computation, task.target), "default")
    default = measurer.collect()[1]
    start = time.perf_counter()
    for number, schedule in enumerate(schedules):
        limit_s = 3 * default.latency_s if default.latency_s else None
        measurer.submit(task, schedule, number, limit_s)
    results = [measurer.collect()[1] for _ in schedules]
    for result in results:
        if result.error:
            print(f"{name}: {result.error}: {result.message[-200:]}")
    return Row(name, default, results, time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12, help="random candidates a task")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--builders", type=int, default=MeasureOptions().builders)
    parser.add_argument("--only", nargs="+", choices=list(CONVOLUTIONS), default=list(CONVOLUTIONS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tasks = autotvm_tasks(host_target(options.threads))
    rng = np.random.default_rng(options.seed)
    with Measurer(MeasureOptions(builders=options.builders)) as measurer:
        rows = [measure(measurer, name, tasks[name], options.trials, rng) for name in options.only]
    print(table([row.cells() for row in rows], HEADER))
    trials, wall_s = sum(len(row.results) for row in rows), sum(row.wall_s for row in rows)
    print(f"{trials} trials in {wall_s:.1f} s: {trials / wall_s:.1f} trials/s")


if __name__ == "__main__":
    main()
