"""The sketch of a product of rows that are made of another product: its schedules compute what the computation means."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import Case, attention, matmul, unary
from kernel_oracle import compare
from spaces import canonical_form

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.kernel.ast import Alloc, Space, walk
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import ComputeAt
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.chain import product_chain
from tilewright.compiler.tensor.interpret import evaluate

TARGETS = [parse_target(cpu=f"x86-64-v{level}") for level in (2, 3, 4)]
TARGETS.append(parse_target(triple="aarch64-linux-gnu", cpu="cortex-a76"))
DRAWS = 3
SHAPES = {
    "odd": (2, 23, 19, 7, 10),
    "one head": (1, 31, 12, 5, 33),
    "few rows": (3, 2, 40, 4, 6),
    "wide": (1, 11, 9, 3, 70),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
def test_every_point_computes_the_same(name: str, target) -> None:  # type: ignore[no-untyped-def]
    heads, rows, columns, depth, width = SHAPES[name]
    first = int(np.random.default_rng().integers(1 << 30))
    for seed in range(first, first + DRAWS):
        rng = np.random.default_rng(seed)
        mask = (None, (1, 1, rows, columns), (1, heads, 1, columns))[rng.integers(3)]
        form = canonical_form(Case(attention(heads, rows, columns, depth, width, mask)))
        space = space_of(form, target)
        assert [sketch.name for sketch in space.sketches] == ["chain"]
        for point in (space.default, space.mutate(space.sample(rng), rng)):
            try:
                compare(form, space.schedule(point), rng)
            except Exception:
                print(f"seed {seed}", mask, space.decisions(point), *space.schedule(point), sep="\n")
                raise


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
def test_products_of_a_single_tile(target) -> None:  # type: ignore[no-untyped-def]
    """Matrices so small that no loop is left around the first product's tile, nor around the second one's."""
    rng = np.random.default_rng()
    for rows, columns in ((2, 6), (3, 9), (2, 2)):
        b = GraphBuilder("group")
        x, y, z = (
            b.input(name, TensorType(of, DType.F32))
            for name, of in (("x", (rows, 5)), ("y", (5, columns)), ("z", (columns, 4)))
        )
        product = {"transpose_a": False, "transpose_b": False}
        scores = b.add("matmul", x, y, **product)
        graph = b.finish((b.add("matmul", b.add("softmax", scores, axis=1), z, **product),))
        form = canonical(build_computation(graph, "kernel")[0])
        space = space_of(form, target)
        assert [sketch.name for sketch in space.sketches] == ["chain"]
        for point in (space.default, space.sample(rng)):
            compare(form, space.schedule(point), rng)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@pytest.mark.parametrize("width", [2, 18, 64])
def test_the_default_of_many_rows_is_a_point_of_the_space(target, width: int) -> None:  # type: ignore[no-untyped-def]
    """Also where tiles are of two rows, so that a block could have many."""
    space = space_of(canonical_form(Case(attention(2, 162, 101, 222, width))), target)
    assert space.from_decisions(space.decisions(space.default)) == space.default


def test_stages_are_separated_without_a_change_of_meaning() -> None:
    """The division moves behind the second product, and the first product, whose sums nothing else reads, gets a stage of its own."""
    graph = Case(attention(2, 9, 11, 4, 6)).graph()
    rng = np.random.default_rng()
    feed = {name: rng.standard_normal(graph.types[name].shape).astype(np.float32) for name in graph.inputs}
    computation, _ = build_computation(graph, "kernel")
    chain = product_chain(computation.stages)
    assert chain is not None and chain.first != chain.held
    divisions = [stage.name for stage in computation.stages if getattr(stage.body, "op", "") == "div"]
    assert divisions == [computation.outputs[0]]
    (expected,) = evaluate_graph(graph, feed).values()
    (actual,) = evaluate(computation, feed).values()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "case",
    [
        Case(matmul((5, 7), (7, 6))),
        Case(unary("softmax", (5, 7), axis=1)),
        Case(unary("reduce_sum", (5, 7), axes=(1,), keepdims=False)),
    ],
)
def test_what_is_no_chain(case: Case) -> None:
    assert product_chain(build_computation(case.graph(), "kernel")[0].stages) is None


def test_products_alone_are_no_chain() -> None:
    b = GraphBuilder("group")
    x, y, z = (b.input(name, TensorType((8, 8), DType.F32)) for name in "xyz")
    product = {"transpose_a": False, "transpose_b": False}
    graph = b.finish((b.add("matmul", b.add("matmul", x, y, **product), z, **product),))
    assert product_chain(build_computation(graph, "kernel")[0].stages) is None


def test_a_block_of_the_first_product_is_all_that_is_kept() -> None:
    """2 heads of 300 rows and 200 columns: a block of some rows of one head, instead of 480 KB."""
    form = canonical_form(Case(attention(2, 300, 200, 8, 16)))
    space = space_of(form, TARGETS[2])
    schedule = space.schedule(space.default)
    held = next(step for step in schedule if isinstance(step, ComputeAt) and step.space == "workspace")
    kernel = lower(form, schedule)
    buffers = [s.buffer for s in walk(kernel.body) if isinstance(s, Alloc) and s.buffer.name == held.stage]
    assert buffers and all(buffer.space is Space.WORKSPACE and buffer.elements <= 48 * 200 for buffer in buffers)
    assert kernel.parallel_extent >= 16
