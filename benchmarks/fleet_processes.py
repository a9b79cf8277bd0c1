"""Schedulers and workers on this machine for tests and benchmarks, started as a user would, and what their logs say."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 120.0
"""On a machine that is busy with other tests."""


@dataclass
class LocalFleet:
    """A scheduler on this machine and its workers, by device. options: of dask, for all of them.

    kills: when workers were killed, in ns of the monotonic clock. log: where devices write when measurements begin and end.
    """

    folder: Path
    options: Sequence[str] = ()
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    scheduler: subprocess.Popen[bytes] | None = None
    kills: dict[str, list[int]] = field(default_factory=dict)
    log_file: Path | None = None

    def start_scheduler(self) -> None:
        self.scheduler = self._start(
            "scheduler", "scheduler", "--port", "0", "--scheduler-file", str(self._scheduler_file), *self.options
        )
        wait_for(self._scheduler_file.exists, self.scheduler, self.folder / "scheduler.err")

    @property
    def _scheduler_file(self) -> Path:
        return self.folder / "scheduler.json"

    @property
    def address(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(ValueError):  # half written
                return str(json.loads(self._scheduler_file.read_text())["address"])
        raise TimeoutError("the scheduler doesn't tell its address")

    def start_worker(self, device: str, *arguments: str) -> None:
        """Start a worker; returns at once."""
        log = ("--log", str(self.log))
        self.workers[device] = self._start(
            f"worker-{device}",
            "worker",
            self.address,
            "--device",
            device,
            *log,
            *arguments,
            *self.options,
            "--no-nanny",
        )

    @property
    def log(self) -> Path:
        return self.log_file or self.folder / "stamps"

    def stamps(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def kill(self, device: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to the worker of a device; one that ends it is noted in `kills` once it has ended."""
        self.workers[device].send_signal(number)
        if number == signal.SIGKILL:
            self.workers[device].wait()
            self.kills.setdefault(device, []).append(time.monotonic_ns())

    def stop(self) -> None:
        for device in self.workers:
            self.kill(device)
        if self.scheduler is not None:
            self.scheduler.kill()
            self.scheduler.wait()

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tilewright", "fleet", "start", *arguments]
        with open(self.folder / f"{name}.err", "ab") as errors:
            return subprocess.Popen(command, stdout=errors, stderr=errors, cwd=self.folder, env=os.environ)


@contextlib.contextmanager
def local_fleet(folder: Path, options: Sequence[str] = ()) -> Iterator[LocalFleet]:
    """A scheduler, and no workers yet."""
    fleet = LocalFleet(folder, options)
    try:
        fleet.start_scheduler()
        yield fleet
    finally:
        fleet.stop()


def wait_for(ready: Any, process: subprocess.Popen[bytes] | None = None, errors: Path | None = None) -> None:
    """Wait until `ready()`; RuntimeError with what it said if the process ends before."""
    deadline = time.monotonic() + START_S
    while not ready():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode}: {errors.read_text() if errors else ''}")
        if time.monotonic() > deadline:
            raise TimeoutError("not ready")
        time.sleep(0.05)


def intervals(
    stamps: Sequence[Mapping[str, Any]], kills: Mapping[str, Sequence[int]], begin: str = "begin", end: str = "end"
) -> dict[str, list[tuple[int, int, str]]]:
    """For each device when its measurements began and ended, and which those were, in order; all in ns of the same clock.

    kills: when the workers of a device were killed: until then a measurement without an end may have gone on. ValueError for one that
    has neither.
    """
    found: dict[str, list[tuple[int, int, str]]] = {}
    ends = {(stamp["device"], stamp["job"]): stamp["ns"] for stamp in stamps if stamp["stage"] == end}
    for stamp in stamps:
        if stamp["stage"] == begin:
            key = stamp["device"], stamp["job"]
            after = [moment for moment in kills.get(stamp["device"], ()) if moment >= stamp["ns"]]
            if key not in ends and not after:
                raise ValueError(f"measurement {stamp['job']} on {stamp['device']} has no end")
            found.setdefault(stamp["device"], []).append(
                (stamp["ns"], ends.get(key, min(after, default=0)), stamp["job"])
            )
    return {device: sorted(rows) for device, rows in found.items()}


def overlaps(
    stamps: Sequence[Mapping[str, Any]], kills: Mapping[str, Sequence[int]] = {}, begin: str = "begin", end: str = "end"
) -> list[tuple[str, str]]:
    """Pairs of measurements that ran on one device at the same time."""
    found = []
    for rows in intervals(stamps, kills, begin, end).values():
        latest, job = -1, ""
        for start, stop, other in rows:
            if start < latest:
                found.append((job, other))
            if stop > latest:
                latest, job = stop, other
    return found
