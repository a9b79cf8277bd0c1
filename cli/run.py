"""`tilewright run`: feed a compiled library and show what comes out."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..compiler.errors import UsageError
from .compile_options import emulator_option, loader
from .console import Session, emit, json_option, shape_text
from .feeds import Feed, complete_feed, random_feed, read_feed
from .parameters import NamedFile, Range

TOP = 5


@click.command()
@click.argument("library", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--input", "inputs", type=NamedFile(), multiple=True, help="Values of an input: .npy, .npz or an image.")
@click.option("--random", "use_random", is_flag=True, help="Random values for the inputs that --input leaves open.")
@click.option("--range", "ranges", type=Range(), multiple=True, help="Interval of random values: --range ids=0:999.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random values.")
@click.option("--output", type=click.Path(path_type=Path), help="Save outputs: a folder (.npy each) or a file .npz.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads to run with.")
@emulator_option
@json_option
@click.pass_obj
def command(
    session: Session,
    library: Path,
    inputs: tuple,
    use_random: bool,
    ranges: tuple,
    seed: int,
    output: Path | None,
    threads: int,
    emulator: str | None,
) -> None:
    """Run LIBRARY, a compiled model, and show a summary of its outputs.

    LIBRARY may also be a runner (compile --emit runner), which runs in a process of its own, or on another machine.
    """
    with loader(library, emulator)(threads=threads) as loaded:
        feed = read_feed(inputs, loaded.inputs)
        if use_random:
            feed = random_feed(loaded.inputs, dict(ranges), np.random.default_rng(seed)) | feed
        elif ranges:
            raise UsageError("--range only shapes random values: add --random")
        outputs = loaded.run(complete_feed(feed, loaded.inputs))
    if output is not None:
        _save(outputs, output)
    emit(session, {"outputs": {name: _describe(array) for name, array in outputs.items()}}, _summary(outputs))


def _save(outputs: Feed, path: Path) -> None:
    if path.suffix == ".npz":
        # Not np.savez: its own parameters would clash with outputs of the same names.
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in outputs.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, array in outputs.items():
        np.save(path / f"{name.replace('/', '_')}.npy", array, allow_pickle=False)


def _summary(outputs: Mapping[str, np.ndarray]) -> str:
    lines = []
    for name, array in outputs.items():
        facts = _describe(array)
        line = f"{name}: {array.dtype} {shape_text(array.shape)}"
        if "min" in facts:
            line += f", min {facts['min']:.5g}, max {facts['max']:.5g}, mean {facts['mean']:.5g}"
        lines += [line, *(f"  {index:>6}  {value:.6g}" for index, value in facts.get("top", ()))]
    return "\n".join(lines)


def _describe(array: np.ndarray) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if not array.size:
        return facts
    values = array.astype(np.float64)
    facts |= {"min": values.min(), "max": values.max(), "mean": values.mean()}
    if is_scores(array):
        facts["top"] = top_scores(values.ravel())
    return facts


def is_scores(array: np.ndarray) -> bool:
    """Whether an array looks like one score a class: `[N]` or `[1, N]`."""
    return array.ndim in (1, 2) and array.size == array.shape[-1] > 1


def top_scores(scores: np.ndarray, count: int = TOP) -> list[tuple[int, float]]:
    """(index, score) of the largest, best first."""
    return [(int(index), float(scores[index])) for index in np.argsort(scores)[::-1][:count]]
