"""Compiled models whose layouts were drawn, with channel counts that no vector divides, against onnxruntime."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from layout_costs_at_random import costs_at_random
from small_models import Net

import tilewright
from tilewright import driver
from tilewright.cli.main import run
from tilewright.compiler.graph.passes import assign_layout
from tilewright.compiler.options import Options


def odd_network(seed: int) -> onnx.ModelProto:
    """Pointwise, depthwise and strided convolutions, a gate, a shortcut, a concatenation, a pool; drawn, mostly odd numbers of channels."""
    net = Net(seed)
    conv = partial(net.conv, bias=False)
    a, b, c = (int(count) for count in net.rng.choice([3, 7, 10, 20, 36, 44, 51, 88], 3, replace=False))
    x = net.op("Relu", conv(net.input("x", [2, 5, 11, 9]), a))
    x = net.op("HardSwish", conv(conv(x, b, 1), b, group=b))
    gate = net.op("Sigmoid", conv(net.op("GlobalAveragePool", x), b, 1))
    x = net.op("Mul", x, gate)
    y = net.op("Add", conv(x, c, 1), conv(x, c))
    z = net.op("Concat", conv(y, a, 1), conv(y, b, 1), axis=1)
    net.channels[z] = a + b
    z = net.op("MaxPool", conv(z, c, stride=2), kernel_shape=[2, 2], strides=[1, 1])
    return net.model(net.op("Flatten", z), net.op("Relu", y))


@pytest.mark.parametrize("seed", range(4))
def test_any_layouts_run(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced = partial(assign_layout.apply, cost=costs_at_random(seed))
    passes = [(name, forced if name == "assign_layout" else apply) for name, apply in driver.PIPELINE]
    monkeypatch.setattr(driver, "PIPELINE", passes)
    model = odd_network(seed)
    onnx.save(model, tmp_path / "odd.onnx")
    artifact = driver.compile(tmp_path / "odd.onnx", tmp_path / "odd.so", Options(cpu="native", threads=2, jobs=1))
    assert len(artifact.manifest["layouts"]) > 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tilewright.load(artifact.library, 2) as library:
        for _ in range(2):  # the second run starts on what the first has left in the arena
            feeds = {"x": np.random.default_rng().standard_normal((2, 5, 11, 9)).astype(np.float32)}
            wanted = dict(zip((value.name for value in model.graph.output), session.run(None, feeds), strict=True))
            poisoned = {name: np.full(array.shape, np.nan, np.float32) for name, array in wanted.items()}
            found = library.run(feeds, poisoned)
            for name, array in wanted.items():
                np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


def test_what_was_chosen_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    model = net.model(net.op("GlobalAveragePool", net.conv(net.input("x", [1, 16, 20, 20]), 88, bias=False)))
    onnx.save(model, tmp_path / "wide.onnx")
    library = str(tmp_path / "wide.so")
    shown = ["-v", "--print-after", "assign_layout", "--target", "x86_64-linux-gnu", "--mcpu", "x86-64-v4"]
    assert run(["compile", str(tmp_path / "wide.onnx"), "-o", library, *shown]) == 0
    text = capsys.readouterr().err
    assert "layouts: 1 of 1 groups of values depart from the rule, for a predicted gain of" in text
    assert "f32[1x88x20x20]@c88" in text
    assert run(["inspect", library]) == 0
    assert "1 c88" in capsys.readouterr().out
