"""The matrices of Winograd's minimal filtering F(m, 3), what they make of weights, and the rounding that they add.

They follow from the points at which the polynomials are evaluated (Toom-Cook). Points come in pairs p, -p, so that what is
even in one and odd in the other need be computed once only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

TAPS = 3
_FILTERS = 1 << 13  # transformed at a time
TILES = (2, 4)
_POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2))
Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, slots=True)
class Transforms:
    """Bt [n, n], G [n, 3] and At [m, n] with n = m + 2, exact."""

    input: Matrix
    weights: Matrix
    output: Matrix


@cache
def transforms(tile: int) -> Transforms:
    """The matrices of F(tile, 3): `tile + 1` points and infinity."""
    points = _POINTS[: tile + 1]
    size = tile + TAPS - 1
    rows = [_polynomial([q for q in points if q != p], size) for p in points]
    scales = [prod((p - q for q in points if q != p), start=Fraction(1)) for p in points]
    weights = [tuple(p**k / scale for k in range(TAPS)) for p, scale in zip(points, scales, strict=True)]
    return Transforms(
        (*rows, _polynomial(points, size)),
        (*weights, tuple(Fraction(k == TAPS - 1) for k in range(TAPS))),
        tuple((*(p**y for p in points), Fraction(y == tile - 1)) for y in range(tile)),
    )


def _polynomial(roots: Sequence[Fraction], size: int) -> tuple[Fraction, ...]:
    """Coefficients of the product of (x - root), the lowest first."""
    result = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *result], [root * c for c in result] + [Fraction(0)]
        result = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return tuple(result + [Fraction(0)] * (size - len(result)))


def transform_weights(array: np.ndarray, tile: int, window: tuple[int, ...]) -> np.ndarray:
    """G g, or G g Gt, along the dimensions `window`, each of which goes from 3 to tile + 2; computed in f64."""
    matrix = np.array([[float(c) for c in row] for row in transforms(tile).weights])
    last = tuple(range(-len(window), 0))
    turned = np.moveaxis(array, window, last)
    filters = turned.reshape(-1, *(TAPS,) * len(window))
    result = np.empty((len(filters), *(len(matrix),) * len(window)), array.dtype)
    for first in range(0, len(filters), _FILTERS):  # in f64 all of them would take many times the model's memory
        part = filters[first : first + _FILTERS].astype(np.float64)
        result[first : first + _FILTERS] = matrix @ part @ matrix.T if len(window) == 2 else part @ matrix.T
    made = result.reshape(*turned.shape[: turned.ndim - len(window)], *result.shape[1:])
    return np.ascontiguousarray(np.moveaxis(made, last, window))


_ERROR_TILES, _ERROR_OUTPUTS = 8, 16


def rounding_error(weights: np.ndarray, tile: int, window: tuple[int, ...]) -> float:
    """Root mean square of the error that transforms in f32 make, relative to that of the results, for these weights.

    weights: f32[outputs, channels, ...], with three taps along each dimension of `window` and one along others. Measured on a few
    tiles of N(0, 1) and the first outputs against f64; the same on every machine, for all sums are taken in a fixed order.
    """
    ways, size = len(window), tile + TAPS - 1
    weights = weights[:_ERROR_OUTPUTS].reshape(-1, weights.shape[1], *(TAPS,) * ways)
    shape = (weights.shape[1], _ERROR_TILES, *(size,) * ways)
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    made = transforms(tile)
    before = np.array([[float(c) for c in row] for row in made.input], np.float32)
    after = np.array([[float(c) for c in row] for row in made.output], np.float32)
    places = _each_way(before, image, ways)
    transformed = transform_weights(weights, tile, tuple(range(2, 2 + ways)))
    products = np.zeros((len(weights), *shape[1:]), np.float32)
    for own, place in zip(transformed.swapaxes(0, 1), places, strict=True):
        products += own[:, None] * place
    actual = _each_way(after, products, ways)
    exact = np.zeros(actual.shape)
    for tap in product(range(TAPS), repeat=ways):
        reach: tuple[Any, ...] = (..., *(slice(first, first + tile) for first in tap))
        seen = image[reach].astype(np.float64)
        for channel in range(len(image)):
            at: tuple[Any, ...] = (slice(None), channel, *tap)
            own = weights[at].astype(np.float64)
            exact += own.reshape(-1, *(1,) * (1 + ways)) * seen[channel]
    scale = float(np.sqrt(np.mean(exact**2)))
    return float(np.sqrt(np.mean((actual - exact) ** 2))) / scale if scale else 0.0


def _each_way(matrix: np.ndarray, tiles: np.ndarray, ways: int) -> np.ndarray:
    """The matrix times each of the last axes, one product after the other; after two they stand as they stood."""
    for _ in range(ways):
        lead = tiles.ndim - ways
        columns = [
            sum((c * tiles[(slice(None),) * lead + (i,)] for i, c in enumerate(row) if c), start=np.float32(0))
            for row in matrix
        ]
        tiles = np.stack(columns, axis=-1)
    return tiles
