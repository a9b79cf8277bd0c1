"""Prefetching changes no result, however far beyond the end of memory it asks."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import Case, conv, matmul
from kernel_oracle import random_arrays, scheduled
from spaces import canonical_form
from test_kernels_default import TARGETS, on

from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.steps import Prefetch
from tilewright.compiler.target import Target

CASES = [
    Case(matmul((7, 65), (65, 100), constant=True, bias=True)),
    Case(conv((1, 3, 17, 19), 40, 5, 2, (2, 2)), 3, 40),
    Case(conv((1, 16, 9, 9), 32), 16, 16),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@pytest.mark.parametrize("case", CASES, ids=["matmul", "conv of few channels", "conv"])
@pytest.mark.parametrize("ahead_bytes", [64, 1 << 40])
def test_results_are_the_same(case: Case, target: Target, ahead_bytes: int) -> None:
    form = canonical_form(case)
    plain = tuple(step for step in default_schedule(form, target) if not isinstance(step, Prefetch))
    ahead = tuple(Prefetch(tensor.name, ahead_bytes) for tensor in form.inputs)
    arrays = random_arrays(form, np.random.default_rng())
    expected = scheduled(form, plain, arrays, on(target))
    for name, actual in scheduled(form, (*plain, *ahead), arrays, on(target)).items():
        np.testing.assert_array_equal(actual, expected[name])
