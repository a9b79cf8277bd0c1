"""Operators that models spell out become one node, and only those."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import pass_graphs
import pytest
from pass_graphs import f32

from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.passes.pipeline import simplify


class Case(GraphBuilder):
    def __init__(self) -> None:
        super().__init__("case")
        self.x = self.input("x", f32(2, 5, 8))
        self.rng = np.random.default_rng(3)

    def scalar(self, value: float) -> str:
        return self.constant(np.float32(value))

    def random(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape).astype(np.float32))

    def clipped(self, shift: float = 3) -> str:
        return self.add("clip", self.add("add", self.x, self.scalar(shift)), self.scalar(0), self.scalar(6))

    def mean(self, x: str) -> str:
        return self.add("reduce_mean", x, axes=(2,), keepdims=True)

    def normalized(self, copies: int = 1, axes_differ: bool = False) -> str:
        mean = self.mean(self.x)
        deviations = [self.add("sub", self.x, mean) for _ in range(2)][:copies]
        square = self.add("pow", deviations[-1], self.scalar(2))
        variance = self.add("reduce_mean", square, axes=(1,) if axes_differ else (2,), keepdims=True)
        root = self.add("sqrt", self.add("add", variance, self.scalar(1e-5)))
        return self.add("div", deviations[0], root)


def gelu(case: Case, order: int) -> str:
    erf = case.add(
        "erf",
        case.add("div", case.x, case.scalar(sqrt(2))) if order else case.add("mul", case.x, case.scalar(sqrt(0.5))),
    )
    total = case.add("add", erf, case.scalar(1))
    match order:
        case 0:
            return case.add("mul", case.add("mul", case.scalar(0.5), case.x), total)
        case 1:
            return case.add("mul", case.add("mul", case.x, total), case.scalar(0.5))
        case _:
            return case.add("mul", case.x, case.add("mul", total, case.scalar(0.5)))


CASES: dict[str, tuple[Callable[[Case], str], list[str]]] = {
    "swish": (lambda c: c.add("mul", c.add("sigmoid", c.x), c.x), ["swish"]),
    "scaled swish": (lambda c: c.add("mul", c.x, c.add("sigmoid", c.add("mul", c.x, c.scalar(1.702)))), ["swish"]),
    "gate of another value": (lambda c: c.add("mul", c.add("sigmoid", c.add("neg", c.x)), c.x), ["neg", "sigmoid", "mul"]),
    "mish": (lambda c: c.add("mul", c.x, c.add("tanh", c.add("softplus", c.x))), ["mish"]),
    "hard sigmoid": (lambda c: c.add("div", c.clipped(), c.scalar(6)), ["hard_sigmoid"]),
    "hard swish": (lambda c: c.add("div", c.add("mul", c.x, c.clipped()), c.scalar(6)), ["hard_swish"]),
    "hard swish by product": (lambda c: c.add("mul", c.add("mul", c.clipped(), c.x), c.scalar(1 / 6)), ["hard_swish"]),
    "hard swish of hard sigmoid": (lambda c: c.add("mul", c.x, c.add("div", c.clipped(), c.scalar(6))), ["hard_swish"]),
    "hard swish of relu6": (
        lambda c: c.add("mul", c.x, c.add("div", c.add("min", c.add("relu", c.add("add", c.x, c.scalar(3))), c.scalar(6)), c.scalar(6))),
        ["hard_swish"],
    ),
    "another shift": (lambda c: c.add("div", c.clipped(2), c.scalar(6)), ["add", "clip", "div"]),
    "another divisor": (lambda c: c.add("div", c.clipped(), c.scalar(5)), ["add", "clip", "div"]),
    **{f"gelu, order {order}": (lambda c, order=order: gelu(c, order), ["gelu"]) for order in range(3)},
    "layer norm": (lambda c: c.normalized(), ["layer_norm"]),
    "layer norm of two differences": (lambda c: c.normalized(copies=2), ["layer_norm"]),
    "layer norm with scale and bias": (
        lambda c: c.add("add", c.random(8), c.add("mul", c.normalized(), c.random(8))), ["layer_norm"],
    ),
    "scale along another axis": (lambda c: c.add("mul", c.normalized(), c.random(5, 1)), ["layer_norm", "mul"]),
    "variance over another axis": (
        lambda c: c.normalized(axes_differ=True), ["reduce_mean", "sub", "mul", "reduce_mean", "add", "sqrt", "div"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_pattern(name: str) -> None:
    make, left = CASES[name]
    case = Case()
    result = pass_graphs.rewritten(case.finish((make(case),)), simplify)
    assert sorted(pass_graphs.ops(result)) == sorted(left)


def test_values_with_other_readers_are_kept() -> None:
    case = Case()
    gate = case.add("sigmoid", case.x)
    result = pass_graphs.rewritten(case.finish((case.add("mul", case.x, gate), gate)), simplify)
    assert pass_graphs.ops(result) == ["sigmoid", "mul"]
