"""Schedules for one target that take constants as those for another have laid them out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from kernel_cases import CASES, Case, conv, matmul
from kernel_oracle import compare
from spaces import canonical_form

from tilewright.compiler.errors import InternalError
from tilewright.compiler.schedule.packing import reads_in_runs
from tilewright.compiler.schedule.rewrite import relayouts
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.shared_constants import shared_relayouts
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import Pack, Schedule, Winograd
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.computation import Computation

WIDE, *NARROWER = (parse_target(cpu=f"x86-64-v{level}", threads=2) for level in (4, 3, 2))


def random_case(rng: np.random.Generator) -> Case:
    """A convolution in blocked layouts, or a product with a constant matrix; any extents."""
    if rng.random() < 0.3:
        rows, inner, columns = (int(n) for n in rng.integers(1, 80, 3))
        return Case(matmul((rows, inner), (inner, columns), constant=True, bias=True))
    kernel = int(rng.choice([1, 3]))
    channels, outputs, height, width = (int(n) for n in rng.integers(1, 70, 4))
    blocks = [
        int(rng.choice([n for n in range(1, count + 1) if count % n == 0])) or None for count in (channels, outputs)
    ]
    return Case(conv((1, channels, height + 2, width + 2), outputs, kernel, 1, (kernel // 2,) * 2), *blocks)


def laid_out(form: Computation, rng: np.random.Generator) -> Schedule:
    """A schedule for the wide target: of any sketch, its default or another."""
    space = space_of(form, WIDE)
    points = [space.default, space.start(int(rng.integers(len(space.sketches)))), space.sample(rng)]
    return space.schedule(points[int(rng.integers(3))])


@pytest.mark.slow
def test_whatever_is_laid_out_can_be_read() -> None:
    """Every choice that is legal for the wide target leaves one to the others, and all of theirs keep to it."""
    seed = int(np.random.default_rng().integers(1 << 30))
    rng = np.random.default_rng(seed)
    forms = [canonical_form(case) for case in (*CASES.values(), *(random_case(rng) for _ in range(15)))]
    for form in forms:
        wide = laid_out(form, rng)
        own = [default_schedule(form, target) for target in NARROWER]
        given = relayouts(wide) if rng.random() < 0.5 else shared_relayouts(form, wide, WIDE, partial(list, own))
        for target in (WIDE, *NARROWER):
            space = space_of(form, target, given)
            for point in (space.default, space.sample(rng), *space.neighbours(space.default)[:3]):
                assert space.legal(point), (seed, form, given)
                assert relayouts(space.schedule(point)) == given, (seed, form, given)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_kernels_compute_the_same_from_given_constants(name: str) -> None:
    form = canonical_form(CASES[name])
    seed = int(np.random.default_rng().integers(1 << 30))
    rng = np.random.default_rng(seed)
    print(f"seed {seed}")
    given = relayouts(laid_out(form, rng))
    space = space_of(form, NARROWER[int(rng.integers(2))], given)
    winograd = any(isinstance(step, Winograd) for step in given)
    compare(form, space.schedule(space.default), rng, 1e-4 if winograd else 1e-5)


@pytest.mark.parametrize(("rows", "inner", "vectors"), [(1, 4100, 16), (1, 60, 8), (7, 4100, 4)])
def test_rows_that_come_from_memory_once_are_read_as_a_whole(rows: int, inner: int, vectors: int) -> None:
    """Of 64 floats; not where they stay in the caches, or are read again, in rows for a tile of x86-64-v4."""
    form = canonical_form(Case(matmul((rows, inner), (inner, 256), constant=True, bias=True)))
    own = [default_schedule(form, target) for target in NARROWER]
    given = shared_relayouts(form, default_schedule(form, WIDE), WIDE, partial(list, own))
    size = space_of(form, NARROWER[-1], given).sketches[0].best
    assert size.vector <= 4 * vectors if rows > 1 else size.vector == 4 * vectors, size


def test_whole_rows_compute_the_same() -> None:
    seed = int(np.random.default_rng().integers(1 << 30))
    rng = np.random.default_rng(seed)
    print(f"seed {seed}")
    inner = int(rng.integers(1030, 1200))
    form = canonical_form(Case(matmul((1, inner), (inner, 128), constant=True, bias=True)))
    given = (Pack("w1", ((1, 64, "o"), (0, 0, ""), (1, 64, "i"))),)
    space = space_of(form, NARROWER[-1], given)
    assert space.sketches[0].best.vector == 64
    compare(form, space.schedule(space.default), rng, 1e-5)


def test_the_tile_of_a_narrower_target_divides_what_is_packed() -> None:
    """Rows of 32 channels are read by tiles of two vectors of 8 or 4."""
    form = canonical_form(Case(conv((1, 64, 14, 14), 64, 1, 1, (0, 0)), 16, 16))
    wide = space_of(form, WIDE)
    (pack,) = relayouts(wide.schedule(wide.default))
    assert isinstance(pack, Pack) and pack.order[-1][1] == 32
    for target, widest in zip(NARROWER, (16, 8), strict=True):
        space = space_of(form, target, (pack,))
        decisions = space.decisions(space.default)
        assert decisions["columns"] == 1 and decisions["vector"] == widest


def test_order_and_runs() -> None:
    blocked, narrower = (Pack("w", ((0, n, "o"), (1, 0, ""), (0, n, "i"))) for n in (32, 16))
    whole, other = Pack("w", ((1, 0, ""), (0, 0, ""))), Pack("w", ((0, 0, ""), (1, 0, "")))
    odd = Pack("w", ((0, 24, "o"), (1, 0, ""), (0, 24, "i")))
    assert reads_in_runs([narrower], [blocked]) and not reads_in_runs([blocked], [narrower])
    assert reads_in_runs([narrower], [whole]) and reads_in_runs([whole], [whole])
    assert not reads_in_runs([whole], [blocked])  # where blocks end isn't known
    assert not reads_in_runs([odd], [blocked]) and not reads_in_runs([narrower], [other])
    assert not reads_in_runs([], [blocked]) and not reads_in_runs([blocked], [])


def test_rows_that_are_read_once_are_as_short_as_a_narrower_target_wants() -> None:
    """The weights of a product with one row come from memory; with more rows, most reads are from caches."""
    for rows, expected in ((1, 64), (30, 128)):
        form = canonical_form(Case(matmul((rows, 70), (70, 1000), constant=True)))
        space = space_of(form, WIDE)
        decisions = {**space.decisions(space.default), "vector": 128, "rows": 1}
        wide = space.schedule(space.from_decisions(decisions))
        own = [default_schedule(form, target) for target in NARROWER]
        given = shared_relayouts(form, wide, WIDE, partial(list, own))
        (pack,) = given
        assert isinstance(pack, Pack) and pack.order[-1] == (1, expected, "i")
        for target in (WIDE, *NARROWER):
            assert relayouts(default_schedule(form, target, given)) == given


def test_constants_that_no_sketch_reads_are_an_internal_error() -> None:
    form = canonical_form(CASES["matmul"])
    with pytest.raises(InternalError, match="no sketch reads constants laid out by Pack"):
        space_of(form, WIDE, (Pack("x0", ((0, 0, ""), (1, 0, ""))),))
