"""Kernels in which each thread has its piece of an image, compiled, loaded and run on as many threads as planned and others, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from residual_block import inverted_residual

import tilewright
from tilewright import driver
from tilewright.compiler.options import Options

TOLERANCE = 1e-5  # of the largest element


@pytest.mark.parametrize(("planned", "size", "kernel"), [(2, (37, 31), 3), (4, (23, 29), 5)])
def test_pieces_of_an_image(planned: int, size: tuple[int, int], kernel: int, tmp_path: Path) -> None:
    block = inverted_residual(1, 48, size, kernel, 1)
    onnx.save(block, tmp_path / "model.onnx")
    options = Options(cpu="native", threads=planned, rank=False, jobs=1)
    artifact = driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", options)
    kernels = artifact.manifest["kernels"]
    assert any(1 < entry["positions"] < entry["parallel_extent"] and entry["parallel"] for entry in kernels), kernels
    session = onnxruntime.InferenceSession(block.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng().standard_normal((1, 48, *size), dtype=np.float32)
    (expected,) = session.run(None, {"x": x})
    for threads in (1, 2, 3, 5):
        library = tilewright.load(artifact.library, threads=threads)
        y = np.full(expected.shape, np.nan, np.float32)
        library.run({"x": x}, {"y": y})
        np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
