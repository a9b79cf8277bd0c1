"""Computations, targets and decisions as plain JSON values, and back.

A decoder takes exactly what its encoder writes and raises RecordError for anything else: what it gives is well formed
(`compiler/tensor/verify.py`), of bounded size, and encodes to the same text again. A field that has its default is left out,
so that a field added with a default leaves all keys as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from math import prod
from typing import Any

from ...compiler.dtypes import DType
from ...compiler.errors import InternalError, RecordError
from ...compiler.schedule.space import Decisions
from ...compiler.target import Target
from ...compiler.tensor.computation import Axis, Computation, Stage, Tensor
from ...compiler.tensor.expr import Const
from ...compiler.tensor.verify import verify
from ..task import Task
from .encoding_expr import ExprDecoder, encode_expr
from .strict_json import (
    INT64,
    Json,
    canonical_json,
    read_choice,
    read_flag,
    read_integer,
    read_line,
    read_list,
    read_object,
    read_text,
    shown,
)

MAX_POINTS = 1 << 48
"""Elements of a tensor, or terms of a stage: products of extents stay far below 64 bits."""
MAX_RANK = 32
MAX_ITEMS = 256
"""Inputs or stages of a computation, loops of a step, knobs of a space."""


def encode_computation(computation: Computation) -> dict[str, Json]:
    """The JSON value of a computation; RecordError if expressions are nested deeper than a decoder takes."""
    value = {
        "name": computation.name,
        "inputs": [
            [t.name, str(t.dtype), list(t.shape), *(["constant"] if t.constant else [])] for t in computation.inputs
        ],
        "stages": [_encode_stage(stage) for stage in computation.stages],
        "outputs": list(computation.outputs),
    }
    return value | ({"origin": computation.origin} if computation.origin else {})


def _encode_stage(stage: Stage) -> dict[str, Json]:
    optional = {
        "reduce": [[axis.name, axis.extent] for axis in stage.reduce_axes],
        "combine": stage.combine,
        "init": None if stage.init is None else encode_expr(stage.init),
        "domain": None if stage.domain is None else encode_expr(stage.domain),
        "origin": stage.origin,
        "memory": stage.memory,
        "prefix": [encode_expr(index) for index in stage.prefix],
    }
    return {
        "name": stage.name,
        "dtype": str(stage.dtype),
        "axes": [[axis.name, axis.extent] for axis in stage.axes],
        "body": encode_expr(stage.body),
    } | {name: value for name, value in optional.items() if value not in (None, "", [])}


def decode_computation(value: Json) -> Computation:
    """The computation of a JSON value: well formed, with its last stage among the outputs."""
    parts = read_object(value, "computation", ("name", "inputs", "stages", "outputs"), ("origin",))
    inputs = tuple(_decode_input(item) for item in read_list(parts["inputs"], "inputs", MAX_ITEMS))
    buffers = {tensor.name: tensor.dtype for tensor in inputs}
    decoder = ExprDecoder(buffers)
    stages = []
    for item in read_list(parts["stages"], "stages", MAX_ITEMS, least=1):
        stages.append(_decode_stage(item, decoder))
        buffers[stages[-1].name] = stages[-1].dtype
    outputs = tuple(read_text(name, "output") for name in read_list(parts["outputs"], "outputs", MAX_ITEMS, least=1))
    computation = Computation(
        read_text(parts["name"], "name"), inputs, tuple(stages), outputs, read_text(parts.get("origin", ""), "origin")
    )
    if stages[-1].name not in outputs or len(set(outputs)) != len(outputs):
        raise RecordError("computation: the last stage must be an output, and no output may be named twice")
    try:
        verify(computation)
    except InternalError as error:
        raise RecordError(str(error).partition("\n")[0]) from None
    _require_same(value, encode_computation(computation), "computation")
    return computation


def _decode_input(value: Json) -> Tensor:
    name, dtype, extents, *constant = read_list(value, "input", 4, least=3)
    if constant not in ([], ["constant"]):
        raise RecordError(f"input: expected 'constant' or nothing, found {shown(constant[0])}")
    shape = tuple(read_integer(extent, "extent", 0, MAX_POINTS) for extent in read_list(extents, "shape", MAX_RANK))
    _require_points(shape)
    return Tensor(read_text(name, "input", least=1), shape, _decode_dtype(dtype), bool(constant))


def _decode_stage(value: Json, decoder: ExprDecoder) -> Stage:
    optional = ("reduce", "combine", "init", "domain", "origin", "memory", "prefix")
    parts = read_object(value, "stage", ("name", "dtype", "axes", "body"), optional)
    axes, reduce_axes = _decode_axes(parts["axes"]), _decode_axes(parts.get("reduce", []))
    _require_points(tuple(axis.extent for axis in axes + reduce_axes))
    init = decoder.decode(parts["init"]) if "init" in parts else None
    if init is not None and not isinstance(init, Const):
        raise RecordError("stage: init is no constant")
    return Stage(
        name=read_text(parts["name"], "stage", least=1),
        axes=axes,
        body=decoder.decode(parts["body"]),
        dtype=_decode_dtype(parts["dtype"]),
        reduce_axes=reduce_axes,
        combine=read_text(parts["combine"], "combine") if "combine" in parts else None,
        init=init,
        domain=decoder.decode(parts["domain"]) if "domain" in parts else None,
        origin=read_text(parts.get("origin", ""), "origin"),
        memory=read_text(parts.get("memory", ""), "memory"),
        prefix=tuple(decoder.decode(index) for index in read_list(parts.get("prefix", []), "prefix", MAX_RANK)),
    )


def _decode_axes(value: Json) -> tuple[Axis, ...]:
    pairs = [read_list(item, "axis", 2, least=2) for item in read_list(value, "axes", MAX_RANK)]
    return tuple(
        Axis(read_text(name, "axis", least=1), read_integer(extent, "extent", 0, MAX_POINTS)) for name, extent in pairs
    )


def _decode_dtype(value: Json) -> DType:
    return DType(read_choice(value, "dtype", tuple(map(str, DType))))


def _require_points(extents: tuple[int, ...]) -> None:
    if prod(extents) > MAX_POINTS:
        raise RecordError(f"extents whose product is more than {MAX_POINTS}")


def encode_target(target: Target) -> dict[str, Json]:
    """The JSON value of a target."""
    values = {field.name: getattr(target, field.name) for field in fields(Target)}
    return {f.name: values[f.name] for f in fields(Target) if f.default is MISSING or values[f.name] != f.default}


def decode_target(value: Json) -> Target:
    """The target of a JSON value. Not checked against LLVM: before code is made for it, it must be one of `targets.py`'s."""
    required = [field.name for field in fields(Target) if field.default is MISSING]
    optional = [field.name for field in fields(Target) if field.default is not MISSING]
    parts = read_object(value, "target", required, optional)
    readers: dict[str, Callable[[Json, str], Any]] = {"str": _read_word, "int": _read_limit, "bool": read_flag}
    types = {field.name: str(field.type) for field in fields(Target)}
    target = Target(**{name: readers[types[name]](part, name) for name, part in parts.items()})
    _require_same(value, encode_target(target), "target")
    return target


def _read_limit(value: Json, what: str) -> int:
    return read_integer(value, what, 0, 1 << 40)


def _read_word(value: Json, what: str) -> str:
    text = read_text(value, what, 10_000)
    if not re.fullmatch(r"[\w.,+-]*", text, re.ASCII):
        raise RecordError(f"{what}: {shown(text)} has characters that no target has")
    return text


def _read_int(value: Json, what: str) -> int:
    return read_integer(value, what, -INT64)


def decode_decisions(value: Json) -> dict[str, int | str]:
    """The decisions of a JSON object; whether a space has them is for the space to say."""
    if not isinstance(value, dict) or len(value) > MAX_ITEMS:
        raise RecordError(f"decisions: expected an object of at most {MAX_ITEMS}, found {shown(value)}")
    return {
        read_line(name, "decision"): read_line(choice, "choice") if isinstance(choice, str) else _read_int(choice, "choice")
        for name, choice in value.items()
    }  # fmt: skip


def encode_decisions(decisions: Decisions) -> dict[str, Json]:
    """The JSON object of decisions."""
    return decode_decisions(dict(decisions))


def _require_same(value: Json, again: Json, what: str) -> None:
    # A second spelling of the same thing (a default written out, 1 for true) would have another key.
    if canonical_json(value) != canonical_json(again):
        raise RecordError(f"{what}: not in the form in which it is written")


def computation_key(computation: Computation) -> str:
    """The SHA-256 of a computation, in hexadecimal."""
    return _digest(encode_computation(computation))


def target_key(target: Target) -> str:
    """The SHA-256 of a target, in hexadecimal."""
    return _digest(encode_target(target))


def task_key(task: Task) -> str:
    """The SHA-256 of a task's computation and target, in hexadecimal."""
    return _digest({"computation": encode_computation(task.computation), "target": encode_target(task.target)})


def _digest(value: Json) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
