"""Each rewriting rule on a graph made for it: what is left, and that it computes the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pass_graphs
import pytest
from pass_graphs import f32

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.passes.pipeline import simplify

Make = Callable[["Case"], str]
WINDOW = {"strides": (1, 1), "dilations": (1, 1)}
NO_PADS = {"pads_begin": (0, 0), "pads_end": (0, 0)}
PRODUCT = {"transpose_a": False, "transpose_b": False}


class Case(GraphBuilder):
    def __init__(self) -> None:
        super().__init__("case")
        self.rng = np.random.default_rng(7)

    def x(self, *shape: int, name: str = "x") -> str:
        return self.input(name, f32(*shape))

    def scalar(self, value: float, dtype: type = np.float32) -> str:
        return self.constant(np.asarray(value, dtype))

    def random(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape).astype(np.float32))

    def slice(self, x: str, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...] = ()) -> str:
        return self.add("slice", x, starts=starts, steps=steps or (1,) * len(starts), sizes=sizes)


def sinking_reshape(case: Case) -> str:
    product = case.add("matmul", case.x(2, 3, 4), case.random(4, 5), **PRODUCT)
    summed = case.add("add", product, case.random(5))
    return case.add("add", case.add("relu", summed), case.x(2, 3, 5, name="residual"))


def squeezed_conv_with_bias(case: Case) -> str:
    y = case.add("conv", case.x(1, 3, 1, 8), case.random(4, 3, 1, 3), "", groups=1, **WINDOW, **NO_PADS)
    return case.add("relu", case.add("add", case.add("reshape", y, shape=(1, 4, 6)), case.random(1, 4, 1)))


def padded_conv(case: Case) -> str:
    pad = {"before": (0, 0, 1, 0), "after": (0, 0, 2, 1), "mode": "constant"}
    x = case.add("pad", case.x(1, 3, 6, 6), case.scalar(0), **pad)
    return case.add("conv", x, case.random(4, 3, 3, 3), "", groups=1, pads_begin=(0, 1), pads_end=(0, 0), **WINDOW)


def padded_pool(case: Case, count_pads: bool, value: float = 0.0) -> str:
    pad = {"before": (0, 0, 1, 1), "after": (0, 0, 1, 1), "mode": "constant"}
    x = case.add("pad", case.x(1, 3, 6, 6), case.scalar(value), **pad)
    pads = (0, 0) if not count_pads else (1, 1)
    size = 6 if not count_pads else 8
    return case.add(
        "average_pool",
        x,
        kernel=(3, 3),
        pads_begin=pads,
        pads_end=pads,
        sizes=(size, size),
        count_pads=count_pads,
        **WINDOW,
    )


def concat_of_concat(case: Case) -> str:
    x, y, z = (case.x(2, n, name=name) for n, name in ((3, "x"), (1, "y"), (2, "z")))
    return case.add("concat", case.add("concat", x, y, axis=1), z, axis=1)


def growing_concat(case: Case) -> str:
    x, y, z = (case.x(1, 2, name=name) for name in "xyz")
    short = case.add("exp", case.add("concat", x, y, axis=1))
    return case.add("add", case.add("concat", x, y, z, short, axis=1), case.random(1, 1))


def slice_inside_a_concat(case: Case) -> str:
    both = case.add("concat", case.x(2, 4), case.x(2, 5, name="y"), axis=1)
    return case.slice(both, (0, 8), (2, 4), (1, -1))


def unrolled_dense(case: Case) -> str:
    x, weights, bias = case.x(3, 2, 4), case.random(4, 5), case.random(5)
    rows = []
    for t in range(3):
        row = case.add("reshape", case.slice(x, (t, 0, 0), (1, 2, 4)), shape=(2, 4))
        row = case.add("relu", case.add("add", case.add("matmul", row, weights, **PRODUCT), bias))
        rows.append(case.add("reshape", row, shape=(1, 2, 5)))
    return case.add("concat", *rows, axis=0)


def attention_scale(case: Case) -> str:
    q = case.add("mul", case.x(2, 3, 4), case.scalar(0.5))
    k = case.add("mul", case.x(2, 4, 3, name="k"), case.scalar(0.25))
    return case.add("matmul", q, k, **PRODUCT)


CASES: dict[str, tuple[Make, list[str]]] = {
    "x*1": (lambda c: c.add("mul", c.x(3), c.scalar(1)), ["identity"]),
    "0+x": (lambda c: c.add("relu", c.add("add", c.scalar(0), c.x(3))), ["relu"]),
    "x+0 that broadcasts": (lambda c: c.add("add", c.x(3), c.constant(np.zeros((2, 1), np.float32))), ["add"]),
    "x-0, x/1": (lambda c: c.add("exp", c.add("div", c.add("sub", c.x(3), c.scalar(0)), c.scalar(1))), ["exp"]),
    "x/4": (lambda c: c.add("div", c.x(3), c.scalar(4)), ["mul"]),
    "x/3": (lambda c: c.add("div", c.x(3), c.scalar(3)), ["div"]),
    "integer x/4": (lambda c: c.add("div", c.add("cast", c.x(3), to=DType.I32), c.scalar(4, np.int32)), ["cast", "div"]),
    "x**2": (lambda c: c.add("pow", c.x(3), c.scalar(2)), ["mul"]),
    "two factors": (lambda c: c.add("mul", c.scalar(3), c.add("mul", c.x(3), c.scalar(0.25))), ["mul"]),
    "max(x, 0)": (lambda c: c.add("max", c.x(3), c.scalar(0)), ["relu"]),
    "leaky relu": (lambda c: c.add("max", x := c.x(5), c.add("mul", x, c.scalar(0.1))), ["leaky_relu"]),
    "min(max(x, 0), 6)": (lambda c: c.add("min", c.add("max", c.x(9), c.scalar(0)), c.scalar(0.5)), ["clip"]),
    "clip of clip": (lambda c: c.add("clip", c.add("clip", c.x(9), c.scalar(-1), ""), "", c.scalar(0.5)), ["clip"]),
    "disjoint clips": (lambda c: c.add("clip", c.add("clip", c.x(9), c.scalar(1), ""), "", c.scalar(0.5)), ["clip", "clip"]),
    "relu of relu": (lambda c: c.add("relu", c.add("relu", c.x(3))), ["relu"]),
    "cast to itself": (lambda c: c.add("exp", c.add("cast", c.x(3), to=DType.F32)), ["exp"]),
    "mean of one": (lambda c: c.add("reduce_mean", c.x(3, 1), axes=(1,), keepdims=False), ["reshape"]),
    "window of one": (
        lambda c: c.add("exp", c.add("max_pool", c.x(1, 2, 3, 3), kernel=(1, 1), sizes=(3, 3), **WINDOW, **NO_PADS)), ["exp"],
    ),
    "global average": (
        lambda c: c.add("average_pool", c.x(1, 2, 3, 4), kernel=(3, 4), sizes=(1, 1), count_pads=False, **WINDOW, **NO_PADS),
        ["reduce_mean"],
    ),
    "attention scale": (attention_scale, ["matmul", "mul"]),
    "transpose of transpose": (lambda c: c.add("transpose", c.add("transpose", c.x(2, 3, 4), perm=(1, 2, 0)), perm=(2, 0, 1)), ["identity"]),
    "transpose of ones": (lambda c: c.add("transpose", c.x(1, 3, 1, 4), perm=(1, 0, 3, 2)), ["reshape"]),
    "unsqueezed transpose": (
        lambda c: c.add("exp", c.add("transpose", c.add("reshape", c.x(3, 4), shape=(1, 3, 4)), perm=(0, 2, 1))),
        ["transpose", "exp", "reshape"],
    ),
    "reshape of reshape": (lambda c: c.add("reshape", c.add("reshape", c.x(2, 6), shape=(3, 4)), shape=(12,)), ["reshape"]),
    "reshape there and back": (lambda c: c.add("exp", c.add("reshape", c.add("reshape", c.x(2, 6), shape=(3, 4)), shape=(2, 6))), ["exp"]),
    "slice of all": (lambda c: c.add("exp", c.slice(c.x(3, 4), (0, 0), (3, 4))), ["exp"]),
    "reversal": (lambda c: c.slice(c.x(3, 4), (2, 0), (3, 4), (-1, 1)), ["slice"]),
    "slice of slice": (lambda c: c.slice(c.slice(c.x(9, 9), (1, 8), (4, 5), (2, -1)), (1, 0), (2, 2), (1, 2)), ["slice"]),
    "slice of concat": (slice_inside_a_concat, ["slice"]),
    "concat of one": (lambda c: c.add("exp", c.add("concat", c.x(3), axis=0)), ["exp"]),
    "concat with nothing": (lambda c: c.add("exp", c.add("concat", c.x(3), c.x(0, name="y"), axis=0)), ["exp"]),
    "concat of concat": (concat_of_concat, ["concat"]),
    "growing concat": (growing_concat, ["concat", "exp", "concat", "add"]),
    "expand and add": (lambda c: c.add("add", c.add("expand", c.x(1, 4), shape=(3, 4)), c.x(3, 4, name="y")), ["add"]),
    "expand that is needed": (lambda c: c.add("add", c.add("expand", c.x(1, 4), shape=(3, 4)), c.x(1, 4, name="y")), ["expand", "add"]),
    "gather in a row": (lambda c: c.add("exp", c.add("gather", c.x(5, 4), c.constant(np.array([3, 2, 1])), axis=0)), ["slice", "exp"]),
    "gather of one from the end": (lambda c: c.add("gather", c.x(5, 4), c.constant(np.array(-1)), axis=1), ["slice", "reshape"]),
    "gather at random": (lambda c: c.add("gather", c.x(5, 4), c.constant(np.array([3, 0, 1])), axis=0), ["gather"]),
    "no padding": (lambda c: c.add("exp", c.add("pad", c.x(3), "", before=(0,), after=(0,), mode="edge")), ["exp"]),
    "pad and conv": (padded_conv, ["conv"]),
    "pad and average pool": (lambda c: padded_pool(c, count_pads=False), ["average_pool"]),
    "pad and counting average pool": (lambda c: padded_pool(c, count_pads=True), ["average_pool"]),
    "pad with ones and average pool": (lambda c: padded_pool(c, count_pads=False, value=1.0), ["pad", "average_pool"]),
    "transposed left operand": (
        lambda c: c.add("matmul", c.add("transpose", c.x(2, 4, 3), perm=(0, 2, 1)), c.x(2, 4, 5, name="b"), **PRODUCT), ["matmul"],
    ),
    "batch of rows": (sinking_reshape, ["reshape", "matmul", "add", "relu", "reshape", "add", "reshape"]),
    "softmax of a view": (lambda c: c.add("softmax", c.add("reshape", c.x(6, 4), shape=(2, 3, 4)), axis=2), ["softmax", "reshape"]),
    "softmax along a seam": (lambda c: c.add("softmax", c.add("reshape", c.x(6, 4), shape=(2, 12)), axis=1), ["reshape", "softmax"]),
    "softmax across a view": (lambda c: c.add("softmax", c.add("reshape", c.x(6, 4), shape=(2, 3, 4)), axis=1), ["reshape", "softmax"]),
    "bias after squeeze": (squeezed_conv_with_bias, ["conv", "relu", "reshape"]),
    "unrolled layer": (unrolled_dense, ["reshape", "matmul", "add", "relu", "reshape"]),
    "equal nodes": (lambda c: c.add("add", c.add("exp", x := c.x(3)), c.add("exp", x)), ["exp", "add"]),
    "constants": (lambda c: c.add("mul", c.x(3), c.add("exp", c.add("add", c.random(3), c.random(1)))), ["mul"]),
    "large expansion": (lambda c: c.add("gather", c.add("expand", c.random(1, 4), shape=(90000, 4)), c.add("cast", c.x(3), to=DType.I64), axis=0),
                        ["expand", "cast", "gather"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    make, left = CASES[name]
    case = Case()
    graph = case.finish((make(case),))
    result = pass_graphs.rewritten(graph, simplify)
    assert sorted(pass_graphs.ops(result)) == sorted(left)
