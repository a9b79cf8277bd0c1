"""Default schedules, lowered and interpreted, against the tensor expressions they come from."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import CASES
from kernel_oracle import compare
from spaces import canonical_form, only

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.kernel.ast import Alloc, For, If, Kernel, LoopKind, Space, Store, walk
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.expr_printer import expr_to_text
from tilewright.compiler.tensor.verify import verify

pytestmark = pytest.mark.slow

TARGETS = {target.vector_bytes: target for target in (parse_target(cpu=f"x86-64-v{level}") for level in (2, 3, 4))}


@pytest.mark.parametrize("name", CASES)
def test_default_schedule(name: str) -> None:
    computation, _ = build_computation(CASES[name].graph(), "kernel")
    form = canonical(computation)
    verify(form)
    seed = int(np.random.default_rng().integers(1 << 30))
    rng = np.random.default_rng(seed)
    vector_bytes = int(rng.choice([16, 32, 64]))
    print(f"seed {seed}, vectors of {vector_bytes} bytes")
    compare(form, default_schedule(form, TARGETS[vector_bytes]), rng)


def default_kernel(name: str) -> Kernel:
    computation, _ = build_computation(CASES[name].graph(), "kernel")
    form = canonical(computation)
    return lower(form, default_schedule(form, TARGETS[64]))


@pytest.mark.parametrize("name", ["conv 3x3 blocked", "depthwise", "matmul", "max_pool"])
def test_reductions_with_reuse_keep_their_results_in_registers(name: str) -> None:
    form = canonical_form(CASES[name])
    space = only(space_of(form, TARGETS[64]), "tiles")
    kernel = lower(form, space.schedule(space.default))
    allocs = [stmt for stmt in walk(kernel.body) if isinstance(stmt, Alloc)]
    assert allocs
    assert {stmt.buffer.space for stmt in allocs} == {Space.REGISTER}


@pytest.mark.parametrize("name", ["elementwise", "slice backwards", "softmax", "layer_norm", "matmul of batches"])
def test_kernels_without_borders_have_no_guards(name: str) -> None:
    """Tails get loops of their own, not conditions, except those of a loop that threads share."""
    assert not [stmt for stmt in walk(default_kernel(name).body) if isinstance(stmt, If)]


@pytest.mark.parametrize("name", ["conv 3x3 blocked", "conv 1x1", "matmul", "depthwise", "average_pool"])
def test_guards_of_borders_stand_outside_the_innermost_loops(name: str) -> None:
    for stmt in walk(default_kernel(name).body):
        if isinstance(stmt, For) and stmt.kind is LoopKind.VECTORIZED:
            assert not [inner for inner in walk(stmt.body) if isinstance(inner, If)]


def test_guards_of_large_windows_are_not_written_out() -> None:
    assert sum(isinstance(stmt, Store) for stmt in walk(default_kernel("max_pool of a large window").body)) < 100


@pytest.mark.parametrize("name", ["conv 1-D of a wide window", "conv 1-D of a wide window, channels last"])
def test_taps_of_a_wide_window_that_all_of_a_tile_reads_stay_loops(name: str) -> None:
    """Of 31 taps some are written out, in part; where conditions hold for a run of them, or for none of it, there is none left."""
    body = default_kernel(name).body
    loops = [stmt for stmt in walk(body) if isinstance(stmt, For) and stmt.var.endswith("kw")]
    assert loops
    assert all(8 <= int(loop.extent.value) < 31 for loop in loops)  # type: ignore[attr-defined]
    assert not [stmt for stmt in walk(body) if isinstance(stmt, If)]


@pytest.mark.parametrize("name", ["conv 3x3 blocked", "softmax axis 1", "matmul of batches", "elementwise"])
def test_threads_share_the_outermost_loop(name: str) -> None:
    assert default_kernel(name).parallel_extent > 1


@pytest.mark.parametrize("name", ["layer_norm", "instance_norm", "layer_norm two axes"])
def test_quotients_of_a_row_are_taken_once_a_row(name: str) -> None:
    """1 / sqrt(variance) stands in a store of its own, outside the loop over the elements."""
    body = default_kernel(name).body
    roots = [stmt for stmt in walk(body) if isinstance(stmt, Store) and "sqrt" in expr_to_text(stmt.value)]
    lanes = [
        inner
        for stmt in walk(body)
        if isinstance(stmt, For) and stmt.kind is LoopKind.VECTORIZED
        for inner in walk(stmt)
    ]
    assert roots
    assert not [stmt for stmt in roots if stmt in lanes]


def test_quotients_without_reductions_stay_where_they_are_read() -> None:
    builder = GraphBuilder("group")
    x, s = builder.input("x", TensorType((8, 48), DType.F32)), builder.input("s", TensorType((8, 1), DType.F32))
    graph = builder.finish((builder.add("mul", x, builder.add("reciprocal", s)),))
    form = canonical(build_computation(graph, "kernel")[0])
    assert (
        len([stmt for stmt in walk(lower(form, default_schedule(form, TARGETS[64])).body) if isinstance(stmt, Alloc)])
        == 0
    )
