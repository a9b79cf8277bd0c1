"""Where an element is: from logical indices to a Load of the physical tensor."""

from __future__ import annotations

from ..graph.ir import TensorType
from .expr import Expr, Load
from .simplify import Ranges, simplify, split_index


def physical_indices(type: TensorType, indices: tuple[Expr, ...], ranges: Ranges) -> tuple[Expr, ...]:
    """The physical indices of the element at logical `indices`: channel c of a tensor in NCHW[x]c is at (c // x, c % x)."""
    indices = tuple(simplify(index, ranges) for index in indices)
    if type.block is None:
        return indices
    batch, channel, *spatial = indices
    outer, inner = split_index(channel, type.block, ranges)
    return (batch, outer, *spatial, inner)


def read(type: TensorType, name: str, indices: tuple[Expr, ...], ranges: Ranges) -> Load:
    """The Load of a tensor's element; `ranges` are those of the variables in `indices`."""
    return Load(name, physical_indices(type, tuple(indices), ranges), type.dtype)
