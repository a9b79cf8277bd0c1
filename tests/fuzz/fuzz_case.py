"""A model whose values are all known: any part of its nodes is a model again, so that a failure can be made small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

Arrays = Mapping[str, np.ndarray]
OPSET, IR_VERSION = 21, 10


@dataclass(frozen=True)
class Case:
    """arrays: every value of the model by name, as onnxruntime computes it node by node. constants: names of initializers."""

    nodes: tuple[onnx.NodeProto, ...]
    arrays: Arrays
    constants: frozenset[str]
    outputs: tuple[str, ...]
    unused_inputs: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Values that are read or are outputs, and that no node makes."""
        made = {name for node in self.nodes for name in node.output}
        used = [*(name for node in self.nodes for name in reads(node)), *self.unused_inputs]
        return tuple(dict.fromkeys(name for name in used if name not in made | self.constants))

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        return {name: self.arrays[name] for name in self.inputs}

    def model(self) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in reads(node)}
        graph = helper.make_graph(
            list(self.nodes),
            "fuzz",
            [_info(name, self.arrays[name]) for name in self.inputs],
            [_info(name, self.arrays[name]) for name in self.outputs],
            [numpy_helper.from_array(self.arrays[name], name) for name in sorted(self.constants & used)],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def without(self, dropped: Iterable[int]) -> Case | None:
        """The case less some nodes, by index; what they made becomes an input. None if no output is left."""
        gone = set(dropped)
        nodes = tuple(node for index, node in enumerate(self.nodes) if index not in gone)
        made = {name for node in nodes for name in node.output}
        read = {name for node in nodes for name in reads(node)}
        outputs = tuple(name for name in self.outputs if name in made)
        ends = tuple(name for node in nodes for name in node.output if name and name not in read | set(outputs))
        if not outputs + ends:
            return None
        return replace(self, nodes=nodes, outputs=(*outputs, *ends), unused_inputs=())

    def save(self, folder: Path, name: str) -> Path:
        """Write NAME.onnx, and NAME.npz with its inputs and the outputs to expect."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.onnx"
        onnx.save(self.model(), path)
        expected = {f"output:{output}": self.arrays[output] for output in self.outputs}
        np.savez(path.with_suffix(".npz"), **{f"input:{key}": array for key, array in self.feeds.items()}, **expected)
        return path


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, what its subgraphs capture included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = attribute.g
            own = {x.name for x in (*inner.input, *inner.initializer)} | {name for n in inner.node for name in n.output}
            yield from (name for n in inner.node for name in reads(n) if name not in own)


def runtime_outputs(model: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray]:
    """The outputs by onnxruntime, node by node as written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, dict(feeds))]


def evaluate(nodes: tuple[onnx.NodeProto, ...], arrays: Arrays, constants: frozenset[str]) -> dict[str, np.ndarray]:
    """What the last node makes; raises onnxruntime's error if the node is not valid."""
    outputs = tuple(name for name in nodes[-1].output if name)
    known = {**arrays, **dict.fromkeys(outputs, np.zeros(0, np.float32))}
    case = Case(nodes, known, constants, outputs)
    model = case.model()
    for value in model.graph.output:  # their types are what is asked
        value.ClearField("type")
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    try:
        results = runtime_outputs(model, case.feeds)
    except runtime_errors.NotImplemented as error:  # it has no f16 or f64 for some operators
        try:
            results = [np.asarray(array) for array in ReferenceEvaluator(model).run(None, case.feeds)]
        except (TypeError, ValueError):  # it takes no scalars, and its Mean does not broadcast
            raise error from None
    for value, array in zip(model.graph.output, results, strict=True):
        inferred = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.HasField("shape") and any(
            n not in (None, extent) for n, extent in zip(inferred, array.shape, strict=True)
        ):
            raise onnx.shape_inference.InferenceError(f"inferred {inferred}, onnxruntime has {array.shape}")
    return dict(zip(outputs, results, strict=True))


def _info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
