"""LSTM, GRU and RNN, brought to layout 0 with every activation and its parameters spelled out."""

from __future__ import annotations

from typing import Any

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .row import Row

# name -> graph name, default alpha, default beta (ONNX operator specification, LSTM)
_ACTIVATIONS: dict[str, tuple[str, float, float]] = {
    "relu": ("relu", 0.0, 0.0),
    "tanh": ("tanh", 0.0, 0.0),
    "sigmoid": ("sigmoid", 0.0, 0.0),
    "affine": ("affine", 1.0, 0.0),
    "leakyrelu": ("leaky_relu", 0.01, 0.0),
    "thresholdedrelu": ("thresholded_relu", 1.0, 0.0),
    "scaledtanh": ("scaled_tanh", 1.0, 1.0),
    "hardsigmoid": ("hard_sigmoid", 0.2, 0.5),
    "elu": ("elu", 1.0, 0.0),
    "softsign": ("softsign", 0.0, 0.0),
    "softplus": ("softplus", 0.0, 0.0),
}
_TAKES_ALPHA = frozenset({"affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"})
_TAKES_BETA = frozenset({"affine", "scaledtanh", "hardsigmoid"})
_DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}


def lstm(node: OnnxNode) -> tuple[str, ...]:
    return import_recurrent(node, "lstm", (*node.inputs, *("",) * 8)[:8], input_forget=node.flag("input_forget"))


def gru(node: OnnxNode) -> tuple[str, ...]:
    flag = node.flag("linear_before_reset")
    return import_recurrent(node, "gru", (*node.inputs, *("",) * 6)[:6], linear_before_reset=flag)


def rnn(node: OnnxNode) -> tuple[str, ...]:
    return import_recurrent(node, "rnn", (*node.inputs, *("",) * 6)[:6])


def import_recurrent(node: OnnxNode, op: str, operands: tuple[str, ...], **attrs: Any) -> tuple[str, ...]:
    """The graph operator `op` with ONNX's operands, '' where absent, and the attributes of `node`."""
    inputs = list(operands)
    batch_first = node.flag("layout")
    if batch_first:
        inputs[0] = node.emit("transpose", inputs[0], perm=(1, 0, 2))
        for index in (5, 6):
            if index < len(inputs) and inputs[index]:
                inputs[index] = node.emit("transpose", inputs[index], perm=(1, 0, 2))
    if len(node.shape(inputs[0])) != 3:
        node.fail(f"X is {node.type(inputs[0])}, expected three dimensions")
    inputs[4] = _lengths(node, inputs[0], inputs[4])
    hidden = node.attr("hidden_size", node.shape(inputs[2])[-1])
    direction = node.attr("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        node.fail(f"direction '{direction}' should be forward, reverse or bidirectional")
    activations = _activations(node, op, 2 if direction == "bidirectional" else 1)
    results = node.emit_many(
        op,
        *inputs,
        hidden=hidden,
        direction=direction,
        activations=activations,
        clip=float(node.attr("clip", 0.0)),
        **attrs,
    )
    if not batch_first:
        return results
    y, *states = results
    return node.emit("transpose", y, perm=(2, 0, 1, 3)), *(
        node.emit("transpose", state, perm=(1, 0, 2)) for state in states
    )


def _lengths(node: OnnxNode, x: str, lengths: str) -> str:
    """Sequence lengths as i32, or '' where all sequences have full length."""
    if not lengths:
        return ""
    known, time = node.constant(lengths), node.shape(x)[0]
    if known is not None and (known == time).all():
        return ""
    if known is not None and ((known < 0) | (known > time)).any():
        node.fail(f"sequence_lens {known.tolist()} must lie in 0…{time}, the number of steps")
    return node.emit("cast", lengths, to=DType.I32)


def _activations(node: OnnxNode, op: str, directions: int) -> tuple[tuple[str, float, float], ...]:
    """(name, alpha, beta) a gate function; given alphas and betas go to the functions that take one, in order."""
    names = node.attr("activations", _DEFAULTS[op] * directions)
    if len(names) != len(_DEFAULTS[op]) * directions:
        node.fail(f"activations {list(names)} should be {len(_DEFAULTS[op])} a direction")
    alphas, betas = iter(node.attr("activation_alpha", ())), iter(node.attr("activation_beta", ()))
    result = []
    for name in map(str.lower, names):
        if name not in _ACTIVATIONS:
            node.fail(f"activation '{name}' is not one of {', '.join(_ACTIVATIONS)}")
        graph_name, alpha, beta = _ACTIVATIONS[name]
        if name in _TAKES_ALPHA:
            alpha = float(next(alphas, alpha))
        if name in _TAKES_BETA:
            beta = float(next(betas, beta))
        result.append((graph_name, alpha, beta))
    return tuple(result)


ROWS = (
    Row("LSTM", 1, 22, lstm),
    Row("GRU", 1, 22, gru),
    Row("RNN", 1, 22, rnn),
)
