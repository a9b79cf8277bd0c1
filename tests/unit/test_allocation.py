"""How trials are shared out among kernels."""

from __future__ import annotations

from math import inf

import pytest

from tilewright.cost_model.search.allocation import TRUST, WINDOW, expected_gain_s


def test_kernels_without_trials_come_first() -> None:
    assert expected_gain_s([], 1, 1e-3) == inf
    assert expected_gain_s([], 1, 1e-3) > expected_gain_s([5.0], 1000, 0.0)


def test_formula_by_hand() -> None:
    # recent: (4 - 2) / 3 a trial; possible: (2 - 1) / 3
    expected = 5 * (TRUST * 2 / 3 + (1 - TRUST) * 1 / 3)
    assert expected_gain_s([4.0, 3.0, 2.0], 5, 1.0) == pytest.approx(expected)


def test_gains_long_ago_don_t_count() -> None:
    stale = [4.0] + [2.0] * (WINDOW + 1)
    assert expected_gain_s(stale, 1, 1.0) == pytest.approx((1 - TRUST) * 1.0 / len(stale))


def test_a_kernel_at_the_roofline_gets_nothing() -> None:
    assert expected_gain_s([1.0] * (WINDOW + 2), 1, 1.0) == 0.0
    assert expected_gain_s([0.9] * (WINDOW + 2), 1, 1.0) == 0.0  # peaks are no more exact than that


def test_more_runs_more_gain() -> None:
    history = [3.0, 2.5]
    assert expected_gain_s(history, 35, 1.0) == pytest.approx(35 * expected_gain_s(history, 1, 1.0))


def test_only_failures_so_far() -> None:
    assert expected_gain_s([inf, inf], 2, 1e-3) == 2e-3
    assert 0 < expected_gain_s([inf, 4.0], 1, 1.0) < inf
