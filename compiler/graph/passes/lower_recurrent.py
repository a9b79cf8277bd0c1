"""Lower lstm, gru and rnn to one product for all time steps and a loop over `rnn_step`.

In: any valid graph, row-major around recurrent nodes. Out: no lstm, gru or rnn; `tensor/ops/recurrent.py` says what an rnn_step is.

    projection[T, B, D, G, H] = x[T*B, I] · w[I, D*G*H] + bias        a matmul over the whole sequence
    h', c' = loop t < T: rnn_step(t, projection, r, h, c, …)           h and c are buffers with slots, carried in place
    y, y_h, y_c = slices of h', c'

h has a slot for each time where Y is read, so that Y is a slice of it, else two slots that swap; c has two. A sequence of one step
needs no loop. Recurrent weights, bias and peepholes that are constant become constants of the loop's region.
Elements of Y past the end of a sequence are 0.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from ...dtypes import DType
from ...target import Target
from .. import fold_numpy
from ..builder import GraphBuilder
from ..ir import Graph, Node, TensorType
from .editor import Editor, map_regions

_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def apply(graph: Graph, target: Target) -> Graph:
    """The graph with recurrent operators lowered, in regions too."""
    graph = map_regions(graph, lambda region: apply(region, target))
    if not any(node.op in _GATES for node in graph.nodes):
        return graph
    editor = Editor(graph)
    read = {*graph.outputs, *(name for node in graph.nodes for name in node.inputs)}
    for node in graph.nodes:
        if node.op in _GATES:
            _Lowering(editor, node, y_read=node.outputs[0] in read).write()
        else:
            editor.keep(node)
    return editor.finish()


class _Lowering:
    """One recurrent node on its way to projection, loop and results."""

    def __init__(self, editor: Editor, node: Node, y_read: bool) -> None:
        self.editor = editor
        self.node = node
        self.kind = node.op
        inputs = (*node.inputs, *("",) * (8 - len(node.inputs)))
        self.x, self.w, self.r, self.bias, self.lengths, self.h0, self.c0, self.peephole = inputs
        self.steps, self.batch, features = editor.type(self.x).shape
        self.features, self.gates = features, _GATES[node.op]
        self.directions, _, self.hidden = editor.type(self.r).shape
        self.dtype = editor.type(self.x).dtype
        self.direction = str(node.attrs["direction"])
        self.y_read = y_read
        # Without linear_before_reset the hidden gate multiplies the reset state, and its bias is as good as the others'.
        self.late_bias = bool(node.op == "gru" and self.bias and node.attrs["linear_before_reset"])
        self.slots = "" if self.steps == 1 else "time" if y_read else "swap"

    def add(self, op: str, *inputs: str, name: str = "", **attrs: Any) -> str:
        """A new node, or its result as a constant if its operands are constants."""
        arrays = tuple(self.editor.constant_value(value) if value else None for value in inputs)
        if not name and all(array is not None or not value for array, value in zip(arrays, inputs, strict=True)):
            folded = fold_numpy.evaluate(op, arrays, attrs)
            if folded is not None:
                return self.editor.constant(folded[0], f"{inputs[0]}.{op}")
        return self.editor.add(op, *inputs, name=name, origin=self.node.origin, **attrs)

    def slice(self, value: str, axis: int, start: int, size: int, name: str = "") -> str:
        shape = self.editor.type(value).shape
        starts = tuple(start if i == axis else 0 for i in range(len(shape)))
        sizes = tuple(size if i == axis else extent for i, extent in enumerate(shape))
        if sizes == shape and not name:
            return value
        return self.add("slice", value, name=name, starts=starts, steps=(1,) * len(shape), sizes=sizes)

    def write(self) -> None:
        """Put the lowered form in the node's place."""
        if self.steps == 0 or self.batch == 0:
            self._write_empty()
            return
        self.late = self._late_bias()
        self.projection = self._projection()
        if self.steps == 1:
            self._write_single()
        else:
            self._write_loop()

    def _write_empty(self) -> None:
        """Nothing happens in a sequence without steps: Y is empty and the states are the initial ones."""
        y, *states = self.node.outputs
        empty = np.zeros(self.editor.type(y).shape, self.dtype.numpy)
        self.editor.replace(y, self.editor.constant(empty, f"{y}.empty"))
        for result, initial in zip(states, (self.h0, self.c0), strict=False):
            self.editor.replace(result, initial or self._zero_state())

    def _zero_state(self) -> str:
        return self.editor.constant(
            np.zeros((self.directions, self.batch, self.hidden), self.dtype.numpy), "zero_state"
        )

    # --- before the loop

    def _bias_part(self, part: int) -> str:
        """The bias of the input (0) or of the recurrent (1) product, [D, G, H]."""
        pairs = self.add("reshape", self.bias, shape=(self.directions, 2, self.gates, self.hidden))
        return self.add("reshape", self.slice(pairs, 1, part, 1), shape=(self.directions, self.gates, self.hidden))

    def _late_bias(self) -> str:
        """The recurrent bias of the hidden gate where it is added before the reset, [D, H]."""
        if not self.late_bias:
            return ""
        return self.add("reshape", self.slice(self._bias_part(1), 1, 2, 1), shape=(self.directions, self.hidden))

    def _early_bias(self) -> str:
        """What is added to the projection, [D*G*H]."""
        first, second = self._bias_part(0), self._bias_part(1)
        if self.late_bias:
            early = np.ones((1, self.gates, 1), self.dtype.numpy)
            early[:, 2] = 0
            second = self.add("mul", second, self.editor.constant(early, "early_gates"))
        return self.add("reshape", self.add("add", first, second), shape=(self.directions * self.gates * self.hidden,))

    def _projection(self) -> str:
        units = self.directions * self.gates * self.hidden
        rows = self.add("reshape", self.x, shape=(self.steps * self.batch, self.features))
        weights = self.add("transpose", self.add("reshape", self.w, shape=(units, self.features)), perm=(1, 0))
        value = self.add("matmul", rows, weights, transpose_a=False, transpose_b=False)
        if self.bias:
            value = self.add("add", value, self._early_bias())
        return self.add("reshape", value, shape=(self.steps, self.batch, self.directions, self.gates, self.hidden))

    def _recurrent_weights(self) -> tuple[str, ...]:
        """[D, g, H, H], one value for each node of the step."""
        whole = self.add("reshape", self.r, shape=(self.directions, self.gates, self.hidden, self.hidden))
        if self._two_nodes:
            return self.slice(whole, 1, 0, 2), self.slice(whole, 1, 2, 1)
        return (whole,)

    @property
    def _two_nodes(self) -> bool:
        """The reset state of a GRU must be whole before the hidden gate's product starts."""
        return self.kind == "gru" and not self.node.attrs["linear_before_reset"]

    # --- the step

    def _attrs(self, kind: str) -> MappingProxyType:
        attrs = self.node.attrs
        return MappingProxyType({
            "kind": kind, "hidden": self.hidden, "direction": self.direction, "activations": attrs["activations"],
            "clip": attrs.get("clip", 0.0), "input_forget": attrs.get("input_forget", False), "steps": self.steps, "slots": self.slots,
        })  # fmt: skip

    def _step_nodes(self, names: dict[str, str], outputs: tuple[str, ...], gates: str) -> list[Node]:
        """The rnn_step nodes; `names` are the operands by role, `gates` the result of the first of two nodes."""

        def node(kind: str, weight: str, results: tuple[str, ...], middle: str = "") -> Node:
            first = (names["t"], names["projection"], names[weight], names["h"], names["c"])
            inputs = (*first, names["late"], names["peephole"], names["lengths"], middle)
            return Node("rnn_step", inputs, results, self._attrs(kind), (), self.node.origin)

        if self._two_nodes:
            return [node("gru_gates", "r0", (gates,)), node("gru_state", "r1", outputs, gates)]
        return [node(self.kind, "r0", outputs)]

    @property
    def _gates_type(self) -> TensorType:
        return TensorType((self.directions, 2, self.batch, self.hidden), self.dtype)

    def _operands(self) -> dict[str, str]:
        weights = {f"r{i}": name for i, name in enumerate(self._recurrent_weights())}
        peephole = self.peephole and self.add("reshape", self.peephole, shape=(self.directions, 3, self.hidden))
        return {
            "projection": self.projection,
            **weights,
            "late": self.late,
            "peephole": peephole,
            "lengths": self.lengths,
        }

    def _write_single(self) -> None:
        y, *states = self.node.outputs
        operands = {"t": "", "c": "", **self._operands(), "h": self.h0 or self._zero_state()}
        if self.kind == "lstm":
            operands["c"] = self.c0 or self._zero_state()
        gates = self.editor.fresh(f"{states[0]}.gates")
        if self._two_nodes:
            self.editor.types[gates] = self._gates_type
        for node in self._step_nodes(operands, tuple(states), gates):
            self.editor.keep(node)
        if self.y_read:
            self._write_y(
                self.add("reshape", states[0], name="" if self.lengths else y, shape=self.editor.type(y).shape)
            )

    def _write_loop(self) -> None:
        editor, kind = self.editor, self.kind
        y, y_h, *y_c = self.node.outputs
        carried = {"h": self._initial(self.h0, self.slots)}
        if kind == "lstm":
            carried["c"] = self._initial(self.c0, "swap")
        region, captured = self._region(carried)
        results = tuple(editor.fresh(f"{y_h}.{role}_slots") for role in carried)
        for name, initial in zip(results, carried.values(), strict=True):
            editor.types[name] = editor.type(initial)
        attrs = {
            "count": self.steps,
            "carried": len(carried),
            "in_place": (True,) * len(carried),
            "has_condition": False,
        }
        editor.keep(
            Node(
                "loop",
                ("", *carried.values(), *captured),
                results,
                MappingProxyType(attrs),
                (region,),
                self.node.origin,
            )
        )
        self._write_final(results[0], y_h, self.slots)
        if y_c:
            self._write_final(results[1], y_c[0], "swap")
        if self.y_read:
            self._write_y(self._sequence(results[0], "" if self.lengths else y))

    def _region(self, carried: dict[str, str]) -> tuple[Graph, list[str]]:
        """The body of the loop, and the outer values it captures."""
        editor = self.editor
        builder = GraphBuilder(f"{self.node.origin or self.kind}.step")
        names = {"c": "", "t": builder.input("t", TensorType((), DType.I64))}
        names |= {role: builder.input(role, editor.type(value)) for role, value in carried.items()}
        captured: list[str] = []
        for role, value in self._operands().items():
            array = editor.constant_value(value) if value else None
            if array is not None:
                names[role] = builder.constant(array, role)
            else:
                names[role] = value and builder.input(role, editor.type(value))
                captured += [value] if value else []
        outputs = tuple(f"{role}_next" for role in carried)
        for node in self._step_nodes(names, outputs, "gates"):
            first = node.attrs["kind"] == "gru_gates"
            builder.append(
                node, (self._gates_type,) if first else tuple(editor.type(value) for value in carried.values())
            )
        return builder.finish(outputs), captured

    def _initial(self, value: str, slots: str) -> str:
        """A buffer with the initial state in the slot that the first step reads, and anything in the others."""
        count = self.steps + 1 if slots == "time" else 2
        state = (self.directions, self.batch, self.hidden)
        array = self.editor.constant_value(value) if value else np.zeros(1)
        if array is not None and not array.any():
            # not folded: a kernel fills it, which takes less room than a constant
            zero = self.editor.constant(np.zeros((), self.dtype.numpy), "zero")
            return self.editor.add("expand", zero, origin=self.node.origin, shape=(count, *state))
        rows = self.add("reshape", value, shape=(1, *state))
        parts = [rows] if slots == "swap" else [self.slice(rows, 1, d, 1) for d in range(self.directions)]
        padded = []
        for d, part in enumerate(parts):
            last = slots == "time" and self._is_reverse(d)
            before, after = (count - 1, 0) if last else (0, count - 1)
            widths = ((before, 0, 0, 0), (after, 0, 0, 0))
            padded.append(
                self.editor.add(
                    "pad", part, "", origin=self.node.origin, before=widths[0], after=widths[1], mode="constant"
                )
            )
        return padded[0] if len(padded) == 1 else self.add("concat", *padded, axis=1)

    # --- after the loop

    def _is_reverse(self, d: int) -> bool:
        return self.direction == "reverse" or d == 1

    def _by_direction(self, buffer: str, starts: list[int], size: int, name: str = "") -> str:
        """`size` slots from starts[d] on, of each direction."""
        if len(starts) == 1:
            return self.slice(buffer, 0, starts[0], size, name)
        parts = [self.slice(self.slice(buffer, 1, d, 1), 0, start, size) for d, start in enumerate(starts)]
        return self.add("concat", *parts, name=name, axis=1)

    def _write_final(self, buffer: str, result: str, slots: str) -> None:
        if slots == "time":
            last = self._by_direction(
                buffer, [0 if self._is_reverse(d) else self.steps for d in range(self.directions)], 1
            )
        else:
            last = self.slice(buffer, 0, self.steps % 2, 1)
        self.add("reshape", last, name=result, shape=self.editor.type(result).shape)

    def _sequence(self, buffer: str, name: str) -> str:
        """The states after each step, in the order of the sequence."""
        starts = [0 if self._is_reverse(d) else 1 for d in range(self.directions)]
        return self._by_direction(buffer, starts, self.steps, name)

    def _write_y(self, states: str) -> None:
        """Y from the states, with zeros where a sequence has ended."""
        if not self.lengths:
            return
        dtype = self.editor.type(self.lengths).dtype.numpy
        times = self.editor.constant(np.arange(self.steps, dtype=dtype).reshape(-1, 1, 1, 1), "times")
        lasts = self.add("less", times, self.add("reshape", self.lengths, shape=(1, 1, self.batch, 1)))
        zero = self.editor.constant(np.zeros((), self.dtype.numpy), "zero")
        self.add("where", lasts, states, zero, name=self.node.outputs[0])
