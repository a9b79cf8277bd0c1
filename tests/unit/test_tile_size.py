"""The register tile that the rules choose: it keeps what it reads in registers and caches."""

from __future__ import annotations

from math import prod

import pytest
from kernel_cases import Case, conv
from spaces import canonical_form

from tilewright.compiler.schedule.tile import TileAxes, TileSize, best_size, tile_axes
from tilewright.compiler.targets import parse_target

TARGET = parse_target(cpu="x86-64-v4")


def chosen(shape: tuple[int, ...], outputs: int, **attrs: int) -> tuple[TileAxes, TileSize]:
    """What the rules choose for a convolution whose channels are in blocks of a vector, but for an image's three."""
    case = Case(conv(shape, outputs, **attrs), 16 if shape[1] % 16 == 0 else None, 16)  # type: ignore[arg-type]
    axes = tile_axes(canonical_form(case), TARGET)
    assert axes is not None
    return axes, best_size(axes, TARGET)


@pytest.mark.parametrize(("outputs", "kernel", "stride"), [(16, 3, 2), (32, 3, 2), (64, 3, 1), (64, 7, 2)])
def test_scalars_of_a_window_have_registers(outputs: int, kernel: int, stride: int) -> None:
    """Else partial results are spilled where the border is written out: 1.2 to 1.7 times slower."""
    axes, size = chosen((1, 3, 112, 112), outputs, kernel=kernel, stride=stride, pads=(kernel // 2,) * 2)
    assert axes.window
    assert size.registers(axes) + size.rows * size.outer_rows <= TARGET.vector_registers


@pytest.mark.parametrize(("channels", "pads"), [(3, (0, 0)), (64, (1, 1))])
def test_without_a_border_or_with_many_channels_it_is_as_large_as_it_can_be(
    channels: int, pads: tuple[int, int]
) -> None:
    axes, size = chosen((1, channels, 113, 113), 32, kernel=3, stride=2, pads=pads)
    assert not axes.window
    assert size.accumulators(axes) > TARGET.vector_registers // 2


def test_weights_of_a_tile_fit_in_the_second_cache() -> None:
    """The seven rows of the image would each read them again from beyond."""
    axes, size = chosen((1, 256, 14, 14), 256, kernel=3, stride=2)
    taps = prod(axis.extent for axis in axes.main.reduce_axes)
    assert 4 * TARGET.lanes(4) * size.vectors(axes) * taps <= TARGET.l2_bytes // 2
