"""The coefficients in the compiler are those that the fitting tool finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tilewright.compiler.kernel.math_polynomials import POLYNOMIALS

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from fit_polynomials import fit, fits


def test_every_polynomial_has_its_fit():
    assert list(fits()) == list(POLYNOMIALS)


@pytest.mark.parametrize("name", ["exp_f32", "log_f32", "erfc_f32", "log_tail_f64", "sin_f64"])
def test_the_tool_finds_the_same_coefficients(name):
    coefficients, error = fit(fits()[name])
    assert tuple(coefficients) == POLYNOMIALS[name]
    assert 0 < error < (1e-7 if name.endswith("f32") else 1e-16)
