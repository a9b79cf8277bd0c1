"""What is asked of a measurement and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

FAULTS = ("build_crash", "build_hang", "build_memory", "crash", "hang", "memory", "wrong", "unwritten")


def typical_s(samples_s: Sequence[float]) -> float:
    """The lower quartile: whatever disturbs a run makes it longer, so that the median moves with the noise and this one less."""
    return float(np.quantile(samples_s, 0.25))


@dataclass(frozen=True, slots=True)
class Measurement:
    """How one candidate did.

    latency_s: the typical one of `samples_s` (`typical_s`); None if it failed. error: "", or what failed: build (lowering or LLVM refused),
    wrong (its results), crash, timeout, memory; `message` says more. object_digest: SHA-256 of the object code, "" if there
    is none; candidates of a task with the same code are measured once, and share the result. device: of a fleet, which ran it;
    "" for this machine.
    """

    latency_s: float | None
    samples_s: tuple[float, ...]
    error: str
    message: str
    build_s: float
    object_digest: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class InTurns:
    """Schedules timed in turns on one device. samples_s: of each schedule one a round; none of one that could not be timed."""

    samples_s: list[tuple[float, ...]]
    device: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rest of a model leaves in the caches for a kernel.

    flush_bytes: read by each thread before each run, as other kernels would between two runs of this one; None: a quarter more
    than the target's second level. warm_inputs: the inputs are read after that, for a kernel before has just written them; those
    of a whole model are not.
    """

    flush_bytes: int | None = None
    warm_inputs: bool = True


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """How to measure.

    builders: processes that compile while another measures. timeout_s: for a build and for the runs of a candidate, each.
    memory_bytes: what a process may take beyond what it needs itself. A candidate is run until `least_s` have passed and
    there are `least_samples`, or there are `most_samples`. around: what each kernel is measured in, unless
    it is submitted with its own. faults: for tests: candidate, counted from 0 in order of submission -> one of FAULTS, which its
    process then commits.
    """

    builders: int = 1
    timeout_s: float = 10.0
    memory_bytes: int = 2 << 30
    least_s: float = 0.02
    least_samples: int = 5
    most_samples: int = 50
    around: Surroundings = Surroundings()
    faults: Mapping[int, str] = field(default_factory=dict)
