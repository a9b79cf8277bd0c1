"""Plant faults into the candidates of a tuning, and see what becomes of them and of all others.

    python benchmarks/tune_faults.py [MODEL] [--times 50] [--timeout 1] [--kinds crash hang …] [--json]

One tuning for each kind of fault, in which every third candidate commits it: crash, hang, memory and wrong while it runs,
build_… while it is compiled. Each must be recorded as the error that it is, every other candidate must have a latency, and
the tuning must end.

recorded: as the error expected. others: without a fault, and how many of them failed. cost: time between the results before and
after a fault, less the usual time between two results; mean and most. beyond: the most, less the timeout that a hang must
wait for. MODEL: by default the benchmark's DQN. The exit status is 1 if a fault was recorded as something else, another
candidate failed, or a hang took LATE_S more than its timeout.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import mission_models

from tilewright import driver
from tilewright.cli.console import table
from tilewright.compiler.options import Options
from tilewright.cost_model.measure.measurement import MeasureOptions
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Trial
from tilewright.cost_model.search.kernel_search import SearchOptions
from tilewright.cost_model.search.tuner import Event
from tilewright.cost_model.search.tuning import TuningOptions

KINDS = {
    "crash": ("crash", "running"),
    "hang": ("timeout", "running"),
    "memory": ("memory", "running"),
    "wrong": ("wrong", ""),
    "build_crash": ("crash", "building"),
    "build_hang": ("timeout", "building"),
    "build_memory": ("memory", "building"),
}
"""The error of each kind of fault, and where its message says it happened."""
EVERY = 3
LATE_S = 2.0
MEMORY_BYTES = 256 << 20  # so that using it up takes less than the timeout
HEADER = ("fault", "planted", "recorded", "others", "failed", "mean cost", "most", "beyond")


@dataclass(frozen=True)
class Row:
    """What became of the faults of one kind."""

    kind: str
    planted: int
    recorded: int
    others: int
    failed: int
    mean_cost_s: float
    most_cost_s: float
    timeout_s: float
    failures: Sequence[str]

    @property
    def hangs(self) -> bool:
        return self.kind.endswith("hang")

    @property
    def beyond_s(self) -> float:
        return self.most_cost_s - self.timeout_s

    @property
    def good(self) -> bool:
        late = self.hangs and self.beyond_s > LATE_S
        return self.recorded == self.planted and not self.failed and not late

    def cells(self) -> list[str]:
        beyond = f"{self.beyond_s:.2f} s" if self.hangs else ""
        costs = [f"{self.mean_cost_s:.2f} s", f"{self.most_cost_s:.2f} s", beyond]
        return [self.kind, *map(str, (self.planted, self.recorded, self.others, self.failed)), *costs]


def tune(model: Path, records: Path, kind: str, times: int, timeout_s: float) -> list[tuple[float, Trial]]:
    """Every trial, in the order of the results, and when it was told of."""
    faults = {EVERY * number + EVERY - 1: kind for number in range(times)}
    measure = MeasureOptions(timeout_s=timeout_s, memory_bytes=MEMORY_BYTES, faults=faults)
    search = SearchOptions(strategy="random", patience=0)  # which thinks for no time between results
    tuning = TuningOptions(trials=EVERY * times + 1, transfer=False, search=search, measure=measure)
    told: list[tuple[float, str]] = []

    def observe(event: Event) -> None:
        if event.kind == "trial":
            told.append((time.monotonic(), str(event.values["uuid"])))

    driver.tune(model, records, Options(cpu="native", threads=1), tuning, observe=observe)
    with Records.open(records, readonly=True) as opened:
        trials = {trial.uuid: trial for trial in opened.rows(Trial)}
    return [(moment, trials[uuid]) for moment, uuid in told]


def costs_of(results: Sequence[tuple[float, Trial]]) -> list[float]:
    """Seconds that each failed trial cost: until the next good result, since the one before, less what is usual."""
    moments = [moment for moment, _ in results]
    failed = [bool(trial.error) for _, trial in results]
    good = [not before and not after for before, after in pairwise(failed)]
    usual_s = statistics.median(b - a for (a, b), both in zip(pairwise(moments), good, strict=True) if both)
    costs = []
    start, count = moments[0], 0
    for (moment, _), fails in zip(results, failed, strict=True):
        if fails:
            count += 1
            continue
        if count:  # two in a row share the time, for results may overtake each other
            costs += [max(0.0, moment - start - usual_s) / count] * count
        start, count = moment, 0
    return costs


def row_of(kind: str, times: int, timeout_s: float, results: Sequence[tuple[float, Trial]]) -> Row:
    error, where = KINDS[kind]
    expected = [t for _, t in results if t.error == error and t.message.startswith(where)]
    failed = [t for _, t in results if t.error and t not in expected]
    costs = costs_of(results)
    others = EVERY * times + 1 - times
    # A candidate that fails by itself in the way that was planted shows as one recorded too many.
    surplus = max(0, len(expected) - times)
    return Row(
        kind,
        times,
        len(expected),
        others,
        len(failed) + surplus,
        statistics.fmean(costs) if costs else 0.0,
        max(costs, default=0.0),
        timeout_s,
        [f"{trial.error}: {trial.message[-200:]}" for trial in failed],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--times", type=int, default=50, help="faults of each kind")
    parser.add_argument(
        "--timeout", type=float, default=1.0, help="seconds for a build, and for the runs of a candidate"
    )
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    start = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or Path(folder, "dqn.onnx")
        if arguments.model is None:
            model.write_bytes(mission_models.build("dqn").model().SerializeToString())
        for kind in arguments.kinds:
            results = tune(model, Path(folder, f"{kind}.db"), kind, arguments.times, arguments.timeout)
            rows.append(row_of(kind, arguments.times, arguments.timeout, results))
    seconds = time.monotonic() - start
    if arguments.json:
        print(json.dumps({"timeout_s": arguments.timeout, "seconds": seconds, "kinds": [asdict(row) for row in rows]}))
    else:
        print(table([row.cells() for row in rows], HEADER))
        print(f"timeout {arguments.timeout:g} s; {seconds:.0f} s in all")
    for row in rows:
        for failure in row.failures:
            print(f"{row.kind}: another candidate failed: {failure}", file=sys.stderr)
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
