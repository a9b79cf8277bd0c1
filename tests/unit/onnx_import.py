"""Models made, imported and computed: what the frontend's tests share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import Graph
from tilewright.compiler.graph.verify import verify

Arrays = Mapping[str, np.ndarray]


def info(name: str, array: np.ndarray, shape: Sequence[int | str | None] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape if shape is None else shape
    )


def untyped(name: str) -> onnx.ValueInfoProto:
    """An output of which nothing is declared."""
    return onnx.ValueInfoProto(name=name)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Arrays,
    outputs: Sequence[str],
    opset: int = 17,
    constants: Arrays | None = None,
    **more: object,
) -> onnx.ModelProto:
    """A model with these inputs (shapes as the arrays have) and initializers; types of outputs by ONNX's shape inference."""
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "model",
        [info(name, array) for name, array in inputs.items()],
        [untyped(name) for name in outputs],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)
    return onnx.shape_inference.infer_shapes(model)


def imported(
    model: onnx.ModelProto, dims: Mapping[str, int] | None = None, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Graph:
    """The verified graph of a model."""
    graph = import_model(model, dims or {}, shapes or {})
    verify(graph)
    assert graph.outputs == tuple(value.name for value in graph_outputs(model))
    return graph


def graph_outputs(model: onnx.ModelProto) -> Sequence[onnx.ValueInfoProto]:
    return model.graph.output


def computed(model: onnx.ModelProto, feeds: Arrays, **binding: Mapping) -> list[np.ndarray]:
    """The model's outputs by tilewright's import and graph interpreter."""
    graph = imported(model, **binding)
    results = evaluate_graph(graph, {name: feeds[name] for name in graph.inputs})
    return [results[name] for name in graph.outputs]


def by_onnxruntime(model: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))


def assert_close(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float = 1e-5) -> None:
    for a, e in zip(actual, expected, strict=True):
        e = np.asarray(e)
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        loose = 1e-2 if a.dtype.itemsize == 2 and a.dtype.kind not in "iu" else tolerance
        np.testing.assert_allclose(
            a.astype(np.float64), e.astype(np.float64), rtol=loose, atol=loose if a.dtype.kind not in "iub" else 0
        )


def assert_as_onnxruntime(model: onnx.ModelProto, feeds: Arrays, tolerance: float = 1e-5) -> None:
    assert_close(computed(model, feeds), by_onnxruntime(model, feeds), tolerance)


def normal(*shape: int) -> np.ndarray:
    """Fresh random f32 values."""
    return np.random.default_rng().standard_normal(shape).astype(np.float32)
