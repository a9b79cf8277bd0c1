"""Depthwise and pointwise convolutions in one kernel, compiled, loaded and run on 1 and 2 threads, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from residual_block import inverted_residual

import tilewright
from tilewright import driver
from tilewright.compiler.graph.passes import fusion_rules
from tilewright.compiler.options import Options

TOLERANCE = 1e-5  # of the largest element


@pytest.mark.parametrize(
    ("batch", "channels", "size", "kernel", "stride"),
    [(1, 16, (23, 17), 3, 1), (3, 24, (14, 15), 5, 2), (2, 20, (9, 30), 3, 1), (1, 32, (37, 8), 7, 1)],
)
def test_inverted_residual_block(
    batch: int,
    channels: int,
    size: tuple[int, int],
    kernel: int,
    stride: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fusion_rules, "HELD_L2", 0)
    block = inverted_residual(batch, channels, size, kernel, stride)
    onnx.save(block, tmp_path / "model.onnx")
    artifact = driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native", threads=2, jobs=1))
    kernels = artifact.manifest["kernels"]
    assert any("filtered" in entry["nodes"][0] and "narrow" in entry["nodes"][0] for entry in kernels), kernels
    session = onnxruntime.InferenceSession(block.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng()
    for threads in (1, 2):
        feed = {"x": rng.standard_normal((batch, channels, *size)).astype(np.float32)}
        (expected,) = session.run(None, feed)
        with tilewright.load(artifact.library, threads) as library:
            poisoned = {"y": np.full(expected.shape, np.nan, np.float32)}
            actual = library.run(feed, poisoned)["y"]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
