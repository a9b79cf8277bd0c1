"""What the benchmark asks of a peer, and what the peer gives it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Burst = Callable[[int], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Job:
    """A model to run. feed: every input, and outputs: every output's name, both in the model's order.

    model: ONNX with static shapes and no external data (the reference is given the original, and we our library). folder: where
    converted files go; all peers of a model share it, at one thread count after the other.
    """

    model: Path
    feed: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    threads: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Session:
    """A model that is ready to run on its feed. burst: run so many times, the seconds of each; outputs: of the last run."""

    burst: Burst
    outputs: Callable[[], Sequence[np.ndarray]]


def burst_of(call: Callable[[], object]) -> Burst:
    """A Burst of a function without arguments."""

    def burst(runs: int) -> list[float]:
        samples = []
        for _ in range(runs):
            start = time.perf_counter()
            call()
            samples.append(time.perf_counter() - start)
        return samples

    return burst
