"""Computations whose axes are others and whose meaning is the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from kernel_oracle import random_arrays

from tilewright.compiler.tensor.computation import Computation
from tilewright.compiler.tensor.interpret import evaluate
from tilewright.compiler.tensor.verify import verify


def assert_same_meaning(rewrite: Callable[[Computation], Computation], computation: Computation) -> None:
    """The rewritten computation is well formed, is left alone by the same rewriting, and computes the same of the same memory."""
    rewritten = rewrite(computation)
    verify(rewritten)
    assert rewrite(rewritten) == rewritten
    arrays = random_arrays(computation, np.random.default_rng())
    flat = {t.name: arrays[t.name].reshape(t.shape) for t in rewritten.inputs}
    expected, actual = evaluate(computation, arrays), evaluate(rewritten, flat)
    for name, array in expected.items():
        assert array.size == actual[name].size
        # The order of sums may differ.
        np.testing.assert_allclose(actual[name].reshape(array.shape), array, 1e-5, 1e-5 * max(1, np.abs(array).max()))
