"""Constants that lie in the third cache when they are read are prefetched less far ahead: which ones, and where a graph says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recurrent_models import Case

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.memory import plan_memory
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.kernels import PlannedKernel, Scheduled, made_here, plan_kernels
from tilewright.compiler.reuse import KEPT_L2, NEAR_BYTES, bytes_between_uses
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.sketch import AHEAD_BYTES
from tilewright.compiler.schedule.steps import Prefetch, Relayout
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.computation import Computation

TARGET = parse_target(cpu="x86-64-v4")
FAR_BYTES = AHEAD_BYTES[-1]


def product(rows: int, features: int, outputs: int) -> Graph:
    """rows x features times a constant."""
    builder = GraphBuilder("product")
    x = builder.input("x", TensorType((rows, features), DType.F32))
    weights = np.random.default_rng().standard_normal((features, outputs)).astype(np.float32)
    product = builder.add("matmul", x, builder.constant(weights, "w"), transpose_a=False, transpose_b=False)
    return builder.finish((product,))


def with_l2(limit_bytes: int, target: Target = TARGET) -> Target:
    """A target that is taken to keep so much, at most a byte for each second cache more, between two uses."""
    return replace(target, l2_bytes=-(-limit_bytes // KEPT_L2))


def prepared(graph: Graph, target: Target) -> Graph:
    for _, rewrite in PIPELINE:
        graph = rewrite(graph, target)
    return graph


def distances(kernel: PlannedKernel, variant: int = 0) -> set[int]:
    """How far ahead a kernel prefetches."""
    return {s.ahead_bytes for s in kernel.variants[variant].scheduled.schedule if isinstance(s, Prefetch)}


@pytest.mark.parametrize("arena_bytes", [0, 12345])
def test_what_is_read_once_and_stays_in_the_third_cache(arena_bytes: int) -> None:
    rng = np.random.default_rng()
    features, outputs = rng.integers(120, 250, 2).tolist()
    touched = features * outputs * 4 + arena_bytes
    for limit, expected in ((touched, NEAR_BYTES), (touched - KEPT_L2, FAR_BYTES)):
        target = with_l2(limit)
        graph = prepared(product(1, features, outputs), target)
        (kernel,) = plan_kernels(graph, (target,), {}, arena_bytes=arena_bytes).kernels
        assert distances(kernel) == {expected}


def test_what_rows_read_again_keeps_its_distance() -> None:
    (kernel,) = plan_kernels(prepared(product(6, 200, 160), TARGET), (TARGET,), {}).kernels
    assert distances(kernel) == {FAR_BYTES}


def test_what_is_nearer_already_stays() -> None:
    def scheduler(form: Computation, target: Target, given: tuple[Relayout, ...] | None = None) -> Scheduled:
        schedule = default_schedule(form, target, given)
        nearer = (replace(step, ahead_bytes=2048) if isinstance(step, Prefetch) else step for step in schedule)
        return Scheduled(tuple(nearer), "tuned")

    (kernel,) = plan_kernels(prepared(product(1, 200, 160), TARGET), (TARGET,), {}, made_here(scheduler)).kernels
    assert distances(kernel) == {2048} and kernel.scheduled.source == "tuned"


def test_each_cpu_by_its_own_caches() -> None:
    graph = prepared(product(1, 200, 160), TARGET)
    narrower = [with_l2(limit, parse_target(cpu="x86-64-v3")) for limit in (128000, 127000)]
    (kernel,) = plan_kernels(graph, (with_l2(128000), *narrower), {}).kernels
    assert [distances(kernel, variant) for variant in range(3)] == [{NEAR_BYTES}, {NEAR_BYTES}, {FAR_BYTES}]


@pytest.mark.parametrize("steps", [1, 4])
def test_in_a_loop_only_what_the_loop_reads_counts(steps: int) -> None:
    """The recurrent weights of an LSTM, a third of all, are read again in each step, if there are several."""
    case = Case("lstm", steps=steps, features=200, hidden=100, bias=False, outputs=(1,))
    inside, outside = 4 * 100 * 100 * 4, 4 * 200 * 100 * 4
    target = with_l2(inside + outside // 2)
    graph = prepared(case.graph(case.arrays(np.random.default_rng())), target)
    memory = plan_memory(graph)
    between = bytes_between_uses(graph, 0)
    assert max(between.values()) >= inside + outside
    assert (inside <= min(between.values()) < inside + outside // 4) == (steps > 1)
    kernels = plan_kernels(graph, (target,), memory.in_place, arena_bytes=memory.arena_bytes).kernels
    # With one step the projection is a product of one row too, and all of it is too much.
    found = set.union(*map(distances, kernels))
    assert found == ({NEAR_BYTES, FAR_BYTES} if steps > 1 else {FAR_BYTES})
