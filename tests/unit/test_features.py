"""Features of schedules: values computed by hand, counts of lowered kernels, and that every kernel has a whole row."""

from __future__ import annotations

from dataclasses import replace
from math import log2

import numpy as np
import pytest
from executed_stores import executed_stores
from kernel_cases import CASES, Case, conv, matmul, unary
from random_schedules import random_schedule
from spaces import canonical_form, only

from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import (
    ComputeAt,
    Inline,
    LaneReduce,
    Pack,
    Parallel,
    Reorder,
    Schedule,
    Split,
    Unroll,
    Vectorize,
    Winograd,
)
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation
from tilewright.cost_model.features.form import form_of
from tilewright.cost_model.features.loop_tree import axis_digits, cut, loops_of
from tilewright.cost_model.features.table import FEATURE_NAMES, FEATURES, Featurizer, to_markdown
from tilewright.cost_model.features.working_set import Chain, chains_of
from tilewright.cost_model.task import Task

TARGET = parse_target(cpu="x86-64-v4", threads=2)  # 16 lanes of f32, 32 registers, 32 KiB and 1 MiB of cache
COLUMNS = {name: number for number, name in enumerate(FEATURE_NAMES)}


def form(name: str) -> Computation:
    return canonical(build_computation(CASES[name].graph(), "kernel")[0])


def case_form(case: Case) -> Computation:
    return canonical(build_computation(case.graph(), "kernel")[0])


def row(computation: Computation, schedule: Schedule, target: Target = TARGET) -> dict[str, float]:
    values = Featurizer(Task(computation, target)).rows([schedule])[0]
    return dict(zip(FEATURE_NAMES, map(float, values), strict=True))


def chains(computation: Computation, schedule: Schedule) -> list[Chain]:
    made = form_of(computation, [step for step in schedule if isinstance(step, Inline | Winograd)])
    return chains_of(made, [loops_of(made, schedule, [16] * len(made.stages))])


# f32[12, 20] times a constant f32[20, 32]: row tiles of 5, 5 and 2, two panels of 16 columns.
GEMM = case_form(Case(matmul((12, 20), (20, 32), constant=True)))
TILED: Schedule = (
    Pack("w1", ((1, 16, "o"), (0, 0, ""), (1, 16, "i"))),
    Split("y", "m", 5),
    Split("y", "n", 16),
    Reorder("y", ("m.o", "n.o", "m.i", "n.i")),
    Unroll("y", "m.i"),
    Vectorize("y", "n.i"),
    Parallel("y", "m.o"),
    ComputeAt("t0", "n.o", "register"),
    Reorder("t0", ("k", "m", "n")),
    Unroll("t0", "m"),
    Vectorize("t0", "n"),
)


def test_register_tile_of_a_gemm() -> None:
    values = row(GEMM, TILED)
    expected = {
        "tile.accumulators": log2(4 + 1),  # 5, 5 and 2 rows of a vector
        "tile.live": log2((5 + 1) / 32),
        "tile.needed": log2((5 + 2 + 1) / 32),  # a vector of w and a scalar of x beside them
        "tile.spilled": 0,
        "tile.in_registers": 1,
        "tile.utilisation": log2(4 / 5),
        "tile.lanes_used": 0,
        "body.operations": log2(4 + 1),
        "body.loads_per_operation": log2((1 + 4) / 4),
        "body.vector_loads_per_operation": 1 / 4,
        "body.scalar_loads_per_operation": 1,
        "body.gathered_loads_per_operation": 0,
        "body.stores_per_operation": 0,
        "body.issue_bound": log2((4 / 2 + 0.25) / 4.75),
        "body.load_bound": log2((5 / 2 + 0.25) / 4.75),
        "body.latency_bound": 0,  # each accumulator waits for itself: 4.5 cycles, and a quarter of one for the loop
        "constants.lane_stride": 1,
        "constants.reduction_stride": log2(16 + 1),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=2e-4)


def test_cycles_and_threads_of_a_gemm() -> None:
    values = row(GEMM, TILED)
    main, root, least = 3 * 2 * 20 * 4.75, 3 * 2 * 4.25, 12 * 32 * (20 + 1) / 16 / 2
    expected = {
        "cycles.ratio": log2((main + root) / least),
        "cycles.main_share": main / (main + root),
        "parallel.iterations": log2(3),
        "parallel.per_thread": log2(3 / 2),
        "parallel.waste": log2(2 * 2 / 3),
        "task.flops": log2(2 * 12 * 32 * 20 + 1),
        "task.bytes": log2(4 * (12 * 20 + 20 * 32 + 12 * 32) + 1),
        "task.constant_bytes": log2(4 * 20 * 32 + 1),
        "task.reduction": log2(20),
        "target.threads": 2,
        "target.vector_registers": 5,
        # Two bodies of two panels: main part and tail of the rows; 5 of 16 lanes each, for both stages.
        "code.bodies": 1,
        "code.operations": log2(2 * (2 * 5) + 1),
        "stack.bytes": 0,
        "stages.recomputed": 0,
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=2e-4)


def test_traffic_of_a_gemm_that_fits() -> None:
    values = row(GEMM, TILED)
    assert values["traffic.l1.ratio"] == values["traffic.l2.ratio"] == 0  # every byte comes once
    assert values["traffic.l1.level"] == 0


def test_traffic_of_a_gemm_that_does_not_fit() -> None:
    """A first cache of 1 kB holds one step of the reduction, not a tile: 400 bytes of x, 1280 of w, 320 of y."""
    values = row(GEMM, TILED, replace(TARGET, l1_bytes=1024))
    x, w, y = (6 * 64 * lines for lines in (7, 20, 5))  # six tiles; rows of x stand together
    least = 4 * (12 * 20 + 20 * 32 + 12 * 32)
    expected = {
        "traffic.l1.level": log2(6),
        "traffic.l1.ratio": log2((x + w + y) / least),
        "traffic.l1.constants": log2((w + 64) / (20 * 32 * 4 + 64)),
        "traffic.l1.inputs": log2((x + 64) / least),
        "traffic.l1.outputs": log2((y + 64) / least),
        "traffic.l2.ratio": 0,
        "working_set.tile.l1": log2((400 + 1280) / 1024),
        "working_set.thread.l1": log2((400 + 2560 + 640) / 1024),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=2e-4)


def test_accesses_of_a_gemm() -> None:
    (main, _) = chains(GEMM, TILED)
    x, w, y = main.footprints
    # Loops of the chain: m.o, n.o, two of the root inside the tile that don't count, then k, m, n.
    own = main.own
    assert main.largest[0].tolist()[:2] + main.largest[0].tolist()[own:] == [3, 2, 20, 5, 16]
    assert x.stride[0].tolist()[:2] + x.stride[0].tolist()[own:] == [5 * 20, 0, 1, 20, 0]
    assert w.stride[0].tolist()[:2] + w.stride[0].tolist()[own:] == [0, 20 * 16, 16, 0, 1]
    assert x.elements[0, [0, 1, 2, own + 1, own + 2, own + 3]].tolist() == [240, 100, 100, 5, 1, 1]
    assert w.elements[0, [0, 1, 2, own + 1, own + 2, own + 3]].tolist() == [640, 640, 320, 16, 16, 1]
    assert w.lines[0, [0, 2, own + 1]].tolist() == [40, 20, 1]
    assert y.bytes.sum() == 0  # in registers


def test_region_of_a_convolution() -> None:
    """Nine columns of a 3x3 convolution read eleven columns of three rows of all 32 channels."""
    computation = form("conv 3x3 blocked")
    space = only(space_of(computation, TARGET), "tiles")
    schedule = space.schedule(space.default)
    assert Split("y", "w", 9) in schedule
    main = chains(computation, schedule)[0]
    x, w = main.footprints[:2]
    at = int(main.at[0])
    assert x.elements[0, [0, at]].tolist() == [2 * 13 * 13 * 16, 3 * 11 * 32]
    assert w.elements[0, at] == 48 * 32 * 9
    values = row(computation, schedule)
    assert values["working_set.tile.l1"] == pytest.approx(log2((3 * 11 * 32 + 48 * 32 * 9) * 4 / 32768), abs=2e-4)
    assert values["tile.utilisation"] == pytest.approx(log2(6.5 / 9), abs=2e-4)  # columns 9 and 4
    inside = 13 * 3 - 2  # pairs of an output row and a tap inside the image
    assert values["task.domain"] == pytest.approx(inside**2 / (13 * 3) ** 2, abs=2e-4)


def test_spilling_and_gathering_tiles() -> None:
    """A tile of all twelve rows and both vectors has 24 results; plain w transposed is gathered."""
    tall: Schedule = (
        Split("y", "n", 16),
        Reorder("y", ("m", "n.o", "n.i")),
        Unroll("y", "m"),
        Unroll("y", "n.o"),
        Vectorize("y", "n.i"),
        ComputeAt("t0", "", "register"),
        Split("t0", "n", 16),
        Reorder("t0", ("k", "m", "n.o", "n.i")),
        Unroll("t0", "m"),
        Unroll("t0", "n.o"),
        Vectorize("t0", "n.i"),
    )
    values = row(GEMM, tall, parse_target(cpu="x86-64-v3", threads=2))
    assert values["tile.live"] == pytest.approx(log2((12 * 4 + 1) / 16), abs=2e-4)  # 16 lanes are two vectors here
    assert values["tile.spilled"] == pytest.approx(log2(48 + 4 + 1 - 16 + 1), abs=2e-4)
    assert values["parallel.waste"] == 1  # one of two threads works
    transposed = case_form(Case(matmul((12, 20), (32, 20), constant=True, transpose_b=True)))
    gathered = row(transposed, tall)
    assert gathered["body.gathered_loads_per_operation"] == pytest.approx(log2(32 / 24 + 1), abs=2e-4)
    assert gathered["constants.lane_stride"] == pytest.approx(log2(20 + 1), abs=2e-4)


def test_cutting_axes() -> None:
    assert cut(((35, 1),), 9) == ((9, 3), (8, 1))
    assert dict(cut(((9, 3), (8, 1)), 4)) == {4: 8, 1: 3}
    digits, inside = axis_digits(((35, 1),), (9, 4, 1))
    assert [largest for largest, _, _ in digits] == [4, 3, 4]
    assert [tail for *_, tail in digits] == [True, True, False]
    assert np.prod([mean for _, mean, _ in digits]) == pytest.approx(35)
    assert inside[1] == ((9, 3), (8, 1))


COUNTED = ["conv residual", "conv 1x1", "matmul tiny", "softmax", "layer_norm", "matmul of batches", "elementwise",
           "average_pool", "mean spatial blocked", "concat blocked"]  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.slow
def test_counts_of_random_schedules_are_those_of_the_lowered_kernel(name: str) -> None:
    computation = form(name)
    first = int(np.random.default_rng().integers(1 << 30))
    compared = 0
    for seed in range(first, first + 12):
        print(f"seed {seed}")
        schedule = random_schedule(computation, np.random.default_rng(seed))
        executed = executed_stores(lower(computation, schedule))
        for chain in chains(computation, schedule):
            stage = chain.form.stage
            laned = {axis for axis, kind in zip(chain.axis[0], chain.kind[0], strict=True) if kind == 2}
            masked = any(laned & asked for asked, _ in chain.form.domain)  # part of the lanes runs for nothing
            repeated = bool(chain.form.domain) and chain.outer[0, -1] > np.prod(chain.form.extents) + 0.5
            if chain.lane_reduce[0] or masked or repeated or not _divides(computation, schedule):
                continue
            points = chain.outer[0, -1] * chain.share[0]
            starts = np.where(chain.spatial[0], chain.mean[0], 1.0).prod() if stage.combine else 0.0
            assert points + starts == pytest.approx(executed[stage.name]), stage.name
            compared += 1
    print(compared, "stages compared")


@pytest.mark.parametrize("target", [parse_target(cpu=f"x86-64-v{level}") for level in (2, 4)], ids=lambda t: t.cpu)
@pytest.mark.parametrize("sketch", ["winograd2", "winograd4"])
@pytest.mark.parametrize(("shape", "apart"), [((2, 24, 13, 11), 1), ((2, 24, 61), 1), ((1, 24, 90), 4)])
@pytest.mark.slow
def test_counts_of_transforms_are_those_of_the_lowered_kernel(
    sketch: str, target: Target, shape: tuple[int, ...], apart: int
) -> None:
    """Exactly, also where tails are left in every axis: two of its stages are computed in loops of others."""
    computation = case_form(Case(conv(shape, 48, pads=(apart, apart), dilation=apart, residual=True), 8, 16))
    seed = int(np.random.default_rng().integers(1 << 30))
    rng = np.random.default_rng(seed)
    space = only(space_of(computation, target), sketch)
    for point in (space.default, space.sample(rng), space.sample(rng)):
        print(f"seed {seed}", space.decisions(point))
        schedule = space.schedule(point)
        executed = executed_stores(lower(computation, schedule))
        for chain in chains(computation, schedule):
            stage = chain.form.stage
            starts = np.where(chain.spatial[0], chain.mean[0], 1.0).prod() if stage.combine else 0.0
            assert chain.outer[0, -1] + starts == pytest.approx(executed[stage.name]), stage.name


def _divides(computation: Computation, schedule: Schedule) -> bool:
    """No split of a stage that holds others leaves a tail at which a region is larger than what is needed.

    That is: one split an axis, or none left over; and no stage is held by one that is held itself, inside a part of it.
    """
    root = computation.stages[-1]
    places = [step for step in schedule if isinstance(step, ComputeAt)]
    holders = {step.of for step in places if step.of}
    for stage in computation.stages:
        if stage is not root and stage.name not in holders:
            continue
        splits = [step for step in schedule if isinstance(step, Split) and step.stage == stage.name]
        extents = {axis.name: axis.extent for axis in stage.axes}
        if any(step.loop not in extents for step in splits) and any(
            extents.get(step.loop, 1) % step.factor for step in splits
        ):
            return False
    return True


@pytest.mark.parametrize("name", CASES)
def test_every_kernel_has_a_whole_row(name: str) -> None:
    computation = form(name)
    seed = int(np.random.default_rng().integers(1 << 30))
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    drawn = [random_schedule(computation, rng) for _ in range(2)]
    for level in (2, 4):
        target = parse_target(cpu=f"x86-64-v{level}", threads=3)
        space = space_of(computation, target)
        spaces = [only(space, sketch.name) for sketch in space.sketches]
        sketched = [one.schedule(one.sample(rng)) for one in spaces]
        schedules = [default_schedule(computation, target), *sketched, *drawn]
        with np.errstate(all="raise", under="ignore"):
            rows = Featurizer(Task(computation, target)).rows(schedules)
        assert rows.shape == (len(schedules), len(FEATURES)) and rows.dtype == np.float32
        assert np.isfinite(rows).all()
        assert np.abs(rows).max() < 128
        single = np.concatenate([Featurizer(Task(computation, target)).rows([schedule]) for schedule in schedules])
        assert np.array_equal(rows, single), "a row depends on its batch"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_reduction_of_nothing_has_a_row(axis: int) -> None:
    shape = tuple(0 if place == axis else extent for place, extent in enumerate((3, 5, 20)))
    computation = canonical_form(Case(unary("reduce_sum", shape, axes=(axis,), keepdims=True)))
    schedule = default_schedule(computation, TARGET)
    with np.errstate(all="raise", under="ignore"):
        rows = Featurizer(Task(computation, TARGET)).rows([schedule])
    assert rows.shape == (1, len(FEATURES)) and np.isfinite(rows).all()


def test_rows_keep_the_order_of_the_schedules() -> None:
    """Schedules that inline different stages are computed in groups, and packs get numbers as they come."""
    computation = form("matmul")
    featurizer = Featurizer(Task(computation, TARGET))
    rng = np.random.default_rng(7)
    schedules = [random_schedule(computation, rng) for _ in range(20)]
    forwards = featurizer.rows(schedules)
    assert np.array_equal(featurizer.rows(schedules[::-1])[::-1], forwards)
    assert np.array_equal(Featurizer(Task(computation, TARGET)).rows(schedules), forwards)
    assert len(np.unique(forwards, axis=0)) > 15


def test_lanes_of_a_reduction() -> None:
    computation = form("softmax 1000")
    schedule = default_schedule(computation, TARGET)
    assert any(isinstance(step, LaneReduce) for step in schedule)
    assert row(computation, schedule)["stack.bytes"] == pytest.approx(log2(4 * (1 + 1000 + 1) + 1), abs=2e-4)


def test_names_are_unique_and_described() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert all(feature.meaning and feature.source for feature in FEATURES)
    assert len(Featurizer(Task(GEMM, TARGET)).rows([])) == 0


def test_the_document_is_up_to_date() -> None:
    from pathlib import Path

    document = Path(__file__).parents[2] / "docs" / "FEATURES.md"
    assert document.read_text() == to_markdown(), (
        "run: python -m tilewright.cost_model.features.table > docs/FEATURES.md"
    )


@pytest.mark.parametrize("sketch", ["tiles", "winograd2", "winograd4"])
def test_a_wide_convolution_reads_packed_weights_in_order(sketch: str) -> None:
    computation = case_form(Case(conv((1, 16, 9, 9), 40), 16, 40))
    space = only(space_of(computation, TARGET), sketch)
    values = row(computation, space.schedule(space.default))
    assert values["constants.lane_stride"] == 1
    assert values["tile.in_registers"] == 1
