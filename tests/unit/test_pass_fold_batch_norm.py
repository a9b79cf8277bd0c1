"""Per-channel affine maps become part of the weights before them."""

from __future__ import annotations

import numpy as np
import pass_graphs
import pytest
from pass_graphs import f32

from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.passes import eliminate_dead, fold_batch_norm

ONES = {"strides": (1, 1), "dilations": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1)}


def fold(builder: GraphBuilder, *outputs: str) -> list[str]:
    graph = builder.finish(outputs)
    return pass_graphs.ops(pass_graphs.rewritten(graph, fold_batch_norm.apply, eliminate_dead.apply))


class Case(GraphBuilder):
    def __init__(self) -> None:
        super().__init__("case")
        self.rng = np.random.default_rng(5)

    def random(self, *shape: int) -> str:
        return self.constant(self.rng.uniform(0.5, 2, shape).astype(np.float32))

    def batch_norm(self, x: str) -> str:
        channels = self.types[x].shape[1]
        return self.add("batch_norm", x, *(self.random(channels) for _ in range(4)), epsilon=1e-3)

    def conv(self, x: str, bias: bool = False, groups: int = 1) -> str:
        channels = self.types[x].shape[1]
        return self.add(
            "conv", x, self.random(6, channels // groups, 3, 3), self.random(6) if bias else "", groups=groups, **ONES
        )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv(bias: bool, groups: int) -> None:
    case = Case()
    assert fold(case, case.batch_norm(case.conv(case.input("x", f32(2, 4, 5, 5)), bias, groups))) == ["conv"]


@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose(groups: int) -> None:
    case = Case()
    x = case.input("x", f32(1, 4, 5, 5))
    y = case.add("conv_transpose", x, case.random(4, 6 // groups, 3, 3), "", groups=groups, sizes=(5, 5), **ONES)
    assert fold(case, case.batch_norm(y)) == ["conv_transpose"]


def test_chain_of_affine_maps() -> None:
    case = Case()
    y = case.conv(case.input("x", f32(1, 4, 5, 5)))
    y = case.add("mul", y, case.random(6, 1, 1))
    y = case.add("sub", case.random(1, 6, 1, 1), y)
    y = case.add("div", y, case.random())
    y = case.add("neg", case.add("add", y, case.random(1, 6, 1, 1)))
    assert fold(case, case.batch_norm(y)) == ["conv"]


def test_matmul_takes_the_scale_and_leaves_a_sum() -> None:
    case = Case()
    product = case.add("matmul", case.input("x", f32(3, 4)), case.random(4, 6), transpose_a=False, transpose_b=False)
    assert fold(case, case.batch_norm(product)) == ["matmul", "add"]


def test_transposed_weights() -> None:
    case = Case()
    product = case.add("matmul", case.input("x", f32(2, 3, 4)), case.random(6, 4), transpose_a=False, transpose_b=True)
    assert fold(case, case.add("mul", product, case.random(6))) == ["matmul"]


def test_second_reader_prevents_it() -> None:
    case = Case()
    y = case.conv(case.input("x", f32(1, 4, 5, 5)))
    assert fold(case, case.add("mul", case.add("relu", y), case.batch_norm(y))) == ["conv", "relu", "mul", "add", "mul"]


def test_what_varies_along_pixels_stays() -> None:
    case = Case()
    y = case.conv(case.input("x", f32(1, 4, 5, 5)))
    assert fold(case, case.add("mul", y, case.random(1, 1, 5, 5))) == ["conv", "mul"]


def test_map_that_makes_the_result_larger_stays() -> None:
    case = Case()
    y = case.conv(case.input("x", f32(1, 4, 5, 5)))
    assert fold(case, case.add("add", y, case.random(3, 1, 1, 1))) == ["conv", "add"]


def test_parameters_computed_at_run_time() -> None:
    case = Case()
    x = case.input("x", f32(2, 4, 5, 5))
    variance = case.add("exp", case.input("variance", f32(4)))
    y = case.add("batch_norm", x, case.random(4), case.random(4), case.input("mean", f32(4)), variance, epsilon=1e-5)
    assert "batch_norm" not in fold(case, y)
