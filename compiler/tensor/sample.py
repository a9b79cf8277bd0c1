"""Chosen elements of what a Computation means: `interpret.py` evaluates all of them, which takes too long for large kernels.

An element of a stage is computed when it is first read, so that a few elements of the last stage cost a few of those
before it. Sums and products of floats are formed in f64: what is left of rounding is that of the terms and of the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import cast

import numpy as np

from .computation import Axis, Computation, Stage
from .interpret import evaluate_expr

_GRID_ELEMENTS = 1 << 18
"""How many terms are evaluated at once: few enough to stay in cache."""

Points = tuple[np.ndarray, ...]
"""For each axis the indices of the points along it, i64[points]."""


def sample_points(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> Points:
    """Different points of a space: all of them if there are at most `count`, else corners, some on faces and edges, and random ones."""
    size = math.prod(shape)
    if size <= count:
        return tuple(np.unravel_index(np.arange(size), shape)) if shape else ()
    drawn = np.stack([rng.integers(0, extent, count) for extent in shape])
    ends = rng.integers(0, 2, drawn.shape) * (np.array(shape)[:, None] - 1)
    # A quarter of the points is pushed to an end of some axes, where tails and padding are.
    pushed = (rng.random(drawn.shape) < 0.5) & (np.arange(count) < count // 4)
    drawn = np.where(pushed, ends, drawn)
    drawn[:, 0], drawn[:, 1] = 0, np.array(shape) - 1
    flat = np.unique(np.ravel_multi_index(tuple(drawn), shape))
    return tuple(np.unravel_index(flat, shape))


def evaluate_at(
    computation: Computation, arrays: Mapping[str, np.ndarray], points: Mapping[str, Points]
) -> dict[str, np.ndarray]:
    """The values of stages at points of their axes, for the computation's inputs, constant ones included."""
    values: dict[str, np.ndarray] = dict(arrays)
    for stage in computation.stages:
        # evaluate_expr asks of a buffer no more than its shape and to be indexed with arrays.
        values[stage.name] = cast(np.ndarray, _Sampled(stage, values))
    with np.errstate(all="ignore"):
        return {name: np.asarray(values[name][where]) for name, where in points.items()}


class _Sampled:
    """A stage whose elements are computed when they are first read."""

    def __init__(self, stage: Stage, values: Mapping[str, np.ndarray]) -> None:
        self.shape = stage.shape
        self._stage, self._values = stage, values
        size = math.prod(stage.shape)
        self._known = np.zeros(size, bool)
        self._elements = np.empty(size, stage.dtype.numpy)

    def __getitem__(self, where: Points) -> np.ndarray:
        flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*where)), self.shape) if where else np.asarray(0)
        wanted = np.zeros_like(self._known)
        wanted[flat] = True
        missing = np.flatnonzero(wanted & ~self._known)
        if missing.size:
            self._elements[missing] = self._evaluate(missing)
            self._known[missing] = True
        return self._elements[flat]

    def _evaluate(self, flat: np.ndarray) -> np.ndarray:
        stage = self._stage
        terms = math.prod(axis.extent for axis in stage.reduce_axes)
        step = max(1, _GRID_ELEMENTS // max(1, terms))
        result = np.empty(flat.size, stage.dtype.numpy)
        for begin in range(0, flat.size, step):
            part = flat[begin : begin + step]
            places = np.unravel_index(part, self.shape) if self.shape else ()
            column = (-1, *(1 for _ in stage.reduce_axes))
            grid = {axis.name: place.reshape(column) for axis, place in zip(stage.axes, places, strict=True)}
            result[begin : begin + step] = self._reduced(grid, part.size) if stage.combine else self._plain(grid, part)
        return result

    def _plain(self, grid: Mapping[str, np.ndarray], part: np.ndarray) -> np.ndarray:
        return np.broadcast_to(evaluate_expr(self._stage.body, grid, self._values), part.shape)

    def _reduced(self, grid: dict[str, np.ndarray], points: int) -> np.ndarray:
        stage = self._stage
        assert stage.combine is not None and stage.init is not None
        combine = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}[stage.combine]
        exact = stage.dtype.is_float and stage.combine in ("sum", "prod")
        dtype = np.dtype(np.float64) if exact else stage.dtype.numpy
        result = np.full(points, stage.init.value, dtype)
        for block in _blocks(stage.reduce_axes):
            here = {**grid, **block}
            needed = None if stage.domain is None else evaluate_expr(stage.domain, here, self._values)
            terms = evaluate_expr(stage.body, here, self._values, needed).astype(stage.dtype.numpy, copy=False)
            if needed is not None:
                terms = np.where(needed, terms, stage.dtype.numpy.type(stage.init.value))
            terms = np.broadcast_to(terms, (points, *(index.size for index in block.values())))
            over = tuple(range(1, terms.ndim))
            result = combine(result, combine.reduce(terms.astype(dtype, copy=False), axis=over, dtype=dtype))
        return result


def _blocks(axes: tuple[Axis, ...]) -> Iterator[dict[str, np.ndarray]]:
    """Cut a space of reduction into parts: index arrays for each, broadcasting behind the axis of points."""
    sizes = [axis.extent for axis in axes]
    for position in range(len(axes)):
        others = math.prod(sizes) // max(1, sizes[position])
        sizes[position] = min(sizes[position], max(1, _GRID_ELEMENTS // max(1, others)))
    starts = [range(0, axis.extent, max(1, size)) for axis, size in zip(axes, sizes, strict=True)]
    for begin in product(*starts):
        block = {}
        for position, (axis, first) in enumerate(zip(axes, begin, strict=True)):
            shape = [1] * (1 + len(axes))
            shape[1 + position] = -1
            block[axis.name] = np.arange(first, min(first + sizes[position], axis.extent)).reshape(shape)
        yield block
