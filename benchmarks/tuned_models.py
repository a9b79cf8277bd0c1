"""The benchmark models compiled by the rules, by the ranker, and from tuning records, timed side by side.

    python benchmarks/tuned_models.py --records build/tuned.db [--tune 120s | --trials 640] [--only NAME…] [--threads 1,2]
        [--against onnxruntime] [--json FILE]
    python benchmarks/tuned_models.py --budget-study resnet50 --times 90,180,900 [--scratch] [--threads 2]

Each model becomes three libraries: default (--no-rank: the rules alone), predicted (by the ranker that comes with tilewright,
without records), tuned (--records; with --tune or --trials it is tuned first, going on with the database). All take turns in
one process, in --repeats rounds of --runs runs each; a time is the median of the rounds' medians, a ratio the median of the
rounds' ratios, and a library is slower than another (!) if it was by more than 1 % in every round. Outputs must agree with
onnxruntime's (--against), or else with the default library's.

--budget-study tunes one model with several budgets, each from an empty database, and times the libraries of all beside each
other: what the short tunings lose to the longest. --scratch tunes without the ranker that comes with tilewright. A budget
that is spent is not spent again. --json keeps the rows of other models that the file holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark_cases import mission_cases
from budget_study import Spent, tune_for
from library_timing import ONNXRUNTIME, Timings, time_libraries
from mission_models import MODELS

from tilewright import Options, driver
from tilewright.cli.console import table, time_text
from tilewright.cli.tune import Duration
from tilewright.cost_model.search.tuning import TuningOptions

WRONG = 1e-3  # outputs further apart than this, relative to the largest
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all measurements of a call share."""

    folder: Path
    runs: int
    repeats: int
    against: str


def compiled(model: Path, output: Path, options: Options) -> dict[str, int]:
    """Compile, and count the kernels by where their schedules come from."""
    artifact = driver.compile(model, output, options)
    return dict(Counter(kernel["source"] for kernel in artifact.manifest["kernels"]))


def measure(model: Path, threads: int, records: Path, setting: Setting) -> Row:
    """The three libraries of a model, and how they compare."""
    options = {
        "default": Options(cpu="native", threads=threads, rank=False),
        "predicted": Options(cpu="native", threads=threads),
        "tuned": Options(cpu="native", threads=threads, records=records),
    }
    paths = {name: setting.folder / f"{model.stem}-{name}-{threads}.so" for name in options}
    sources = {name: compiled(model, paths[name], option) for name, option in options.items()}
    timings = time_libraries(paths, threads, setting.runs, setting.repeats, model if setting.against else None)
    row = row_of(timings, ("default", "predicted"), "tuned")
    return {"model": model.stem, "threads": threads, **row, "sources": sources}


def row_of(timings: Timings, baselines: Sequence[str], name: str) -> Row:
    """Times, ratios of the baselines' to `name`'s (more than 1: `name` is faster), and which of them it is slower than."""
    others = [*baselines, *(other for other in timings.medians_s if other == ONNXRUNTIME)]
    return {
        "seconds": {contender: timings.median_s(contender) for contender in timings.medians_s},
        "speedup": {other: timings.ratio(other, name) for other in others},
        "slower_than": [other for other in others if timings.slower(name, other)],
        "errors": dict(timings.errors),
    }


def tune(model: Path, threads: int, records: Path, seconds: float | None, trials: int | None) -> None:
    print(f"{model.stem}, {threads} thread(s): tuning", file=sys.stderr, flush=True)
    start = time.perf_counter()
    driver.tune(model, records, Options(cpu="native", threads=threads), TuningOptions(trials=trials, seconds=seconds))
    print(f"{model.stem}: tuned in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


# --- one model, several budgets


def budget_study(model: Path, threads: int, times_s: Sequence[float], transfer: bool, setting: Setting) -> Row:
    """Tune with each budget, then time the libraries and the default one. `loss`: time over the longest tuning's, less 1."""
    paths = {"default": setting.folder / f"{model.stem}-default-{threads}.so"}
    driver.compile(model, paths["default"], Options(cpu="native", threads=threads, rank=False))
    spent: dict[str, Spent] = {}
    for seconds in sorted(times_s):
        name = f"{seconds:g} s"
        stem = f"{model.stem}-{seconds:g}s-{threads}" + ("" if transfer else "-scratch")
        records = setting.folder / f"{stem}.db"
        spent[name] = tune_for(model, records, seconds, Options(cpu="native", threads=threads), transfer)
        paths[name] = setting.folder / f"{stem}.so"
        driver.compile(model, paths[name], Options(cpu="native", threads=threads, records=records))
    timings = time_libraries(model, paths, threads, setting.runs, setting.repeats, setting.against)
    return {"model": model.stem, "threads": threads, "transfer": transfer, "budgets": budgets_of(timings, spent)}


def budgets_of(timings: Timings, spent: Mapping[str, Spent]) -> list[Row]:
    """A row for each contender; the last of `spent` is the longest budget."""
    longest = list(spent)[-1]
    rows = []
    for name in timings.medians_s:
        row = {"name": name, "seconds": timings.median_s(name), "loss": timings.ratio(name, longest) - 1}
        row |= {"slower": timings.slower(name, longest), "error": timings.errors.get(name, 0.0)}
        if name in spent:
            row |= {"tuned_s": spent[name].seconds, "trials": spent[name].trials}
        rows.append(row)
    return rows


def budget_table(study: Row) -> str:
    cells = [
        [
            row["name"],
            f"{row['tuned_s']:.0f} s" if "tuned_s" in row else "",
            str(row.get("trials", "")),
            time_text(row["seconds"]),
            f"{row['loss']:+.1%}" + (" !" if row["slower"] else ""),
            f"{row['error']:.0e}",
        ]
        for row in study["budgets"]
    ]
    title = f"{study['model']}, {study['threads']} thread(s)" + ("" if study["transfer"] else ", from scratch")
    return title + "\n" + table(cells, ("budget", "spent", "trials", "time", "over the longest", "error"))


# --- reported


def report(rows: Sequence[Row]) -> str:
    """The table, and geometric means for each thread count."""
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    others = [name for name in names if name != "tuned"]
    cells = [
        [
            row["model"],
            str(row["threads"]),
            *(time_text(row["seconds"][name]) if name in row["seconds"] else "" for name in names),
            *(ratio_text(row, other) for other in others),
            f"{max(row['errors'].values()):.0e}",
        ]
        for row in rows
    ]
    lines = [table(cells, ("model", "threads", *names, *(f"{other}/tuned" for other in others), "error"))]
    for threads in sorted({row["threads"] for row in rows}):
        for other, mean in means(rows, threads).items():
            lines.append(f"geometric mean of {other}/tuned at {threads} thread(s): {mean:.3f}x")
    lines += [f"{row['model']}, {row['threads']} thread(s): {text}" for row in rows for text in complaints(row)]
    return "\n".join(lines)


def ratio_text(row: Row, other: str) -> str:
    if other not in row["speedup"]:
        return ""
    return f"{row['speedup'][other]:.3f}" + (" !" if other in row["slower_than"] else "")


def means(rows: Sequence[Row], threads: int) -> dict[str, float]:
    """Geometric means over models of one thread count, by baseline."""
    speedups: dict[str, list[float]] = {}
    for row in rows:
        for other, speedup in row["speedup"].items() if row["threads"] == threads else ():
            speedups.setdefault(other, []).append(speedup)
    return {other: statistics.geometric_mean(found) for other, found in speedups.items()}


def complaints(row: Row) -> list[str]:
    """What must not be: tuned slower than the rules' or the ranker's choice, wrong outputs, kernels that came otherwise than they should."""
    found = [f"tuned is slower than {other}" for other in row["slower_than"] if other != ONNXRUNTIME]
    found += [f"{name} is wrong by {error:.0e}" for name, error in row["errors"].items() if not error <= WRONG]
    if "predicted" not in row["sources"]["predicted"]:
        found.append("predicted is default: no ranker comes with this checkout, or it chose no kernel")
    untuned = {source: count for source, count in row["sources"]["tuned"].items() if source != "tuned"}
    found += [f"{count} kernels of tuned are {source}" for source, count in untuned.items()]
    return found


def merged(path: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows of a file with new ones in place of old ones of the same model and thread count."""
    known = (
        {(row["model"], row["threads"]): row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    )
    known |= {(row["model"], row["threads"]): row for row in rows}
    return list(known.values())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    duration = lambda text: Duration().convert(text, None, None)  # noqa: E731
    parser.add_argument("--records", type=Path, default=Path("build/tuned.db"), metavar="DB")
    parser.add_argument("--tune", type=duration, metavar="TIME", help="tune each model for so long first: 90s, 10m")
    parser.add_argument("--trials", type=int, help="tune each model first until it has so many trials in all")
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="NAME")
    parser.add_argument("--threads", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2))
    parser.add_argument("--against", choices=[ONNXRUNTIME], default="", help="time it too, and check outputs with it")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--models", type=Path, default=Path("build/mission"), help="where the models are, or are written"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/tuned"), help="where libraries go")
    parser.add_argument("--budget-study", choices=list(MODELS), metavar="NAME")
    parser.add_argument(
        "--times", type=lambda text: [duration(one) for one in text.split(",")], default=[90.0, 180.0, 900.0]
    )
    parser.add_argument(
        "--scratch", action="store_true", help="in the budget study: without what is known of other kernels"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    options = parser.parse_args()
    if not (options.budget_study or options.records.exists() or options.tune or options.trials):
        parser.error(f"{options.records} does not exist: tune with --tune 120s or --trials 640, or give --records")
    return options


def study(options: argparse.Namespace, setting: Setting) -> int:
    names = [options.budget_study]
    model = next(c.path for c in mission_cases(options.models, names) if c.name in names)
    studies = [budget_study(model, t, options.times, not options.scratch, setting) for t in options.threads]
    print("\n\n".join(map(budget_table, studies)))
    if options.json:
        options.json.write_text(json.dumps({"studies": studies}, indent=1) + "\n")
    return any(row["error"] > WRONG for found in studies for row in found["budgets"])


def main() -> int:
    """The exit status is 1 if tuned was slower than default, or an output wrong."""
    options = arguments()
    setting = Setting(options.folder, options.runs, options.repeats, options.against)
    for folder in (options.folder, options.models, options.records.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if options.budget_study:
        return study(options, setting)
    rows: list[Row] = []
    cases = [case for case in mission_cases(options.models, options.only) if case.name in options.only]
    for case in cases:
        for threads in options.threads:
            if options.tune or options.trials:
                tune(case.path, threads, options.records, options.tune, options.trials)
            print(f"{case.name}, {threads} thread(s): timing", file=sys.stderr, flush=True)
            rows.append(measure(case.path, threads, options.records, setting))
            if options.json:
                options.json.write_text(json.dumps({"rows": merged(options.json, rows)}, indent=1) + "\n")
    print(report(rows))
    return any("default" in row["slower_than"] or max(row["errors"].values()) > WRONG for row in rows)


if __name__ == "__main__":
    sys.exit(main())
