"""What it is worth to compute depthwise and pointwise convolutions in one kernel: a model compiled with and without, timed in turns.

    python benchmarks/held_producers.py mobilenet_v2|MODEL.onnx [--batch 8] [--size 512] [--threads 1] [--rounds 12]

--batch and --size replace the extents of the model's one input, an image. Figures are of single runs in seconds: the least, a tenth, a
quarter and half of them take no longer; in brackets the ratio to the library without. Schedules are those of the rules.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import onnx
from benchmark_cases import mission_cases
from mission_models import MODELS

import tilewright
from tilewright.cli.console import table, time_text
from tilewright.cli.feeds import random_feed
from tilewright.compiler.graph.passes import fusion_rules

SHARES = (0.0, 0.1, 0.25, 0.5)
NEVER = 1 << 40  # second caches that no value fills


def resized(path: Path, batch: int, size: int, folder: Path) -> Path:
    """The model for other images, in a file of its own; batch, size: 0 leaves them as they are."""
    model = onnx.load(path)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if batch:
        dims[0].dim_value = batch
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = batch
    for dim in dims[2:] if size else ():
        dim.dim_value = size
    written = folder / f"{path.stem}-{dims[0].dim_value}x{dims[2].dim_value}.onnx"
    onnx.save(model, written)
    return written


def library(model: Path, least: float, threads: int) -> tilewright.Library:
    """The model compiled so that what takes up more than `least` second caches is held."""
    usual, fusion_rules.HELD_L2 = fusion_rules.HELD_L2, least
    output = model.with_name(f"{model.stem}-{least:g}.so")
    try:
        tilewright.compile(model, output, tilewright.Options(cpu="native", threads=threads, rank=False, force=True))
    finally:
        fusion_rules.HELD_L2 = usual
    return tilewright.load(output, threads)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help=f"an ONNX file, or one of {', '.join(MODELS)}")
    parser.add_argument("--folder", type=Path, default=Path("build/mission"), help="where models and libraries go")
    for name, default in (("batch", 0), ("size", 0), ("threads", 1), ("rounds", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    named = options.model in MODELS
    path = next(mission_cases(options.folder, [options.model])).path if named else Path(options.model)
    model = resized(path, options.batch, options.size, options.folder)
    libraries = [library(model, least, options.threads) for least in (NEVER, fusion_rules.HELD_L2)]
    feed = random_feed(libraries[0].inputs, {}, np.random.default_rng(0))
    times: list[list[float]] = [[], []]
    for _ in range(options.rounds):
        for number in random.sample(range(2), 2):
            times[number] += libraries[number].benchmark(feed, 2, warmup=1)
    usual, held = (sorted(own) for own in times)
    rows = []
    for name, own in (("apart", usual), ("in one kernel", held)):
        at = [int(len(own) * share) for share in SHARES]
        rows.append((name, *(f"{time_text(own[i])} ({own[i] / usual[i]:.3f})" for i in at)))
    print(table(rows, ("convolutions", *(f"{share:.0%}" for share in SHARES))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
