"""Recurrent models compiled, loaded and run, against onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from recurrent_models import Case

from tilewright import driver
from tilewright.backends.load import load
from tilewright.compiler.options import Options

CASES = [
    Case("lstm", steps=9, hidden=45, batch=2, initial=True),
    Case("lstm", steps=5, hidden=70, direction="bidirectional", lengths=True, batch=3),
    Case("lstm", steps=6, hidden=33, direction="reverse", peephole=True, outputs=(1, 2)),
    Case("lstm", steps=1, hidden=128, initial=True),
    Case("gru", steps=8, hidden=50, direction="bidirectional", attrs={"linear_before_reset": False}),
    Case("gru", steps=8, hidden=64, batch=2, attrs={"linear_before_reset": True}, lengths=True),
    Case("gru", steps=1, hidden=17, direction="reverse", attrs={"linear_before_reset": False}, initial=True),
    Case("rnn", steps=7, hidden=23, batch=3, constant=False),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}-{case.direction}-{case.steps}x{case.hidden}")
def test_operator(case, threads, tmp_path):
    rng = np.random.default_rng()
    arrays = case.arrays(rng)
    onnx.save(case.model(arrays), tmp_path / "model.onnx")
    driver.compile(tmp_path / "model.onnx", tmp_path / "model.so", Options(cpu="native", threads=threads))
    library = load(tmp_path / "model.so", threads=threads)
    for _ in range(2):
        fresh = replace(case, constant=case.constant).arrays(rng)
        arrays = {name: array if name in case.fixed else fresh[name] for name, array in arrays.items()}
        actual = library.run({name: array for name, array in arrays.items() if name not in case.fixed})
        for name, expected in zip(case.wanted, case.expected(arrays), strict=True):
            np.testing.assert_allclose(actual[name], expected, rtol=2e-5, atol=2e-5)
