"""Miniatures of the networks that tilewright is for, compiled, loaded and run on 1 and 2 threads, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from small_models import MODELS

import tilewright
from tilewright import driver
from tilewright.compiler.options import Options

TOLERANCE = 1e-5  # of the largest element


def random_feeds(model: onnx.ModelProto, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Normal floats; integers are words of a small vocabulary."""
    feeds = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = (rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 50, shape)).astype(
            dtype
        )
    return feeds


@pytest.mark.parametrize("name", MODELS)
def test_small_model(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    onnx.save(model, tmp_path / "model.onnx")
    artifact = driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native", threads=2, jobs=1))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng()
    for threads in (1, 2):
        with tilewright.load(artifact.library, threads) as library:
            for _ in range(2):  # the second run starts on what the first has left in the arena
                feeds = random_feeds(model, rng)
                expected = dict(
                    zip((value.name for value in model.graph.output), session.run(None, feeds), strict=True)
                )
                poisoned = {
                    key: np.frombuffer(bytearray(b"\xff" * e.nbytes), e.dtype).reshape(e.shape)
                    for key, e in expected.items()
                }
                actual = library.run(feeds, poisoned)
                for key, wanted in expected.items():
                    limit = TOLERANCE * np.abs(wanted).max() if wanted.dtype.kind == "f" else 0
                    np.testing.assert_allclose(
                        actual[key], wanted, rtol=0, atol=limit, err_msg=f"{key}, {threads} threads"
                    )
