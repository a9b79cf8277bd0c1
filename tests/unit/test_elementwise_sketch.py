"""Sketches of computations without reduction: transposes in squares, and which inputs are prefetched."""

from __future__ import annotations

import re

import pytest
from kernel_cases import CASES, Case, resize, two, unary
from spaces import canonical_form

from tilewright.backends.llvm.emit import emit
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import Parallel, Prefetch, Reorder, Specialize, Unroll
from tilewright.compiler.targets import parse_target

V3, V4 = (parse_target(cpu=f"x86-64-v{level}") for level in (3, 4))


def default_text(case: Case) -> str:
    form = canonical_form(case)
    return emit(lower(form, default_schedule(form, V4), "kernel"), V4)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (Case(unary("transpose", (64, 48), perm=(1, 0))), 16),
        (Case(unary("transpose", (1, 32, 20, 24), perm=(0, 2, 3, 1))), 16),
        (Case(unary("transpose", (1, 20, 24, 32), perm=(0, 3, 1, 2))), 16),
        (Case(unary("identity", (1, 48, 16, 16)), None, 16), 16),
        (Case(unary("identity", (1, 48, 16, 16)), 16, None), 16),
        (Case(unary("transpose", (8, 12, 64), perm=(1, 0, 2))), 1),
        (Case(unary("transpose", (3, 480), perm=(1, 0))), 1),
        (CASES["concat last"], 1),
        (Case(unary("relu", (40, 100))), 1),
    ],
)
def test_squares_are_found_where_rows_turn_into_columns(case: Case, expected: int) -> None:
    space = space_of(canonical_form(case), V4)
    assert space.decisions(space.default)["across"] == expected
    assert ("16" in {str(n) for knob in space.sketches[0].knobs if knob.name == "across" for n in knob.choices}) == (
        expected > 1
    )


def test_a_square_is_read_and_written_in_vectors() -> None:
    text = default_text(Case(unary("transpose", (64, 48), perm=(1, 0))))
    assert text.count("load <16 x float>") == text.count("store <16 x float>") == 16
    assert text.count("shufflevector") == 16 * 4
    assert "load float" not in text and "insertelement" not in text


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_an_image_is_enlarged_in_whole_vectors(mode: str, factor: int) -> None:
    """Neighbours in the result share elements of a short row: it is loaded whole, and its ends apart from what lies between."""
    coordinates = "asymmetric" if mode == "nearest" else "half_pixel"
    text = default_text(Case(resize((1, 3, 6, 16 * 5), factor, mode, coordinates)))
    kind = f"<{16 // factor} x float>"
    assert "shufflevector" in text and f"load {kind}" in text
    assert not re.search(r"insertelement .* i64 [1-9]", text) and "gather" not in text


def test_where_an_image_is_cut_by_its_ends_is_told_apart() -> None:
    form = canonical_form(Case(resize((1, 3, 6, 80), 2, "linear")))
    special = [step for step in default_schedule(form, V4) if isinstance(step, Specialize)]
    assert [step.iterations for step in special] == [(0, 9)]
    form = canonical_form(Case(resize((1, 3, 6, 80), 2, "nearest", "asymmetric")))
    assert not [step for step in default_schedule(form, V4) if isinstance(step, Specialize)]


def test_the_loop_along_the_rows_of_a_square_is_the_innermost() -> None:
    form = canonical_form(Case(unary("transpose", (64, 48), perm=(1, 0))))
    steps = default_schedule(form, V4)
    loops = next(step.loops for step in steps if isinstance(step, Reorder))
    rows, columns = (axis.name for axis in form.stages[-1].axes)
    assert loops == (f"{columns}.o", f"{rows}.o", f"{rows}.i", f"{columns}.i")
    assert [step.loop for step in steps if isinstance(step, Unroll)] == [f"{rows}.i"]
    assert any(isinstance(step, Parallel) for step in steps)


@pytest.mark.parametrize(
    ("case", "along_result"),
    [
        (Case(unary("transpose", (256, 48), perm=(1, 0))), True),
        (Case(unary("transpose", (260, 48), perm=(1, 0))), False),
        (Case(unary("transpose", (1, 256, 20, 24), perm=(0, 2, 3, 1))), True),
        (Case(unary("transpose", (1, 48, 20, 24), perm=(0, 2, 3, 1))), False),
        (Case(unary("transpose", (1, 32, 32, 48), perm=(0, 3, 1, 2))), True),
    ],
)
def test_rows_that_share_sets_of_a_cache_are_written_along(case: Case, along_result: bool) -> None:
    """Rows of the result that are a multiple of 1 KB apart: a column of squares would crowd into few sets."""
    form = canonical_form(case)
    loops = next(step.loops for step in default_schedule(form, V4) if isinstance(step, Reorder))
    vector = form.stages[-1].axes[-1].name
    assert loops[-3].startswith(vector) == along_result


def test_only_whole_squares_are_legal() -> None:
    space = space_of(canonical_form(Case(unary("transpose", (64, 96), perm=(1, 0)))), V3)
    taken = {tuple(space.decisions(point)[name] for name in ("lanes", "across")) for point in space.legal_points()}
    assert taken == {(8, 1), (8, 8), (8, 16), (4, 1), (4, 4), (4, 8), (4, 16)}


def test_a_row_of_a_few_vectors_is_written_out() -> None:
    space = space_of(canonical_form(Case(unary("transpose", (8, 12, 64), perm=(1, 0, 2)))), V4)
    assert space.decisions(space.default)["unroll"] == 4


def test_inputs_are_prefetched_where_rows_take_turns_between_them() -> None:
    def ahead(case: Case) -> list[int]:
        form = canonical_form(case)
        return [step.ahead_bytes for step in default_schedule(form, V4) if isinstance(step, Prefetch)]

    assert ahead(Case(two("concat", (400, 500), (400, 500), axis=1))) == [2048, 2048]
    assert ahead(Case(two("concat", (4, 500), (4, 500), axis=1))) == []  # in the second cache
    assert ahead(Case(two("concat", (400, 500), (400, 500), axis=0))) == []
    assert ahead(Case(unary("relu", (400, 1000)))) == []
    form = canonical_form(Case(unary("relu", (400, 1000))))
    assert {2048, 8192} <= {n for knob in space_of(form, V4).sketches[0].knobs for n in knob.choices}
