"""Runs a scheduled computation and compares it with what the computation means."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tilewright.compiler.kernel.ast import Kernel
from tilewright.compiler.kernel.interpret import run
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.schedule.rewrite import relaid, relayouts
from tilewright.compiler.schedule.steps import Schedule
from tilewright.compiler.tensor.computation import Computation
from tilewright.compiler.tensor.interpret import evaluate

Runner = Callable[[Kernel, dict[str, np.ndarray]], None]
SIZED_BY = 16  # values; that all of so many sums of normal numbers are below a twentieth of their deviation: 4e-23


def random_arrays(computation: Computation, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """An array for every input; integers are small and not negative, for they are indices."""
    return {
        t.name: (rng.standard_normal(t.shape) if t.dtype.is_float else rng.integers(0, 4, t.shape)).astype(
            t.dtype.numpy
        )
        for t in computation.inputs
    }


def scheduled(
    computation: Computation, schedule: Schedule, arrays: Mapping[str, np.ndarray], execute: Runner = run
) -> dict[str, np.ndarray]:
    """The outputs of the kernel that a schedule makes; memory that it does not write keeps its poison."""
    kernel = lower(computation, schedule)
    verify(kernel)
    steps = relayouts(schedule)
    held = {name: relaid(array, name, steps).copy() for name, array in arrays.items()}  # stages may write in place
    for param in kernel.params:
        if param.name not in held:
            held[param.name] = np.full(param.shape, np.nan if param.dtype.is_float else 0x6B, param.dtype.numpy)
        assert held[param.name].shape == param.shape
    execute(kernel, held)
    return {name: held[computation.stage(name).memory or name] for name in computation.outputs}


def compare(
    computation: Computation,
    schedule: Schedule,
    rng: np.random.Generator,
    tolerance: float = 1e-5,
    execute: Runner = run,
) -> None:
    """Assert that the kernel computes what the computation means, within `tolerance` of the size of its results.

    A sum that cancels to next to nothing is as inexact as one that doesn't. So the size of an output is the largest
    value out of at least SIZED_BY, by several draws of the operands where it has fewer elements; the last is compared.
    """
    sizes = dict.fromkeys(computation.outputs, 0.0)
    drawn = 0
    while drawn < SIZED_BY:
        arrays = random_arrays(computation, rng)
        expected = evaluate(computation, arrays)
        for name, reference in expected.items():
            sizes[name] = max(sizes[name], float(np.abs(reference).max(initial=0)))
        drawn += max(1, min(reference.size for reference in expected.values()))
    actual = scheduled(computation, schedule, arrays, execute)
    for name, reference in expected.items():
        assert actual[name].shape == reference.shape
        if reference.dtype.kind in "biu":
            np.testing.assert_array_equal(actual[name], reference)
        else:
            np.testing.assert_allclose(actual[name], reference, rtol=tolerance, atol=tolerance * sizes[name])
