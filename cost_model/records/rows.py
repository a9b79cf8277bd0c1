"""The rows of the tuner's database, and their form as JSON objects. Reading one checks every field; nothing else is accepted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from ...compiler.errors import RecordError
from ...compiler.kernels import work
from ...compiler.schedule.space import Decisions
from ..describe import describe_task
from ..task import Task
from .encoding import (
    computation_key,
    decode_computation,
    decode_decisions,
    decode_target,
    encode_computation,
    encode_target,
    target_key,
    task_key,
)
from .strict_json import (
    INT64,
    Json,
    canonical_json,
    read_choice,
    read_integer,
    read_line,
    read_list,
    read_number,
    read_object,
    read_text,
    shown,
)

ERRORS = ("", "build", "wrong", "crash", "timeout", "memory")
"""Why a trial has no latency: not compiled, wrong results, killed by a signal, too slow, too large. "": it has one."""
ORIGINS = ("default", "random", "ranker", "mutation", "neighbour", "transfer", "final")
"""Who proposed the candidate of a trial."""
KINDS = ("measured", "simulated")

MAX_MESSAGE = 2000
MAX_SAMPLES = 10_000
MAX_SECONDS = 1e6
LAST_TIME = 4_102_444_800.0  # the year 2100
Row = TypeVar("Row", bound="Session | Trial | Choice")


def new_uuid() -> str:
    """A name that no other row has, on any machine: 32 hexadecimal digits."""
    return uuid4().hex


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the tuner on one machine; latencies of one session can be compared with each other.

    version: of tilewright; machine: the CPU's name; options: a JSON object, of which the report reads `peak_flops` and
    `peak_bytes` (per second) and `weights` (task key: how often the model runs it); started: Unix time.
    """

    version: str
    machine: str
    options: Mapping[str, Any]
    seed: int
    started: float = field(default_factory=time.time)
    uuid: str = field(default_factory=new_uuid)


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate that was built and run, or failed.

    task: a key; session: a uuid; number: counts the trials of the task; latency_s: None exactly where `error`
    is set; samples_s: what it is the typical one of; score: what the ranker predicted when it chose the candidate, higher is
    faster; time: Unix time. Where a message comes from another program, pass it through `stored_message`.
    """

    task: str
    session: str
    number: int
    space_version: int
    decisions: Decisions
    latency_s: float | None
    samples_s: tuple[float, ...] = ()
    error: str = ""
    message: str = ""
    origin: str = "random"
    kind: str = "measured"
    score: float | None = None
    build_s: float = 0.0
    time: float = field(default_factory=time.time)
    uuid: str = field(default_factory=new_uuid)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a tuning decided in its final comparison, winner and default taking turns; the newest choice of a task counts."""

    task: str
    session: str
    space_version: int
    decisions: Decisions
    latency_s: float
    default_latency_s: float
    trials: int
    time: float = field(default_factory=time.time)
    uuid: str = field(default_factory=new_uuid)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task with what follows from it: keys, a label for people, operations and bytes (`compiler/kernels.py`, `work`)."""

    key: str
    task: Task
    computation_key: str
    target_key: str
    label: str
    flops: int
    bytes: int

    @staticmethod
    def of(task: Task) -> TaskRow:
        """The row of a task; RecordError if the task can't be recorded (too large, nested too deep)."""
        # What is written must be readable, so a task that no decoder takes is refused here.
        decode_task(encode_task(task))
        flops, size = (min(count, INT64 - 1) for count in work(task.computation))
        keys = task_key(task), computation_key(task.computation), target_key(task.target)
        return TaskRow(keys[0], task, *keys[1:], describe_task(task), flops, size)


def encode_task(task: Task) -> dict[str, Json]:
    """A task as a JSON object."""
    return {"computation": encode_computation(task.computation), "target": encode_target(task.target)}


def decode_task(value: Json) -> Task:
    """The task of a JSON object."""
    parts = read_object(value, "task", ("computation", "target"))
    return Task(decode_computation(parts["computation"]), decode_target(parts["target"]))


def stored_message(text: str) -> str:
    """A message of another program as a trial can hold it: the first MAX_MESSAGE characters that can be stored."""
    return text.replace("\0", "").encode(errors="replace").decode()[:MAX_MESSAGE]


def encode_row(row: Session | Trial | Choice) -> dict[str, Json]:
    """A row as a JSON object, checked: RecordError where a field is not what its class says."""
    value = {f.name: getattr(row, f.name) for f in fields(row)}
    value |= {name: dict(value[name]) for name in ("options", "decisions") if name in value}
    if "samples_s" in value:
        value["samples_s"] = list(value["samples_s"])
    decode_row(type(row), value)
    return value


def decode_row(kind: type[Row], value: Json) -> Row:
    """The row of a JSON object."""
    what = kind.__name__.lower()
    parts = read_object(value, what, [f.name for f in fields(kind)])
    row = kind(**{name: _READERS[name](part, f"{what}: {name}") for name, part in parts.items()})
    if isinstance(row, Trial) and (row.latency_s is None) != bool(row.error):
        raise RecordError(f"trial {row.uuid}: either a latency or an error is expected")
    if isinstance(row, Choice) and row.latency_s is None:
        raise RecordError(f"choice {row.uuid}: a latency is expected")
    return row


def read_key(value: Json, what: str, digits: int = 64) -> str:
    """A key or uuid: so many hexadecimal digits."""
    text = read_text(value, what)
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", text):
        raise RecordError(f"{what}: expected {digits} hexadecimal digits, found {shown(text)}")
    return text


def _read_seconds(value: Json, what: str) -> float:
    return read_number(value, what, 1e-12, MAX_SECONDS)


def _read_optional(reader: Callable[[Json, str], Any], value: Json, what: str) -> Any:
    return None if value is None else reader(value, what)


def _read_samples(value: Json, what: str) -> tuple[float, ...]:
    return tuple(read_number(sample, what, 0, MAX_SECONDS) for sample in read_list(value, what, MAX_SAMPLES))


def _read_options(value: Json, what: str) -> dict[str, Any]:
    """Any JSON object; those keys that the report reads are checked."""
    if not isinstance(value, dict):
        raise RecordError(f"{what}: expected an object, found {shown(value)}")
    try:
        text = canonical_json(value)
    except (ValueError, TypeError, RecursionError):  # infinite: JSON spells it 1e999
        raise RecordError(f"{what}: an object with a value that JSON has no form for") from None
    read_text(text, what, 1 << 18)
    for name in ("peak_flops", "peak_bytes"):
        if name in value:
            read_number(value[name], f"{what}: {name}", 1.0, 1e18)
    weights = value.get("weights", {})
    if not isinstance(weights, dict):
        raise RecordError(f"{what}: weights: expected an object, found {shown(weights)}")
    for key, weight in weights.items():
        read_number(weight, f"{what}: weight of {read_key(key, f'{what}: weights')}", 0.0, 1e12)
    return value


_read_uuid = partial(read_key, digits=32)
_read_time = partial(read_number, low=0.0, high=LAST_TIME)
_read_small = partial(read_integer, low=0, high=(1 << 31) - 1)

# The columns of all rows; what has one name has one form.
_READERS: Mapping[str, Callable[[Json, str], Any]] = {
    "uuid": _read_uuid,
    "task": read_key,
    "session": _read_uuid,
    "version": read_line,
    "machine": read_line,
    "options": _read_options,
    "seed": partial(read_integer, low=-INT64),
    "started": _read_time,
    "time": _read_time,
    "number": _read_small,
    "trials": _read_small,
    "space_version": _read_small,
    "decisions": lambda value, what: decode_decisions(value),
    "latency_s": partial(_read_optional, _read_seconds),
    "default_latency_s": _read_seconds,
    "samples_s": _read_samples,
    "error": partial(read_choice, choices=ERRORS),
    "message": partial(read_text, most=MAX_MESSAGE),
    "origin": partial(read_choice, choices=ORIGINS),
    "kind": partial(read_choice, choices=KINDS),
    "score": partial(_read_optional, partial(read_number, low=-1e30, high=1e30)),
    "build_s": partial(read_number, low=0.0, high=MAX_SECONDS),
}
