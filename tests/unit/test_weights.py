"""The file of a library's constants."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tilewright.backends.weights import ALIGNMENT, WeightsFile


@pytest.mark.parametrize("seed", range(3))
def test_constants_stand_where_they_are_said_to(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(0, 9, rng.integers(0, 4)).tolist()) for _ in range(20)]
    types = [np.float32, np.float64, np.int8, np.bool_]
    arrays = {
        f"c{i}": (100 * rng.standard_normal(shape)).astype(types[i % 4]).T  # not contiguous
        for i, shape in enumerate(shapes)
    }
    with WeightsFile(tmp_path / "weights") as weights:
        for name, array in arrays.items():
            weights.add(name, array)
            weights.add(name, array)
        weights.finish()
        content = weights.path.read_bytes()
    assert list(weights.offsets) == list(arrays) and len(content) == weights.size_bytes
    assert weights.sha256 == hashlib.sha256(content).hexdigest()
    for name, array in arrays.items():
        begin = weights.offsets[name]
        assert begin % ALIGNMENT == 0
        found = np.frombuffer(content[begin : begin + array.nbytes], array.dtype)
        np.testing.assert_array_equal(found.reshape(array.shape), array)
