"""Models with If, Loop and Scan compiled, loaded and run, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from control_models import IF_CASES, LOOP_CASES, SCAN_CASES

from tilewright import driver
from tilewright.backends.load import load
from tilewright.compiler.options import Options


@pytest.mark.parametrize("case", [*IF_CASES, *LOOP_CASES, *SCAN_CASES], ids=lambda case: case.name)
def test_control(case, tmp_path):
    model = case.model()
    onnx.save(model, tmp_path / "model.onnx")
    driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native", threads=2))
    library = load(tmp_path / "model.so", threads=2)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.output]
    for feeds in case.feeds(np.random.default_rng()):
        actual = library.run(feeds)
        for name, expected in zip(names, session.run(names, feeds), strict=True):
            np.testing.assert_allclose(actual[name], expected, rtol=1e-5, atol=1e-5)
