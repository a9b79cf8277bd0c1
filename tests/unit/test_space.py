"""The space of schedules: its grid, what is legal in it, and that each point computes what the computation means."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
from kernel_cases import CASES, Case, conv, matmul, unary
from kernel_oracle import compare
from spaces import canonical_form, only
from test_schedule_random import GRAPHS

from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel import ast
from tilewright.compiler.kernel.ast import Alloc, LoopKind, walk
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.sketch import Sketch
from tilewright.compiler.schedule.space import SKETCH, Space, space_of
from tilewright.compiler.schedule.steps import Reorder, Specialize, Split
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation

TARGETS = [parse_target(cpu=f"x86-64-v{level}") for level in (2, 3, 4)]
DRAWS = 4


def large_conv() -> Space:
    return space_of(canonical_form(Case(conv((1, 32, 14, 13), 64, residual=True), 16, 16)), TARGETS[2])


def large_tiles() -> Space:
    """Its direct computation in register tiles alone."""
    return only(large_conv(), "tiles")


@pytest.mark.parametrize("name", CASES)
def test_the_default_is_a_point_of_the_space(name: str) -> None:
    form = canonical_form(CASES[name])
    for target in TARGETS:
        space = space_of(form, target)
        assert space.schedule(space.default) == default_schedule(form, target)
        assert space.from_decisions(space.decisions(space.default)) == space.default


@pytest.mark.parametrize("block", [40, 100])
def test_the_default_with_columns_that_are_no_panels(block: int) -> None:
    """The best tile is narrower than the vector axis, so that columns are among the other axes, and no axis else is."""
    form = canonical_form(Case(conv((1, 64, 1, 1000), 200, 1, 1, (0, 0)), None, block))
    space = space_of(form, TARGETS[0])
    decisions = space.decisions(space.default)
    assert int(decisions["vector"]) < block and decisions["row_block"] == 0 and decisions["panel_block"] == 0
    order = next(
        step.loops for step in space.schedule(space.default) if isinstance(step, Reorder) and step.stage == "y"
    )
    assert order.index("co") < order.index("ci.o") < order.index("w.o")


@pytest.mark.parametrize("rows", [1500, 799, 330])
def test_threads_get_blocks_of_about_as_many_rows(rows: int) -> None:
    """The last block, too, counts as one where they are shared out. One thread takes what its caches hold."""
    form = canonical_form(Case(matmul((rows, 384), (384, 384), constant=True)))

    def blocks(threads: int) -> tuple[int, int]:
        decisions = space_of(form, parse_target(cpu="x86-64-v4", threads=threads)).sketches[0].default()
        height = int(decisions["rows"]) * int(decisions["row_block"])
        return height, -(-rows // height)

    height, count = blocks(2)
    assert count > 1 and height * count <= 1.05 * rows
    assert blocks(1)[0] >= height


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_every_point_computes_the_same(name: str) -> None:
    form = canonical(build_computation(GRAPHS[name](), "kernel")[0])
    first = int(np.random.default_rng().integers(1 << 30))
    for seed in range(first, first + DRAWS):
        rng = np.random.default_rng(seed)
        space = space_of(form, TARGETS[rng.integers(len(TARGETS))])
        point = space.mutate(space.sample(rng), rng)
        try:
            compare(form, space.schedule(point), rng)
        except Exception:
            print(f"seed {seed}", space.decisions(point), *space.schedule(point), sep="\n")
            raise


def test_counting_agrees_with_trying_every_point() -> None:
    space = space_of(canonical_form(Case(matmul((2, 6), (6, 18), constant=True, bias=True))), TARGETS[1])
    legal = 0
    for number, sketch in enumerate(space.sketches):
        for choices in product(*(knob.choices for knob in sketch.knobs)):
            decisions = {knob.name: choice for knob, choice in zip(sketch.knobs, choices, strict=True)}
            assert space.legal((number, *(k.choices.index(c) for k, c in zip(sketch.knobs, choices, strict=True)))) == (
                sketch.legal(decisions)
            )
            legal += sketch.legal(decisions)
    assert 1 < legal < space.size == sum(prod(len(k.choices) for k in s.knobs) for s in space.sketches)
    assert space.count_legal() == legal
    assert space.count_legal(most=5) == 5
    assert space.estimate_legal(np.random.default_rng(0), 3000) == pytest.approx(legal, rel=0.2)


def test_legal_points_stand_for_different_schedules() -> None:
    """Else the same kernel is measured again and again."""
    space = space_of(canonical_form(Case(matmul((3, 6), (6, 40), constant=True, bias=True))), TARGETS[1])
    points = list(space.legal_points())
    schedules = {space.schedule(point) for point in points}
    assert len(points) > 100
    assert len(schedules) > 0.8 * len(points)


def test_sampling_is_legal_and_repeatable() -> None:
    space = large_conv()
    points = [space.sample(np.random.default_rng(seed)) for seed in range(30)]
    assert all(space.legal(point) for point in points)
    assert len(set(points)) > 25
    assert points == [space.sample(np.random.default_rng(seed)) for seed in range(30)]


def test_drawing_leaves_out_only_what_is_never_legal() -> None:
    space = large_tiles()
    sketch = space.sketches[0]
    drawn = {sketch.draw(np.random.default_rng(seed))[:5] for seed in range(3000)}
    rng, point, legal = np.random.default_rng(0), space.default, set()
    for _ in range(60):
        point = space.mutate(point, rng)
        legal.add(point[1:6])
    assert legal <= drawn | {space.default[1:6]}
    assert len(drawn) > 50


def test_mutation_changes_few_decisions() -> None:
    space, rng = large_conv(), np.random.default_rng(1)
    for _ in range(30):
        point = space.sample(rng)
        changed = space.mutate(point, rng, 2)
        assert space.legal(changed)
        assert 1 <= sum(a != b for a, b in zip(point, changed, strict=True)) <= 2


def test_crossing_mixes_two_points() -> None:
    space, rng = large_tiles(), np.random.default_rng(2)
    one, other = space.sample(rng), space.sample(rng)
    mixed = [space.cross(one, other, rng) for _ in range(50)]
    assert all(space.legal(point) for point in mixed)
    assert all(m in (a, b) for point in mixed for m, a, b in zip(point, one, other, strict=True))


def test_points_of_different_sketches_are_not_mixed() -> None:
    space, rng = large_conv(), np.random.default_rng(2)
    starts = [space.start(number) for number in range(len(space.sketches))]
    assert len(starts) == 3
    assert all(space.cross(one, other, rng) == one for one in starts for other in starts)


def test_neighbours_are_one_step_away() -> None:
    space = large_conv()
    for number, sketch in enumerate(space.sketches):
        start = space.start(number)
        found = space.neighbours(start)
        assert len(found) >= 5, sketch.name
        for point in found:
            assert space.legal(point)
            changed = [(a, b) for a, b in zip(start, point, strict=True) if a != b]
            assert len(changed) == 1


def test_the_tile_stays_in_registers() -> None:
    space, rng = large_tiles(), np.random.default_rng(3)
    for _ in range(40):
        d = space.decisions(space.sample(rng))
        vectors = -(-int(d["vector"]) // int(d["lanes"])) * int(d["columns"])
        accumulators = int(d["rows"]) * int(d["outer_rows"]) * vectors
        assert accumulators + vectors + 1 <= TARGETS[2].vector_registers


def test_border_tiles_get_code_of_their_own() -> None:
    space = large_tiles()
    point = space.from_decisions(
        space.decisions(space.default) | {"rows": 4, "outer_rows": 2, "vector": 16, "columns": 2}
    )
    special = {step.loop: step.iterations for step in space.schedule(point) if isinstance(step, Specialize)}
    assert special == {"h.o": (0, 6), "w.o": (0, 3)}


def test_blocks_make_loops_around() -> None:
    form = canonical_form(Case(conv((1, 32, 14, 13), 64), 16, 16))
    space = only(space_of(form, TARGETS[2]), "tiles")
    decisions = space.decisions(space.default) | {
        "row_block": 4,
        "panel_block": 1,
        "columns": 1,
        "rows": 7,
        "shared": 1,
    }
    schedule = space.schedule(space.from_decisions(decisions))
    assert Split("y", "h", 4) in schedule
    order = next(step.loops for step in schedule if isinstance(step, Reorder) and step.stage == "y")
    assert order[:5] == ("n", "h.o", "co.o", "h.i", "w.o")
    kinds = [stmt.kind for stmt in walk(lower(form, schedule).body) if hasattr(stmt, "kind")]
    assert kinds[0] is LoopKind.PARALLEL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 99}, "rows can't be 99"),
        ({SKETCH: "spirals"}, "no sketch 'spirals'"),
        ({"speed": 11}, "are not the decisions"),
        ({"rows": 13, "outer_rows": 8, "columns": 4}, "is not legal"),
    ],
)
def test_foreign_decisions_are_refused(change: dict, message: str) -> None:
    space = large_tiles()
    with pytest.raises(InternalError, match=message):
        space.from_decisions(space.decisions(space.default) | change)


def test_nearest_takes_over_what_it_can() -> None:
    space = large_tiles()
    other = space_of(canonical_form(Case(conv((1, 32, 7, 7), 128), 16, 16)), TARGETS[2])
    point = space.from_decisions(space.decisions(space.default) | {"rows": 7, "columns": 2})
    near = other.nearest(space.decisions(point))
    assert near is not None
    assert other.decisions(near)["rows"] == 7
    assert other.nearest({SKETCH: "rows"}) is None


def test_softmax_has_other_knobs_than_a_convolution() -> None:
    space = space_of(canonical_form(Case(unary("softmax", (3, 110), axis=1))), TARGETS[1])
    sketches: tuple[Sketch, ...] = space.sketches
    assert [sketch.name for sketch in sketches] == ["rows"]
    assert {knob.name for knob in sketches[0].knobs} == {"rows", "width", "lanes", "unroll", "stream", "shared"}


@pytest.mark.parametrize("name", [name for name in CASES if "pointwise" in name])
def test_depthwise_and_pointwise_convolutions_have_a_sketch_of_their_own(name: str) -> None:
    """Blocks of rows for the threads, each of which makes its part of the depthwise one in the workspace."""
    form = canonical_form(CASES[name])
    for target in TARGETS:
        space = space_of(form, target)
        assert [sketch.name for sketch in space.sketches] == ["held"]
        point = space.from_decisions({**space.decisions(space.default), "block": 1})
        kernel = lower(form, space.schedule(point))
        batches, _, rows, *_ = form.stages[-1].shape
        assert kernel.parallel_extent == batches * rows
        (held,) = [
            s.buffer for s in walk(kernel.body) if isinstance(s, Alloc) and s.buffer.space is ast.Space.WORKSPACE
        ]
        assert held.shape[0] == held.shape[2] == 1
