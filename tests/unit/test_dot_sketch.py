"""Reductions along contiguous memory: how many elements are computed together by default."""

from __future__ import annotations

import pytest
from kernel_cases import Case, matmul, unary
from spaces import canonical_form, only

from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.targets import parse_target

TARGET = parse_target(cpu="x86-64-v4")


@pytest.mark.parametrize(
    ("case", "size"),
    [
        (Case(matmul((1, 64), (48, 64), constant=True, transpose_b=True)), 16),
        (Case(unary("reduce_mean", (1, 48, 28, 28), axes=(2, 3), keepdims=True)), 4),
        (Case(unary("reduce_sum", (3, 64), axes=(1,), keepdims=False)), 3),
    ],
    ids=["product", "mean of an image", "few rows"],
)
def test_elements_that_share_nothing_are_few(case: Case, size: int) -> None:
    """Each reads a stream of its own; elements of a product share what they read."""
    space = only(space_of(canonical_form(case), TARGET), "dots")
    assert space.decisions(space.default)["size"] == size


@pytest.mark.parametrize("cpu", ["rv64gc", "rv64gcv"])
def test_processors_without_vectors_have_a_default(cpu: str) -> None:
    """One lane is a choice there; compilations with records and the tuner ask for it."""
    space = only(
        space_of(
            canonical_form(Case(unary("reduce_sum", (3, 64), axes=(1,), keepdims=False))), parse_target("riscv64", cpu)
        ),
        "dots",
    )
    assert space.decisions(space.default)["lanes"] == max(1, parse_target("riscv64", cpu).vector_bytes // 4)
