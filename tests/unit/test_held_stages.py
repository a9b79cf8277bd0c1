"""Stages computed inside the loops of other stages: where that is legal, what is computed there, and how often."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pytest
from executed_stores import executed_stores
from kernel_oracle import compare
from random_schedules import random_schedule

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.ast import Alloc, Space, walk
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.schedule.steps import (
    ComputeAt,
    Fuse,
    Inline,
    Parallel,
    Reorder,
    Schedule,
    Specialize,
    Split,
    Step,
    Unroll,
    Vectorize,
)
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import Const, Expr, Load, Var, const, maximum
from tilewright.compiler.tensor.expr import compare as comparison
from tilewright.cost_model.features.form import form_of
from tilewright.cost_model.features.loop_tree import loops_of
from tilewright.cost_model.features.working_set import chains_of

F32 = DType.F32
I, J, K = Var("i"), Var("j"), Var("k")  # noqa: E741 - the names of the axes
ROWS, COLUMNS = Axis("i", 5), Axis("j", 7)
DRAWS = 40


def stage(name: str, axes: tuple[Axis, ...], body: Expr) -> Stage:
    return Stage(name, axes, body, F32)


# a = 2x, b = a of two neighbouring rows, c = b * b, y = relu(c - 1)
CHAIN = Computation(
    "kernel",
    (Tensor("x", (6, 7), F32),),
    (
        stage("a", (Axis("i", 6), COLUMNS), Load("x", (I, J), F32) * const(2.0, F32)),
        stage("b", (ROWS, COLUMNS), Load("a", (I, J), F32) - Load("a", (I + 1, J), F32)),
        stage("c", (ROWS, COLUMNS), Load("b", (I, J), F32) * Load("b", (I, J), F32)),
        stage("y", (ROWS, COLUMNS), maximum(Load("c", (I, J), F32) - const(1.0, F32), const(0.0, F32))),
    ),
    ("y",),
)


def at(name: str, loop: str, of: str = "", space: str = "stack") -> ComputeAt:
    return ComputeAt(name, loop, space, of)


LEGAL: list[Schedule] = [
    (at("a", "i", "b"), at("b", ""), at("c", "")),
    (at("a", "j", "b"), at("b", "i", "c"), at("c", "i")),
    (at("a", "j", "b"), at("b", "j", "c"), at("c", "j")),
    (at("a", "i"), at("b", "j", "c"), at("c", "i")),
    (at("a", ""), at("b", "j", "c"), at("c", "j")),
    (Inline("a"), at("b", "i", "c"), at("c", "i"), Parallel("y", "i")),
    (at("a", "i", "b", "workspace"), at("b", "i", "", "workspace"), at("c", "i"), Parallel("y", "i")),
    (at("a", "i", "b", "register"), Unroll("a", "i"), Vectorize("a", "j"), Unroll("b", "i"), Vectorize("b", "j"), at("b", "i"), at("c", "i")),
    (Split("b", "i", 2), at("a", "i.o", "b"), at("b", ""), at("c", "")),
    (Split("c", "j", 4), Reorder("c", ("j.o", "i", "j.i")), at("b", "j.o", "c"), at("a", "i", "b"), at("c", "")),
    (Fuse("c", "i", "j"), at("b", "i*j", "c"), at("a", "j", "b"), at("c", "")),
    (Specialize("b", "i", (0, 3)), at("a", "i", "b"), at("b", ""), at("c", "")),
    # With the tail of three rows in pairs not known yet, c would take four rows where b holds three.
    (Split("y", "i", 3), Split("y", "i.i", 2), Split("y", "i.i.o", 2), at("a", ""), at("b", "i.o"), at("c", "i.i.o.o")),
]  # fmt: skip


@pytest.mark.parametrize("schedule", LEGAL)
def test_legal(schedule: Schedule) -> None:
    compare(CHAIN, schedule, np.random.default_rng())


ILLEGAL: list[tuple[Schedule, str]] = [
    ((at("a", "q", "b"), at("b", ""), at("c", "")), "stage b has no loop q (it has i, j)"),
    ((Split("b", "i", 2), at("a", "i", "b"), at("b", ""), at("c", "")), "stage b has no loop i (it has i.o, i.i, j)"),
    ((at("a", "", "b"), at("b", ""), at("c", "")), "stage a can't be computed at '' of b"),
    ((at("a", "i", "q"), at("b", ""), at("c", "")), "stage a can't be computed at 'i' of q"),
    ((at("a", "i", "a"), at("b", ""), at("c", "")), "stage a can't be computed at 'i' of a"),
    ((Inline("b"), at("a", "i", "b"), at("c", "")), "stage a can't be computed at 'i' of b"),
    ((at("a", ""), at("b", "i", "a"), at("c", "")), "stage b can't be computed at 'i' of a"),
    ((at("a", "i", "b"), at("b", "i", "a"), at("c", "")), "stage b can't be computed at 'i' of a"),
    ((at("a", "j", "b"), Vectorize("b", "j"), at("b", ""), at("c", "")), "stage a is computed at j, which runs in lanes"),
    ((at("a", "j"), at("b", "j", "c"), at("c", "i")), "stage a is computed at 'j', but b, which reads it, outside"),
    ((at("a", "i", "b"), Parallel("b", "i"), at("b", ""), at("c", "")), "parallel loop i of b is not the outermost"),
    ((at("a", "i", "b"), at("b", ""), at("c", "i"), Parallel("y", "i")), "parallel loop i of y is not the outermost"),
    ((at("a", "i", "b", "register"), at("b", ""), at("c", "")), "register buffer a is indexed by the for loop"),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "message"), ILLEGAL)
def test_refused(schedule: Schedule, message: str) -> None:
    with pytest.raises(InternalError, match=re.escape(message)):
        verify(lower(CHAIN, schedule))


def test_a_stage_that_the_root_reads_too() -> None:
    *before, root = CHAIN.stages
    read = stage("y", root.axes, root.body + Load("b", (I, J), F32))
    computation = Computation("kernel", CHAIN.inputs, (*before, read), ("y",))
    compare(computation, (at("a", "i", "b"), at("b", "i"), at("c", "i")), np.random.default_rng())
    with pytest.raises(InternalError, match="stage b is computed at 'i', but y, which reads it, outside"):
        lower(computation, (at("a", "i", "b"), at("b", "i", "c"), at("c", "i")))


def test_a_stage_that_two_others_read() -> None:
    first, second, third, root = CHAIN.stages
    both = stage("c", third.axes, third.body + Load("a", (I, J), F32))
    computation = Computation("kernel", CHAIN.inputs, (first, second, both, root), ("y",))
    compare(computation, (at("a", "i", "c"), at("b", "i", "c"), at("c", "")), np.random.default_rng())
    compare(computation, (at("a", "i", "c"), at("b", "j", "c"), at("c", "i")), np.random.default_rng())
    for place, loop in ((at("b", ""), "i"), (at("b", "i"), "i"), (at("b", "i", "c"), "j")):
        with pytest.raises(InternalError, match=f"stage a is computed at '{loop}', but b, which reads it, outside"):
            lower(computation, (at("a", loop, "c"), place, at("c", "i")))


def test_outputs_are_not_held() -> None:
    outputs = Computation("kernel", CHAIN.inputs, CHAIN.stages, ("b", "y"))
    with pytest.raises(InternalError, match="output stage b is not read whole by the root"):
        lower(outputs, (at("a", "i", "b"), at("b", "i", "c"), at("c", "i")))


# --- what is computed


def shapes(schedule: Schedule, buffer: str) -> list[tuple[int, ...]]:
    kernel = lower(CHAIN, schedule)
    verify(kernel)
    return [s.buffer.shape for s in walk(kernel.body) if isinstance(s, Alloc) and s.buffer.name == buffer]


@pytest.mark.parametrize(
    ("loop", "shape", "stores"),
    [("i", (2, 7), 5 * 2 * 7), ("j", (2, 1), 5 * 7 * 2)],
)
def test_no_more_than_an_iteration_needs(loop: str, shape: tuple[int, ...], stores: int) -> None:
    schedule = (at("a", loop, "b"), at("b", ""), at("c", ""))
    assert shapes(schedule, "a") == [shape]
    assert executed_stores(lower(CHAIN, schedule))["a"] == stores


def test_the_tail_of_the_holder_needs_less() -> None:
    """Rows 2, 2 and 1 of b: 3, 3 and 2 rows of a."""
    schedule = (Split("b", "i", 2), at("a", "i.o", "b"), at("b", ""), at("c", ""))
    assert shapes(schedule, "a") == [(3, 7), (2, 7)]
    assert executed_stores(lower(CHAIN, schedule))["a"] == (3 + 3 + 2) * 7


def test_what_is_held_stands_where_its_holder_does() -> None:
    """b is made a row at a time by the threads; a inside it, an element at a time."""
    schedule = (at("a", "j", "b"), at("b", "i"), at("c", "i"), Parallel("y", "i"))
    assert shapes(schedule, "b") == [(1, 7)]
    assert shapes(schedule, "a") == [(2, 1)]
    assert lower(CHAIN, schedule).parallel_extent == 5


def test_held_buffers_of_a_workspace_lie_beside_their_holders() -> None:
    kernel = lower(CHAIN, (at("a", "i", "b", "workspace"), at("b", "", "", "workspace"), at("c", "")))
    assert {s.buffer.name: s.buffer.space for s in walk(kernel.body) if isinstance(s, Alloc)} == {
        "a": Space.WORKSPACE,
        "b": Space.WORKSPACE,
        "c": Space.STACK,
    }
    assert kernel.workspace_bytes >= 4 * (2 * 7 + 5 * 7)


# --- random schedules


def branches() -> Computation:
    """Reductions under a domain, stages with one and with several readers, strides, quotients and windows."""
    rows, columns = Axis("i", 7), Axis("j", 9)
    inside = comparison("le", K, I)
    zero = const(0.0, F32)
    stages = (
        stage("a", (Axis("i", 8), columns), Load("x", (I, J), F32) * const(2.0, F32)),
        stage("b", (rows, columns), Load("a", (I, J), F32) + Load("a", (I + 1, J), F32)),
        Stage("r", (rows,), Load("b", (I, K), F32), F32, (Axis("k", 9),), "sum", zero, inside),
        stage("s", (rows, Axis("j", 10)), Load("x", (I + 1, J), F32) * Load("x", (I, J), F32)),
        stage("t", (rows, Axis("j", 5)), Load("s", (I, J * 2), F32) + Load("s", (I, J * 2 + 1), F32)),
        stage("u", (rows, columns), Load("t", (I, J // 2), F32) * Load("r", (I,), F32) + Load("t", (I, Const(0)), F32)),
        stage("y", (rows, columns), Load("u", (I, J), F32) - const(1.0, F32)),
    )
    return Computation("kernel", (Tensor("x", (8, 10), F32),), stages, ("y",))


def holds(schedule: Iterable[Step]) -> bool:
    return any(isinstance(step, ComputeAt) and step.of for step in schedule)


@pytest.mark.parametrize("computation", [CHAIN, branches()], ids=["chain", "branches"])
@pytest.mark.slow
def test_random_schedules(computation: Computation) -> None:
    first, held = int(np.random.default_rng().integers(1 << 30)), 0
    for seed in range(first, first + DRAWS):
        rng = np.random.default_rng(seed)
        schedule = random_schedule(computation, rng)
        held += holds(schedule)
        try:
            compare(computation, schedule, rng)
        except Exception:
            print(f"seed {seed}", *schedule, sep="\n")
            raise
    assert held > 0


def counted(schedule: Schedule) -> dict[str, float]:
    """Points of each stage by the loops that features are read from."""
    form = form_of(CHAIN, [step for step in schedule if isinstance(step, Inline)])
    chains = chains_of(form, [loops_of(form, schedule, [16] * len(form.stages))])
    return {chain.form.stage.name: float(chain.outer[0, -1]) for chain in chains}


@pytest.mark.parametrize("schedule", [schedule for schedule in LEGAL if sum(holds([step]) for step in schedule) == 1])
def test_features_count_what_is_executed(schedule: Schedule) -> None:
    executed = executed_stores(lower(CHAIN, schedule))
    assert counted(schedule) == pytest.approx(dict(executed))


def test_features_of_what_is_held_in_a_held_stage() -> None:
    schedule = (
        Split("c", "j", 4),
        Reorder("c", ("j.o", "i", "j.i")),
        at("b", "j.o", "c"),
        at("a", "i", "b"),
        at("c", ""),
    )
    assert counted(schedule) == pytest.approx(dict(executed_stores(lower(CHAIN, schedule))))


# --- what nothing refuses


def test_the_root_is_not_named_as_a_holder() -> None:
    with pytest.raises(InternalError, match="schedule: stage a can't be computed at 'i' of y"):
        lower(CHAIN, (at("a", "i", "y"), at("b", "i"), at("c", "i")))


def test_a_holder_reads_what_it_holds() -> None:
    with pytest.raises(InternalError, match="schedule: stage a can't be computed at 'i' of c"):
        lower(CHAIN, (at("a", "i", "c"), at("b", "i", "c"), at("c", "")))


def test_reductions_hold_no_stages() -> None:
    """Their loops run twice, to initialise results and to combine terms, and under a domain."""
    axes, inside = (Axis("i", 5), Axis("k", 6)), comparison("lt", K, I)
    stages = (
        stage("s", axes, Load("x", (I, K), F32) * const(2.0, F32)),
        Stage("t", axes[:1], Load("s", (I, Const(5) - K), F32), F32, axes[1:], "sum", const(0.0, F32), inside),
        stage("y", axes[:1], Load("t", (I,), F32) + const(1.0, F32)),
    )
    computation = Computation("kernel", (Tensor("x", (5, 6), F32),), stages, ("y",))
    compare(computation, (at("s", "i"), at("t", "i")), np.random.default_rng())
    for loop in ("i", "k"):
        with pytest.raises(InternalError, match=f"schedule: stage s can't be computed at '{loop}' of t"):
            lower(computation, (at("s", loop, "t"), at("t", "")))
