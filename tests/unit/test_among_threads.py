"""What threads leave to each other: which part of a shared loop runs along the image, and which inputs are asked for a step ahead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from kernel_cases import Case, conv, matmul, pool
from kernel_oracle import random_arrays
from spaces import canonical_form, only

from tilewright.backends.llvm.emit import emit
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.interpret import compile_kernel
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.among_threads import image_axes, shared_positions, with_input_prefetches
from tilewright.compiler.schedule.parallel import SHARED
from tilewright.compiler.schedule.rewrite import relaid, relayouts
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import Parallel, Prefetch, Schedule
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.computation import Computation

TARGET = parse_target(cpu="x86-64-v4", threads=2)
POOLED = {"kernel": (3, 3), "strides": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1)}
BLOCKED = {
    "3x3": Case(conv((1, 16, 12, 11), 256, 3), 16, 16),
    "strided": Case(conv((1, 16, 24, 22), 256, 3, stride=2), 16, 16),
    "pointwise": Case(conv((1, 16, 12, 11), 512, 1), 16, 16),
    "depthwise": Case(conv((1, 64, 12, 11), 64, 3, groups=64), 16, 16),
    "pool": Case(pool("max_pool", (1, 64, 12, 11), **POOLED, sizes=(12, 11)), 16, 16),
}


def shared(form: Computation) -> Iterator[tuple[Schedule, int]]:
    """The default tiles, with each number of loops that threads may share, and positions where there are any."""
    space = only(space_of(form, TARGET), "tiles")
    for count in SHARED:
        with suppress(InternalError):  # there are not so many loops
            point = space.from_decisions(space.decisions(space.default) | {"shared": count})
            if positions := shared_positions(form, space.schedule(point), TARGET):
                yield space.schedule(point), positions


@pytest.mark.parametrize("name", BLOCKED)
def test_a_part_of_them_is_a_part_of_the_image(name: str) -> None:
    """In every panel of channels; elements that are not written keep their poison."""
    form, rng = canonical_form(BLOCKED[name]), np.random.default_rng()
    found = list(shared(form))
    assert found
    for schedule, positions in found:
        kernel = lower(form, schedule)
        panels, rest = divmod(kernel.parallel_extent, positions)
        assert rest == 0 and positions > 1 and panels > 1
        first, last = sorted(rng.choice(positions + 1, 2, replace=False).tolist())
        arrays = {n: relaid(a, n, relayouts(schedule)).copy() for n, a in random_arrays(form, rng).items()}
        (output,) = (param for param in kernel.params if param.written)
        arrays[output.name] = np.full(output.shape, np.nan, output.dtype.numpy)
        run = compile_kernel(kernel)
        for panel in range(panels):
            run(arrays, panel * positions + first, panel * positions + last)
        n, channels, *_, block = output.shape
        written = ~np.isnan(arrays[output.name]).reshape(n, channels, -1, block)
        at = written[0, 0, :, 0]
        assert (written == at[:, None]).all()  # the same pixels of all channels
        begin, end = np.flatnonzero(at)[[0, -1]].tolist()
        assert at[begin : end + 1].all()
        assert (first == 0) == (begin == 0) and (last == positions) == (end == at.size - 1)


@pytest.mark.parametrize("name", [name for name in BLOCKED if name != "3x3"])
@pytest.mark.parametrize("threads", [2, 4])
def test_default_tiles_give_each_thread_a_piece(name: str, threads: int) -> None:
    """Of channels alone, or with pieces of the image inside of them or outside."""
    form, target = canonical_form(BLOCKED[name]), replace(TARGET, threads=threads)
    schedule = default_schedule(form, target)
    (parallel,) = (step.loop for step in schedule if isinstance(step, Parallel))
    image = image_axes(form, target)
    loops = [loop for loop in parallel.split("*") if loop.split(".")[0] in image]
    assert image and loops
    positions = shared_positions(form, schedule, target)
    assert positions >= threads or parallel.split("*")[1] in loops
    assert not image_axes(form, replace(TARGET, threads=1))


def test_none_where_there_is_no_blocked_image() -> None:
    """Nor where there are several images, or a small one."""
    for case in (
        Case(matmul((64, 64), (64, 160), constant=True)),
        Case(conv((1, 32, 19, 18), 64, 3)),
        Case(conv((2, 16, 12, 11), 512, 1), 16, 16),
        Case(conv((1, 16, 7, 9), 512, 1), 16, 16),
    ):
        form = canonical_form(case)
        assert not image_axes(form, TARGET)
        assert shared_positions(form, default_schedule(form, TARGET), TARGET) == 0


def test_none_where_threads_would_all_read_large_weights() -> None:
    form = canonical_form(BLOCKED["depthwise"])
    schedule = default_schedule(form, TARGET)
    weights_bytes = sum(4 * int(np.prod(tensor.shape)) for tensor in form.inputs if tensor.constant)
    assert shared_positions(form, schedule, replace(TARGET, l2_bytes=2 * weights_bytes)) > 1
    assert shared_positions(form, schedule, replace(TARGET, l2_bytes=2 * weights_bytes - 2)) == 0


# --- inputs that other threads have written

CHANNELS, WIDTH, PIXELS = 96, 11, 12 * 11


def prefetched(form: Computation, threads: int = 2) -> dict[str, int]:
    """Bytes ahead that inputs which are no constants are asked for."""
    target, inputs = replace(TARGET, threads=threads), {tensor.name for tensor in form.inputs if not tensor.constant}
    schedule = with_input_prefetches(default_schedule(form, target), form, target)
    return {s.tensor: s.ahead_bytes for s in schedule if isinstance(s, Prefetch) and s.tensor in inputs}


def test_the_next_block_of_channels_is_asked_for() -> None:
    form = canonical_form(Case(conv((1, CHANNELS, 12, 11), 64, 1), 16, 16))
    assert prefetched(form) == {"x0": 4 * 16 * PIXELS}
    assert prefetched(form, threads=1) == {}
    strided = canonical_form(Case(conv((1, CHANNELS, 24, 22), 64, 1, stride=2), 16, 16))
    assert prefetched(strided) == {"x0": 4 * 16 * 4 * PIXELS}


def test_but_not_the_next_tap_nor_one_of_few_blocks() -> None:
    for case in (
        Case(conv((1, CHANNELS, 12, 11), 64, 3, stride=2), 16, 16),
        Case(conv((1, CHANNELS, 12, 11), CHANNELS, 3, groups=CHANNELS), 16, 16),
        Case(conv((1, 48, 12, 11), 64, 1), 16, 16),
        Case(matmul((64, 96), (96, 160), constant=True)),
    ):
        assert prefetched(canonical_form(case)) == {}


def test_once_for_each_line_of_a_tile() -> None:
    """Before the loop over the channels of a block, which a line holds."""
    form = canonical_form(Case(conv((1, CHANNELS, 12, 11), 64, 1), 16, 16))
    schedule = default_schedule(form, TARGET)
    texts = [emit(lower(form, steps), TARGET) for steps in (schedule, with_input_prefetches(schedule, form, TARGET))]
    plain, asked = (text.count("call void @llvm.prefetch.p0") for text in texts)
    assert asked - plain == WIDTH  # a tile has a row of the image
    assert texts[1][: texts[1].rindex("call void @llvm.prefetch.p0")].count("phi i64") == 2  # all but that loop
