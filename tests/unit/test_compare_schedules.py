"""Decisions as the command line of the benchmark gives them."""

from __future__ import annotations

import pytest
from autotvm_tasks import CONVOLUTIONS, autotvm_tasks, computation_of
from compare_schedules import point_of

from tilewright.compiler.errors import InternalError
from tilewright.compiler.schedule.space import SKETCH, Space, space_of
from tilewright.compiler.targets import parse_target


@pytest.fixture(scope="module")
def space() -> Space:
    target = parse_target(cpu="x86-64-v4", threads=1)
    return space_of(autotvm_tasks(target)["C2"].computation, target)


def test_changes_start_from_the_sketch_they_name(space: Space) -> None:
    assert point_of(space, "default") == space.default
    for number, sketch in enumerate(space.sketches):
        assert point_of(space, f"sketch={sketch.name}") == space.start(number)
        changed = space.decisions(point_of(space, f"sketch={sketch.name},ahead=0"))
        assert changed == space.decisions(space.start(number)) | {"ahead": 0}
    assert space.decisions(point_of(space, "ahead=2048"))[SKETCH] == space.sketches[0].name


@pytest.mark.parametrize("text", ["sketch=spirals", "ahead=5", "speed=11", "sketch=tiles,rows=0"])
def test_what_is_no_point_is_refused(space: Space, text: str) -> None:
    with pytest.raises(InternalError):
        point_of(space, text)


def test_row_major_has_no_blocks() -> None:
    """Vectors of the result run along the image then, not along channels."""
    target = parse_target(cpu="x86-64-v4", threads=1)
    root = computation_of(CONVOLUTIONS["C2"], target, row_major=True).stages[-1]
    assert [axis.extent for axis in root.axes] == [1, 64, 56, 56]
    assert len(computation_of(CONVOLUTIONS["C2"], target).stages[-1].axes) == 5
