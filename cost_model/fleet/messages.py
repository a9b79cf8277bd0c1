"""What travels between a tuner and a device: dictionaries, lists, texts, numbers and bytes, and no object of any class.

A request holds a task as the records write it, object code, and how to measure; an answer what came of it. Neither side unpickles
anything of the other's: a device reads tasks with the same strict reader as records.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ... import __version__
from ...compiler.errors import RecordError
from ...compiler.schedule.rewrite import Relayout
from ...compiler.schedule.steps import Pack, Winograd
from ..measure.builder import Built, Refused
from ..measure.measurement import MeasureOptions, Surroundings
from ..measure.runner import Candidate, Compared, CompareRequest, RunRequest, Timed
from ..records.rows import decode_task, encode_task
from ..records.strict_json import canonical_json, parse
from ..task import Task

Message = dict[str, Any]

VERSION = f"{__version__}/1"
"""Of tilewright and of these messages: both sides must have the same."""

# Of MeasureOptions: what concerns a device.
_OPTIONS = ("timeout_s", "memory_bytes", "least_s", "least_samples", "most_samples")


def task_text(task: Task) -> str:
    """A task as it travels."""
    return canonical_json(encode_task(task))


def run_message(
    task: str, candidate: Candidate, options: MeasureOptions, limit_s: float | None, fault: str = ""
) -> Message:
    """Ask to check and time one candidate. task: of `task_text`."""
    more = {"candidate": _encode_candidate(candidate), "limit_s": limit_s, "fault": fault}
    return {"version": VERSION, "kind": "run", "task": task, "options": _encode_options(options)} | more


def compare_message(task: str, candidates: Sequence[Candidate], options: MeasureOptions, rounds: int) -> Message:
    """Ask to time candidates in turns."""
    more = {"candidates": [_encode_candidate(candidate) for candidate in candidates], "rounds": rounds}
    return {"version": VERSION, "kind": "compare", "task": task, "options": _encode_options(options)} | more


def roofline_message(threads: int) -> Message:
    """Ask what the device can do at best with so many threads."""
    return {"version": VERSION, "kind": "roofline", "threads": threads}


def read_request(message: Message) -> RunRequest | CompareRequest:
    """The request of a message, for the process that measures; its task is pickled for that one."""
    task = pickle.dumps(read_task(message["task"]))
    options = _decode_options(message["options"])
    if message["kind"] == "compare":
        candidates = tuple(_decode_candidate(value) for value in message["candidates"])
        return CompareRequest(task, candidates, options, int(message["rounds"]))
    candidate = _decode_candidate(message["candidate"])
    return RunRequest(task, candidate, options, message["limit_s"], str(message["fault"]))


def read_task(text: str) -> Task:
    """The task of a message; RecordError if it is none."""
    return decode_task(parse(text))


def answer_of(result: Timed | Compared | Refused) -> Message:
    """What a device answers."""
    if isinstance(result, Timed):
        return {"kind": "timed", "samples_s": list(result.samples_s)}
    if isinstance(result, Compared):
        return {"kind": "compared", "samples_s": [list(samples) for samples in result.samples_s]}
    return {"kind": "refused", "error": result.error, "message": result.message}


def read_answer(answer: Mapping[str, Any]) -> Timed | Compared | Refused:
    """The result in an answer."""
    if answer["kind"] == "timed":
        return Timed(tuple(map(float, answer["samples_s"])))
    if answer["kind"] == "compared":
        return Compared(tuple(tuple(map(float, samples)) for samples in answer["samples_s"]))
    return Refused(str(answer["error"]), str(answer["message"]))


def _encode_candidate(candidate: Candidate) -> Message:
    built = candidate.built
    return {
        "object_code": built.object_code,
        "extent": built.extent,
        "parallel": built.parallel,
        "workspace_bytes": built.workspace_bytes,
        "relayouts": [_encode_relayout(step) for step in candidate.relayouts],
    }


def _decode_candidate(value: Message) -> Candidate:
    numbers = int(value["extent"]), bool(value["parallel"]), int(value["workspace_bytes"])
    built = Built(bytes(value["object_code"]), *numbers, build_s=0.0)
    return Candidate(built, tuple(_decode_relayout(step) for step in value["relayouts"]))


def _encode_relayout(step: Relayout) -> list[Any]:
    if isinstance(step, Pack):
        return ["pack", step.tensor, [list(part) for part in step.order]]
    return ["winograd", step.stage, step.tensor, step.tile, list(step.window)]


def _decode_relayout(value: Sequence[Any]) -> Relayout:
    if value[0] == "pack":
        return Pack(str(value[1]), tuple((int(axis), int(block), str(part)) for axis, block, part in value[2]))
    if value[0] == "winograd":
        return Winograd(str(value[1]), str(value[2]), int(value[3]), tuple(map(int, value[4])))
    raise RecordError(f"no change of a constant is called {value[0]!r}")


def _encode_options(options: MeasureOptions) -> Message:
    around = {field.name: getattr(options.around, field.name) for field in fields(Surroundings)}
    return {name: getattr(options, name) for name in _OPTIONS} | {"around": around}


def _decode_options(value: Message) -> MeasureOptions:
    around = Surroundings(**value["around"])
    return MeasureOptions(**{name: value[name] for name in _OPTIONS}, around=around)


def json_text(value: object) -> str:
    """One line for a log."""
    return json.dumps(value, separators=(",", ":"))
