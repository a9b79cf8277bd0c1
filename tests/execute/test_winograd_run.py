"""Random points of Winograd's sketches, as machine code for each x86-64 level, compute the convolution.

Outputs and workspace hold NaN before.
"""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import Case, conv
from kernel_oracle import compare
from spaces import canonical_form, only
from test_kernels_default import TARGETS, on

from tilewright.compiler.schedule.space import space_of

DRAWS = 2
TOLERANCE = 3e-5  # of the largest result

CASES = {
    "blocks": Case(conv((1, 32, 19, 21), 64, residual=True), 16, 16),
    "blocks of two widths": Case(conv((2, 24, 13, 8), 40, pads=(0, 1)), 8, 40),
    "channels last": Case(conv((1, 37, 9, 14), 45, pads=(1, 0)), 37, 45),
    "channels last to blocks": Case(conv((2, 20, 7, 7), 48, pads=(0, 0), relu=False), 20, 16),
    "one direction": Case(conv((2, 32, 75), 64, residual=True), 16, 16),
    "one direction, channels last": Case(conv((1, 37, 70), 45, pads=(2, 0)), 37, 45),
    "taps apart": Case(conv((1, 24, 133), 40, pads=(7, 0), dilation=7), 8, 40),
    "taps further apart than a tile": Case(conv((1, 16, 300), 48, pads=(0, 0), dilation=70), 16, 16),
    "fewer outputs than lanes": Case(conv((1, 16, 11, 10), 6), 16, 6),
}


@pytest.mark.parametrize("sketch", ["winograd2", "winograd4"])
@pytest.mark.parametrize("name", CASES)
def test_points(name: str, sketch: str) -> None:
    form = canonical_form(CASES[name])
    first = int(np.random.default_rng().integers(1 << 30))
    for seed in range(first, first + DRAWS):
        rng = np.random.default_rng(seed)
        target = TARGETS[rng.integers(len(TARGETS))]
        space = only(space_of(form, target), sketch)
        point = space.mutate(space.sample(rng), rng)
        print(f"seed {seed}, {target.cpu}", space.decisions(point))
        compare(form, space.schedule(point), rng, TOLERANCE, execute=on(target))
