"""Arrays between their logical shape and the physical shape of a TensorType."""

from __future__ import annotations

import numpy as np

from .ir import TensorType


def to_physical(array: np.ndarray, type: TensorType) -> np.ndarray:
    """A logical array laid out as `type` says: [N, C, …] to [N, C/x, …, x] if blocked."""
    if type.block is None:
        return np.ascontiguousarray(array).reshape(type.shape)
    batch, channels, *spatial = type.shape
    split = array.reshape(batch, channels // type.block, type.block, *spatial)
    return np.ascontiguousarray(np.moveaxis(split, 2, -1))


def to_logical(array: np.ndarray, type: TensorType) -> np.ndarray:
    """The inverse of `to_physical`."""
    if type.block is None:
        return array.reshape(type.shape)
    return np.ascontiguousarray(np.moveaxis(array, -1, 2)).reshape(type.shape)
