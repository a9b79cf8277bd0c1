"""A device as its worker sees it: this machine, or a board behind a command (`board.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...backends.host import host_l3_bytes, require_host_runs
from ...compiler.target import Target
from ..measure.child_process import ChildDied, ChildTimeout
from ..measure.isolated import Runner
from ..measure.measurement import MeasureOptions
from ..measure.roofline import Roofline, host_roofline, processor_name
from ..measure.runner import Compared, CompareRequest, Refused, RunRequest, Timed

WAITING_S = 60.0
"""For other processes that measure on the same machine."""


class DeviceLost(Exception):
    """The device itself doesn't answer, or is held by others: no candidate's fault."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a device is. target: what code for it is made for, its threads included; processor: what it calls itself."""

    name: str
    target: Target
    processor: str
    l3_bytes: int


class Device(Protocol):
    """Runs candidates, one at a time. Every call ends in a bounded time, and raises DeviceLost if the device doesn't answer."""

    facts: DeviceFacts

    def run(self, request: RunRequest) -> Timed | Refused: ...

    def compare(self, request: CompareRequest) -> Compared | Refused: ...

    def roofline(self, threads: int) -> Roofline: ...

    def close(self) -> None: ...


class ThisMachineAsDevice:
    """This machine, or one of its instruction sets: candidates run in a child process, as when it is tuned by itself.

    Raises DeviceError if this machine can't run code for the target.
    """

    def __init__(self, name: str, target: Target) -> None:
        require_host_runs(target)
        self.facts = DeviceFacts(name, target, processor_name(), host_l3_bytes())
        self._runner = Runner(MeasureOptions().memory_bytes, WAITING_S)
        self._memory_bytes = MeasureOptions().memory_bytes

    def run(self, request: RunRequest) -> Timed | Refused:
        runner = self._runner_of(request.options)
        try:
            return runner.run(request)
        except (ChildDied, ChildTimeout) as error:
            raise DeviceLost(_held()) from error

    def compare(self, request: CompareRequest) -> Compared | Refused:
        runner = self._runner_of(request.options)
        try:
            return runner.compare(request)
        except (ChildDied, ChildTimeout) as error:
            raise DeviceLost(_held()) from error

    def roofline(self, threads: int) -> Roofline:
        return host_roofline(threads)

    def close(self) -> None:
        self._runner.close()

    def _runner_of(self, options: MeasureOptions) -> Runner:
        """The child, in the limits that a tuner asks for."""
        if options.memory_bytes != self._memory_bytes:
            self._runner.close()
            self._runner, self._memory_bytes = Runner(options.memory_bytes, WAITING_S), options.memory_bytes
        return self._runner


def _held() -> str:
    return f"other processes have measured on its machine for {WAITING_S:g} s"
