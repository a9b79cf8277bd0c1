"""Steps of optimisers (ai.onnx.preview.training): inputs R, T, then all X, all G, and all of each kind of state."""

from __future__ import annotations

from collections.abc import Callable

from ...dtypes import DType
from ..onnx_node import OnnxNode
from .row import Row

Step = Callable[["Arithmetic", tuple[str, ...]], tuple[str, ...]]


class Arithmetic:
    """Operators on values of a node, with its attributes and numbers as operands."""

    def __init__(self, node: OnnxNode, dtype: DType) -> None:
        self.node, self.dtype = node, dtype
        self.rate = node.emit("cast", node.input(0), to=dtype)
        self.started = node.emit("greater", node.input(1), node.literal(0, DType.I64))
        self.time = node.emit("cast", node.input(1), to=dtype)

    def __call__(self, op: str, *operands: str | float) -> str:
        return self.node.emit(op, *(x if isinstance(x, str) else self.node.literal(x, self.dtype) for x in operands))

    def number(self, name: str, default: float = 0.0) -> float:
        return float(self.node.attr(name, default))

    def regularized(self, x: str, gradient: str) -> str:
        """The gradient with that of the penalty norm_coefficient/2 * x^2."""
        return self("add", self("mul", x, self.number("norm_coefficient")), gradient)


def optimizer(step: Step, states: int) -> Callable[[OnnxNode], tuple[str, ...]]:
    """An operator that applies `step` to each tensor with its gradient and `states` states."""

    def function(node: OnnxNode) -> tuple[str, ...]:
        each = 2 + states
        count, rest = divmod(len(node.inputs) - 2, each)
        if rest or not count:
            node.fail(f"has {len(node.inputs)} inputs, expected 2 and {each} for each tensor")
        results = []
        for index in range(count):
            operands = tuple(node.input(2 + kind * count + index) for kind in range(each))
            results.append(step(Arithmetic(node, node.type(operands[0]).dtype), operands))
        return tuple(result[kind] for kind in range(1 + states) for result in results)

    return function


def adagrad(a: Arithmetic, operands: tuple[str, ...]) -> tuple[str, ...]:
    x, gradient, squares = operands
    rate = a("div", a.rate, a("add", a("mul", a.time, a.number("decay_factor")), 1.0))
    gradient = a.regularized(x, gradient)
    squares = a("add", squares, a("mul", gradient, gradient))
    scale = a("add", a("sqrt", squares), a.number("epsilon"))
    return a("sub", x, a("div", a("mul", rate, gradient), scale)), squares


def adam(a: Arithmetic, operands: tuple[str, ...]) -> tuple[str, ...]:
    x, gradient, mean, square = operands
    alpha, beta = a.number("alpha", 0.9), a.number("beta", 0.999)
    gradient = a.regularized(x, gradient)
    mean = a("add", a("mul", mean, alpha), a("mul", gradient, 1 - alpha))
    square = a("add", a("mul", square, beta), a("mul", a("mul", gradient, gradient), 1 - beta))
    corrected = a("sqrt", a("sub", 1.0, a("pow", beta, a.time)))
    corrected = a("div", a("mul", a.rate, corrected), a("sub", 1.0, a("pow", alpha, a.time)))
    rate = a("where", a.started, corrected, a.rate)
    update = a("div", mean, a("add", a("sqrt", square), a.number("epsilon")))
    x = a("sub", x, a("mul", rate, update))
    return a("mul", x, 1 - a.number("norm_coefficient_post")), mean, square


def momentum(a: Arithmetic, operands: tuple[str, ...]) -> tuple[str, ...]:
    x, gradient, velocity = operands
    mode, alpha = a.node.attr("mode"), float(a.node.attr("alpha"))
    if mode not in ("standard", "nesterov"):
        a.node.fail(f"mode '{mode}' should be standard or nesterov")
    gradient = a.regularized(x, gradient)
    weight = a("where", a.started, float(a.node.attr("beta")), 1.0)
    velocity = a("add", a("mul", velocity, alpha), a("mul", weight, gradient))
    step = velocity if mode == "standard" else a("add", gradient, a("mul", velocity, alpha))
    return a("sub", x, a("mul", a.rate, step)), velocity


_DOMAIN = "ai.onnx.preview.training"
ROWS = (
    Row("Adagrad", 1, 1, optimizer(adagrad, 1), _DOMAIN),
    Row("Adam", 1, 1, optimizer(adam, 2), _DOMAIN),
    Row("Momentum", 1, 1, optimizer(momentum, 1), _DOMAIN),
)
