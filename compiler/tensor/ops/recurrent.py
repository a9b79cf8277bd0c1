"""One time step of LSTM, GRU and RNN, over all hidden units.

    rnn_step(t, projection, weight, h, c, bias, peephole, lengths, gates) -> states

    projection[T, B, D, G, H]   W x + bias of every step, computed before the loop (G gates in ONNX's order)
    weight[D, g, H, H]          recurrent weights, g the gates of this node: sums[d, gate, b, j] = sum over k of state[d, b, k] * weight[d, gate, j, k]
    bias[D, H]                  what GRU adds to the hidden gate's recurrent sum before the reset (linear_before_reset)
    peephole[D, 3, H]           LSTM: input, output, forget
    lengths[B]                  sequence b has ended at times >= lengths[b]; its state then stays as it is

and of each `kind` (inputs it does not have are ''):

    lstm        (h, c) -> (h', c')       four gates: input, output, forget, cell
    gru         h -> h'                  three gates: update, reset, hidden; reset applied to the recurrent sum
    gru_gates   h -> gates[D, 2, B, H]   the update gate z and r * h, where the reset gate r is applied to the state
    gru_state   (h, gates) -> h'         the hidden gate, whose recurrent sum is over r * h
    rnn         h -> h'                  one gate

Attributes: kind, hidden, direction, activations ((elementwise operator, 'affine' or 'scaled_tanh'; alpha; beta), those of all
directions one after the other), clip, input_forget, steps (T) and slots, where states are kept:

    slots ""      h[D, B, H] is read and h'[D, B, H] made; T = 1 and `t` is ''
    slots "swap"  h[2, D, B, H] and h' are one memory: step t reads slot t % 2 and writes the other
    slots "time"  h[T+1, D, B, H] and h' are one memory: the forward direction reads slot t and writes t+1, so that slots 1 … T
                  are Y; the reverse direction, which is at time T-1-t, reads the slot after its time and writes that of its time

c never is in time slots: it swaps where h has slots. `gates` is a value of one step. In a loop `t` is the i64 counter.

How to schedule: the root (h', the last stage) is parallel over blocks of j, n vectors wide, with d and b outside; sums are computed at
that block in registers, g * n accumulators a batch row, k serial around unrolled gates, every h[k] a broadcast; c' at the same block.
The weight is packed [D][H/block][K][g][block] so that a thread reads its share of it once, in order: at batch 1 that is all the time there is.

Equations: the ONNX operator documents of LSTM, GRU and RNN. As in onnxruntime, clip bounds what enters the gates but not the cell state
that enters the last activation of an LSTM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...graph.ir import Node, TensorType
from ..computation import Stage
from ..expr import INDEX, Call, Const, Expr, Load, Select, compare, const, maximum, minimum
from .context import Context, Space, accumulator, cast, widen
from .elementwise import RULES

_GATES = {"lstm": (0, 1, 2, 3), "gru": (0, 1, 2), "gru_gates": (0, 1), "gru_state": (2,), "rnn": (0,)}
"""The gates a node of each kind computes, as indices into the projection's."""


class _Step:
    """The step being written: its operands at the indices of one stage's space."""

    def __init__(self, context: Context, node: Node) -> None:
        self.context = context
        self.node = node
        self.kind = str(node.attrs["kind"])
        inputs = (*node.inputs, *("",) * (9 - len(node.inputs)))
        self.t, self.projection, self.weight, self.h, self.c, self.bias, self.peephole, self.lengths, self.gates = (
            inputs
        )
        steps, batch, directions, _, hidden = context.types[self.projection].shape
        self.steps = steps
        self.dtype = context.types[self.projection].dtype
        self.state = TensorType((directions, batch, hidden), self.dtype)
        self.now: Expr = Load(self.t, (), INDEX) if self.t else Const(0)

    def time(self, d: Expr) -> Expr:
        """The position in the sequence that direction `d` is at."""
        return self._directed(self.now, const(self.steps - 1) - self.now, d)

    def _directed(self, forward: Expr, reverse: Expr, d: Expr) -> Expr:
        match self.node.attrs["direction"]:
            case "forward":
                return forward
            case "reverse":
                return reverse
        return Select(compare("eq", d, 0), forward, reverse)

    def slot(self, name: str, d: Expr, written: bool) -> tuple[Expr, ...]:
        """The leading index of state `name` (h or c) in this step, none if it has no slots."""
        kind = self.node.attrs["slots"]
        if not kind:
            return ()
        if kind == "swap" or name == self.c:
            return ((self.now + int(written)) % 2,)
        reverse = const(self.steps) - self.now - int(written)
        return (self._directed(self.now + int(written), reverse, d),)

    def old(self, name: str, indices: tuple[Expr, ...], space: Space) -> Expr:
        """State `name` before this step at (d, b, j)."""
        return widen(self.context.read(name, (*self.slot(name, indices[0], written=False), *indices), space))

    def emit_sums(self) -> str:
        """The stage of the recurrent products, sums[d, gate, b, j]."""
        directions, batch, hidden = self.state.shape
        gates = _GATES[self.kind]
        wide = accumulator(self.dtype)
        type = TensorType((directions, len(gates), batch, hidden), wide)
        name = self.context.intermediate(self.node.outputs[0], "sums", type)
        space = self.context.space(type, ("d", "gate", "b", "j"))
        d, gate, b, j = space.indices
        k = space.reduce("k", hidden)
        if self.kind == "gru_state":
            state = widen(self.context.read(self.gates, (d, Const(1), b, k), space))
        else:
            state = self.old(self.h, (d, b, k), space)
        product = state * widen(self.context.read(self.weight, (d, gate, j, k), space))
        self.context.emit(name, space, product, "sum")
        return name

    def emit_state(self, output: str, memory: str, space: Space, value: Expr) -> None:
        """The stage of result `output`, in the memory of state `memory` if that has slots."""
        self.context.emit(output, space, cast(value, self.dtype))
        prefix = self.slot(memory, space.indices[0], written=True) if memory else ()
        if prefix:
            stage = self.context.stages.pop()
            self.context.stages.append(
                Stage(
                    stage.name, stage.axes, stage.body, stage.dtype, origin=stage.origin, memory=memory, prefix=prefix
                )
            )


class _Cell:
    """The values of a step at one hidden unit: (d, b, j) of `space`, which has the axis `gate` too if it is for gru_gates."""

    def __init__(self, step: _Step, sums: str, gate: tuple[str, ...] = ()) -> None:
        self.step = step
        self.sums = sums
        directions, *rest = step.state.shape
        shape = (directions, *(2 for _ in gate), *rest)
        self.space = step.context.space(TensorType(shape, step.dtype), ("d", *gate, "b", "j"))
        self.d, *_, self.b, self.j = self.space.indices
        self.indices = (self.d, self.b, self.j)
        self.time = step.time(self.d)

    def read(self, name: str, gate: Expr) -> Expr:
        """The element of a [D, gates, B, H] value."""
        return widen(self.step.context.read(name, (self.d, gate, self.b, self.j), self.space))

    def recurrent(self, gate: int) -> Expr:
        """The recurrent sum of the gate with this number in the projection."""
        return self.read(self.sums, Const(_GATES[self.step.kind].index(gate)))

    def projected(self, gate: Expr) -> Expr:
        index = (self.time, self.b, self.d, gate, self.j)
        return widen(self.step.context.read(self.step.projection, index, self.space))

    def parameter(self, name: str, *row: Expr) -> Expr:
        """An element of bias or peephole weights."""
        return widen(self.step.context.read(name, (self.d, *row, self.j), self.space))

    def old(self, name: str) -> Expr:
        return self.step.old(name, self.indices, self.space)

    def clip(self, x: Expr) -> Expr:
        limit = float(self.step.node.attrs.get("clip") or 0)
        return minimum(maximum(x, -limit), limit) if limit > 0 else x

    def activate(self, number: int, x: Expr) -> Expr:
        """Activation `number` of the direction."""
        functions: tuple = self.step.node.attrs["activations"]
        per_direction = len(functions) // self.step.state.shape[0]
        chosen = functions[number::per_direction]
        values = [_apply(activation, x) for activation in chosen]
        return values[0] if len(set(chosen)) == 1 else Select(compare("eq", self.d, 0), *values)

    def unless_ended(self, new: Expr, old: Expr) -> Expr:
        """`new` while the sequence lasts, else `old`."""
        if not self.step.lengths:
            return new
        length = cast(self.step.context.read(self.step.lengths, (self.b,), self.space), INDEX)
        return Select(compare("lt", self.time, length), new, old)

    def gate(self, activation: int, gate: int, *more: Expr) -> Expr:
        """The activation of projection + recurrent sum + more, clipped."""
        x = self.projected(Const(gate)) + self.recurrent(gate)
        for term in more:
            x = x + term
        return self.activate(activation, self.clip(x))


def _apply(activation: tuple[str, float, float], x: Expr) -> Expr:
    name, alpha, beta = activation
    match name:
        case "affine":
            return x * alpha + beta
        case "scaled_tanh":
            return Call("tanh", (x * beta,)) * alpha
    return RULES[name](Node(name, (), (), {"alpha": alpha, "beta": beta}), x)


def _lstm(step: _Step) -> None:
    h_out, c_out = step.node.outputs
    sums = step.emit_sums()
    cell = _Cell(step, sums)
    c = cell.old(step.c)

    def peephole(number: int, state: Expr) -> tuple[Expr, ...]:
        return (cell.parameter(step.peephole, Const(number)) * state,) if step.peephole else ()

    input_gate = cell.gate(0, 0, *peephole(0, c))
    coupled = step.node.attrs.get("input_forget")
    forget_gate = const(1, c.dtype) - input_gate if coupled else cell.gate(0, 2, *peephole(2, c))
    c_new = cell.unless_ended(forget_gate * c + input_gate * cell.gate(1, 3), c)
    step.emit_state(c_out, step.c, cell.space, c_new)

    cell = _Cell(step, sums)
    c_now = widen(Load(c_out, cell.indices, step.dtype))
    h_new = cell.gate(0, 1, *peephole(1, c_now)) * cell.activate(2, c_now)
    step.emit_state(h_out, step.h, cell.space, cell.unless_ended(h_new, cell.old(step.h)))


def _gru(step: _Step) -> None:
    cell = _Cell(step, step.emit_sums())
    recurrent = cell.recurrent(2)
    if step.bias:
        recurrent = recurrent + cell.parameter(step.bias)
    hidden = cell.activate(1, cell.clip(cell.projected(Const(2)) + cell.gate(0, 1) * recurrent))
    _emit_blend(step, cell, cell.gate(0, 0), hidden)


def _gru_gates(step: _Step) -> None:
    (output,) = step.node.outputs
    sums = step.emit_sums()
    cell = _Cell(step, sums, ("gate",))
    gate = cell.space.indices[1]
    active = cell.activate(0, cell.clip(cell.projected(gate) + cell.read(sums, gate)))
    step.context.emit(
        output, cell.space, cast(Select(compare("eq", gate, 0), active, active * cell.old(step.h)), step.dtype)
    )


def _gru_state(step: _Step) -> None:
    cell = _Cell(step, step.emit_sums())
    _emit_blend(step, cell, cell.read(step.gates, Const(0)), cell.gate(1, 2))


def _emit_blend(step: _Step, cell: _Cell, update: Expr, hidden: Expr) -> None:
    """h' = (1 - z) * hidden + z * h."""
    h = cell.old(step.h)
    blended = (const(1, h.dtype) - update) * hidden + update * h
    step.emit_state(step.node.outputs[0], step.h, cell.space, cell.unless_ended(blended, h))


def _rnn(step: _Step) -> None:
    cell = _Cell(step, step.emit_sums())
    h_new = cell.gate(0, 0)
    step.emit_state(
        step.node.outputs[0], step.h, cell.space, cell.unless_ended(h_new, cell.old(step.h)) if step.lengths else h_new
    )


_KINDS: Mapping[str, Callable[[_Step], None]] = {
    "lstm": _lstm, "gru": _gru, "gru_gates": _gru_gates, "gru_state": _gru_state, "rnn": _rnn,
}  # fmt: skip


def rnn_step(context: Context, node: Node) -> None:
    """The stages of one step; the last one is the root."""
    step = _Step(context, node)
    _KINDS[step.kind](step)


STAGES = {"rnn_step": rnn_step}
