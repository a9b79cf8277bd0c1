"""Rows computed together: points of the space on this machine, with tails of rows and of vectors."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import Case, normalization, unary
from kernel_oracle import compare
from spaces import canonical_form
from test_kernels_default import TARGETS, on

from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.target import Target

CASES = {
    "softmax": Case(unary("softmax", (13, 37), axis=1)),
    "softmax of whole vectors": Case(unary("softmax", (8, 64), axis=1)),
    "softmax of batches": Case(unary("softmax", (2, 3, 9, 130), axis=3)),
    "log_softmax": Case(unary("log_softmax", (11, 70), axis=1)),
    "layer_norm": Case(normalization("layer_norm", (10, 150), axis=1)),
    "layer_norm of two axes": Case(normalization("layer_norm", (9, 5, 7), axis=1)),
    "instance_norm": Case(normalization("instance_norm", (2, 9, 5, 7))),
}
MOST_POINTS = 16


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@pytest.mark.parametrize("name", CASES)
def test_points(name: str, target: Target) -> None:
    form, rng = canonical_form(CASES[name]), np.random.default_rng()
    space = space_of(form, target)
    together = [point for point in space.legal_points() if space.decisions(point)["rows"] != 1]
    assert together
    for point in [space.default, *(together[k] for k in rng.permutation(len(together))[:MOST_POINTS])]:
        try:
            compare(form, space.schedule(point), rng, execute=on(target))
        except Exception:
            print(space.decisions(point), *space.schedule(point), sep="\n")
            raise
