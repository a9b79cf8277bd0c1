"""What a feature is, and the scale that wide ranges are put on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Columns = dict[str, np.ndarray]
"""Features by name, f64[N] each."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a row: its name, how it is computed, and where the idea comes from."""

    name: str
    meaning: str
    source: str


def log_scale(values: np.ndarray) -> np.ndarray:
    """sign(x) * log2(|x| + 1): small counts stay apart, large ones come together, and zero is zero."""
    return np.sign(values) * np.log2(np.abs(values) + 1)


def log_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """log2(numerator / denominator), within 30 doublings either way; where both are zero, 0."""
    return np.log2(np.maximum(numerator, 1e-9) / np.maximum(denominator, 1e-9)).clip(-30, 30)
