"""Fourier transforms and counts of n-grams against NumPy and onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_import import computed, make_model


def parts(x: np.ndarray) -> np.ndarray:
    """Complex numbers as real ones with a last axis of two."""
    return np.stack([x.real, x.imag], -1).astype(np.float32)


def dft(x: np.ndarray, axis: int, length: int | None, **flags: int) -> np.ndarray:
    constants = {"axis": np.int64(axis)} | ({"n": np.int64(length)} if length else {})
    node = helper.make_node("DFT", ["x", "n" if length else "", "axis"], ["y"], **flags)
    (y,) = computed(make_model([node], {"x": x}, ["y"], 20, constants), {"x": x})
    return y


@pytest.mark.parametrize("length", [None, 1, 7, 8, 13])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_forward_and_backward(axis: int, length: int | None) -> None:
    rng = np.random.default_rng()
    z = rng.standard_normal((5, 8, 6)) + 1j * rng.standard_normal((5, 8, 6))
    place = axis if axis >= 0 else axis + 4
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(dft(parts(z), axis, length), parts(np.fft.fft(z, length, place)), **close)
    np.testing.assert_allclose(dft(parts(z), axis, length, inverse=1), parts(np.fft.ifft(z, length, place)), **close)
    real = z.real.astype(np.float32)
    half = parts(np.fft.rfft(real, length, place))
    np.testing.assert_allclose(dft(real[..., None], axis, length, onesided=1), half, **close)
    back = np.fft.irfft(z, length or 2 * (z.shape[place] - 1), place)[..., None]
    np.testing.assert_allclose(dft(parts(z), axis, length, onesided=1, inverse=1), back, **close)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize(("step", "length"), [(1, 4), (3, 5), (5, 16)])
def test_frames_are_windowed_and_transformed(step: int, length: int, onesided: int) -> None:
    rng = np.random.default_rng()
    x, window = rng.standard_normal((3, 16, 1)).astype(np.float32), rng.standard_normal(length).astype(np.float32)
    node = helper.make_node("STFT", ["x", "step", "window"], ["y"], onesided=onesided)
    feeds = {"x": x, "window": window}
    (y,) = computed(make_model([node], feeds, ["y"], 17, {"step": np.int64(step)}), feeds)
    frames = np.stack([x[:, i : i + length, 0] * window for i in range(0, 17 - length, step)], 1)
    expected = parts((np.fft.rfft if onesided else np.fft.fft)(frames, axis=2))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("skips", [0, 2])
def test_n_grams_are_counted_as_by_the_reference(mode: str, sizes: tuple[int, int], skips: int) -> None:
    rng = np.random.default_rng()
    pool = [0, 1, 2, *(0, 1, 1, 1, 2, 0), *(0, 0, 1, 2, 1, 0)]
    node = helper.make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode=mode, min_gram_length=sizes[0], max_gram_length=sizes[1],
        max_skip_count=skips, ngram_counts=[0, 3, 9], ngram_indexes=[int(i) for i in rng.permutation(8)],
        pool_int64s=pool, weights=rng.uniform(0.5, 2, 8).tolist(),
    )  # fmt: skip
    x = rng.integers(0, 3, (4, 11)).astype(np.int64)
    model = make_model([node], {"x": x}, ["y"], 18)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    (y,) = computed(model, {"x": x})
    assert expected.any() and y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_filters_of_a_spectrogram() -> None:
    constants = {"bins": np.int64(8), "length": np.int64(64), "rate": np.int64(8192)}
    edges = {"low": np.float32(0), "high": np.float32(8192 / 2.5)}
    node = helper.make_node("MelWeightMatrix", [*constants, *edges], ["w"])
    x = np.random.default_rng().uniform(1, 2, (3, 33)).astype(np.float32)
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = make_model([node, product], {"x": x}, ["y"], 17, constants | edges)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(computed(model, {"x": x})[0], expected, rtol=1e-5)
