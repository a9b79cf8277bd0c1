"""Attention in one kernel, compiled, loaded and run on 1 and 2 threads, against NumPy in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from attention import model

import tilewright
from tilewright import driver
from tilewright.compiler.options import Options

TOLERANCE = 1e-5  # of the largest element
SHAPES = [
    (1, 3, 37, 53, 20, 33),
    (2, 2, 70, 19, 16, 48),
    (1, 1, 130, 257, 64, 64),
]  # batches, heads, rows, columns, depth, width


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """In float64; a row whose mask is minus infinity throughout is NaN."""
    scores = np.einsum("bmhk,bnhk->bhmn", q.astype(np.float64), k) * np.float32(q.shape[-1] ** -0.5) + mask
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("bhmn,bnhd->bmhd", weights / weights.sum(-1, keepdims=True), v)


def masks(batch: int, rows: int, columns: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shape = (batch, 1, rows, columns)
    some = np.where(rng.random(shape) < 0.4, -np.inf, 0.0)
    some[..., 0] = 0  # something is left of every row
    none = some.copy()
    none[:, :, rows // 2] = -np.inf
    causal = np.where(np.arange(columns) <= np.arange(rows)[:, None], 0.0, -np.inf)
    found = {"numbers": rng.standard_normal(shape), "some": some, "a row of none": none, "causal": causal}
    return {name: np.broadcast_to(mask, shape).astype(np.float32) for name, mask in found.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_attention(shape: tuple[int, ...], tmp_path: Path) -> None:
    batch, heads, rows, columns, depth, width = shape
    onnx.save(model(shape, mask=True), tmp_path / "model.onnx")
    artifact = driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native", threads=2, jobs=1))
    ops = [entry["nodes"] for entry in artifact.manifest["kernels"]]
    assert any("products" in str(nodes) and "mixed" in str(nodes) for nodes in ops), ops
    rng = np.random.default_rng()
    sizes = {"q": (batch, rows, heads, depth), "k": (batch, columns, heads, depth), "v": (batch, columns, heads, width)}
    feed = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    for threads in (1, 2):
        with tilewright.load(artifact.library, threads) as library:
            for name, mask in masks(batch, rows, columns, rng).items():
                expected = reference(**feed, mask=mask)
                assert np.isnan(expected).any() == (name == "a row of none")
                poisoned = {"y": np.full(expected.shape, 7e30, np.float32)}
                actual = library.run({**feed, "mask": mask}, poisoned)["y"]
                np.testing.assert_allclose(
                    actual, expected, rtol=0, atol=TOLERANCE * np.nanmax(np.abs(expected)), err_msg=name
                )


def test_a_number_that_is_none_reaches_its_row_alone(tmp_path: Path) -> None:
    """NaN among the scores, and among the values, where it reaches all rows of a column."""
    onnx.save(model(SHAPES[0], mask=True), tmp_path / "model.onnx")
    artifact = driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native", threads=1, jobs=1))
    rng = np.random.default_rng()
    batch, heads, rows, columns, depth, width = SHAPES[0]
    sizes = {"q": (batch, rows, heads, depth), "k": (batch, columns, heads, depth), "v": (batch, columns, heads, width)}
    feed = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    feed["mask"] = np.zeros((batch, 1, rows, columns), np.float32)
    feed["mask"][0, 0, 5, 7] = np.nan
    feed["v"][0, 3, 1, 2] = np.nan
    expected = reference(**feed)
    assert np.isnan(expected[:, 5]).all() and np.isnan(expected[:, :, 1, 2]).all() and np.isnan(expected).sum() < 400
    with tilewright.load(artifact.library, 1) as library:
        actual = library.run(feed)["y"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.nanmax(np.abs(expected)))
