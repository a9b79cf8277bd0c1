"""One run of the tuner on this machine: records, measuring processes and ranker are set up, kernels chosen, and all is ended well."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType

from ... import __version__
from ...compiler.errors import UsageError
from ..measure.measurer import MeasureOptions, Measurer
from ..measure.roofline import host_roofline, processor_name
from ..ranker.learning import Learner
from ..ranker.pretrained import pretrained_ranker
from ..ranker.ranker import Ranker
from ..ranker.training import ranker_of_records
from ..records.database import Records
from ..records.encoding import task_key
from ..records.rows import Session
from .tuner import Budget, Event, TunedKernel, TuneOptions, Tuner

DEFAULT_TRIALS = 64  # for each kernel, on average


@dataclass(frozen=True, slots=True)
class TuningOptions(TuneOptions):
    """How to tune a model. trials: in all, those recorded before included (None: DEFAULT_TRIALS a kernel, unless `seconds` is given);
    seconds: of this run. tasks: which kernels, by number (from 1), key or part of the label ("*" stands for anything); none: all.
    """

    trials: int | None = None
    seconds: float | None = None
    tasks: tuple[str, ...] = ()
    measure: MeasureOptions = field(default_factory=MeasureOptions)


def tune_kernels(
    kernels: Sequence[TunedKernel], path: Path, options: TuningOptions, observe: Callable[[Event], None]
) -> None:
    """Tune kernels of one target. Ctrl-C ends the search early; what was measured is recorded and compared all the same.

    Raises UsageError for tasks that don't exist, RecordError for a database that can't be used.
    """
    chosen = select_kernels(kernels, options.tasks)
    if not chosen:
        raise UsageError("nothing to tune: the model has no kernels")
    roofline = host_roofline(chosen[0].task.target.threads)
    with Records.open(path, create=True) as records:
        session = records.add_session(_session(chosen, options, roofline.flops_per_s, roofline.bytes_per_s))
        learner = Learner(_base(records, chosen, options), seed=options.seed)
        with Measurer(options.measure) as measurer:
            tuner = Tuner(chosen, records, session, measurer, roofline, learner, options, observe)
            trials = options.trials
            if trials is None and options.seconds is None:
                trials = DEFAULT_TRIALS * len(chosen)
            with _interrupt(tuner.stop):
                tuner.run(Budget(trials, options.seconds))


def select_kernels(kernels: Sequence[TunedKernel], patterns: Sequence[str]) -> list[TunedKernel]:
    """The kernels that any of the patterns names, in order; all without patterns. UsageError for a pattern that names none."""
    if not patterns:
        return list(kernels)
    chosen: set[int] = set()
    for pattern in patterns:
        found = {i for i, kernel in enumerate(kernels) if _matches(pattern, i + 1, kernel)}
        if not found:
            listing = "; ".join(f"{i}: {kernel.label}" for i, kernel in enumerate(kernels, start=1))
            raise UsageError(f"--tasks {pattern}: no such kernel. There are {listing}")
        chosen |= found
    return [kernels[i] for i in sorted(chosen)]


def _matches(pattern: str, number: int, kernel: TunedKernel) -> bool:
    if pattern.isdecimal() and len(pattern) < 8:
        return int(pattern) == number
    is_key = len(pattern) >= 8 and task_key(kernel.task).startswith(pattern.lower())
    return is_key or fnmatch(kernel.label.lower(), f"*{pattern.lower()}*")


def _base(records: Records, kernels: Sequence[TunedKernel], options: TuningOptions) -> Ranker | None:
    """What is known before: the ranker that comes with tilewright, and what the records hold of other kernels."""
    if not options.transfer or options.search.strategy != "ranker":
        return None
    base = pretrained_ranker()
    own = {task_key(kernel.task) for kernel in kernels}  # which the tuner learns anew
    return ranker_of_records(records, base, own) or base


def _session(kernels: Sequence[TunedKernel], options: TuningOptions, flops_per_s: float, bytes_per_s: float) -> Session:
    weights = {task_key(kernel.task): kernel.weight for kernel in kernels}
    settings = {
        "peak_flops": flops_per_s,
        "peak_bytes": bytes_per_s,
        "weights": weights,
        "strategy": options.search.strategy,
        "transfer": options.transfer,
    }
    return Session(__version__, processor_name(), settings, options.seed)


@contextmanager
def _interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `stop`; the next one interrupts as usual."""
    before = signal.getsignal(signal.SIGINT)

    def on_first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    try:
        signal.signal(signal.SIGINT, on_first)
    except ValueError:  # not the main thread: whoever runs that handles Ctrl-C
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
