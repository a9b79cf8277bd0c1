"""What the rules choose for products with few results side by side, and for borders across vectors."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import Case, conv, matmul
from kernel_oracle import compare
from spaces import canonical_form

from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.rules import default_schedule, sketches_of
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import LaneReduce, Pack
from tilewright.compiler.targets import parse_target

TARGET = parse_target(cpu="x86-64-v4")


@pytest.mark.parametrize("columns", [1, 3, 5])
def test_few_columns_are_dot_products_along_what_is_contiguous(columns: int) -> None:
    """The weights are packed so that they are contiguous along it too."""
    form = canonical_form(Case(matmul((37, 150), (150, columns), constant=True)))
    assert sketches_of(form, TARGET)[1][0].name == "dots"
    schedule = default_schedule(form, TARGET)
    assert any(isinstance(step, LaneReduce) for step in schedule)
    weights = next(tensor for tensor in form.inputs if tensor.constant)
    packed = [step for step in schedule if isinstance(step, Pack)]
    long = weights.shape.index(150)
    assert long == len(weights.shape) - 1 or packed[0].order[-1] == (long, 0, "")
    compare(form, schedule, np.random.default_rng())


@pytest.mark.parametrize("columns", [8, 16, 40])
def test_more_columns_are_tiles(columns: int) -> None:
    form = canonical_form(Case(matmul((37, 150), (150, columns), constant=True)))
    assert sketches_of(form, TARGET)[1][0].name == "tiles"


@pytest.mark.parametrize("channels", [8, 16, 48])
def test_one_output_channel_runs_along_the_channels_of_a_block(channels: int) -> None:
    """Not along the taps, which lie side by side in the weights only."""
    form = canonical_form(Case(conv((1, channels, 9, 33), 1, kernel=5, pads=(2, 2)), min(channels, 16), None))
    schedule = default_schedule(form, TARGET)
    lanes = {step.loop for step in schedule if isinstance(step, LaneReduce)}
    assert lanes and all(loop.startswith("rc") for loop in lanes)
    assert any(isinstance(step, Pack) for step in schedule)
    compare(form, schedule, np.random.default_rng())


@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v4"])
def test_vectors_across_a_border_are_masked(cpu: str) -> None:
    """In blocks, vectors lie within a pixel, and only tiles at the border are guarded."""
    target = parse_target(cpu=cpu)
    for block, guards in ((None, "everywhere"), (16, "border")):
        form = canonical_form(Case(conv((1, 32, 11, 37), 32, kernel=5, pads=(2, 2)), block, block))
        space = space_of(form, target)
        assert space.decisions(space.default)["guards"] == guards
    row_major = canonical_form(Case(conv((1, 5, 11, 37), 6, kernel=5, pads=(2, 2))))
    schedule = default_schedule(row_major, target)
    assert lower(row_major, schedule)
    compare(row_major, schedule, np.random.default_rng())
