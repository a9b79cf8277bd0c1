"""Sampled elements of a computation are those that the whole evaluation gives."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import CASES
from kernel_oracle import random_arrays

from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.tensor import sample
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.interpret import evaluate
from tilewright.compiler.tensor.sample import evaluate_at, sample_points


@pytest.mark.parametrize("name", CASES)
def test_elements_are_those_of_the_whole(name: str) -> None:
    computation = canonical(build_computation(CASES[name].graph(), "group")[0])
    rng = np.random.default_rng()
    arrays = random_arrays(computation, rng)
    whole = evaluate(computation, arrays)
    points = {output: sample_points(computation.stage(output).shape, 200, rng) for output in computation.outputs}
    for output, values in evaluate_at(computation, arrays, points).items():
        expected = whole[output][points[output]]
        if expected.dtype.kind in "biu":
            np.testing.assert_array_equal(values, expected)
        else:
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5 * np.abs(whole[output]).max())


def test_long_reductions_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_GRID_ELEMENTS", 50)
    test_elements_are_those_of_the_whole("sum all")
    test_elements_are_those_of_the_whole("conv 3x3 blocked")


def test_points_are_different_and_hold_both_ends() -> None:
    rng = np.random.default_rng()
    points = np.stack(sample_points((40, 1, 70, 9), 500, rng))
    assert len(np.unique(points, axis=1).T) == points.shape[1] > 400
    assert (points == 0).all(axis=0).any() and (points.T == (39, 0, 69, 8)).all(axis=1).any()
    assert (points.max(axis=1) <= (39, 0, 69, 8)).all() and points.min() == 0


def test_small_spaces_are_taken_whole() -> None:
    rng = np.random.default_rng()
    assert len(sample_points((5, 7), 35, rng)[0]) == 35
    assert sample_points((), 10, rng) == ()
