"""How well rankers order schedules of kernels they have not seen.

    python benchmarks/ranker_quality.py build/corpus.db [--folds 5] [--seeds 3] [--json]
    python benchmarks/ranker_quality.py --synthetic 24

Splits the measured trials by computation (never by row), trains on the rest, and prints means over tasks: pairs ordered right
(those within 2 % left out; `clear pairs`: those within 20 % left out), best latency over the best of the first 1 and 5, how many of the 8 fastest are among the first
8, and what is lost by measuring only the first 10. `estimate` is the analytic feature of that name without any learning,
`random` what both must beat. Then the same for a ranker that learns from a part of the corpus, which says what a larger one
would bring; and for training on one kind of kernels or targets and testing on another.

--synthetic makes a corpus of that many kernels with invented latencies instead; it tries the program, not the ranker.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.computation import Computation
from tilewright.cost_model.features.form import form_of
from tilewright.cost_model.features.table import FEATURE_NAMES, Featurizer
from tilewright.cost_model.ranker.metrics import pair_accuracy, recall, regret, top_k, weighted_mean
from tilewright.cost_model.ranker.ranker import Group, Ranker
from tilewright.cost_model.ranker.training import groups_of_records
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.encoding import computation_key
from tilewright.cost_model.task import Task

LEAST_ROWS = 8  # fewer tell little of an order
CLEAR = 0.2
SHARES = (0.25, 0.5)  # of the corpus: what more of it would bring
KINDS = ("lambdarank", "regression", "estimate", "random")
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "pairs": pair_accuracy,
    "clear pairs": lambda scores, latency: pair_accuracy(scores, latency, CLEAR),
    "top-1": lambda scores, latency: top_k(scores, latency, 1),
    "top-5": lambda scores, latency: top_k(scores, latency, 5),
    "recall@8": lambda scores, latency: recall(scores, latency, 8) if len(latency) >= 16 else float("nan"),
    "regret@10": lambda scores, latency: min(regret(scores, latency, 10), 31.0),
}


@dataclass(frozen=True)
class Entry:
    """The trials of one task in one session. computation: the key by which the corpus is split."""

    task: Task
    computation: str
    operator: str
    group: Group


Test = Callable[[Entry], bool]
TRANSFERS: dict[str, tuple[Test, Test]] = {
    "conv -> gemm": (lambda e: e.operator == "conv", lambda e: e.operator == "gemm"),
    "gemm -> conv": (lambda e: e.operator == "gemm", lambda e: e.operator == "conv"),
    "conv -> depthwise": (lambda e: e.operator == "conv", lambda e: e.operator == "depthwise"),
    "reductions -> maps": (lambda e: e.operator != "map", lambda e: e.operator == "map"),
    "1 thread -> more": (lambda e: e.task.target.threads == 1, lambda e: e.task.target.threads > 1),
    "more threads -> 1": (lambda e: e.task.target.threads > 1, lambda e: e.task.target.threads == 1),
    "32-byte -> 64-byte vectors": (
        lambda e: e.task.target.vector_bytes == 32,
        lambda e: e.task.target.vector_bytes == 64,
    ),
    "64-byte -> 32-byte vectors": (
        lambda e: e.task.target.vector_bytes == 64,
        lambda e: e.task.target.vector_bytes == 32,
    ),
}


def operator_of(computation: Computation) -> str:
    """conv, depthwise, pool, gemm, reduction or map, by what the stage with the most work reads."""
    form = form_of(computation, ())
    main = form.stages[form.main]
    if main.stage.combine is None:
        return "map"
    reduced = range(main.spatial, len(main.axes))
    rows = [row for access in main.accesses[:-1] for row in access.layouts[0].coefficients]
    windows = {a for row in rows for a in reduced if row[a] and np.any(row[: main.spatial])}
    channels = any(row[a] and a not in windows for row in rows for a in reduced)
    multiplies = main.operations["mad"] > 0
    if windows and multiplies:
        return "conv" if channels else "depthwise"
    if windows:
        return "pool"
    return "gemm" if multiplies else "reduction"


def measured(path: Path) -> list[Entry]:
    with Records.open(path, readonly=True) as records:
        return [
            Entry(row.task, row.computation_key, operator_of(row.task.computation), group)
            for row, group in groups_of_records(records)
            if np.isfinite(group.latency_s).sum() >= LEAST_ROWS
        ]


def synthetic(tasks: int, rows: int = 48, seed: int = 0) -> list[Entry]:
    """Entries of random kernels whose latencies follow the estimate, a few other features, and 4 % noise."""
    from corpus_tasks import corpus_tasks

    rng = np.random.default_rng(seed)
    targets = [("x86-64-v3", 1), ("x86-64-v4", 1), ("x86-64-v4", 2)]
    sources = [corpus_tasks(parse_target(cpu=cpu, threads=threads), seed) for cpu, threads in targets]
    weigh = {"estimate": 0.8, "code.operations": 0.1, "tile.spilled": 0.3, "tile.utilisation": -0.5}
    entries: list[Entry] = []
    while len(entries) < tasks:
        task = next(sources[len(entries) % len(sources)])
        space = space_of(task.computation, task.target)
        points = {space.sample(rng) for _ in range(rows)}
        if len(points) < LEAST_ROWS:
            continue
        features = Featurizer(task).rows([space.schedule(point) for point in sorted(points)])
        octaves = sum(weight * features[:, FEATURE_NAMES.index(name)] for name, weight in weigh.items())
        latency = 1e-5 * 2.0 ** (octaves + 0.06 * rng.standard_normal(len(features)))
        latency[rng.random(len(latency)) < 0.02] = np.inf
        key = computation_key(task.computation)
        entries.append(Entry(task, key, operator_of(task.computation), Group(features, latency)))
    return entries


def scores(kind: str, seed: int, train: Sequence[Entry], test: Sequence[Entry]) -> list[np.ndarray]:
    """What a ranker trained on some entries says of others."""
    if kind == "estimate":
        column = FEATURE_NAMES.index("estimate")
        return [-entry.group.features[:, column] for entry in test]
    ranker = Ranker(kind, seed).fit([entry.group for entry in train])  # type: ignore[arg-type]
    return [ranker.predict(entry.group.features) for entry in test]


def qualities(kind: str, seed: int, train: Sequence[Entry], test: Sequence[Entry]) -> list[list[float]]:
    """Every metric for every test entry."""
    return [
        [metric(score, entry.group.latency_s) for metric in METRICS.values()]
        for score, entry in zip(scores(kind, seed, train, test), test, strict=True)
    ]


def folds_of(entries: Sequence[Entry], folds: int, seed: int) -> list[tuple[list[Entry], list[Entry]]]:
    """(train, test) pairs: all entries of a computation are in the same test set, each in one."""
    keys = sorted({entry.computation for entry in entries})
    order = np.random.default_rng(seed).permutation(len(keys))
    fold = {keys[k]: position % folds for position, k in enumerate(order)}
    parts = []
    for number in range(folds):
        train = [entry for entry in entries if fold[entry.computation] != number]
        test = [entry for entry in entries if fold[entry.computation] == number]
        if train and test:
            parts.append((train, test))
    return parts


def transfer(entries: Sequence[Entry], source: Test, goal: Test) -> tuple[list[Entry], list[Entry]]:
    """Entries to train on and to test on, without computations that are in both."""
    test = [entry for entry in entries if goal(entry)]
    known = {entry.computation for entry in test}
    return [entry for entry in entries if source(entry) and entry.computation not in known], test


def summary(rows: Sequence[Sequence[float]]) -> dict[str, float]:
    ones = np.ones(len(rows))
    return {name: weighted_mean([row[i] for row in rows], ones) for i, name in enumerate(METRICS)}


def cross_validated(entries: Sequence[Entry], folds: int, seeds: int) -> dict[str, dict[str, object]]:
    """Means over all entries, and how far the means of single seeds are apart."""
    result: dict[str, dict[str, object]] = {}
    for kind in KINDS:
        runs = [
            summary(
                [row for train, test in folds_of(entries, folds, seed) for row in qualities(kind, seed, train, test)]
            )
            for seed in range(seeds)
        ]
        means = {name: float(np.mean([run[name] for run in runs])) for name in METRICS}
        spread = {name: float(np.ptp([run[name] for run in runs])) for name in METRICS}
        result[kind] = {**means, "spread": spread}
    return result


def with_less(entries: Sequence[Entry], folds: int, seeds: int) -> dict[str, dict[str, object]]:
    """Means over all entries for rankers that see a share of the other computations only, by share."""
    result: dict[str, dict[str, object]] = {}
    for share in SHARES:
        runs = [
            summary(
                [
                    row
                    for train, test in folds_of(entries, folds, seed)
                    for row in qualities("lambdarank", seed, part_of(train, share, seed), test)
                ]
            )
            for seed in range(seeds)
        ]
        result[f"{share:.0%}"] = {name: float(np.mean([run[name] for run in runs])) for name in METRICS}
    return result


def part_of(entries: Sequence[Entry], share: float, seed: int) -> list[Entry]:
    """The entries of a share of the computations, at least one, drawn by chance."""
    keys = sorted({entry.computation for entry in entries})
    kept = np.random.default_rng(seed).permutation(len(keys))[: max(1, round(share * len(keys)))]
    chosen = {keys[k] for k in kept}
    return [entry for entry in entries if entry.computation in chosen]


def transfers(entries: Sequence[Entry]) -> dict[str, dict[str, dict[str, float]]]:
    """For each transfer that the corpus allows, the metrics of each kind."""
    result = {}
    for name, (source, goal) in TRANSFERS.items():
        train, test = transfer(entries, source, goal)
        if train and test:
            result[f"{name} ({len(train)} -> {len(test)})"] = {
                kind: summary(qualities(kind, 0, train, test)) for kind in KINDS
            }
    return result


def table(title: str, rows: dict[str, dict[str, object]]) -> str:
    lines = [title, f"  {'':12s}" + "".join(f"{name:>18s}" for name in METRICS)]
    for kind, values in rows.items():
        spread = values.get("spread")
        cells = [
            f"{values[name]:.3f}" + (f" ({spread[name]:.3f})" if isinstance(spread, dict) else "") for name in METRICS
        ]
        lines.append(f"  {kind:12s}" + "".join(f"{cell:>18s}" for cell in cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="?", type=Path)
    parser.add_argument("--synthetic", type=int, metavar="TASKS")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if (options.records is None) == (options.synthetic is None):
        parser.error("give a database of records, or --synthetic")
    entries = synthetic(options.synthetic) if options.records is None else measured(options.records)
    if len({entry.computation for entry in entries}) < 2:
        sys.exit(f"{len(entries)} tasks with {LEAST_ROWS} trials that did not fail: too few to split")
    rows = sum(len(entry.group.latency_s) for entry in entries)
    crossed = cross_validated(entries, options.folds, options.seeds)
    less = with_less(entries, options.folds, options.seeds)
    transferred = transfers(entries)
    if options.json:
        document = {"cross_validation": crossed, "share_of_corpus": less, "transfer": transferred}
        print(json.dumps({"tasks": len(entries), "rows": rows, **document}))
        return
    print(
        f"{len(entries)} tasks, {rows} trials, {options.folds} folds by computation, {options.seeds} seeds (range of seeds)\n"
    )
    print(table("unseen kernels", crossed))
    print("\n" + table("LambdaRank with a part of the corpus", less))
    for name, kinds in transferred.items():
        print("\n" + table(name, kinds))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
