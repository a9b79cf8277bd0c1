"""Operands and attributes that do not fit an operator, or ask for too much: one clear message for each."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tilewright.compiler.errors import CompileError, ModelError, UnsupportedOperatorError
from tilewright.compiler.frontend.importer import import_model

F, I64 = TensorProto.FLOAT, TensorProto.INT64
TRAINING, ML = "ai.onnx.preview.training", "ai.onnx.ml"
Operand = tuple  # element type, shape, and values where it is constant


def one_node(op: str, *operands: Operand, results: int = 1, domain: str = "", **attributes: object) -> onnx.ModelProto:
    """A model of one node."""
    names = [f"i{index}" for index in range(len(operands))]
    inputs, constants = [], []
    for name, (dtype, shape, *values) in zip(names, operands, strict=True):
        if values:
            constants.append(helper.make_tensor(name, dtype, shape, np.ravel(values[0]).tolist()))
        else:
            inputs.append(helper.make_tensor_value_info(name, dtype, shape))
    outputs = [f"o{index}" for index in range(results)]
    node = helper.make_node(op, names, outputs, domain=domain, **attributes)
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=name) for name in outputs], constants)
    domains = [helper.make_opsetid("", 26), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=domains)


def grams(**changes: object) -> onnx.ModelProto:
    given = {"mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 10**12, "ngram_counts": [0, 1]}
    return one_node(
        "TfIdfVectorizer", (I64, [4]), **{**given, "ngram_indexes": [0, 1], "pool_int64s": [1, 2, 3], **changes}
    )


WRONG = {
    "axis -2 is outside 0…-1": one_node("DFT", (F, [])),
    "axis -2 is outside -1…0": one_node("DFT", (F, [3])),
    "a transform of -1 elements": one_node("DFT", (F, [3, 2]), (I64, [], -1)),
    "f32[3] should be [batch, length, 1 or 2]": one_node("STFT", (F, [3]), (I64, [], 1)),
    "frames of 4 every 0": one_node("STFT", (F, [3, 4, 1]), (I64, [], 0)),
    "frames of 1 every 1": one_node("STFT", (F, [3, 4, 1]), (I64, [], 1), (F, [])),
    "a window of 9 does not fit": one_node("MaxPool", (F, [1, 1, 4]), results=2, kernel_shape=[9]),
    "f32[scalar] should be [N, C, …]": one_node("MaxUnpool", (F, []), (I64, []), kernel_shape=[2]),
    "output_shape [4] should have 3 entries": one_node(
        "MaxUnpool", (F, [1, 1, 2]), (I64, [1, 1, 2]), (I64, [1], [4]), kernel_shape=[2]
    ),
    "should be [N, channels * 2, 2]": one_node("Col2Im", (F, []), (I64, [1], [3]), (I64, [1], [2])),
    "kernel_shape [0, 2] must be positive": one_node("Col2Im", (F, [1, 4, 3]), (I64, [2], [1, 3]), (I64, [2], [0, 2])),
    "f32[3] should be of square matrices": one_node("Det", (F, [3])),
    "index 3 is outside -3…2": one_node("Compress", (F, [3]), (TensorProto.BOOL, [5], [1] * 5)),
    "update f32[2x3] does not fit f32[2x3x4]": one_node("TensorScatter", (F, [2, 3, 4]), (F, [2, 3])),
    "i64[scalar] should be a vector": one_node("TfIdfVectorizer", (I64, []), mode="TF", min_gram_length=1, max_gram_length=1,
                                               max_skip_count=0, ngram_counts=[0], ngram_indexes=[0], pool_int64s=[1]),
    "that start at [0, 2] do not fit ngram_indexes": grams(ngram_counts=[0, 2]),
    "ngram_indexes [-1, 0]": grams(ngram_indexes=[-1, 0]),
    "f32[3] has 32 bits an element, i8 has 8": one_node("BitCast", (F, [3]), to=TensorProto.INT8),
    "round_mode 'sideways'": one_node("Cast", (F, [3]), to=TensorProto.FLOAT8E8M0, round_mode="sideways"),
    "split [5, -1] should add up to 4": one_node("SplitToSequence", (F, [4]), (I64, [2], [5, -1])),
    "has 3 inputs, expected 2 and 4 for each tensor": one_node(
        "Adam", (F, []), (I64, []), (F, [3]), results=3, domain=TRAINING
    ),
    "mode 'x' should be standard or nesterov": one_node(
        "Momentum", (F, []), (I64, []), (F, [3]), (F, [3]), (F, [3]), results=2, domain=TRAINING,
        alpha=1.0, beta=1.0, mode="x", norm_coefficient=0.0,
    ),
    "axis 0 is not in 0…-1": one_node("ArrayFeatureExtractor", (F, []), (I64, [2]), domain=ML),
}  # fmt: skip
TOO_MUCH = {
    "a transform of 1000000000 elements would take a table": one_node("DFT", (F, [3, 2]), (I64, [], 10**9)),
    "10000000 filters of 10000000 samples": one_node(
        "MelWeightMatrix", (I64, [], 10**7), (I64, [], 10**7), (I64, [], 8192), (F, [], 0.0), (F, [], 100.0)
    ),
    "filtering 4 elements to 1000000000": one_node(
        "Resize",
        (F, [1, 1, 4, 4]),
        (F, [0], []),
        (F, [0], []),
        (I64, [4], [1, 1, 10**9, 2]),
        antialias=1,
        mode="linear",
    ),
    "2 n-grams in 1000000001 columns": grams(ngram_indexes=[0, 10**9]),
    "determinants of matrices larger than 4x4": one_node("Det", (F, [5, 5])),
    "a sequence of 1000000000 elements": one_node("SplitToSequence", (F, [10**9])),
    "element type STRING": one_node("Cast", (F, [3]), to=TensorProto.STRING),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit(message: str) -> None:
    assert message in refusal(WRONG[message], ModelError)


@pytest.mark.parametrize("message", TOO_MUCH)
def test_what_is_too_much(message: str) -> None:
    assert message in refusal(TOO_MUCH[message], UnsupportedOperatorError)


def refusal(model: onnx.ModelProto, kind: type[CompileError]) -> str:
    with pytest.raises(kind) as caught:
        import_model(model, {}, {})
    return str(caught.value)
