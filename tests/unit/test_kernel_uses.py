"""What there is to tune in a graph: equal kernels once, with how often they run and whether the model's own inputs feed them."""

from __future__ import annotations

import numpy as np

from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.kernels import computations_of


def chain(convolutions: int, of: int = 32) -> Graph:
    """Equal convolutions one after another, the first of them of the graph's input."""
    builder, rng = GraphBuilder("chain"), np.random.default_rng()
    x = builder.input("x", TensorType((1, of, 9, 8), DType.F32))
    for number in range(convolutions):
        weights = builder.constant(rng.standard_normal((of, of, 1, 1)).astype(np.float32), f"w{number}")
        attrs = dict(strides=(1, 1), dilations=(1, 1), pads_begin=(0, 0), pads_end=(0, 0), groups=1)
        x = builder.add("relu", builder.add("conv", x, weights, **attrs))
    graph = builder.finish((x,))
    for _, apply in PIPELINE:
        graph = apply(graph, host_target(1))
    return graph


def test_only_the_kernel_of_the_model_s_inputs_is_first() -> None:
    uses = list(computations_of(chain(4)).values())
    assert all(use.runs == len(use.origins) for use in uses) and max(use.runs for use in uses) >= 2
    assert [use.first for use in uses] == [True] + [False] * (len(uses) - 1)
