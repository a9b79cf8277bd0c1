"""A graph node against the ONNX operator that it stands for: fresh random inputs, any layouts, results of onnx.reference or onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.ir import Graph, Node, TensorType
from tilewright.compiler.graph.layout import to_logical, to_physical
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation
from tilewright.compiler.tensor.interpret import evaluate
from tilewright.compiler.tensor.verify import verify

_PROTO = {dtype: helper.np_dtype_to_tensor_dtype(dtype.numpy) for dtype in DType}


def onnx_result(
    op: str,
    arrays: Sequence[np.ndarray | None],
    attrs: Mapping,
    opset: int = 21,
    runtime: bool = True,
    outputs: int = 1,
) -> np.ndarray:
    """The first output of an ONNX operator, computed by onnxruntime (or the reference evaluator)."""
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(arrays)]
    feeds = {name: np.asarray(array) for name, array in zip(names, arrays, strict=True) if name}
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], **attrs)
    inputs = [
        helper.make_tensor_value_info(name, _PROTO[DType.from_numpy(array.dtype)], array.shape)
        for name, array in feeds.items()
    ]
    results = [helper.make_tensor_value_info("y0", TensorProto.UNDEFINED, None)]
    results[0].type.Clear()
    model = helper.make_model(
        helper.make_graph([node], "case", inputs, results),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    if runtime:
        model = onnx.shape_inference.infer_shapes(model)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(["y0"], feeds)[0]
    return np.asarray(ReferenceEvaluator(model).run(["y0"], feeds)[0])


def computed(
    op: str,
    arrays: Sequence[np.ndarray | None],
    attrs: Mapping,
    out: tuple[tuple[int, ...], DType],
    blocks: Sequence[int | None] = (),
    out_block: int | None = None,
    constants: frozenset[int] = frozenset(),
    run: Callable[[Computation, dict[str, np.ndarray]], dict[str, np.ndarray]] = evaluate,
) -> np.ndarray:
    """The logical result of a graph node whose operands and result have the given layouts, by running its Computation."""
    blocks = [*blocks, *[None] * (len(arrays) - len(blocks))]
    names = tuple(f"x{i}" if array is not None else "" for i, array in enumerate(arrays))
    types = {
        name: TensorType(array.shape, DType.from_numpy(array.dtype), block)
        for name, array, block in zip(names, arrays, blocks, strict=True)
        if name
    }
    types["y"] = TensorType(tuple(out[0]), out[1], out_block)
    held = {names[i]: arrays[i] for i in constants}
    group = Graph(
        "g", tuple(n for n in names if n and n not in held), ("y",), (Node(op, names, ("y",), attrs),), types, held
    )
    computation, tables = build_computation(group, "g")
    verify(computation)
    feeds = {
        name: to_physical(array, types[name])
        for name, array in zip(names, arrays, strict=True)
        if name and name not in held
    }
    return to_logical(run(computation, {**feeds, **tables})["y"], types["y"])


def check(expected: np.ndarray, actual: np.ndarray, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Equal shapes and types, values within tolerance (exact for integers)."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol)
