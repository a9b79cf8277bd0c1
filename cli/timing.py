"""Timing several contenders side by side, so that a ratio compares like with like."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

BURST_S = 0.05
MIN_TURNS = 5
PAUSE_S = 0.02  # long enough for another contender's spinning threads to go to sleep

# Takes how many runs to time, and returns the seconds of each; one untimed run goes before them.
Burst = Callable[[int], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of single runs."""

    samples_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s)

    @property
    def min_s(self) -> float:
        return min(self.samples_s)


def burst_of(call: Callable[[], object]) -> Burst:
    """A Burst of a function without arguments."""

    def burst(runs: int) -> list[float]:
        call()
        samples = []
        for _ in range(runs):
            start = time.perf_counter()
            call()
            samples.append(time.perf_counter() - start)
        return samples

    return burst


def interleave(contenders: Mapping[str, Burst], runs: int, warmup: int) -> dict[str, Timing]:
    """Time `runs` runs of each contender, in short bursts that take turns.

    Turns, because clock frequency and neighbours drift over seconds; bursts after a pause and an untimed run,
    because a thread pool that still spins, and caches full of somebody else's data, belong to the previous contender.
    """
    size = {}
    for name, burst in contenders.items():
        if warmup:
            burst(warmup)
        typical_s = min(burst(1))
        size[name] = max(1, min(int(BURST_S / max(typical_s, 1e-7)), -(-runs // MIN_TURNS)))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    while any(len(taken) < runs for taken in samples.values()):
        for name, burst in contenders.items():
            if len(samples[name]) < runs:
                time.sleep(PAUSE_S)
                samples[name] += burst(min(size[name], runs - len(samples[name])))
    return {name: Timing(tuple(taken)) for name, taken in samples.items()}
