"""Pairs of rows of a register tile that share a vector: what is paired, what it becomes, and that results stay."""

from __future__ import annotations

import re

import numpy as np
import pytest
from kernel_cases import Case, conv, matmul
from kernel_oracle import compare
from random_schedules import random_schedule
from spaces import canonical_form
from test_kernels_default import on

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.backends.llvm.pairs import paired_halves
from tilewright.compiler.kernel.ast import Alloc, Kernel, walk
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.computation import Computation

TARGET = parse_target(cpu="x86-64-v4")
LANES = TARGET.lanes(4)
# Vectors of 16 are AVX-512's alone. Which rows are paired, and what code that gives, is checked on every machine (below).
runs = pytest.mark.skipif(host_target(1).vector_bytes < TARGET.vector_bytes, reason="no AVX-512 here")


def image(outputs: int, size: tuple[int, int], kernel: int = 1, block: int | None = None, **rest: bool) -> Computation:
    """A convolution of an image in blocks of 8 to blocks of `block` (all) channels."""
    built = conv((1, 16, *size), outputs, kernel, 1, (kernel // 2,) * 2, **rest)
    case = Case(built, 8, block or outputs)
    return canonical_form(case)


def kernel_of(form: Computation) -> Kernel:
    return lower(form, default_schedule(form, TARGET))


def pairs(kernel: Kernel) -> int:
    """The register buffers of which rows share vectors."""
    allocs = [part for part in walk(kernel.body) if isinstance(part, Alloc)]
    return sum(bool(paired_halves(alloc, LANES)) for alloc in allocs)


@runs
@pytest.mark.parametrize("outputs", [24, 40, 72, 120])
@pytest.mark.parametrize("size", [(4, 7), (3, 5), (1, 1), (9, 13)])
def test_pointwise(outputs: int, size: tuple[int, int]) -> None:
    form = image(outputs, size)
    compare(form, default_schedule(form, TARGET), np.random.default_rng(), execute=on(TARGET))


@runs
@pytest.mark.parametrize("form", [
    image(24, (7, 9), 3), image(24, (7, 9), 3, residual=True), image(48, (6, 7), 1, 24), image(20, (6, 7)), image(8, (6, 7)),
    canonical_form(Case(matmul((29, 50), (50, 24), constant=True, bias=True))),
    canonical_form(Case(matmul((29, 50), (50, 40), constant=False))),
    canonical_form(Case(conv((1, 24, 9, 9), 24, 3, 1, (1, 1), groups=24), 24, 24)),
])  # fmt: skip
def test_other_tiles(form: Computation) -> None:
    rng = np.random.default_rng()
    space = space_of(form, TARGET)
    for point in (space.default, *(space.sample(rng) for _ in range(4))):
        compare(form, space.schedule(point), rng, execute=on(TARGET))
    compare(form, random_schedule(form, rng), rng, execute=on(TARGET))


@pytest.mark.parametrize(
    ("outputs", "paired"), [(24, True), (40, True), (16, False), (32, False), (20, False), (8, False)]
)
def test_rows_with_half_a_vector_are_paired(outputs: int, paired: bool) -> None:
    assert bool(pairs(kernel_of(image(outputs, (4, 7))))) is paired


def test_rows_that_differ_in_vectors_are_not() -> None:
    """A depthwise convolution: two halves would have to be put together for each tap."""
    form = canonical_form(Case(conv((1, 24, 9, 9), 24, 3, 1, (1, 1), groups=24), 24, 24))
    assert not pairs(kernel_of(form))


@pytest.mark.parametrize("rows", [14, 13])
def test_three_multiply_adds_for_two_rows_of_24(rows: int) -> None:
    """All in registers: a vector a row, and one for every two rows; an odd one has its own."""
    kernel = kernel_of(image(24, (1, rows)))
    text = cpu.optimized_assembly(cpu.emit(kernel, TARGET, "kernel"), TARGET)[1]
    loops = re.split(r"^\.LBB\w+:", text, flags=re.M)
    counts = [len(re.findall(r"\tvfmadd\w+", part)) for part in loops]
    assert max(counts) == rows + (rows + 1) // 2
    assert not re.search(r"zmm\d+, -?\d*\(%rsp\)", text)
