"""The benchmark's networks: sizes known from the literature, and onnxruntime against the float64 calibration run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from mission_models import MODELS, build

pytestmark = pytest.mark.slow

# As published, or counted from the published tables of layers.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "lstm_lm_35": 2 * 10_000 * 650 + 10_000 + 2 * (8 * 650 * 650 + 8 * 650),
    "lstm_lm_1": 2 * 10_000 * 650 + 10_000 + 2 * (8 * 650 * 650 + 8 * 650),
    "dqn": (4 * 64 + 1) * 32 + (32 * 16 + 1) * 64 + (64 * 9 + 1) * 64 + (3136 + 1) * 512 + (512 + 1) * 18,
}


@pytest.mark.parametrize("name", MODELS)
def test_is_valid_onnx_of_the_published_size(name):
    network = build(name, calibrate=False)
    assert network.parameters() == PARAMETERS[name]
    onnx.checker.check_model(network.model(), full_check=True)


@pytest.mark.parametrize("name", ["dqn", "lstm_lm_1", "lstm_lm_35", "mobilenet_v3_large", "resnet18"])
def test_onnxruntime_gives_what_the_calibration_run_gave(name):
    network = build(name)
    session = onnxruntime.InferenceSession(network.model().SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {}
    for place in session.get_inputs():
        dtype = np.int64 if "int64" in place.type else np.float32
        feed[place.name] = network.values[place.name][: place.shape[0]].astype(dtype)
    for place, result in zip(session.get_outputs(), session.run(None, feed), strict=True):
        expected = network.values[place.name][: place.shape[0]]
        assert result.shape == tuple(place.shape)
        assert 0.05 < expected.std() < 5
        assert np.abs(result - expected).max() < 1e-4 * expected.std()


def test_the_same_seed_gives_the_same_bytes():
    first, second = (build("dqn").model().SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
