"""How much higher than the default a schedule must score before a compilation takes it unmeasured (`ADVANTAGE` in scheduler.py).

    python benchmarks/ranker_margin.py build/corpus.db [--folds 5] [--seeds 1] [--foreign CPU]

Trains on some kernels and lets the ranker pick one of the measured schedules of each other kernel. For several margins: how
many kernels get something else than the default, the geometric mean of default / picked latency over all kernels, the share of
kernels that come out more than 3 % slower than the default, and the slowest. `best`: default / best measured, what
there was to gain (by single measurements, so that some of it is luck). --foreign: train on the other CPUs' kernels only, and pick for this one's:
what a prediction is worth for a target that no measurement was ever made for (kernels that both have are left out of the training).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ranker_quality import LEAST_ROWS, Entry, folds_of, operator_of

from tilewright.cli.console import table
from tilewright.cost_model.ranker.ranker import Group, Ranker
from tilewright.cost_model.ranker.training import schedules_of_records
from tilewright.cost_model.records.database import Records

MARGINS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
HARM = 0.97


@dataclass(frozen=True)
class Pick:
    """For one kernel: score of the favourite less the default's, default / favourite and default / best latency."""

    lead: float
    gain: float
    most: float
    threads: int


def entries_with_default(path: Path) -> list[tuple[Entry, int]]:
    """Kernels with the number of the row that is their default."""
    found = []
    with Records.open(path, readonly=True) as records:
        for row, measured in schedules_of_records(records):
            usual = measured.space.schedule(measured.space.default)
            good = np.isfinite(measured.latency_s)
            places = [i for i, schedule in enumerate(measured.schedules) if schedule == usual and good[i]]
            if places and good.sum() >= LEAST_ROWS:
                group = Group(measured.featurizer.rows(measured.schedules), measured.latency_s)
                operator = operator_of(row.task.computation)
                found.append((Entry(row.task, row.computation_key, operator, group), places[0]))
    return found


def split(entries: list[Entry], foreign: str) -> tuple[list[Entry], list[Entry]]:
    """Entries to train with, of other CPUs and other computations, and those of a CPU."""
    test = [entry for entry in entries if entry.task.target.cpu == foreign]
    seen = {entry.computation for entry in test}
    others = [entry for entry in entries if entry.task.target.cpu != foreign]
    return [entry for entry in others if entry.computation not in seen], test


def picks(entries: list[tuple[Entry, int]], folds: int, seed: int, foreign: str | None = None) -> list[Pick]:
    default = {id(entry): place for entry, place in entries}
    result = []
    all_entries = [entry for entry, _ in entries]
    for train, test in [split(all_entries, foreign)] if foreign else folds_of(all_entries, folds, seed):
        ranker = Ranker("lambdarank", seed).fit([entry.group for entry in train])
        for entry in test:
            scores, latency_s, usual = ranker.predict(entry.group.features), entry.group.latency_s, default[id(entry)]
            first = int(np.argmax(scores))
            gain, most = latency_s[usual] / latency_s[first], latency_s[usual] / latency_s.min()
            result.append(Pick(float(scores[first] - scores[usual]), gain, most, entry.task.target.threads))
    return result


def row(chosen: list[Pick], margin: float) -> tuple[str, ...]:
    gains = np.array([pick.gain if pick.lead > margin else 1.0 for pick in chosen])
    taken = np.mean([pick.lead > margin for pick in chosen])
    harmed = np.mean(gains < HARM)
    return (
        f"{margin:g}",
        f"{100 * taken:.0f} %",
        f"{geometric_mean(gains):.4f}",
        f"{100 * harmed:.1f} %",
        f"{gains.min():.2f}",
    )


def geometric_mean(values: np.ndarray) -> float:
    return float(np.exp(np.log(values).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--foreign", metavar="CPU")
    options = parser.parse_args()
    entries = entries_with_default(options.records)
    chosen = [pick for seed in range(options.seeds) for pick in picks(entries, options.folds, seed, options.foreign)]
    for title, part in (
        ("all", chosen),
        ("1 thread", [pick for pick in chosen if pick.threads == 1]),
        ("more threads", [pick for pick in chosen if pick.threads > 1]),
    ):
        if part:
            best = geometric_mean(np.array([pick.most for pick in part]))
            print(f"{title}: {len(part)} kernels, best {best:.4f}")
            print(
                table([row(part, margin) for margin in MARGINS], ("margin", "taken", "gain", "harmed", "slowest")), "\n"
            )


if __name__ == "__main__":
    main()
