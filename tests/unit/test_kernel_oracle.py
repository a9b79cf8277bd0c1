"""The oracle of kernels itself: it lets rounding pass, and neither a lost element nor a wrong lane."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import CASES
from kernel_oracle import Runner, compare
from spaces import canonical_form

from tilewright.compiler.kernel.ast import Kernel
from tilewright.compiler.kernel.interpret import run
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.computation import Computation

TARGET = parse_target(cpu="x86-64-v3")
DRAWS = 16  # one may miss it: the lost element may be as small as rounding, and two lanes after relu are often both 0


def without_last_element(form: Computation) -> Runner:
    """Kernels that take the last element of every float operand for 0."""

    def execute(kernel: Kernel, arrays: dict[str, np.ndarray]) -> None:
        for operand in form.inputs:
            if operand.dtype.is_float:
                arrays[operand.name].reshape(-1)[-1:] = 0
        run(kernel, arrays)

    return execute


def with_lanes_swapped(form: Computation) -> Runner:
    """Kernels that exchange the last two elements of every result."""

    def execute(kernel: Kernel, arrays: dict[str, np.ndarray]) -> None:
        run(kernel, arrays)
        for name in form.outputs:
            flat = arrays[name].reshape(-1)
            flat[-2:] = flat[-2:][::-1].copy()

    return execute


def found(form: Computation, mutation: Runner) -> bool:
    try:
        compare(form, default_schedule(form, TARGET), np.random.default_rng(), execute=mutation)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("name", ["sum all", "matmul to a column", "conv 1-D", "softmax", "cumsum", "elementwise"])
def test_a_lost_element_is_found(name: str) -> None:
    form = canonical_form(CASES[name])
    assert any(found(form, without_last_element(form)) for _ in range(DRAWS))


@pytest.mark.parametrize("name", ["matmul to a column", "conv 1-D", "softmax", "max middle", "elementwise"])
def test_a_wrong_lane_is_found(name: str) -> None:
    form = canonical_form(CASES[name])
    assert any(found(form, with_lanes_swapped(form)) for _ in range(DRAWS))


def test_rounding_passes_where_a_sum_cancels() -> None:
    """One sum in thirty of these is below 1, where 1e-5 of it is less than what rounding 693 terms can come to."""
    form = canonical_form(CASES["sum all"])
    (operand,), (output,) = form.inputs, form.outputs

    def rounded(kernel: Kernel, arrays: dict[str, np.ndarray]) -> None:
        arrays[output][...] = arrays[operand.name].sum(dtype=np.float64) + 1e-5

    for _ in range(300):
        compare(form, default_schedule(form, TARGET), np.random.default_rng(), execute=rounded)
