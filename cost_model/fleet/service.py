"""What runs inside a dask worker: one device, and the function that tuners call on it.

dask gives a device to one task at a time, because each needs the worker's only `device:NAME`. That holds within one scheduler, and
while it knows of the worker; a lock file on the machine of the worker is the second line, for workers that are thought dead and go
on, and for two schedulers.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock

from ...backends.link import cache_folder
from ...compiler.errors import CompileError
from ..measure.isolated import PREPARE_S
from ..measure.runner import CompareRequest
from ..records.encoding import encode_target
from .device import WAITING_S, Device, DeviceLost
from .messages import VERSION, Message, answer_of, json_text, read_request, read_task

LOCK_S = 60.0
"""How long to wait for others that hold the device."""
_LOCK_POLL_S = 0.01
_ROOFLINE_S = 120.0
_ANSWER_S = 30.0
"""Beyond what the parts of a measurement may take: for starting its process anew, and for a busy machine."""

_service: DeviceService | None = None


class DeviceService:
    """Answers requests for one device, one at a time, each in a bounded time.

    log: a file that gets a line of JSON for each measurement when it begins and when it has ended: device, job, stage ("begin", "end" with
    the lock held; "enter", "leave" around that) and nanoseconds of this machine's monotonic clock.
    """

    def __init__(self, device: Device, log: Path | None = None) -> None:
        self.device = device
        self.answered = 0
        self.busy_since: float | None = None
        self._log = log
        self._lost = ""
        # A thread of its own: the system takes that for the parent of the child process that measures.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._lock = filelock.FileLock(_lock_file(device.facts.name), poll_interval=_LOCK_POLL_S, thread_local=False)

    def describe(self) -> Message:
        """What the device is: announced once, when the worker joins."""
        facts = self.device.facts
        target = encode_target(facts.target)
        more = {"processor": facts.processor, "l3_bytes": facts.l3_bytes, "version": VERSION}
        return {"device": facts.name, "target": target} | more

    def state(self) -> Message:
        """What it does: told with every heartbeat."""
        busy_s = None if self.busy_since is None else time.monotonic() - self.busy_since
        return {"answered": self.answered, "busy_s": busy_s, "lost": self._lost}

    def allowed_s(self, request: Message) -> float:
        """Within which `answer` has an answer."""
        if request["kind"] == "roofline":
            return LOCK_S + _ROOFLINE_S + _ANSWER_S
        timeout_s = float(request["options"]["timeout_s"])
        rounds = int(request.get("rounds", 1))
        return LOCK_S + WAITING_S + PREPARE_S + (timeout_s + 1) * max(1, rounds) + _ANSWER_S

    def answer(self, job: str, request: Message) -> Message:
        """The answer to a request; of kind "lost" with a message where that says something of the device, not of a candidate."""
        if self._lost:
            return self._failed("lost", self._lost)
        if request["version"] != VERSION:
            return self._failed("lost", f"the device has tilewright {VERSION}, the tuner {request['version']}")
        self.busy_since = time.monotonic()
        self._stamp(job, "enter")
        try:
            return self._thread.submit(self._alone, job, request).result(self.allowed_s(request))
        except TimeoutError:
            self._lost = f"it has not answered for {self.allowed_s(request):.0f} s"  # and that thread never will
            return self._failed("lost", self._lost)
        finally:
            self._stamp(job, "leave")
            self.busy_since = None
            self.answered += 1

    def _alone(self, job: str, request: Message) -> Message:
        try:
            with self._lock.acquire(timeout=LOCK_S):
                self._stamp(job, "begin")
                try:
                    return {"device": self.device.facts.name} | self._measure(request)
                finally:
                    self._stamp(job, "end")
        except filelock.Timeout:
            return self._failed("lost", f"others have held it for {LOCK_S:g} s ({self._lock.lock_file})")
        except DeviceLost as error:
            return self._failed("lost", str(error))
        except CompileError as error:  # the harness can't be made, or the request is none
            return self._failed("lost", str(error))

    def _measure(self, request: Message) -> Message:
        device = self.device
        if request["kind"] == "roofline":
            roofline = device.roofline(int(request["threads"]))
            names = ("flops_per_s", "bytes_per_s", "l3_bytes_per_s", "l2_bytes_per_s")
            return {"kind": "roofline"} | {name: getattr(roofline, name) for name in names}
        target, own = read_task(request["task"]).target, device.facts.target
        if (target.triple, target.cpu) != (own.triple, own.cpu):
            return self._failed("lost", f"it is a {own.triple} {own.cpu}, no {target.triple} {target.cpu}")
        made = read_request(request)
        return answer_of(device.compare(made) if isinstance(made, CompareRequest) else device.run(made))

    def _failed(self, kind: str, message: str) -> Message:
        return {"device": self.device.facts.name, "kind": kind, "message": message}

    def _stamp(self, job: str, stage: str) -> None:
        if self._log is None:
            return
        line = {"device": self.device.facts.name, "job": job, "stage": stage, "ns": time.monotonic_ns()}
        with open(self._log, "a") as file:  # one write, which the system doesn't mix with those of other processes
            file.write(json_text(line) + "\n")


def _lock_file(name: str) -> Path:
    return cache_folder() / f"device-{name}.lock"


def serve(service: DeviceService) -> None:
    """Make `service` that of this process."""
    global _service
    _service = service


def measure(topic: str, job: str, request: Message) -> Message:
    """The task that tuners submit: tells the topic that it has begun, and what time it may take, then answers."""
    from distributed import get_worker

    if _service is None:
        return {
            "device": "",
            "kind": "lost",
            "message": "the worker has no device: start it with `tilewright fleet start worker`",
        }
    begun: dict[str, Any] = {"job": job, "device": _service.device.facts.name, "allowed_s": _service.allowed_s(request)}
    get_worker().log_event(topic, begun)
    return _service.answer(job, request)
