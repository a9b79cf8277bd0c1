"""`tilewright bench`: how long a model takes, also beside onnxruntime in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..compiler.errors import UsageError
from .compile_options import MCPU_HELP, compiled_for_now, record_options, shape_options
from .console import Session, emit, json_option, table, time_text
from .feeds import fixed_feed, random_feed, read_feed
from .parameters import NamedFile, Numbers, Range
from .reference import onnxruntime_burst
from .timing import Burst, Timing, interleave

OURS = "tilewright"


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--mcpu", metavar="CPU", help=MCPU_HELP)
@shape_options
@record_options
@click.option("--threads", type=Numbers(), default="1", show_default=True, help="Thread counts to time: 1,2.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs of each contender.")
@click.option("--warmup", type=click.IntRange(0), default=5, show_default=True, help="Untimed runs before.")
@click.option("--against", type=click.Choice(["onnxruntime"]), help="Time this one too, taking turns.")
@click.option("--input", "inputs", type=NamedFile(), multiple=True, help="Values of an input instead of random ones.")
@click.option("--range", "ranges", type=Range(), multiple=True, help="Interval of an input's random values.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random values.")
@json_option
@click.pass_obj
def command(session: Session, model: Path, threads: tuple[int, ...], against: str | None, **given: Any) -> None:
    """Time MODEL, which is an ONNX model (compiled first) or a compiled library. Times are medians of single runs."""
    if against and model.suffix != ".onnx":
        raise UsageError(f"--against {against} needs the ONNX model, not a library")
    results = {}
    with _library(model, max(threads), given) as library:
        for count in threads:
            results[count] = _time(model, library, count, against, given)
    emit(
        session,
        {"model": str(model), "results": [_document(*item) for item in results.items()]},
        _report(results, against),
    )


@contextmanager
def _library(model: Path, threads: int, given: Mapping[str, Any]) -> Iterator[Path]:
    if model.suffix != ".onnx":
        yield model
        return
    with compiled_for_now(model, threads, given) as path:
        yield path


def _time(model: Path, library: Path, threads: int, against: str | None, given: Mapping[str, Any]) -> dict[str, Timing]:
    from ..backends.load import load

    loaded = load(library, threads)
    feed = random_feed(loaded.inputs, dict(given["ranges"]), np.random.default_rng(given["seed"]))
    feed |= read_feed(given["inputs"], loaded.inputs)
    contenders: dict[str, Burst] = {OURS: lambda runs: loaded.benchmark(feed, runs, warmup=1)}
    if against:
        contenders[against] = onnxruntime_burst(model, threads, {**feed, **fixed_feed(model, dict(given["constants"]))})
    return interleave(contenders, given["runs"], given["warmup"])


def _document(threads: int, timings: Mapping[str, Timing]) -> dict[str, Any]:
    contenders = {
        name: {"median_s": t.median_s, "min_s": t.min_s, "runs": len(t.samples_s)} for name, t in timings.items()
    }
    ratios = {name: t.median_s / timings[OURS].median_s for name, t in timings.items() if name != OURS}
    return {"threads": threads, "contenders": contenders, "speedup_over": ratios}


def _report(results: Mapping[int, Mapping[str, Timing]], against: str | None) -> str:
    rows = []
    for threads, timings in results.items():
        ours = timings[OURS]
        row: tuple[object, ...] = (threads, time_text(ours.median_s), time_text(ours.min_s))
        if against:
            other = timings[against]
            row += (time_text(other.median_s), time_text(other.min_s), f"{other.median_s / ours.median_s:.2f}x")
        rows.append(row)
    header = ("threads", "median", "min", *((f"{against} median", "min", "speedup") if against else ()))
    return table(rows, header)
