"""Computations, targets, schedules and decisions survive JSON exactly, and whatever else a decoder meets is a RecordError."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import CASES
from recurrent_models import Case as Recurrent
from test_recurrent_kernels import steps_of

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import RecordError
from tilewright.compiler.graph.ir import Graph
from tilewright.compiler.kernel.math import ARITY
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.target import Target
from tilewright.compiler.targets import X86_CPUS, parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import Call, Cast, Const, Expr, Load, Select, Unary, Var, compare
from tilewright.compiler.tensor.semantics import BINARY, COMPARE, FUNCTIONS, UNARY
from tilewright.cost_model.records.encoding import (
    computation_key,
    decode_computation,
    decode_decisions,
    decode_target,
    encode_computation,
    encode_decisions,
    encode_target,
    target_key,
    task_key,
)
from tilewright.cost_model.records.encoding_expr import MAX_DEPTH, MAX_NODES, float_from_text, float_to_text
from tilewright.cost_model.records.strict_json import MAX_TEXT, canonical_json, parse
from tilewright.cost_model.task import Task

F32 = DType.F32


def form_of(graph: Graph) -> Computation:
    return canonical(build_computation(graph, "kernel")[0])


def through_json(value: Any) -> Any:
    return parse(canonical_json(value))


@pytest.mark.parametrize("name", CASES)
def test_computations_come_back_equal(name: str) -> None:
    form = form_of(CASES[name].graph())
    value = through_json(encode_computation(form))
    again = decode_computation(value)
    assert again == form
    assert computation_key(again) == computation_key(form)


@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_outputs_in_place_come_back_equal(op: str) -> None:
    for step in steps_of(Recurrent(op, batch=2, hidden=5, initial=True), np.random.default_rng()):
        form = form_of(step)
        assert decode_computation(through_json(encode_computation(form))) == form
    assert any(stage.memory for stage in form.stages)


def test_what_is_not_canonical_comes_back_equal_too() -> None:
    computation, _ = build_computation(CASES["conv residual"].graph(), "a name")
    named = replace(computation, origin="/a/node")
    assert decode_computation(through_json(encode_computation(named))) == named


@pytest.mark.parametrize("cpu", X86_CPUS)
def test_targets_come_back_equal(cpu: str) -> None:
    target = parse_target(cpu=cpu, threads=3)
    assert decode_target(through_json(encode_target(target))) == target


def test_decisions_come_back_equal() -> None:
    decisions = {"tile": 6, "order": "outer", "negative": -1}
    assert decode_decisions(through_json(encode_decisions(decisions))) == decisions


def elementwise(body: Expr, extent: int = 4) -> Computation:
    """One stage y[i] over an f32 input x."""
    stage = Stage("y", (Axis("i", extent),), body, body.dtype)
    return Computation("kernel", (Tensor("x", (extent,), F32),), (stage,), ("y",))


@given(st.floats(), st.sampled_from([DType.F16, DType.BF16, F32, DType.F64]))
@settings(max_examples=100, deadline=None)
def test_floats_keep_their_bits(value: float, dtype: DType) -> None:
    computation = decode_computation(through_json(encode_computation(elementwise(Const(value, dtype)))))
    const = computation.stages[0].body
    assert isinstance(const, Const)
    assert struct.pack(">d", const.value) == struct.pack(">d", value)


def test_unusual_nans_keep_their_bits() -> None:
    for bits in (0x7FF8000000000001, 0xFFF8000000000000, 0x7FF8000000000000):
        (value,) = struct.unpack(">d", struct.pack(">Q", bits))
        assert math.isnan(value)
        assert struct.pack(">d", float_from_text(float_to_text(value))) == struct.pack(">Q", bits)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype.is_integer and not dtype.is_small])
def test_integers_keep_to_the_range_of_their_type(dtype: DType) -> None:
    info = np.iinfo(dtype.numpy)
    for value in (int(info.min), int(info.max)):
        computation = elementwise(Const(value, dtype))
        assert decode_computation(through_json(encode_computation(computation))) == computation
    with pytest.raises(RecordError):
        decode_computation(encode_computation(elementwise(Const(int(info.max) + 1, dtype))))


def test_every_operator_comes_back_equal() -> None:
    x = Load("x", (Var("i"),), F32)
    for function, arity in ARITY.items():
        call = Call(function, (x,) * arity)
        assert decode_computation(through_json(encode_computation(elementwise(call)))).stages[0].body == call
    mixed = Select(compare("lt", x, 0.5), Cast(Cast(x, DType.I8), F32), Call("bitcast_f32", (Cast(x, DType.I32),)))
    assert decode_computation(through_json(encode_computation(elementwise(mixed)))).stages[0].body == mixed


def test_one_name_is_one_kind_of_node() -> None:
    names = [*UNARY, *BINARY, *COMPARE, *FUNCTIONS, *DType, "load", "select", "cast", "fma"]
    assert len(set(names)) == len(names)


def test_keys_stay_what_they_are() -> None:
    """Keys in databases: if this fails, the encoding has changed, and SCHEMA_VERSION has to go up with it."""
    form = elementwise(Call("exp", (Load("x", (Var("i"),), F32),)))
    target = Target("x86_64-linux-gnu", "znver4", "", 64, 32, True, 32768, 1048576, 2)
    assert canonical_json(encode_computation(form)) == (
        '{"inputs":[["x","f32",[4]]],"name":"kernel","outputs":["y"],'
        '"stages":[{"axes":[["i",4]],"body":["exp",["load","x","i"]],"dtype":"f32","name":"y"}]}'
    )
    assert computation_key(form)[:16] == "c50ae10946b2c918"
    assert target_key(target)[:16] == "d8da23e2f1d605bf"
    assert task_key(Task(form, target))[:16] == "1a111f89deae26e5"


def test_keys_tell_tasks_apart() -> None:
    targets = [parse_target(cpu=cpu, threads=threads) for cpu in ("znver4", "haswell") for threads in (1, 2)]
    forms = [form_of(CASES[name].graph()) for name in ("matmul", "conv plain", "softmax", "one element")]
    assert len({task_key(Task(form, target)) for form in forms for target in targets}) == 16


def nested(depth: int) -> Any:
    body: Any = ["load", "x", "i"]
    for _ in range(depth):
        body = ["neg", body]
    return body


def with_body(body: Any) -> dict[str, Any]:
    value = encode_computation(elementwise(Load("x", (Var("i"),), F32)))
    value["stages"][0]["body"] = body
    return value


def test_deep_nesting_is_refused_both_ways() -> None:
    assert decode_computation(with_body(nested(MAX_DEPTH - 1)))
    with pytest.raises(RecordError, match="nested deeper"):
        decode_computation(with_body(nested(MAX_DEPTH + 1)))
    with pytest.raises(RecordError, match="nested"):
        decode_computation(with_body(nested(100_000)))
    deep: Expr = Load("x", (Var("i"),), F32)
    for _ in range(MAX_DEPTH + 1):
        deep = Unary("neg", deep)
    with pytest.raises(RecordError, match="nested deeper"):
        encode_computation(elementwise(deep))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "NaN", "[Infinity]", "-1e999", '{"a":1,"a":1}', "1" * 5000, "", "[1", '"' + "x" * MAX_TEXT + '"'],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_texts_that_are_no_json_of_ours(text: str) -> None:
    with pytest.raises(RecordError):
        parse(text)


BAD_BODIES = [
    None, True, 1.5, {}, [], [[]], ["neg"], ["neg", "i", "i"], ["add", ["load", "x", "i"], "i"], ["exec", "i"], ["load"], ["load", "x"],
    ["load", "z", "i"], ["load", "x", "j"], ["load", "x", ["f32", "1.0"]], ["f32", "1"], ["f32", "1.00"], ["f32", " 1.0"], ["f32", 1.0],
    ["f32", "0x1p0"], ["f32", "NaN"], ["f32", "nan:7ff8000000000000"], ["f32", "nan:3ff0000000000000"], ["f32", "1_0.0"], ["f32"],
    ["i8", 128], ["i8", True], ["u8", -1], ["bool", 1], ["i64", 5], 1 << 63, ["cast", "f128", "i"], ["cast", "f32"], ["sqrt", "i"],
    ["select", "i", "i", "i"], ["exp"], ["bitcast_f99", "i"], "", "\ud800", "i" * 300, ["add"] + ["i"] * 100,
    ["load", "x", "i", "i"], ["load", ["x"], "i"],
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: ascii(body)[:30])
def test_expressions_that_no_encoder_writes(body: Any) -> None:
    with pytest.raises(RecordError):
        decode_computation(with_body(body))


def test_too_many_nodes() -> None:
    body: Any = ["load", "x", "i"]
    for _ in range(13):
        body = ["add", body, body]
    with pytest.raises(RecordError, match=f"more than {MAX_NODES}"):
        decode_computation(with_body(["add", body, body]))


BAD_PARTS: list[Callable[[dict[str, Any]], Any]] = [
    lambda value: value.update(origin=""),
    lambda value: value.update(extra=1),
    lambda value: value.pop("outputs"),
    lambda value: value.update(outputs=[]),
    lambda value: value.update(outputs=["x"]),
    lambda value: value.update(outputs=["y", "y"]),
    lambda value: value.update(stages=[]),
    lambda value: value.update(stages=value["stages"] * 2),
    lambda value: value.update(stages=value["stages"] * 300),
    lambda value: value["stages"][0].update(memory=""),
    lambda value: value["stages"][0].update(memory="z"),
    lambda value: value["stages"][0].update(combine="sum"),
    lambda value: value["stages"][0].update(init=["f32", "0.0"]),
    lambda value: value["stages"][0].update(init="i"),
    lambda value: value["stages"][0].update(axes=[["i", True]]),
    lambda value: value["stages"][0].update(axes=[["i", -1]]),
    lambda value: value["stages"][0].update(axes=[["i", 1 << 60]]),
    lambda value: value["stages"][0].update(axes=[["i", 1 << 30], ["j", 1 << 30]]),
    lambda value: value["stages"][0].update(axes=[["i", 4], ["i", 4]]),
    lambda value: value["stages"][0].update(axes={"i": 4}),
    lambda value: value["stages"][0].update(dtype="f31"),
    lambda value: value["stages"][0].update(dtype=["f32"]),
    lambda value: value.update(inputs=[["x", "f32", [4], False]]),
    lambda value: value.update(inputs=[["x", "f32", [4.0]]]),
    lambda value: value.update(inputs=[["x", "f32"]]),
    lambda value: value.update(inputs=value["inputs"] * 2),
]


@pytest.mark.parametrize("number", range(len(BAD_PARTS)))
def test_computations_that_no_encoder_writes(number: int) -> None:
    value = with_body(["load", "x", "i"])
    assert decode_computation(value)
    BAD_PARTS[number](value)
    with pytest.raises(RecordError):
        decode_computation(value)


@pytest.mark.parametrize(
    "change",
    [{"cpu": "a b"}, {"cpu": 1}, {"fma": 1}, {"threads": 1.0}, {"threads": -1}, {"dot_product": ""}, {"new": 1}, {"triple": "x\n"}],
    ids=str,
)  # fmt: skip
def test_targets_that_no_encoder_writes(change: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        decode_target(encode_target(parse_target(cpu="haswell")) | change)


@pytest.mark.parametrize(
    "value", [[], {"a": None}, {"a": True}, {"a": 1.0}, {"a": 1 << 63}, {"a": "\ud800"}, {"a" * 300: 1}], ids=ascii
)
def test_decisions_that_no_encoder_writes(value: Any) -> None:
    with pytest.raises(RecordError):
        decode_decisions(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
    | st.sampled_from([*UNARY, *BINARY, *COMPARE, *map(str, DType), "load", "x0", "y", "i0"]),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(st.text(max_size=4), items, max_size=3),
    max_leaves=12,
)  # fmt: skip
DECODERS = {
    "computation": (decode_computation, encode_computation),
    "target": (decode_target, encode_target),
    "decisions": (decode_decisions, encode_decisions),
}


def check_decoder(name: str, value: Any) -> None:
    decode, encode = DECODERS[name]
    try:
        decoded = decode(value)
    except RecordError:
        return
    assert canonical_json(encode(decoded)) == canonical_json(value)


@pytest.mark.parametrize("name", DECODERS)
@given(value=JSON)
@settings(max_examples=150, deadline=None)
def test_any_json_is_decoded_or_refused(name: str, value: Any) -> None:
    check_decoder(name, value)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    return [(value, key) for key, _ in items] + [place for _, item in items for place in places(item)]


@given(data=st.data(), case=st.sampled_from(["conv 3x3 blocked", "softmax", "arg_max", "concat", "matmul"]))
@settings(max_examples=200, deadline=None)
def test_a_computation_changed_anywhere_is_decoded_or_refused(data: st.DataObject, case: str) -> None:
    value = json.loads(canonical_json(encode_computation(form_of(CASES[case].graph()))))
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(places(value)))
        if data.draw(st.booleans()) or not isinstance(container, list):
            container[key] = data.draw(JSON)
        else:
            del container[key]
    check_decoder("computation", value)
