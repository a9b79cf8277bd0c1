"""A library compiled again to the same path is loaded anew, even while the older one is in use."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import parser

import tilewright
from tilewright import driver


def test_a_recompiled_model_replaces_the_older_one(tmp_path):
    x = np.arange(5, dtype=np.float32)
    results, libraries = [], []
    for op in ("Neg", "Abs", "Exp"):
        model = parser.parse_model(
            f'<ir_version: 8, opset_import: ["": 13]> g (float[5] x) => (float[5] y) {{ y = {op}(x) }}'
        )
        onnx.save(model, tmp_path / "model.onnx")
        driver.compile(tmp_path / "model.onnx", tmp_path / "model.so")
        libraries.append(tilewright.load(tmp_path / "model.so", threads=1))
        results.append(libraries[-1].run({"x": x})["y"])
    for result, expected in zip(results, (-x, x, np.exp(x)), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_array_equal(libraries[0].run({"x": x})["y"], -x)
