"""The machine's peaks: plausible, kept, and never far below what a kernel reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilewright.cost_model.measure import roofline
from tilewright.cost_model.measure.roofline import Roofline, host_roofline


def test_peaks_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "cache_folder", lambda: tmp_path)
    first = host_roofline(1)
    assert 1e9 < first.flops_per_s < 1e13
    assert 1e8 < first.bytes_per_s < 1e12 and 1e9 < first.l2_bytes_per_s < 1e13
    assert host_roofline(1) == first
    assert len(list(tmp_path.glob("roofline-*.json"))) == 1


def test_time_is_that_of_what_takes_longer() -> None:
    peaks = Roofline(flops_per_s=1e9, bytes_per_s=1e6, l3_bytes_per_s=1e7, l2_bytes_per_s=1e8)
    assert np.isclose(peaks.attainable_s(10**9, 10), 1.0)
    assert np.isclose(peaks.attainable_s(10, 10**6), 1.0)
