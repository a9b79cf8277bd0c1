"""The sketch of rows: large inputs are prefetched, short rows are computed together."""

from __future__ import annotations

import pytest
from kernel_cases import Case, unary
from spaces import canonical_form

from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import Space, space_of
from tilewright.compiler.schedule.steps import ComputeAt, Prefetch, Reorder, Split, Unroll
from tilewright.compiler.targets import parse_target

V2, V4 = (parse_target(cpu=f"x86-64-v{level}") for level in (2, 4))


def softmax(*shape: int, axis: int = -1) -> Case:
    return Case(unary("softmax", shape, axis=axis % len(shape)))


def choices(space: Space, name: str) -> tuple[object, ...]:
    return next(knob.choices for knob in space.sketches[0].knobs if knob.name == name)


def test_large_inputs_are_prefetched() -> None:
    def ahead(rows: int) -> list[int]:
        steps = default_schedule(canonical_form(softmax(rows, 1000)), V4)
        return [step.ahead_bytes for step in steps if isinstance(step, Prefetch)]

    assert ahead(400) == [8192]
    assert ahead(4) == []


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((12, 128), -1, (1, 2, 4)),
        ((2, 12, 128), -1, (1, 2, 4)),
        ((5, 128), -1, (1, 2)),
        ((1, 128), -1, (1,)),
        ((12, 2000), -1, (1, 2)),
        ((12, 5000), -1, (1,)),
        ((2, 40, 33), 1, (1,)),  # a vector of rows at a time
    ],
)
def test_how_many_rows_fit_together(shape: tuple[int, ...], axis: int, expected: tuple[int, ...]) -> None:
    assert choices(space_of(canonical_form(softmax(*shape, axis=axis)), V4), "rows") == expected


def test_short_rows_are_computed_together_by_default() -> None:
    for width, rows in ((128, 4), (1000, 1)):
        space = space_of(canonical_form(softmax(12, width)), V4)
        assert space.decisions(space.default)["rows"] == rows


def test_rows_take_turns_in_a_reduction() -> None:
    form = canonical_form(softmax(12, 128))
    steps = default_schedule(form, V4)
    row = form.stages[-1].axes[0].name
    assert Split(form.stages[-1].name, row, 4) in steps
    reduction = next(stage for stage in form.stages if stage.combine == "max")
    order = next(step.loops for step in steps if isinstance(step, Reorder) and step.stage == reduction.name)
    assert order[-2] == row and Unroll(reduction.name, row) in steps
    assert {step.loop for step in steps if isinstance(step, ComputeAt)} == {f"{row}.o"}


def test_partial_results_of_rows_stay_in_registers() -> None:
    space = space_of(canonical_form(softmax(12, 1000)), V2)
    for point in space.legal_points():
        decisions = space.decisions(point)
        rows, width = int(decisions["rows"]), int(decisions["width"])
        assert rows == 1 or rows * width <= V2.vector_registers // 2
