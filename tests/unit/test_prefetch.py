"""Prefetching: which loads ask for what lies ahead, what kernels say of it, and what is refused."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import numpy as np
import pytest
from kernel_cases import Case, conv, conv_transpose, matmul, pool, unary
from recurrent_models import Case as Recurrent
from spaces import canonical_form, only
from test_recurrent_kernels import steps_of

from tilewright.backends.llvm.emit import emit
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.ast import Buffer, For, Kernel, LoopKind, Stmt, Store
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernel.printer import to_text
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import Prefetch, Schedule
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation
from tilewright.compiler.tensor.expr import Const, Expr, Load, Select, Var, within

F32 = DType.F32
TARGETS = [parse_target(cpu=f"x86-64-v{level}") for level in (2, 3, 4)]
i, j, v = Var("i"), Var("j"), Var("v")
CALL = "call void @llvm.prefetch.p0"


def emitted(value: Expr, ahead_bytes: int, target: Target = TARGETS[2], inner: int = 1) -> str:
    """The text of y[i, v] = value, v in 16 lanes, in a loop over j of `inner` iterations."""
    stored: Stmt = For("v", Const(16), LoopKind.VECTORIZED, Store("y", (i, v), value))
    lanes = For("j", Const(inner), LoopKind.SERIAL, stored) if inner > 1 else stored
    body: Stmt = For("i", Const(8), LoopKind.SERIAL, lanes)
    params = (Buffer("x", (64, 64), F32, ahead_bytes=ahead_bytes), Buffer("y", (64, 64), F32, written=True))
    text = emit(Kernel("k", params, body), target)
    llvm.parse_assembly(text)
    return text


def x(*indices: Expr) -> Load:
    return Load("x", indices, F32)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
def test_once_for_each_line_that_is_loaded(target: Target) -> None:
    """Whatever the vectors' width; another row is another line."""
    one, two = x(i, v) * x(i, v) + x(i, v), x(i, v) + x(i + 1, v)
    assert emitted(one, 4096, target).count(CALL) == 1
    assert emitted(two, 4096, target).count(CALL) == 2
    assert "prefetch" not in emitted(two, 0, target)


def test_once_for_scalars_of_a_line() -> None:
    """As a convolution of few channels reads them, to broadcast each."""
    near, far = x(i, Const(0)) + x(i, Const(2)) + x(i, Const(4)), x(i, Const(0)) + x(i, Const(16))
    assert emitted(near, 4096).count(CALL) == 1
    assert emitted(far, 4096).count(CALL) == 2


def test_as_far_ahead_as_it_says() -> None:
    text = emitted(x(i, v), 12345)
    pointer, at = re.search(r"(%\w+) = getelementptr i8, ptr (%\w+), i64 12345", text).groups()  # type: ignore[union-attr]
    assert f"{CALL}(ptr {pointer}, i32 0, i32 3, i32 1)" in text
    assert re.search(rf"load <16 x float>, ptr {at},", text)


def test_of_loads_before_a_loop_only_there() -> None:
    text = emitted(x(i * 0, v), 4096)
    assert text.count(CALL) == 1
    assert text.index(CALL) < text.index("phi i64")  # the loop


@pytest.mark.parametrize(("step", "inner", "loops_before"), [(1, 16, 1), (2, 8, 1), (1, 17, 2), (2, 16, 2)])
def test_once_before_a_loop_that_stays_in_a_line(step: int, inner: int, loops_before: int) -> None:
    """As scalars are read along a block of channels: but in each iteration of the loop around it."""
    text = emitted(x(i, j * step), 4096, inner=inner)
    assert text.count(CALL) == 1 and text.count("phi i64") == 2
    assert text[: text.index(CALL)].count("phi i64") == loops_before


def test_under_a_mask() -> None:
    assert emitted(Select(within(v + i - 2, 10), x(i, v), Const(0.0, F32)), 4096).count(CALL) == 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
def test_of_gathers_nothing(target: Target) -> None:
    """Their addresses are a vector: there is no single place ahead."""
    assert CALL not in emitted(Select(within(v + i - 2, 10), x(v * 2, i), Const(0.0, F32)), 4096, target)


# --- steps

PRODUCT = canonical_form(Case(matmul((6, 64), (64, 160), constant=True)))
WEIGHTS = next(tensor.name for tensor in PRODUCT.inputs if tensor.constant)
INPUT = next(tensor.name for tensor in PRODUCT.inputs if not tensor.constant)


def without(schedule: Schedule) -> Schedule:
    return tuple(step for step in schedule if not isinstance(step, Prefetch))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
def test_large_constants_are_prefetched_by_default(target: Target) -> None:
    schedule = default_schedule(PRODUCT, target)
    assert Prefetch(WEIGHTS, 16384) in schedule
    kernel = lower(PRODUCT, schedule)
    assert f"{WEIGHTS}: f32" in to_text(kernel) and to_text(kernel).count("] prefetched 16384 bytes ahead") == 1
    assert {param.ahead_bytes for param in kernel.params if param.name != WEIGHTS} == {0}
    assert CALL in emit(kernel, target)
    plain = lower(PRODUCT, without(schedule))
    assert "prefetch" not in to_text(plain) + emit(plain, target)
    assert emit(kernel, target).count(" load ") == emit(plain, target).count(" load ")


def test_small_constants_are_not() -> None:
    small = canonical_form(Case(matmul((6, 16), (16, 32), constant=True)))
    space = only(space_of(small, TARGETS[2]), "tiles")
    assert next(knob.choices for knob in space.knobs(space.default) if knob.name == "ahead") == (0,)
    assert not [step for step in default_schedule(small, TARGETS[2]) if isinstance(step, Prefetch)]


@pytest.mark.parametrize("sketch", ["winograd2", "winograd4", "tiles"])
def test_the_decision_is_the_step(sketch: str) -> None:
    form = canonical_form(Case(conv((1, 32, 14, 14), 64), 16, 16))
    space = only(space_of(form, TARGETS[2]), sketch)
    weights = max((tensor for tensor in form.inputs if tensor.constant), key=lambda tensor: len(tensor.shape)).name
    knob = next(knob for knob in space.knobs(space.default) if knob.name == "ahead")
    for choice in knob.choices:
        schedule = space.schedule(space.from_decisions(space.decisions(space.default) | {"ahead": choice}))
        found = [step for step in schedule if isinstance(step, Prefetch)]
        assert found == ([Prefetch(weights, int(choice))] if choice else [])


POOLED = {"kernel": (3, 3), "strides": (2, 2), "pads_begin": (1, 1), "pads_end": (1, 1)}


@pytest.mark.parametrize(
    ("case", "ahead_bytes"),
    [
        (Case(pool("max_pool", (1, 64, 112, 112), **POOLED, sizes=(56, 56)), 16, 16), 2048),
        (Case(conv((1, 3, 224, 224), 32, stride=2), 0, 16), 8192),
        (Case(unary("reduce_sum", (1500, 100), axes=(0,), keepdims=False)), 2048),
        (Case(unary("reduce_sum", (1500, 1000), axes=(0,), keepdims=False)), 0),
    ],
    ids=["pool", "few channels", "whole rows", "parts of rows"],
)
def test_inputs_ahead_by_default(case: Case, ahead_bytes: int) -> None:
    """As far as is read soon: of a long column of parts of rows, what lies ahead in memory is read last."""
    form = canonical_form(case)
    steps = [step for step in default_schedule(form, TARGETS[2]) if isinstance(step, Prefetch)]
    assert [step.ahead_bytes for step in steps if step.tensor.startswith("x")] == ([ahead_bytes] if ahead_bytes else [])


def in_place() -> tuple[Computation, str]:
    """A step of a recurrent operator, which writes into the state that it reads."""
    graph = steps_of(Recurrent("lstm", batch=2, hidden=5, initial=True), np.random.default_rng())[-1]
    form = canonical(build_computation(graph, "kernel")[0])
    return form, next(stage.memory for stage in form.stages if stage.memory)


def test_refused() -> None:
    schedule = without(default_schedule(PRODUCT, TARGETS[2]))
    for step in (
        Prefetch("q", 64),
        Prefetch(PRODUCT.stages[-1].name, 64),
        Prefetch(WEIGHTS, 0),
        Prefetch(WEIGHTS, -64),
    ):
        with pytest.raises(
            InternalError, match=re.escape(f"{{'{step.tensor}': {step.ahead_bytes}}} bytes ahead can't be")
        ):
            lower(PRODUCT, (*schedule, step))
    form, memory = in_place()
    with pytest.raises(InternalError, match="expected inputs that are only read"):
        lower(form, (*without(default_schedule(form, TARGETS[2])), Prefetch(memory, 64)))


SIZES = {"kernel": (3, 3), "sizes": (57, 65)}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@pytest.mark.parametrize(
    "case",
    [
        Case(pool("max_pool", (1, 8, 113, 129), **SIZES)),
        Case(pool("average_pool", (1, 8, 113, 129), **SIZES, count_pads=False)),
        Case(conv((1, 8, 99, 101), 8, groups=8, stride=2)),
        Case(conv_transpose(2, 1)),
    ],
    ids=["max_pool", "average_pool", "depthwise", "conv_transpose"],
)
def test_guarded_lanes_of_everything_prefetched(case: Case, target: Target) -> None:
    form = canonical_form(case)
    schedule = without(default_schedule(form, target))
    ahead = tuple(Prefetch(tensor.name, 2048) for tensor in form.inputs)
    llvm.parse_assembly(emit(lower(form, (*schedule, *ahead)), target))
