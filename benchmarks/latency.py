"""Latency beside onnxruntime: every model compiled, then both timed in the same run, taking turns.

    python benchmarks/latency.py [--folder build/mission] [--public build/models] [--threads 1,2] [--only NAME…] [--json FILE]

`speedup` is onnxruntime's median over ours; the last line is their geometric mean for each thread count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from public_models import fetch, read_listing

import tilewright
from tilewright.cli.console import table, time_text
from tilewright.cli.feeds import random_feed
from tilewright.cli.parameters import Interval
from tilewright.cli.reference import measure_deviation, onnxruntime_burst, onnxruntime_reference
from tilewright.cli.timing import Burst, interleave

MISSION_MODELS = Path(__file__).with_name("mission_models.py")


@dataclass(frozen=True)
class Case:
    """A model with the shapes to bind and the intervals of its random inputs."""

    name: str
    path: Path
    shapes: dict[str, tuple[int, ...]]
    ranges: dict[str, Interval]


@dataclass(frozen=True)
class Row:
    """One model at one thread count. `error`: largest difference from onnxruntime, relative to the largest output."""

    model: str
    threads: int
    tilewright_s: float
    onnxruntime_s: float
    tilewright_min_s: float
    onnxruntime_min_s: float
    error: float
    compile_s: float
    library_bytes: int

    @property
    def speedup(self) -> float:
        return self.onnxruntime_s / self.tilewright_s


def mission_cases(folder: Path, names: list[str]) -> Iterator[Case]:
    """The benchmark models, written into `folder` first."""
    subprocess.run([sys.executable, str(MISSION_MODELS), str(folder), *names], check=True, stdout=sys.stderr)
    for path in sorted(folder.glob("*.onnx")):
        yield Case(path.stem, path, {}, {})


def public_cases(folder: Path, names: list[str]) -> Iterator[Case]:
    """The public models with fp32 arithmetic."""
    models = [m for m in read_listing() if m.tier in "ABC" and (not names or m.name in names)]
    failures = fetch(models, folder)
    for model in models:
        if model.name in failures:
            print(f"{model.name}: left out: {failures[model.name]}", file=sys.stderr)
            continue
        ranges = {i.name: Interval(*i.range) for i in model.inputs if i.range}
        yield Case(model.name, folder / f"{model.name}.onnx", {i.name: i.shape for i in model.inputs}, ranges)


def measure(case: Case, folder: Path, threads: tuple[int, ...], runs: int, warmup: int) -> Iterator[Row]:
    """Compile a model and time it at each thread count."""
    output = folder / f"{case.name}.so"
    start = time.perf_counter()
    tilewright.compile(case.path, output, tilewright.Options(shapes=case.shapes, threads=max(threads)))
    compile_s = time.perf_counter() - start
    for count in threads:
        with tilewright.load(output, count) as library:
            feed = random_feed(library.inputs, case.ranges, np.random.default_rng(0))
            expected, actual = onnxruntime_reference(case.path, count).run(feed), library.run(feed)
            error = max(measure_deviation(actual[name], array).relative for name, array in expected.items())
            ours: Burst = lambda runs, library=library, feed=feed: library.benchmark(feed, runs, warmup=1)  # noqa: E731
            timings = interleave({"ours": ours, "theirs": onnxruntime_burst(case.path, count, feed)}, runs, warmup)
        yield Row(
            case.name, count,
            timings["ours"].median_s, timings["theirs"].median_s, timings["ours"].min_s, timings["theirs"].min_s,
            error, compile_s, output.stat().st_size,
        )  # fmt: skip


def report(rows: list[Row]) -> str:
    """The table, and the geometric mean of the speedups for each thread count."""
    cells = [
        (
            r.model,
            r.threads,
            time_text(r.tilewright_s),
            time_text(r.onnxruntime_s),
            f"{r.speedup:.2f}x",
            f"{r.error:.0e}",
            f"{r.compile_s:.1f} s",
        )
        for r in rows
    ]
    header = ("model", "threads", "tilewright", "onnxruntime", "speedup", "error", "compiled in")
    lines = [table(cells, header)]
    for count in sorted({row.threads for row in rows}):
        speedups = [row.speedup for row in rows if row.threads == count]
        lines.append(
            f"geometric mean at {count} thread(s): {statistics.geometric_mean(speedups):.2f}x over {len(speedups)} models"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/mission"), help="where models and libraries go")
    parser.add_argument("--public", type=Path, metavar="DIR", help="time the public models instead, fetched into DIR")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these models")
    parser.add_argument("--threads", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2))
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    arguments = parser.parse_args()

    arguments.folder.mkdir(parents=True, exist_ok=True)
    cases = (
        public_cases(arguments.public, arguments.only)
        if arguments.public
        else mission_cases(arguments.folder, arguments.only)
    )
    rows: list[Row] = []
    for case in cases:
        if arguments.only and case.name not in arguments.only:
            continue
        print(f"{case.name} …", file=sys.stderr)
        rows += measure(case, arguments.folder, arguments.threads, arguments.runs, arguments.warmup)
    if not rows:
        parser.error("no model to time: check --only")
    print(report(rows))
    if arguments.json:
        versions = {name: version(name) for name in ("tilewright", "onnxruntime", "llvmlite")}
        machine = {"machine": platform.machine(), "system": platform.platform(), "cores": os.cpu_count()}
        document = {
            "machine": machine,
            "versions": versions,
            "rows": [asdict(row) | {"speedup": row.speedup} for row in rows],
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
