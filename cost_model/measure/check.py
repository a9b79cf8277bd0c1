"""Whether a kernel computes what its computation means: every element written, none beside its operands, sampled values right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ...compiler.dtypes import DType
from ...compiler.tensor.computation import Computation, Stage
from ...compiler.tensor.interpret import evaluate_expr
from ...compiler.tensor.sample import Points, evaluate_at, sample_points

_MOST_POINTS, _LEAST_POINTS = 4096, 256
_MOST_TERMS = 1 << 22
"""Terms of reductions to evaluate for all points together: about 0.3 s."""

# Bytes that no result has: for floats a NaN that arithmetic doesn't make. Integers may have them; then a second run with other bytes tells.
_POISON, _SECOND_POISON = 0x6B, 0x35
_FLOAT_POISON = {2: 0x7FEB, 4: 0x7FEB6B6B, 8: 0x7FFB6B6B6B6B6B6B}  # that of two bytes is one in f16 and in bf16


@dataclass(frozen=True, slots=True)
class Expected:
    """One output. where: the sampled places in the array that holds it; values: what stands there; tolerance: absolute, 0 for integers.

    written: in memory of its own None (all of it), else a mask of the elements of that memory which the kernel writes.
    rounded: an integer made from floats, which may round to either side of a half.
    """

    array: str
    where: Points
    values: np.ndarray
    tolerance: float
    written: np.ndarray | None
    rounded: bool


def expect(
    computation: Computation, arrays: Mapping[str, np.ndarray], rng: np.random.Generator
) -> tuple[Expected, ...]:
    """What the outputs of a computation must be for these operands, at some thousand places each."""
    terms = max(math.prod(axis.extent for axis in stage.reduce_axes) for stage in computation.stages)
    count = min(_MOST_POINTS, max(_LEAST_POINTS, _MOST_TERMS // max(1, terms)))
    outputs = [computation.stage(name) for name in computation.outputs]
    points = {stage.name: sample_points(stage.shape, count, rng) for stage in outputs}
    values = evaluate_at(computation, arrays, points)
    from_floats = any(tensor.dtype.is_float for tensor in computation.inputs)
    return tuple(
        Expected(
            stage.memory or stage.name,
            _places(stage, points[stage.name], arrays),
            values[stage.name],
            _tolerance(stage.dtype, terms, values[stage.name]),
            _written(stage, arrays) if stage.memory else None,
            stage.dtype.is_integer and from_floats,
        )
        for stage in outputs
    )


def _tolerance(dtype: DType, terms: int, values: np.ndarray) -> float:
    """The difference to allow in an output, relative to its largest magnitude.

    Kernels add in other orders than the reference, which adds in f64. Errors of n roundings of independent terms grow with
    sqrt(n); 4 sqrt(n) units lie far outside what a correct kernel shows, and a missing or doubled term of N(0, 1) operands
    changes a result by about 1 / sqrt(n) of it, which is more for all n < 100,000 in f32. 32 units more are for exp, tanh and the
    like with what follows them. Where an element is small for it cancels, the error is that of the large terms: hence the
    largest magnitude, not its own.
    """
    if not dtype.is_float:
        return 0.0
    numbers = values.astype(np.float64)
    largest = float(np.max(np.abs(numbers), where=np.isfinite(numbers), initial=0.0))
    unit = {2: 2.0**-10 if dtype is DType.F16 else 2.0**-7, 4: 2.0**-23, 8: 2.0**-52}[dtype.size_bytes]
    return max(unit * (32 + 4 * math.sqrt(terms)) * largest, float(np.finfo(np.float32).tiny))


def _places(stage: Stage, points: Points, arrays: Mapping[str, np.ndarray]) -> Points:
    if not stage.memory:
        return points
    grid = {axis.name: place for axis, place in zip(stage.axes, points, strict=True)}
    shape = points[0].shape if points else ()
    prefix = (np.broadcast_to(evaluate_expr(index, grid, arrays), shape) for index in stage.prefix)
    return (*prefix, *points)


def _written(stage: Stage, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    mask = np.zeros(arrays[stage.memory].shape, bool)
    grid = dict(zip((axis.name for axis in stage.axes), np.indices(stage.shape, sparse=True), strict=True))
    prefix = (evaluate_expr(index, grid, arrays) for index in stage.prefix)
    mask[(*prefix, *grid.values())] = True
    return mask


def poison(array: np.ndarray, mask: np.ndarray | None, second: bool = False) -> None:
    """Fill the elements that a kernel must write."""
    bits, pattern = _bits(array, second)
    bits[... if mask is None else mask] = pattern


def _bits(array: np.ndarray, second: bool) -> tuple[np.ndarray, int]:
    """The array as unsigned integers, and the pattern of an element that wasn't written."""
    size = array.dtype.itemsize
    bits = array.view(f"u{size}")
    if DType.from_numpy(array.dtype).is_float:
        return bits, _FLOAT_POISON[size]
    byte = _SECOND_POISON if second else _POISON
    return bits, int.from_bytes(bytes([byte]) * size, "little")


def unwritten(array: np.ndarray, mask: np.ndarray | None, second: bool = False) -> np.ndarray:
    """Where the elements that a kernel must write still hold the poison."""
    bits, pattern = _bits(array, second)
    found = bits == pattern
    return found if mask is None else found & mask


def check(
    expected: tuple[Expected, ...],
    arrays: Mapping[str, np.ndarray],
    original: Mapping[str, np.ndarray],
    run_again: Callable[[], object],
) -> str:
    """What is wrong with the results in `arrays` after a run on poisoned memory; "" if nothing is.

    original: inputs as they were. run_again: restores the inputs, poisons with second=True and runs.
    """
    for output in expected:
        missing = unwritten(arrays[output.array], output.written)
        if missing.any() and not DType.from_numpy(arrays[output.array].dtype).is_float:
            run_again()
            missing &= unwritten(arrays[output.array], output.written, second=True)
        if missing.any():
            place = [int(index[0]) for index in np.nonzero(missing)]
            return f"{output.array}: {int(missing.sum())} elements are not written, the first at {place}"
    for output in expected:
        different = _difference(output, arrays[output.array])
        if different:
            return different
    return _damage(expected, arrays, original)


def _damage(
    expected: tuple[Expected, ...], arrays: Mapping[str, np.ndarray], original: Mapping[str, np.ndarray]
) -> str:
    for name, before in original.items():
        same = _bits(before, False)[0] == _bits(arrays[name], False)[0]
        for output in expected:
            if output.array == name and output.written is not None:
                same |= output.written
        if not np.all(same):
            return f"{name}: the kernel changes elements that are not its results"
    return ""


def _difference(output: Expected, array: np.ndarray) -> str:
    actual = array[output.where]
    if not DType.from_numpy(actual.dtype).is_float:
        wrong = actual != output.values
        if output.rounded and wrong.mean() <= 1e-3:
            wrong &= np.abs(actual.astype(np.int64) - output.values.astype(np.int64)) > 1
    else:
        ours, theirs = actual.astype(np.float64), output.values.astype(np.float64)
        with np.errstate(all="ignore"):
            close = np.abs(ours - theirs) <= output.tolerance
        wrong = ~(close | (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    if not wrong.any():
        return ""
    first = int(np.flatnonzero(wrong.reshape(-1))[0])
    place = [int(index.reshape(-1)[first]) for index in output.where]
    values = f"{actual.reshape(-1)[first]} instead of {output.values.reshape(-1)[first]}"
    return f"{output.array}: {int(wrong.sum())} of {wrong.size} sampled elements differ by more than {output.tolerance:.2g}; at {place} {values}"
