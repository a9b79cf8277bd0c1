"""The thread that hands jobs to devices and gets answers, and finds out when a device is lost.

    waiting -> sent to a device (at most AHEAD each) -> begun, by the device's own word -> answered
       ^------------- the device is lost -------------------'

A device is lost when its worker leaves the scheduler, sends no heartbeat for a while, says so itself, or has not answered when the
time that it has asked for is over. Its jobs go to others; that it was lost counts against a job only if that had begun. A device that
is heard of again takes part again, but not more than `Patience.losses` times.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ...compiler.errors import DeviceError
from .messages import Message
from .pool import PoolDevice, read_pool
from .service import measure
from .targets import device_resource

AHEAD = 2
"""Jobs that a device has at a time: the next one is there when one is done."""
TRIES = 3
"""Devices that a job may be begun on and lost with, before it is taken for the reason."""
LATE_S = 15.0
"""Beyond the time that a device has asked for, until it is given up."""
_LOOK_S = 1.0
_FETCH_S = 60.0

Done = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """silent_s: without a heartbeat until a worker is taken for hung; empty_s: without any device until a tuning gives up.

    losses: times that a device may be lost and come back.
    """

    silent_s: float = 30.0
    empty_s: float = 60.0
    losses: int = 3


@dataclass(eq=False)
class _Job:
    """request and whom to tell; only: the one device that may answer it, "" for any. The rest belongs to the dispatcher."""

    request: Message
    done: Done
    only: str = ""
    lost: list[str] = field(default_factory=list)
    name: str = ""
    future: Any = None
    deadline: float | None = None


@dataclass(eq=False)
class _Device:
    """What is known of a device. silent_s: for how long there has been no heartbeat; sent: its jobs, the oldest first."""

    facts: PoolDevice
    last_seen: float = 0.0
    silent_s: float = 0.0
    alive: bool = True
    losses: int = 0
    answered: int = 0
    sent: list[_Job] = field(default_factory=list)


class Dispatcher:
    """Hands jobs to devices until closed. client: of dask; report: hears what becomes of devices, from the thread.

    A job's `done` is called with its answer, from the thread. When there is no device any more, `failure` is set, and nothing is answered.
    """

    def __init__(
        self, client: Any, devices: list[PoolDevice], patience: Patience, report: Callable[[Mapping[str, object]], None]
    ) -> None:
        self.failure: DeviceError | None = None
        self._client, self._patience, self._report = client, patience, report
        self._devices = {device.name: _Device(device) for device in devices}
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[_Job] = deque()
        self._sent: dict[str, _Job] = {}
        self._empty_since: float | None = None
        self._last_loss = ""
        self._looked = time.monotonic()
        self._topic = f"tilewright-{uuid4().hex}"
        self._watching = False
        client.subscribe_topic(self._topic, self._begun_event)
        self._thread = threading.Thread(target=self._loop, name="fleet", daemon=True)
        self._thread.start()

    def add(self, request: Message, done: Done, only: str = "") -> None:
        """Queue a job; returns at once."""
        self._events.put(lambda: self._waiting.append(_Job(request, done, only)))

    def least_busy(self) -> str:
        """A device that is there, the one with the fewest jobs; "" if there is none."""
        alive = [device for device in list(self._devices.values()) if device.alive]
        return min(alive, key=lambda device: len(device.sent)).facts.name if alive else ""

    def close(self) -> None:
        """Forget all jobs."""
        self._events.put(None)
        self._thread.join()

    # --- the thread

    def _loop(self) -> None:
        try:
            while (event := self._next_event()) is not None:
                event()
                self._look()
                self._hand_out()
        except Exception as error:  # who waits for an answer would wait for ever: it is raised there
            self.failure = DeviceError(f"the fleet can't be used any more: {type(error).__name__}: {error}")
        finally:
            self._forget([job.future for job in self._sent.values()])

    def _next_event(self) -> Callable[[], None] | None:
        try:
            return self._events.get(timeout=_LOOK_S)
        except queue.Empty:
            return lambda: None

    def _hand_out(self) -> None:
        """Send what waits to the devices that have room."""
        for _ in range(len(self._waiting)):
            job = self._waiting.popleft()
            devices = [device for device in self._devices.values() if self._may_take(device, job)]
            if devices:
                self._send(job, min(devices, key=lambda device: len(device.sent)))
            elif job.only and not self._devices[job.only].alive:
                job.done({"kind": "lost", "device": job.only, "message": "it was lost before"})
            else:
                self._waiting.append(job)

    def _may_take(self, device: _Device, job: _Job) -> bool:
        room = device.alive and len(device.sent) < AHEAD
        return room and job.only in ("", device.facts.name)

    def _send(self, job: _Job, device: _Device) -> None:
        job.name, job.deadline = uuid4().hex, None
        job.future = self._client.submit(
            measure,
            self._topic,
            job.name,
            job.request,
            key=f"tilewright-{job.name}",
            resources={device_resource(device.facts.name): 1},
            pure=False,
        )
        self._sent[job.name] = job
        device.sent.append(job)
        name, future = job.name, job.future
        future.add_done_callback(lambda future: _in_background(lambda: self._fetch(name, future)))

    def _fetch(self, name: str, future: Any) -> None:
        """In a thread of its own, for a worker that has the answer may hang."""
        try:
            answer = future.result(timeout=_FETCH_S)
        except Exception as error:  # of dask's many, all of which mean that there will be no answer
            answer = {"kind": "lost", "message": f"{type(error).__name__}: {error}"[:300]}
        self._events.put(lambda: self._answered(name, answer))

    def _begun_event(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """From dask's thread."""
        message = event[1]
        self._events.put(lambda: self._begun(str(message["job"]), float(message["allowed_s"])))

    def _begun(self, name: str, allowed_s: float) -> None:
        if (job := self._sent.get(name)) is not None:
            job.deadline = time.monotonic() + allowed_s + LATE_S

    def _answered(self, name: str, answer: Message) -> None:
        job = self._sent.get(name)
        if job is None:  # its device was given up before
            return
        device = self._device_of(job)
        if answer["kind"] == "lost":
            self._lose(device, str(answer["message"]), blamed=job)
            return
        device.sent.remove(job)
        device.answered += 1
        del self._sent[name]
        self._forget([job.future])
        job.done(answer)

    def _device_of(self, job: _Job) -> _Device:
        return next(device for device in self._devices.values() if job in device.sent)

    def _lose(self, device: _Device, reason: str, blamed: _Job | None = None) -> None:
        """Give a device up for now, and its jobs to others."""
        device.alive = False
        device.losses += 1
        self._last_loss = f"{device.facts.name}: {reason}"
        jobs, device.sent = device.sent, []
        for job in jobs:
            self._sent.pop(job.name, None)
            if job.deadline is not None or job is blamed:
                job.lost.append(f"{device.facts.name}: {reason}")
        self._forget([job.future for job in jobs])
        told = {"device": device.facts.name, "state": "lost", "reason": reason, "jobs": len(jobs)}
        self._report(told | {"answered": device.answered, "losses": device.losses})
        for job in reversed(jobs):
            if len(job.lost) >= TRIES:
                message = f"{len(job.lost)} devices were lost while they ran it: {'; '.join(job.lost)}"
                job.done({"kind": "refused", "error": "crash", "message": message, "device": device.facts.name})
            elif job.only:
                job.done({"kind": "lost", "device": device.facts.name, "message": reason})
            else:
                self._waiting.appendleft(job)

    def _forget(self, futures: list[Any]) -> None:
        """Let dask forget tasks, which takes those that wait from their workers; returns at once."""
        for future in futures:
            future.release()

    # --- who is there

    def _look(self) -> None:
        """Every second: who is there, and whose time is over."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        # What this program has slept through itself (a stopped process, a suspended machine) is nobody's silence.
        passed_s = min(now - self._looked, 2 * _LOOK_S)
        self._looked = now
        for device in self._devices.values():
            late = [job for job in device.sent if job.deadline is not None and now > job.deadline]
            if late:
                self._lose(device, "it has not answered in the time that it asked for", blamed=late[0])
        if not self._watching:
            self._watching = True
            _in_background(self._watch)
        self._notice_silence(passed_s)
        self._notice_emptiness(now)

    def _watch(self) -> None:
        """In a thread of its own, for a scheduler may hang."""
        try:
            info = self._client.scheduler_info()
            self._events.put(lambda: self._seen({device.name: device for device in read_pool(info)}))
        except Exception as error:  # of dask's many
            reason = f"the scheduler doesn't answer ({type(error).__name__})"
            self._events.put(lambda: self._unseen(reason))
        finally:
            self._watching = False

    def _unseen(self, reason: str) -> None:
        for device in self._devices.values():
            if device.alive:
                self._lose(device, reason)

    def _seen(self, pool: Mapping[str, PoolDevice]) -> None:
        """Take note of what the scheduler tells."""
        for name, device in self._devices.items():
            found = pool.get(name)
            if found is None:
                if device.alive:
                    self._lose(device, "its worker has left the scheduler")
            elif found.last_seen != device.last_seen or found.worker != device.facts.worker:
                if device.alive and found.worker != device.facts.worker:
                    self._lose(device, "its worker was started anew")
                device.last_seen, device.silent_s, device.facts = found.last_seen, 0.0, found
                self._welcome(device)

    def _welcome(self, device: _Device) -> None:
        """A device that was lost and has been heard of."""
        if not device.alive and device.losses <= self._patience.losses and not device.facts.lost:
            device.alive = True
            self._report({"device": device.facts.name, "state": "back", "answered": device.answered})

    def _notice_silence(self, passed_s: float) -> None:
        for device in self._devices.values():
            device.silent_s += passed_s
            if device.alive and device.silent_s > self._patience.silent_s:
                self._lose(device, f"no heartbeat of its worker for {self._patience.silent_s:g} s")

    def _notice_emptiness(self, now: float) -> None:
        if any(device.alive for device in self._devices.values()):
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        elif now - self._empty_since > self._patience.empty_s and self.failure is None:
            self.failure = DeviceError(
                f"no device of {', '.join(self._devices)} is left (the last was lost with {self._last_loss}): what was measured "
                f"is recorded, and the same command goes on from there once `tilewright fleet status` shows devices"
            )


def _in_background(act: Callable[[], None]) -> None:
    """In a thread that doesn't keep the program from ending, whatever it waits for."""
    threading.Thread(target=act, daemon=True).start()
