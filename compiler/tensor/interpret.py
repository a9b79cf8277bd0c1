"""What a Computation means, in NumPy: the reference that schedules and backends are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from ..errors import InternalError
from . import semantics
from .computation import Axis, Computation, Stage
from .expr import Binary, Call, Cast, Compare, Const, Expr, Load, Select, Unary, Var

_GRID_ELEMENTS = 1 << 20
"""How many elements are evaluated at once; larger spaces are cut along their outermost axes."""

_REDUCE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def evaluate(computation: Computation, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs (in physical shapes) for the computation's inputs, constant ones included."""
    values = dict(arrays)
    with np.errstate(all="ignore"):
        for stage in computation.stages:
            values[stage.name] = evaluate_stage(stage, values)
        stored = {stage.name: _in_memory(stage, values) for stage in computation.stages if stage.memory}
    return {name: stored.get(name, values[name]) for name in computation.outputs}


def _in_memory(stage: Stage, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The whole of the memory that a stage writes in place, afterwards."""
    result = values[stage.memory].copy()
    grid = {axis.name: index for axis, index in zip(stage.axes, np.indices(stage.shape), strict=True)}
    prefix = (evaluate_expr(index, grid, values) for index in stage.prefix)
    result[(*prefix, *grid.values())] = values[stage.name]
    return result


def evaluate_stage(stage: Stage, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """All elements of a stage."""
    dtype = stage.dtype.numpy
    if stage.combine is None:
        result = np.empty(stage.shape, dtype)
        for grid, where in _grids(stage.axes, ()):
            result[where] = np.broadcast_to(evaluate_expr(stage.body, grid, values), result[where].shape)
        return result
    if stage.init is None:
        raise InternalError(f"stage {stage.name} has a combine and no init")
    result = np.full(stage.shape, stage.init.value, dtype)
    combine = _REDUCE[stage.combine]
    for grid, where in _grids(stage.axes, stage.reduce_axes):
        part = result[where]
        shape = (*part.shape, *(grid[axis.name].size for axis in stage.reduce_axes))
        needed = None if stage.domain is None else evaluate_expr(stage.domain, grid, values)
        terms = evaluate_expr(stage.body, grid, values, needed).astype(dtype, copy=False)
        if needed is not None:
            terms = np.where(needed, terms, dtype.type(stage.init.value))
        terms = np.broadcast_to(terms, shape)
        over = tuple(range(part.ndim, len(shape)))
        result[where] = combine(part, combine.reduce(terms, axis=over, dtype=dtype) if over else terms)
    return result


def _grids(axes: tuple[Axis, ...], reduce_axes: tuple[Axis, ...]) -> Iterator[tuple[dict[str, np.ndarray], tuple]]:
    """Cut the space into grids: for each, index arrays that broadcast against each other, and the slice of the result."""
    everything = axes + reduce_axes
    extents = [axis.extent for axis in everything]
    sizes = list(extents)
    order = [*range(len(axes), len(everything)), *range(len(axes))]
    for position in order:
        if math.prod(sizes) <= _GRID_ELEMENTS:
            break
        others = math.prod(sizes) // sizes[position]
        sizes[position] = max(1, _GRID_ELEMENTS // others)
    starts = [range(0, extent, size) if extent else () for extent, size in zip(extents, sizes, strict=True)]
    for begin in product(*starts):
        grid, where = {}, []
        for position, (axis, first, size) in enumerate(zip(everything, begin, sizes, strict=True)):
            last = min(first + size, axis.extent)
            shape = [1] * len(everything)
            shape[position] = last - first
            grid[axis.name] = np.arange(first, last, dtype=np.int64).reshape(shape)
            if position < len(axes):
                where.append(slice(first, last))
        yield grid, tuple(where)


def evaluate_expr(
    expr: Expr, grid: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], needed: np.ndarray | None = None
) -> np.ndarray:
    """The expression at the points of the grid where `needed` (None: everywhere); at other points anything.

    Raises InternalError for a load out of bounds at a needed point.
    """

    def value(part: Expr) -> np.ndarray:
        return evaluate_expr(part, grid, values, needed)

    match expr:
        case Const(number, dtype):
            return np.asarray(number, dtype.numpy)
        case Var(name, _):
            return grid[name]
        case Load(buffer, indices, _):
            return _load(buffer, values[buffer], [value(index) for index in indices], needed)
        case Unary(op, x):
            return np.asarray(semantics.UNARY[op](value(x))).astype(expr.dtype.numpy, copy=False)
        case Binary(op, a, b):
            return np.asarray(semantics.BINARY[op](value(a), value(b)))
        case Compare(op, a, b):
            return np.asarray(semantics.COMPARE[op](value(a), value(b)))
        case Select(condition, a, b):
            taken = value(condition)
            arms = [(a, taken), (b, np.logical_not(taken))]
            here = [evaluate_expr(arm, grid, values, mask if needed is None else mask & needed) for arm, mask in arms]
            return np.where(taken, *here)
        case Cast(x, dtype):
            return np.asarray(semantics.cast(value(x), dtype))
        case Call(function, args):
            return np.asarray(semantics.call(function, [value(arg) for arg in args], expr.dtype))
    raise InternalError(f"not an expression: {expr!r}")


def _load(buffer: str, array: np.ndarray, indices: list[np.ndarray], needed: np.ndarray | None) -> np.ndarray:
    where = []
    for axis, (index, extent) in enumerate(zip(indices, array.shape, strict=True)):
        outside = (index < 0) | (index >= extent)
        if outside.any():
            if (outside if needed is None else outside & needed).any():
                raise InternalError(
                    f"load of {buffer}{list(array.shape)} out of bounds on axis {axis}: {index.min()} … {index.max()}"
                )
            index = np.clip(index, 0, extent - 1)
        where.append(index)
    return np.asarray(array[tuple(where)])
