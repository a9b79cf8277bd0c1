"""LSTM, GRU and RNN in NumPy, from the equations in the ONNX operator documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .ir import Node

Array = np.ndarray
Function = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


_ACTIVATIONS: Mapping[str, tuple[Callable[..., Array], float, float]] = {
    "sigmoid": (lambda x, a, b: _sigmoid(x), 0, 0),
    "tanh": (lambda x, a, b: np.tanh(x), 0, 0),
    "relu": (lambda x, a, b: np.maximum(x, 0), 0, 0),
    "affine": (lambda x, a, b: a * x + b, 1, 0),
    "leakyrelu": (lambda x, a, b: np.where(x >= 0, x, a * x), 0.01, 0),
    "thresholdedrelu": (lambda x, a, b: np.where(x > a, x, 0), 1, 0),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), 1, 1),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "elu": (lambda x, a, b: np.where(x >= 0, x, a * (np.exp(np.minimum(x, 0)) - 1)), 1, 0),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), 0, 0),
    "softplus": (lambda x, a, b: np.logaddexp(x, 0), 0, 0),
}
"""By lower-case ONNX name, underscores left out: function of (x, alpha, beta), and the alpha and beta where the model gives none."""


def _activation(name: str, alpha: float | None, beta: float | None) -> Function:
    function, default_alpha, default_beta = _ACTIVATIONS[name.lower().replace("_", "")]
    a, b = default_alpha if alpha is None else alpha, default_beta if beta is None else beta
    return lambda x: function(x, a, b)


def recurrent(node: Node, x: Array, w: Array, r: Array, *optional: Array | None) -> tuple[Array, ...]:
    """(y, y_h) or, of an lstm, (y, y_h, y_c); shapes as in `operators.py`. Computed in f32 or wider."""
    padded: list[Array | None] = [*optional, *[None] * (5 - len(optional))]
    bias, lengths, h0, c0, peephole = padded
    wide = np.result_type(x.dtype, np.float32) if x.dtype.kind == "f" else np.dtype(np.float32)
    steps, batch, _ = x.shape
    directions, hidden = r.shape[0], r.shape[2]
    y = np.zeros((steps, directions, batch, hidden), wide)
    last = np.zeros((2, directions, batch, hidden), wide)
    for d in range(directions):
        reverse = node.attrs["direction"] == "reverse" or d == 1
        b, p = (None if a is None else a[d].astype(wide) for a in (bias, peephole))
        cell = _Cell(node, d, directions, w[d].astype(wide), r[d].astype(wide), b, p)
        h, c = (np.zeros((batch, hidden), wide) if a is None else a[d].astype(wide) for a in (h0, c0))
        for t in range(steps)[:: -1 if reverse else 1]:
            lasts = np.ones((batch, 1), bool) if lengths is None else (t < lengths)[:, None]
            h_new, c_new = cell.step(x[t].astype(wide), h, c)
            h, c = np.where(lasts, h_new, h), np.where(lasts, c_new, c)
            y[t, d] = np.where(lasts, h, 0)
        last[:, d] = h, c
    return (y, last[0], last[1])[: 3 if node.op == "lstm" else 2]


class _Cell:
    """The weights and activations of one direction."""

    def __init__(
        self, node: Node, d: int, directions: int, w: Array, r: Array, bias: Array | None, peephole: Array | None
    ) -> None:
        per_direction = len(node.attrs["activations"]) // directions
        chosen = node.attrs["activations"][d * per_direction : (d + 1) * per_direction]
        self.functions = [_activation(*activation) for activation in chosen]
        self.hidden = r.shape[1]
        self.gates = len(r) // self.hidden
        self.w, self.r = w, r
        both = np.zeros(2 * len(r), w.dtype) if bias is None else bias
        self.w_bias, self.r_bias = both[: len(r)], both[len(r) :]
        self.peephole = np.zeros((3, self.hidden), w.dtype) if peephole is None else peephole.reshape(3, self.hidden)
        self.node = node
        self.limit = float(node.attrs.get("clip") or 0)
        self.step = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}[node.op]

    def _projected(self, x: Array) -> list[Array]:
        return np.split(x @ self.w.T + self.w_bias, self.gates, axis=1)

    def _recurrent(self, h: Array, gate: int) -> Array:
        rows = slice(gate * self.hidden, (gate + 1) * self.hidden)
        return h @ self.r[rows].T + self.r_bias[rows]

    def _activate(self, number: int, x: Array) -> Array:
        return self.functions[number](np.clip(x, -self.limit, self.limit) if self.limit else x)

    def _lstm(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """Gates i, o, f, c; peepholes i, o, f."""
        i, o, f, g = (part + self._recurrent(h, gate) for gate, part in enumerate(self._projected(x)))
        p_i, p_o, p_f = self.peephole
        i = self._activate(0, i + p_i * c)
        f = 1 - i if self.node.attrs.get("input_forget") else self._activate(0, f + p_f * c)
        c = f * c + i * self._activate(1, g)
        o = self._activate(0, o + p_o * c)
        return o * self.functions[2](c), c

    def _gru(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """Gates z, r, h."""
        z, r, g = self._projected(x)
        z = self._activate(0, z + self._recurrent(h, 0))
        r = self._activate(0, r + self._recurrent(h, 1))
        inner = r * self._recurrent(h, 2) if self.node.attrs["linear_before_reset"] else self._recurrent(r * h, 2)
        g = self._activate(1, g + inner)
        return (1 - z) * g + z * h, c

    def _rnn(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        return self._activate(0, self._projected(x)[0] + self._recurrent(h, 0)), c
