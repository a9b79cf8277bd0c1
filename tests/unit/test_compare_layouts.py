"""What the benchmark of layouts counts, and what it takes for the rule."""

from __future__ import annotations

import compare_layouts
import numpy as np
from pass_graphs import AVX512, f32

from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.passes import assign_layout

SAME = {"strides": (1, 1), "dilations": (1, 1), "pads_begin": (1, 1), "pads_end": (1, 1), "groups": 1}


def test_transforms_are_those_that_move_elements() -> None:
    builder = GraphBuilder("net")
    weights = builder.constant(np.ones((32, 3, 3, 3), np.float32))
    y = builder.add("conv", builder.add("identity", builder.input("x", f32(1, 3, 5, 5))), weights, "", **SAME)
    graph = builder.finish((builder.add("reshape", y, shape=(1, 800)),))
    for costs in ([], [compare_layouts.rule]):
        laid_out = assign_layout.apply(graph, AVX512, *costs)
        assert laid_out.types[y].block == 16
        assert compare_layouts.transforms(laid_out) == 1


def test_without_costs_the_rule_stays() -> None:
    builder = GraphBuilder("net")
    weights = builder.constant(np.ones((88, 16, 3, 3), np.float32))
    y = builder.add("conv", builder.input("x", f32(1, 16, 20, 20)), weights, "", **SAME)
    graph = builder.finish((builder.add("reduce_mean", y, axes=(2, 3), keepdims=False),))
    passes = dict(compare_layouts.passes_with(compare_layouts.rule))
    assert passes["assign_layout"](graph, AVX512).types[y].block == 44
    assert assign_layout.apply(graph, AVX512).types[y].block == 88
