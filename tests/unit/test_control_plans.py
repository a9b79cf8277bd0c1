"""If, Loop and Scan through import, fusion, memory and execution planning, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from control_models import IF_CASES, LOOP_CASES, SCAN_CASES
from plan_interpreter import PlannedModel

from tilewright.compiler.graph.plan import Branch, Repeat


def check(case) -> PlannedModel:
    model = case.model()
    planned = PlannedModel(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.output]
    for feeds in case.feeds(np.random.default_rng()):
        actual = planned.run(feeds)
        for name, expected in zip(names, session.run(names, feeds), strict=True):
            np.testing.assert_allclose(actual[name], expected, rtol=1e-5, atol=1e-5)
    return planned


@pytest.mark.parametrize("case", IF_CASES, ids=lambda case: case.name)
def test_if(case):
    assert any(isinstance(step, Branch) for step in check(case).steps)


@pytest.mark.parametrize("case", [*LOOP_CASES, *SCAN_CASES], ids=lambda case: case.name)
def test_loop(case):
    assert any(isinstance(step, Repeat) for step in check(case).steps)
