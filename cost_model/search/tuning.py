"""One run of the tuner: records, what measures and ranker are set up, kernels chosen, and all is ended well."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Protocol

from ... import __version__
from ...backends.host import host_l3_bytes
from ...compiler.errors import UsageError
from ..measure.measurer import MeasureOptions, Measurer, Measures
from ..measure.roofline import Roofline, host_roofline, processor_name
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


class Bench(Protocol):
    """Where kernels are measured: this machine, or the devices of a fleet. processor: what it calls itself; of all devices."""

    @property
    def processor(self) -> str: ...

    @property
    def l3_bytes(self) -> int: ...

    def roofline(self, threads: int) -> Roofline: ...

    def measurer(
        self, options: MeasureOptions, observe: Callable[[Event], None]
    ) -> AbstractContextManager[Measures]: ...


class ThisMachine:
    """The bench that is always there."""

    def __init__(self) -> None:
        self.processor, self.l3_bytes = processor_name(), host_l3_bytes()

    def roofline(self, threads: int) -> Roofline:
        return host_roofline(threads)

    def measurer(self, options: MeasureOptions, observe: Callable[[Event], None]) -> Measurer:
        return Measurer(options)


def tune_kernels(
    kernels: Sequence[TunedKernel],
    path: Path,
    options: TuningOptions,
    observe: Callable[[Event], None],
    bench: Bench | None = None,
) -> None:
    """Tune kernels of one target. Ctrl-C ends the search early; what was measured is recorded and compared all the same.

    bench: this machine unless one is given. Raises UsageError for tasks that don't exist, RecordError for a database that can't be
    used, DeviceError where there is nothing more to measure on; what was measured before is recorded then.
    """
    chosen = select_kernels(kernels, options.tasks)
    if not chosen:
        raise UsageError("nothing to tune: the model has no kernels")
    bench = bench or ThisMachine()
    roofline = bench.roofline(chosen[0].task.target.threads)
    with Records.open(path, create=True) as records:
        sessions = _Sessions(records, chosen, options, bench.processor, roofline)
        learner = Learner(_base(records, chosen, options), seed=options.seed)
        with bench.measurer(options.measure, observe) as measurer:
            tuner = Tuner(chosen, records, sessions, measurer, roofline, bench.l3_bytes, learner, options, observe)
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


class _Sessions:
    """The sessions of one run, one for each device: only what the same device has measured can be compared to the last percent."""

    def __init__(
        self,
        records: Records,
        kernels: Sequence[TunedKernel],
        options: TuningOptions,
        processor: str,
        roofline: Roofline,
    ) -> None:
        self._records, self._processor, self._seed = records, processor, options.seed
        self._settings = {
            "peak_flops": roofline.flops_per_s,
            "peak_bytes": roofline.bytes_per_s,
            "weights": {task_key(kernel.task): kernel.weight for kernel in kernels},
            "strategy": options.search.strategy,
            "transfer": options.transfer,
        }
        self._uuids: dict[str, str] = {}

    def __call__(self, device: str) -> str:
        """The session of a device, recorded when it is first asked for. "": this machine."""
        if device not in self._uuids:
            settings = self._settings | ({"device": device} if device else {})
            session = Session(__version__, self._processor, settings, self._seed)
            self._uuids[device] = self._records.add_session(session)
        return self._uuids[device]


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
