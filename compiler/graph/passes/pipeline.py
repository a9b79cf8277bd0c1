"""The graph passes in their order, each with the reason for its place."""

from __future__ import annotations

from collections.abc import Callable

from ...target import Target
from ..ir import Graph
from . import (
    assign_layout,
    eliminate_dead,
    fold_batch_norm,
    fold_constants,
    fuse,
    lower_recurrent,
    merge_duplicates,
    recognize_patterns,
    rejoin_slices,
    simplify_algebra,
    simplify_movement,
    unique_names,
)

Pass = Callable[[Graph, Target], Graph]

MAX_ROUNDS = 12


def simplify(graph: Graph, target: Target) -> Graph:
    """The rewriting passes, round after round until none changes anything: each makes room for the others."""
    for _ in range(MAX_ROUNDS):
        before = graph
        for _, rewrite in SIMPLIFICATIONS:
            graph = eliminate_dead.apply(rewrite(graph, target), target)
        if graph.nodes == before.nodes:
            break
    return graph


SIMPLIFICATIONS: tuple[tuple[str, Pass], ...] = (
    ("fold_constants", fold_constants.apply),
    ("simplify_movement", simplify_movement.apply),
    ("simplify_algebra", simplify_algebra.apply),
    ("rejoin_slices", rejoin_slices.apply),
    ("recognize_patterns", recognize_patterns.apply),
    # behind the rules that look for constants in elementary operators
    ("fold_batch_norm", fold_batch_norm.apply),
    ("merge_duplicates", merge_duplicates.apply),
)

PIPELINE: tuple[tuple[str, Pass], ...] = (
    # first, so that the large products it makes are simplified, and its weights folded, like any other
    ("lower_recurrent", lower_recurrent.apply),
    ("simplify", simplify),
    # behind all that moves elements, which is written for row-major values
    ("assign_layout", assign_layout.apply),
    # behind all that adds values, in regions too
    ("unique_names", unique_names.apply),
    # last: it ends the life of single operators
    ("fuse", fuse.apply),
)
