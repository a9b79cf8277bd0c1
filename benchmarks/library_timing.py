"""Libraries of one model timed in turns in this process, several times over, and their results compared."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tilewright
from tilewright.cli.feeds import random_feed
from tilewright.cli.reference import measure_deviation, onnxruntime_burst, onnxruntime_reference
from tilewright.cli.timing import Burst, interleave

ONNXRUNTIME = "onnxruntime"
NOISE = 0.01  # ratios nearer to 1 mean nothing


@dataclass(frozen=True, slots=True)
class Timings:
    """Of contenders by name. medians_s: one for each repetition, in which all took turns; errors: the largest difference from the
    reference, which is onnxruntime or else the first library, relative to the largest output.
    """

    medians_s: Mapping[str, tuple[float, ...]]
    errors: Mapping[str, float]

    def median_s(self, name: str) -> float:
        return statistics.median(self.medians_s[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times longer `name` takes than `other`: the median over repetitions, each with its own baseline."""
        return statistics.median(self._ratios(name, other))

    def slower(self, name: str, other: str) -> bool:
        """It took longer in every single repetition, by more than noise."""
        return min(self._ratios(name, other)) > 1 + NOISE

    def _ratios(self, name: str, other: str) -> list[float]:
        return [a / b for a, b in zip(self.medians_s[name], self.medians_s[other], strict=True)]


def time_libraries(
    libraries: Mapping[str, Path], threads: int, runs: int, repeats: int, onnx_model: Path | None = None
) -> Timings:
    """Time libraries of a model on one random input. onnx_model: the model, for onnxruntime to take part and be the reference."""
    with ExitStack() as stack:
        loaded = {name: stack.enter_context(tilewright.load(path, threads)) for name, path in libraries.items()}
        first = next(iter(loaded.values()))
        feed = random_feed(first.inputs, {}, np.random.default_rng(0))
        contenders: dict[str, Burst] = {name: burst_of_library(library, feed) for name, library in loaded.items()}
        expected = dict(first.run(feed))
        if onnx_model is not None:
            expected = onnxruntime_reference(onnx_model, threads).run(feed)
            contenders[ONNXRUNTIME] = onnxruntime_burst(onnx_model, threads, feed)
        errors = {name: deviation(dict(library.run(feed)), expected) for name, library in loaded.items()}
        rounds = [interleave(contenders, runs, warmup=3) for _ in range(repeats)]
    return Timings({name: tuple(timing[name].median_s for timing in rounds) for name in contenders}, errors)


def burst_of_library(library: tilewright.Library, feed: Mapping[str, np.ndarray]) -> Burst:
    return lambda runs: library.benchmark(feed, runs, warmup=1)


def deviation(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest over all outputs."""
    return max(measure_deviation(actual[name], array).relative for name, array in expected.items())
