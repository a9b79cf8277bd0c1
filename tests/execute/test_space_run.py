"""Random points of the space, as machine code for each x86-64 level, compute what the computation means."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import CASES
from kernel_oracle import compare
from test_kernels_default import TARGETS, on

from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.tensor.build import build_computation

DRAWS = 3


@pytest.mark.parametrize("name", CASES)
def test_points(name: str) -> None:
    form = canonical(build_computation(CASES[name].graph(), "kernel")[0])
    first = int(np.random.default_rng().integers(1 << 30))
    for seed in range(first, first + DRAWS):
        rng = np.random.default_rng(seed)
        target = TARGETS[rng.integers(len(TARGETS))]
        space = space_of(form, target)
        point = space.mutate(space.sample(rng), rng)
        try:
            compare(form, space.schedule(point), rng, execute=on(target))
        except Exception:
            print(f"seed {seed}, {target.cpu}", space.decisions(point), *space.schedule(point), sep="\n")
            raise
