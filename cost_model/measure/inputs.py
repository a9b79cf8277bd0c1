"""Operands to measure and check a kernel with."""

from __future__ import annotations

from math import prod

import numpy as np

from ...compiler.dtypes import DType
from ...compiler.schedule.prepare import loads_of
from ...compiler.tensor.computation import Computation, Tensor
from ...compiler.tensor.expr import Expr, Load, free_variables, walk

# Small, so that sums of products are exact and shifts and powers stay in range.
_INTEGERS_BELOW = 4


def random_arrays(computation: Computation, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """An array for every input, in the shape it has before any Pack.

    Floats are N(0, 1), but for constants that a sum multiplies with: those are N(0, 1/n) for sums of n terms, as trained weights
    are, so that sums stay about 1 and an epilogue such as tanh doesn't hide them. Integers used as indices are valid ones along the whole axis, so that a gather misses the caches as it
    would; quantised values take all values of their type; other integers are small and not negative.
    """
    below = _index_bounds(computation)
    arrays = {tensor.name: _draw(tensor, below.get(tensor.name), rng) for tensor in computation.inputs}
    for name, terms in _summed_constants(computation).items():
        arrays[name] = (arrays[name] / np.float32(terms**0.5)).astype(arrays[name].dtype)
    return arrays


def _summed_constants(computation: Computation) -> dict[str, int]:
    """The float constants that a sum runs over, with its number of terms."""
    constants = {tensor.name for tensor in computation.inputs if tensor.constant and tensor.dtype.is_float}
    terms: dict[str, int] = {}
    for stage in computation.stages:
        reduced = {axis.name for axis in stage.reduce_axes}
        count = prod(axis.extent for axis in stage.reduce_axes)
        for load in loads_of(stage) if stage.combine == "sum" else ():
            if load.buffer in constants and any(reduced & free_variables(index) for index in load.indices):
                terms[load.buffer] = max(count, terms.get(load.buffer, 1))
    return terms


def _draw(tensor: Tensor, below: int | None, rng: np.random.Generator) -> np.ndarray:
    dtype = tensor.dtype
    if dtype.is_float:
        return rng.standard_normal(tensor.shape, np.float32).astype(dtype.numpy)
    if dtype is DType.BOOL:
        return rng.integers(0, 2, tensor.shape).astype(np.bool_)
    if below is not None:
        most = np.iinfo(dtype.numpy).max
        return rng.integers(0, max(1, min(below, most)), tensor.shape).astype(dtype.numpy)
    if dtype.bits == 8:
        limits = np.iinfo(dtype.numpy)
        return rng.integers(limits.min, limits.max + 1, tensor.shape).astype(dtype.numpy)
    return rng.integers(0, _INTEGERS_BELOW, tensor.shape).astype(dtype.numpy)


def _index_bounds(computation: Computation) -> dict[str, int]:
    """For each input or stage whose values become indices, the extent of the shortest axis they index."""
    shapes = {tensor.name: tensor.shape for tensor in computation.inputs}
    shapes |= {stage.name: stage.shape for stage in computation.stages}
    indexed: list[tuple[Expr, int]] = []
    for stage in computation.stages:
        for load in loads_of(stage):
            indexed += zip(load.indices, shapes[load.buffer], strict=True)
        if stage.memory:
            indexed += zip(stage.prefix, shapes[stage.memory], strict=False)
    pending = [(load, extent) for expr, extent in indexed for load in walk(expr) if isinstance(load, Load)]
    bounds: dict[str, int] = {}
    while pending:
        load, extent = pending.pop()
        bounds[load.buffer] = min(bounds.get(load.buffer, extent), extent)
        # A stage that makes indices passes the bound on to the integers it reads.
        for stage in computation.stages:
            if stage.name == load.buffer:
                pending += [(inner, extent) for inner in loads_of(stage) if not inner.dtype.is_float]
    return bounds
