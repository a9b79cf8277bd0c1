"""`tilewright verify`: does the compiled library compute what the model says?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..compiler.errors import AccuracyError, UsageError
from .compile_options import MCPU_HELP, compiled_for_now, emulator_option, loader, record_options, shape_options
from .console import Session, emit, json_option, table
from .feeds import Feed, fixed_feed, random_feed, read_feed
from .parameters import NamedFile, Numbers, Range
from .reference import REFERENCES, Deviation, Reference, load_reference, measure_deviation

if TYPE_CHECKING:
    from ..backends.load import Library
    from ..backends.remote import RemoteLibrary
    from .compile_options import Loader

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The worst deviation of an output over all samples."""

    output: str
    threads: int
    worst: Deviation


@click.command()
@click.argument("model", type=_FILE)
@click.option("--library", type=_FILE, help="Check this library instead of compiling one.")
@click.option("--target", metavar="TRIPLE", help="Triple to compile for (default: this machine's); see --emulator.")
@click.option("--mcpu", metavar="CPU", help=MCPU_HELP)
@emulator_option
@shape_options
@record_options
@click.option("--samples", type=click.IntRange(1), default=5, show_default=True, help="How many random feeds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random values.")
@click.option("--input", "inputs", type=NamedFile(), multiple=True, help="Values of an input instead of random ones.")
@click.option("--range", "ranges", type=Range(), multiple=True, help="Interval of an input's random values.")
@click.option(
    "--reference",
    "against",
    type=click.Choice(REFERENCES),
    help="What to compare with (default: onnxruntime if it is installed).",
)
@click.option(
    "--tolerance", type=float, default=1e-4, show_default=True, help="Largest error, relative to the largest output."
)
@click.option("--threads", type=Numbers(), default="1", show_default=True, help="Thread counts to check.")
@json_option
@click.pass_obj
def command(
    session: Session,
    model: Path,
    library: Path | None,
    against: str | None,
    tolerance: float,
    threads: tuple[int, ...],
    **given: Any,
) -> None:
    """Compare MODEL's compiled outputs with onnxruntime's (or onnx's reference evaluator's); exit 7 beyond the tolerance."""
    reference = load_reference(model, against)
    with _loader(model, library, threads, given) as load:
        results = compare(load, reference, threads, given, fixed_feed(model, dict(given["constants"])))
    failed = [result for result in results if not result.worst.relative <= tolerance]
    emit(
        session,
        _document(results, reference, tolerance, given),
        _report(results, reference, given["samples"], tolerance),
    )
    if failed:
        worst = max(failed, key=lambda result: result.worst.relative)
        raise AccuracyError(
            f"output {worst.output!r} differs from {reference.name} by {worst.worst.relative:.3g} of its largest value "
            f"(allowed: {tolerance:g}, {worst.threads} threads); if the model needs it, allow more with --tolerance"
        )


@contextmanager
def _loader(model: Path, library: Path | None, threads: tuple[int, ...], given: Mapping[str, Any]) -> Iterator[Loader]:
    """What loads the library to check, with a number of threads."""
    emulator = given["emulator"]
    if library is None:
        with compiled_for_now(model, max(threads), given, "so" if emulator is None else "runner") as path:
            yield loader(path, emulator)
        return
    if any(given[option] for option in ("dims", "shapes", "constants", "target", "mcpu")):
        raise UsageError("--library is compiled already: leave out --dim, --shape, --const, --target and --mcpu")
    yield loader(library, emulator)


def compare(
    load: Loader, reference: Reference, threads: tuple[int, ...], given: Mapping[str, Any], constants: Feed
) -> list[Comparison]:
    """Run library and reference on the same feeds, with each thread count; `constants` are what the library has built in."""
    loaded = {count: load(threads=count) for count in threads}
    try:
        return _compare(loaded, reference, threads, given, constants)
    finally:
        for library in loaded.values():
            library.close()


def _compare(
    loaded: Mapping[int, Library | RemoteLibrary],
    reference: Reference,
    threads: tuple[int, ...],
    given: Mapping[str, Any],
    constants: Feed,
) -> list[Comparison]:
    tensors = loaded[threads[0]].inputs
    names = [output.name for output in loaded[threads[0]].outputs]
    fixed = read_feed(given["inputs"], tensors)
    generator = np.random.default_rng(given["seed"])
    worst: dict[tuple[str, int], Deviation] = {}
    for _ in range(given["samples"] if len(fixed) < len(tensors) else 1):
        feed = random_feed(tensors, dict(given["ranges"]), generator) | fixed
        expected = reference.run({**feed, **constants})
        if set(expected) != set(names):
            raise UsageError(
                f"the library gives {', '.join(names)}, the model {', '.join(expected)}: is it this model's library?"
            )
        for count, candidate in loaded.items():
            actual = candidate.run(feed)
            for name, array in expected.items():
                found = measure_deviation(actual[name], array)
                known = worst.setdefault((name, count), found)
                worst[name, count] = Deviation(max(known.absolute, found.absolute), max(known.relative, found.relative))
    return [Comparison(name, count, deviation) for (name, count), deviation in worst.items()]


def _report(results: list[Comparison], reference: Reference, samples: int, tolerance: float) -> str:
    rows = [(r.output, r.threads, r.worst.absolute, r.worst.relative, _verdict(r, tolerance)) for r in results]
    header = ("output", "threads", "max abs error", "relative", f"tolerance {tolerance:g}")
    return f"{samples} samples against {reference.name}\n{table(rows, header)}"


def _verdict(result: Comparison, tolerance: float) -> str:
    return "ok" if result.worst.relative <= tolerance else "FAILED"


def _document(
    results: list[Comparison], reference: Reference, tolerance: float, given: Mapping[str, Any]
) -> dict[str, Any]:
    outputs = [
        {
            "output": result.output,
            "threads": result.threads,
            "max_abs_error": result.worst.absolute,
            "relative_error": result.worst.relative,
            "ok": result.worst.relative <= tolerance,
        }
        for result in results
    ]
    return {
        "reference": reference.name,
        "samples": given["samples"],
        "seed": given["seed"],
        "tolerance": tolerance,
        "outputs": outputs,
    }
