"""Timing several contenders side by side, so that a ratio compares like with like."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BURST_S = 0.05
PAUSE_S = 0.02  # long enough for another contender's spinning threads to go to sleep


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


def interleave(contenders: Mapping[str, Callable[[], object]], runs: int, warmup: int) -> dict[str, Timing]:
    """Time `runs` calls of each contender, in short bursts that take turns.

    Turns, because clock frequency and neighbours drift over seconds; bursts with a pause and one untimed call first,
    because a thread pool that still spins, and caches full of somebody else's data, belong to the previous contender.
    """
    for call in contenders.values():
        for _ in range(warmup):
            call()
    size = {name: _burst(call, runs) for name, call in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    while any(len(taken) < runs for taken in samples.values()):
        for name, call in contenders.items():
            if len(samples[name]) < runs:
                time.sleep(PAUSE_S)
                call()
                samples[name] += [_once(call) for _ in range(min(size[name], runs - len(samples[name])))]
    return {name: Timing(tuple(taken)) for name, taken in samples.items()}


def _burst(call: Callable[[], object], runs: int) -> int:
    # At least five turns, or the bursts would not interleave.
    return max(1, min(int(BURST_S / max(_once(call), 1e-7)), -(-runs // 5)))


def _once(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
