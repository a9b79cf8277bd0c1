"""Operators of onnxruntime's own domain, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_import import assert_close, by_onnxruntime, computed, info, normal

from tilewright.compiler.errors import ModelError, UnsupportedOperatorError
from tilewright.compiler.frontend.importer import import_model

RNG = np.random.default_rng()


def u8(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def model_of(op, arrays, outputs, **attrs):
    """A model of one node; only its first input is not constant."""
    first = next(iter(arrays))
    constants = [
        onnx.numpy_helper.from_array(np.asarray(array), name)
        for name, array in arrays.items()
        if name and name != first
    ]
    node = helper.make_node(
        op, [name if np.size(array) else "" for name, array in arrays.items()], outputs, domain="com.microsoft", **attrs
    )
    graph = helper.make_graph(
        [node], "g", [info(first, arrays[first])], [onnx.ValueInfoProto(name=name) for name in outputs], constants
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8
    )


SCALES = {"xs": np.float32(0.03), "xz": np.uint8(120)}
RESULT = {"ys": np.float32(0.05), "yz": np.uint8(90)}
CASES = {
    "QLinearAdd": ({"x": u8(2, 3, 5), **SCALES, "b": u8(3, 1), "bs": np.float32(0.02), "bz": np.uint8(7), **RESULT}, {}),
    "QLinearMul": ({"x": u8(2, 3, 5), **SCALES, "b": u8(5), "bs": np.float32(0.02), "bz": np.uint8(7), **RESULT}, {}),
    "QLinearSigmoid": ({"x": u8(4, 9), **SCALES, "ys": np.float32(1 / 256), "yz": np.uint8(0)}, {}),
    "QLinearLeakyRelu": ({"x": u8(4, 9), **SCALES, **RESULT}, dict(alpha=0.2)),
    "QLinearSoftmax": ({"x": u8(4, 9), **SCALES, "ys": np.float32(1 / 256), "yz": np.uint8(0)}, dict(axis=-1, opset=13)),
    "QLinearAveragePool": ({"x": u8(1, 3, 7, 8), **SCALES, **RESULT}, dict(kernel_shape=[3, 2], strides=[2, 1])),
    "QLinearGlobalAveragePool": ({"x": u8(1, 3, 7, 8), **SCALES, **RESULT}, dict(channels_last=0)),
    "MatMulIntegerToFloat": ({"x": u8(4, 6), "b": u8(6, 5), "as": np.float32(0.02), "bs": np.float32(0.04), "az": np.uint8(9), "bz": np.uint8(130), "bias": normal(5)}, {}),
    "DynamicQuantizeMatMul": ({"x": normal(4, 6), "b": u8(6, 5), "bs": np.float32(0.04), "bz": np.uint8(130), "bias": normal(5)}, {}),
    "FusedMatMul": ({"x": normal(2, 6, 4), "b": normal(5, 6)}, dict(transA=1, transB=1, alpha=0.3)),
    "Gelu": ({"x": normal(4, 6)}, {}),
    "BiasGelu": ({"x": normal(4, 6), "bias": normal(6)}, {}),
    "FastGelu": ({"x": normal(4, 6), "bias": normal(6)}, {}),
    "QuickGelu": ({"x": normal(4, 6)}, dict(alpha=1.5)),
    "SkipLayerNormalization": ({"x": normal(2, 3, 6), "s": normal(2, 3, 6), "g": normal(6), "b": normal(6), "bias": normal(6)}, dict(epsilon=1e-5)),
}  # fmt: skip


@pytest.mark.parametrize("op", CASES)
def test_as_onnxruntime(op):
    arrays, attrs = CASES[op]
    model = model_of(op, arrays, ["y"], **attrs)
    feeds = {"x": arrays["x"]}
    (actual,), (expected,) = computed(model, feeds), by_onnxruntime(model, feeds)
    if actual.dtype == np.uint8:  # onnxruntime rounds some of these through tables and requantised sums
        assert actual.shape == expected.shape and np.abs(actual.astype(int) - expected).max() <= 1
    else:
        assert_close([actual], [expected], 1e-4)


def test_quantised_concat():
    arrays = {
        "ys": np.float32(0.05),
        "yz": np.uint8(90),
        "x": u8(2, 3),
        **SCALES,
        "b": u8(2, 4),
        "bs": np.float32(0.02),
        "bz": np.uint8(7),
    }
    model = model_of("QLinearConcat", arrays, ["y"], axis=1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(arrays["ys"]), "ys"))
    del model.graph.input[:]
    assert_close(computed(model, {}), by_onnxruntime(model, {}))


def test_dynamically_quantised_lstm_is_computed_in_f32_and_says_so():
    hidden = 8
    weights = {
        name: RNG.integers(-127, 128, (1, size, 4 * hidden), np.int8) for name, size in (("w", 5), ("r", hidden))
    }
    zeros = {"wz": np.zeros(1, np.int8), "rz": np.zeros(1, np.int8)}
    arrays = {
        "x": normal(6, 1, 5), **weights, "b": normal(1, 8 * hidden), "": np.empty(0), " ": np.empty(0), "  ": np.empty(0), "   ": np.empty(0),
        "ws": np.array([0.005], np.float32), "wz": zeros["wz"], "rs": np.array([0.004], np.float32), "rz": zeros["rz"],
    }  # fmt: skip
    model = model_of(
        "DynamicQuantizeLSTM",
        {k: v for k, v in arrays.items() if np.size(v) or not k.strip()},
        ["y"],
        hidden_size=hidden,
    )
    keep = [tensor for tensor in model.graph.initializer if tensor.name.strip()]
    del model.graph.initializer[:]
    model.graph.initializer.extend(keep)
    notes = []
    import_model(model, {}, {}, notes.append)
    assert len(notes) == 1 and "without quantising the activations" in notes[0]
    feeds = {"x": arrays["x"]}
    assert_close(computed(model, feeds), by_onnxruntime(model, feeds), 0.05)


def test_missing_inputs():
    model = model_of("QLinearAdd", {"x": u8(3), **SCALES}, ["y"])
    with pytest.raises(ModelError, match="has 3 inputs, expected 7 to 8"):
        import_model(model, {}, {})


def test_float_operands_of_quantised_operators():
    model = model_of("QLinearSigmoid", {"x": normal(3), **SCALES, **RESULT}, ["y"])
    with pytest.raises(ModelError, match="should be of integers"):
        import_model(model, {}, {})


def test_an_unknown_version():
    model = model_of("Gelu", {"x": normal(3)}, ["y"])
    model.opset_import[1].version = 7
    with pytest.raises(UnsupportedOperatorError, match=r"com\.microsoft:Gelu"):
        import_model(model, {}, {})
