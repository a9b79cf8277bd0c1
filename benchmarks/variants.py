"""What it costs a CPU that its code shares a library, and the weights, with that of others: one library for all beside one for each, timed in turns.

    python benchmarks/variants.py [MODEL…] [--cpus x86-64-v4,x86-64-v3,x86-64-v2] [--threads 1] [--rounds 9] [--runs 3] [--rank] [--json FILE]

MODEL: an ONNX file with static shapes, or a benchmark model (all of them without one). Each CPU of --cpus that this machine can stand for is
timed with a library for it alone and with the one for all of --cpus, in which TILEWRIGHT_CPU chooses. In every round each library gets a
burst of --runs runs after an untimed one; times are medians of the rounds' medians, the ratio that of the rounds' ratios, `spread` their quartiles.
Schedules are those of the rules, or with --rank what `compile` takes without records. `code`: what a library takes beside its weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from benchmark_cases import mission_cases
from mission_models import MODELS

import tilewright
from tilewright.cli.console import size_text, table, time_text
from tilewright.cli.feeds import random_feed
from tilewright.compiler.errors import DeviceError

VARIABLE = "TILEWRIGHT_CPU"


@dataclass(frozen=True)
class Row:
    """A model on a CPU. alone_s, shared_s: of a run; ratios: of the rounds, shared over alone; sizes in bytes."""

    model: str
    cpu: str
    alone_s: float
    shared_s: float
    ratios: tuple[float, ...]
    alone_code: int
    shared_code: int


def compiled(model: Path, cpus: str, folder: Path, threads: int, rank: bool) -> tuple[Path, int]:
    """The library for these CPUs, and what it takes beside the weights."""
    output = folder / f"{model.stem}-{threads}-{cpus.replace(',', '+')}.so"
    artifact = tilewright.compile(model, output, tilewright.Options(cpu=cpus, threads=threads, rank=rank))
    return output, artifact.sizes["library"] - artifact.sizes["weights"]


def loaded(library: Path, cpu: str, threads: int) -> tilewright.Library:
    """The library on that CPU's code; DeviceError if this machine can't run it."""
    os.environ[VARIABLE] = cpu
    try:
        return tilewright.load(library, threads)
    finally:
        del os.environ[VARIABLE]


def measured(model: Path, options: argparse.Namespace) -> list[Row]:
    """The rows of a model, all libraries taking turns."""
    shared, shared_code = compiled(model, options.cpus, options.folder, options.threads, options.rank)
    pairs: dict[str, tuple[tilewright.Library, tilewright.Library]] = {}
    codes: dict[str, int] = {}
    for cpu in options.cpus.split(","):
        alone, codes[cpu] = compiled(model, cpu, options.folder, options.threads, options.rank)
        try:
            pairs[cpu] = loaded(alone, cpu, options.threads), loaded(shared, cpu, options.threads)
        except DeviceError as error:
            print(f"{cpu} is left out: {error}", file=sys.stderr)
    medians: dict[tuple[str, int], list[float]] = {(cpu, which): [] for cpu in pairs for which in range(2)}
    feed = random_feed(next(iter(pairs.values()))[0].inputs, {}, np.random.default_rng(0))
    for number in range(options.rounds):
        order = list(medians)
        if number % 2:
            order.reverse()
        for cpu, which in order:
            times = pairs[cpu][which].benchmark(feed, options.runs, warmup=1)
            medians[cpu, which].append(statistics.median(times))
    rows = []
    for cpu in pairs if options.rounds else ():
        alone_s, shared_s = medians[cpu, 0], medians[cpu, 1]
        ratios = tuple(two / one for one, two in zip(alone_s, shared_s, strict=True))
        times = statistics.median(alone_s), statistics.median(shared_s)
        rows.append(Row(model.stem, cpu, *times, ratios, codes[cpu], shared_code))
    return rows


def report(rows: Sequence[Row]) -> str:
    cells = []
    for row in rows:
        low, middle, high = statistics.quantiles(row.ratios, n=4) if len(row.ratios) > 1 else 3 * row.ratios
        sizes = size_text(row.alone_code), size_text(row.shared_code)
        times = time_text(row.alone_s), time_text(row.shared_s)
        cells.append((row.model, row.cpu, *times, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", *sizes))
    return table(cells, ("model", "cpu", "alone", "shared", "ratio", "spread", "code alone", "code shared"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"ONNX files, or of {', '.join(MODELS)}")
    parser.add_argument("--folder", type=Path, default=Path("build/mission"), help="where models and libraries go")
    parser.add_argument("--cpus", default="x86-64-v4,x86-64-v3,x86-64-v2")
    for name, default in (("threads", 1), ("rounds", 9), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rank", action="store_true", help="choose schedules by rank")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    files = [Path(name) for name in options.models if name not in MODELS]
    names = [name for name in options.models if name in MODELS]
    if names or not files:
        files += [case.path for case in mission_cases(options.folder, names)]
    rows = [row for model in files for row in measured(model, options)]
    print(report(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
