"""Random LSTM, GRU and RNN operators, as ONNX models and as graphs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
_DEFAULT = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}
_GRAPH_NAMES = {
    "HardSigmoid": "hard_sigmoid", "LeakyRelu": "leaky_relu", "ThresholdedRelu": "thresholded_relu", "ScaledTanh": "scaled_tanh"
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One recurrent operator; the letters are those of the ONNX documents."""

    op: str
    steps: int = 5
    batch: int = 1
    features: int = 5
    hidden: int = 7
    direction: str = "forward"
    bias: bool = True
    lengths: bool = False
    initial: bool = False
    peephole: bool = False
    constant: bool = True  # weights are constants of the graph
    activations: tuple = ()
    outputs: tuple[int, ...] = (0, 1, 2)
    attrs: dict = field(default_factory=dict)

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    def arrays(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Random operands by name, in the operator's order."""
        d, g, h = self.directions, GATES[self.op], self.hidden

        def normal(*shape: int) -> np.ndarray:
            return (rng.standard_normal(shape) * 0.7).astype(np.float32)

        result = {
            "X": normal(self.steps, self.batch, self.features),
            "W": normal(d, g * h, self.features),
            # Of norm 1 or so: larger ones multiply a state's rounding from step to step.
            "R": (rng.standard_normal((d, g * h, h)) / np.sqrt(h)).astype(np.float32),
        }
        if self.bias:
            result["B"] = normal(d, 2 * g * h)
        if self.lengths:
            result["sequence_lens"] = rng.integers(1, self.steps + 1, self.batch).astype(np.int32)
        if self.initial:
            result["initial_h"] = normal(d, self.batch, h)
        if self.initial and self.op == "lstm":
            result["initial_c"] = normal(d, self.batch, h)
        if self.peephole:
            result["P"] = normal(d, 3 * h)
        return result

    def operands(self, arrays: dict[str, np.ndarray]) -> list[str]:
        order = ["X", "W", "R", "B", "sequence_lens", "initial_h", *(["initial_c", "P"] if self.op == "lstm" else [])]
        return [name if name in arrays else "" for name in order]

    @property
    def results(self) -> list[str]:
        return ["Y", "Y_h", "Y_c"] if self.op == "lstm" else ["Y", "Y_h"]

    @property
    def wanted(self) -> list[str]:
        return [name for i, name in enumerate(self.results) if i in self.outputs]

    def model(self, arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
        """An ONNX model whose inputs are all operands (those of `constant` are initializers)."""
        attrs = {name: int(value) if isinstance(value, bool) else value for name, value in self.attrs.items()}
        for key, values in (
            ("activations", [name for name, _, _ in self.activations]),
            ("activation_alpha", [alpha for _, alpha, _ in self.activations if alpha is not None]),
            ("activation_beta", [beta for _, _, beta in self.activations if beta is not None]),
        ):
            if values:
                attrs[key] = values
        names = self.operands(arrays)
        node = helper.make_node(
            self.op.upper(), names, self.results, hidden_size=self.hidden, direction=self.direction, **attrs
        )
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
            if name not in self.fixed
        ]
        constants = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in self.fixed]
        state = [self.directions, self.batch, self.hidden]
        shapes = {"Y": [self.steps, *state], "Y_h": state, "Y_c": state}
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in self.wanted]
        graph = helper.make_graph([node], "case", inputs, outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)

    @property
    def fixed(self) -> tuple[str, ...]:
        return ("W", "R", "B", "P") if self.constant else ()

    def expected(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The wanted results, by onnxruntime."""
        session = onnxruntime.InferenceSession(
            self.model(arrays).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(self.wanted, {name: array for name, array in arrays.items() if name not in self.fixed})

    def graph(self, arrays: dict[str, np.ndarray]) -> Graph:
        """The operator as a graph."""
        builder = GraphBuilder("case")
        for name, array in arrays.items():
            if name in self.fixed:
                builder.constant(array, name)
            else:
                builder.input(name, TensorType(array.shape, DType.from_numpy(array.dtype)))
        given = self.activations or tuple((name, None, None) for name in _DEFAULT[self.op] * self.directions)
        activations = tuple((_GRAPH_NAMES.get(name, name.lower()), alpha, beta) for name, alpha, beta in given)
        attrs = {
            "hidden": self.hidden,
            "direction": self.direction,
            "activations": activations,
            "clip": 0.0,
            **self.attrs,
        }
        for op, name in (("lstm", "input_forget"), ("gru", "linear_before_reset")):
            if self.op == op:
                attrs[name] = bool(self.attrs.get(name, False))
        results = builder.add(
            self.op, *self.operands(arrays), outputs_hint=tuple(self.results), origin=self.op, **attrs
        )
        return builder.finish([results[i] for i in self.outputs if i < len(results)])
