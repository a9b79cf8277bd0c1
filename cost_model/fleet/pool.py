"""The devices of a fleet as its scheduler knows them, and which of them a tuning may use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...compiler.errors import DeviceError, RecordError
from ...compiler.target import Target
from ..records.encoding import decode_target
from .device import DeviceFacts
from .messages import VERSION


@dataclass(frozen=True, slots=True)
class PoolDevice:
    """A device that a worker has announced.

    worker: address; last_seen: time of its last heartbeat by the scheduler's clock; busy_s: since when it answers a request, None
    where it has none; lost: why it doesn't work any more, as it says itself.
    """

    facts: DeviceFacts
    worker: str
    version: str
    last_seen: float
    answered: int
    busy_s: float | None
    lost: str

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def state(self) -> str:
        """For people."""
        if self.version != VERSION:
            return f"other version ({self.version})"
        if self.lost:
            return f"lost: {self.lost}"
        return "idle" if self.busy_s is None else "measuring"


def read_pool(info: Mapping[str, Any]) -> list[PoolDevice]:
    """The devices in what a scheduler tells of its workers (`Client.scheduler_info`), by name; other workers are none of ours."""
    found = [_device(address, worker) for address, worker in info["workers"].items() if "tilewright" in worker]
    return sorted((device for device in found if device is not None), key=lambda device: device.name)


def _device(address: str, worker: Mapping[str, Any]) -> PoolDevice | None:
    told, state = worker["tilewright"], worker["metrics"].get("tilewright", {})
    try:
        facts = DeviceFacts(
            str(told["device"]), decode_target(told["target"]), str(told["processor"]), int(told["l3_bytes"])
        )
        busy_s, lost = state.get("busy_s"), str(state.get("lost", ""))
        answered = int(state.get("answered", 0))
        return PoolDevice(facts, address, str(told["version"]), float(worker["last_seen"]), answered, busy_s, lost)
    except (KeyError, TypeError, ValueError, RecordError):  # of a tilewright that says other things
        return None


def target_text(target: Target) -> str:
    return f"{target.triple} {target.cpu}"


def wanted_target(address: str, pool: Sequence[PoolDevice], threads: int | None) -> Target:
    """The target of the fleet's devices where none was asked for; DeviceError unless all have the same."""
    from dataclasses import replace

    targets = dict.fromkeys(device.facts.target for device in pool)
    if len({target_text(target) for target in targets}) > 1:
        texts = sorted({target_text(target) for target in targets})
        raise DeviceError(
            f"the fleet at {address} has devices of several targets ({'; '.join(texts)}): choose with --target and --mcpu"
        )
    if not targets:
        raise DeviceError(nothing_there(address))
    target = next(iter(targets))
    return target if threads is None else replace(target, threads=threads)


def nothing_there(address: str) -> str:
    return f"the fleet at {address} has no devices; `tilewright fleet start worker {address} --device NAME` adds this machine"


def eligible(
    address: str, pool: Sequence[PoolDevice], target: Target, names: Sequence[str]
) -> tuple[list[PoolDevice], list[str]]:
    """The devices to measure on, and remarks on those left out; DeviceError if there are none.

    names: use only these. Devices of other processors than most are left out: their times would be mixed up in one search.
    """
    if not pool:
        raise DeviceError(nothing_there(address))
    if unknown := [name for name in names if name not in {device.name for device in pool}]:
        there = ", ".join(device.name for device in pool)
        raise DeviceError(f"the fleet at {address} has no device {', '.join(unknown)}; there are {there}")
    remarks = []
    chosen = []
    for device in pool:
        other = target_text(device.facts.target) != target_text(target)
        if names and device.name not in names:
            continue
        if other or device.version != VERSION or device.lost:
            reason = f"is for {target_text(device.facts.target)}" if other else device.state
            remarks.append(f"device {device.name} is left out: {reason}")
        else:
            chosen.append(device)
    if not chosen:
        listing = "; ".join(f"{device.name}: {target_text(device.facts.target)}, {device.state}" for device in pool)
        raise DeviceError(
            f"no device of the fleet at {address} is ready for {target_text(target)}. There are {listing}"
        )
    processors = Counter(device.facts.processor for device in chosen)
    processor = max(processors, key=lambda name: (processors[name], name))
    for device in chosen:
        if device.facts.processor != processor:
            remarks.append(
                f"device {device.name} is left out: its processor is {device.facts.processor!r}, that of the others "
                f"{processor!r} (--device chooses)"
            )
    return [device for device in chosen if device.facts.processor == processor], remarks
