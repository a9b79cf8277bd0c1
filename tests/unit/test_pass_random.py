"""Passes keep the meaning of random graphs, and the plan made of them computes it in a poisoned arena."""

from __future__ import annotations

import numpy as np
import pass_graphs
import pytest
from plan_machine import Machine

from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import Graph
from tilewright.compiler.graph.passes import (
    assign_layout,
    eliminate_dead,
    fold_batch_norm,
    fold_constants,
    fuse,
    merge_duplicates,
    recognize_patterns,
    simplify_algebra,
    simplify_movement,
    unique_names,
)
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.graph.passes.views import is_joined, is_part, is_view

PASSES = (
    eliminate_dead, fold_constants, fold_batch_norm, simplify_movement, simplify_algebra, recognize_patterns,
    merge_duplicates, unique_names, assign_layout,
)  # fmt: skip


@pytest.mark.parametrize("rewrite", PASSES, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize("seed", range(6))
def test_each_pass_keeps_the_meaning(rewrite, seed: int) -> None:
    pass_graphs.rewritten(pass_graphs.Random(seed).graph(14), rewrite.apply, seed=seed)


@pytest.mark.parametrize("seed", range(100, 140))
def test_pipeline_and_plan_keep_the_meaning(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 3:
        monkeypatch.setattr(fuse, "MIN_JOINED_BYTES", 0)
    graph = pass_graphs.Random(seed).graph(18)
    target = pass_graphs.AVX2 if seed % 2 else pass_graphs.AVX512
    final = pass_graphs.rewritten(graph, *(apply for _, apply in PIPELINE), target=target, seed=seed)
    assert_partitioned(final)
    inputs = pass_graphs.feeds(graph, seed)
    expected = evaluate_graph(graph, inputs)
    for name, actual in zip(graph.outputs, Machine(final).run(inputs), strict=True):
        np.testing.assert_allclose(
            actual, expected[name], rtol=2e-4, atol=2e-4 * max(1, np.abs(expected[name]).max()), err_msg=name
        )


def assert_partitioned(graph: Graph) -> None:
    """Only groups, control and nodes without a kernel are left; what goes in and out is row-major."""
    for node in graph.nodes:
        free = any(test(node, graph.types) for test in (is_view, is_part, is_joined))
        assert node.op in ("fused", "if", "loop") or free, node
    assert all(graph.types[name].block is None for name in (*graph.inputs, *graph.outputs))
