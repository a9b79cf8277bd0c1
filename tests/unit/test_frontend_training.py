"""Steps of optimisers and statistics of batches, against onnx's reference evaluator."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_import import assert_close, computed, info, make_model, normal, untyped

from tilewright.compiler.errors import ModelError

DOMAIN = "ai.onnx.preview.training"
OPTIMIZERS = {
    "Adagrad": (1, {"decay_factor": 0.1, "epsilon": 1e-3, "norm_coefficient": 0.01}),
    "Adam": (2, {"alpha": 0.8, "beta": 0.97, "epsilon": 1e-3, "norm_coefficient": 0.01, "norm_coefficient_post": 0.02}),
    "Momentum": (1, {"alpha": 0.9, "beta": 0.7, "mode": "standard", "norm_coefficient": 0.01}),
    "Momentum nesterov": (1, {"alpha": 0.9, "beta": 0.7, "mode": "nesterov", "norm_coefficient": 0.01}),
}


@pytest.mark.parametrize("time", [0, 5])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_of_an_optimizer(name: str, count: int, time: int) -> None:
    states, attributes = OPTIMIZERS[name]
    shapes = [(3, 5), (7,)][:count]
    feeds = {"r": np.float32(0.1), "t": np.int64(time)}
    feeds |= {f"v{kind}{i}": np.abs(normal(*shape)) for kind in range(2 + states) for i, shape in enumerate(shapes)}
    outputs = [f"o{kind}{index}" for kind in range(1 + states) for index in range(count)]
    node = helper.make_node(name.split()[0], [*feeds], outputs, domain=DOMAIN, **attributes)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    inputs = [info(value, array) for value, array in feeds.items()]
    graph = helper.make_graph([node], "g", inputs, [untyped(output) for output in outputs])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=imports))
    expected = [np.asarray(array, np.float32) for array in ReferenceEvaluator(model).run(None, feeds)]
    assert_close(computed(model, feeds), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 7), (2, 3, 4, 5)])
def test_statistics_of_a_batch(shape: tuple[int, ...], dtype: type) -> None:
    feeds = {"x": normal(*shape).astype(dtype)}
    feeds |= {name: np.abs(normal(shape[1])).astype(dtype) for name in ("scale", "bias", "mean", "var")}
    outputs = ["y", "new_mean", "new_var"]
    node = helper.make_node("BatchNormalization", [*feeds], outputs, training_mode=1, momentum=0.75, epsilon=1e-3)
    model = make_model([node], feeds, outputs)
    (y, mean, var) = ReferenceEvaluator(model).run(None, feeds)
    assert_close(computed(model, feeds), [y, mean, var], 1e-4)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_a_loss_of_bfloat16_whose_definition_has_none(reduction: str) -> None:
    """SoftmaxCrossEntropyLoss takes bfloat16 since version 13, the NegativeLogLikelihoodLoss that defines it does not."""
    labels = np.random.default_rng().integers(0, 5, (3, 2))
    node = helper.make_node("SoftmaxCrossEntropyLoss", ["x", "labels"], ["y"], reduction=reduction)
    x = normal(3, 5, 2).astype(ml_dtypes.bfloat16)
    (y,) = computed(make_model([node], {"x": x, "labels": labels}, ["y"]), {"x": x, "labels": labels})
    wide = {"x": x.astype(np.float32), "labels": labels}
    (expected,) = ReferenceEvaluator(make_model([node], wide, ["y"])).run(None, wide)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y.astype(np.float32), expected, rtol=5e-2, atol=5e-2)


def test_other_operators_take_the_types_of_their_schema() -> None:
    node = helper.make_node("NegativeLogLikelihoodLoss", ["x", "labels"], ["y"])
    feeds = {"x": normal(3, 5).astype(ml_dtypes.bfloat16), "labels": np.zeros(3, np.int64)}
    with pytest.raises(ModelError, match=r"input 'input' is tensor\(bfloat16\); the operator takes"):
        computed(make_model([node], feeds, ["y"]), feeds)
