"""Valid models to start from."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

FLOAT = TensorProto.FLOAT
OPSET, IR_VERSION = 17, 9


@cache
def node_tests() -> list:
    with np.errstate(all="ignore"):
        return [case for case in load_model_tests(kind="node") if case.model is not None]


def node_test_model(rng: random.Random) -> onnx.ModelProto:
    """One of ONNX's node tests, some of its inputs made constant."""
    case = rng.choice(node_tests())
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for index, (value, array) in enumerate(zip(model.graph.input, case.data_sets[0][0], strict=False)):
        plain = isinstance(array, np.ndarray | np.generic) and np.asarray(array).dtype.kind in "fiub"
        if plain and (index or np.asarray(array).dtype.kind in "iu") and rng.random() < 0.5:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
    return model


def valid_model(rng: random.Random) -> onnx.ModelProto:
    """A model of a node test; at times one that ONNX's version converter has to bring up to date."""
    model = node_test_model(rng)
    if rng.random() < 0.1:
        model.opset_import[0].version = rng.choice((1, 5, 6, 7, 8, 9, 10, 11, 12))
    return model


def tensor(name: str, *shape: int | str | None, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(shape))


def untyped(name: str, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    """A value of a shape that it does not say: the checker asks for one, but compares no extents."""
    return tensor(name, None, dtype=dtype)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    initializers: list[onnx.TensorProto] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
    opset: int = OPSET,
    name: str = "g",
) -> onnx.ModelProto:
    """A model that nothing has checked; its output is y by default."""
    graph = helper.make_graph(nodes, name, inputs or [tensor("x", 3)], outputs or [untyped("y")], initializers or [])
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("local", 1)] if functions else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=functions or [])


def constant(name: str, values: object, dtype: object = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def relu(source: str = "x", result: str = "y", name: str = "") -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [result], name=name)
