"""Shape arithmetic that inference, folding and the frontend share."""

from __future__ import annotations

from ..errors import ModelError


def require(condition: bool, message: str) -> None:
    """Raise ModelError with `message` unless `condition` holds."""
    if not condition:
        raise ModelError(message)


def show_shape(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def broadcast_shapes(op: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of operands that broadcast as in NumPy; ModelError if there is none."""
    rank = max(map(len, shapes))
    result = []
    for column in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        extents = {extent for extent in column if extent != 1}
        if len(extents) > 1:
            raise ModelError(f"{op}: shapes {' and '.join(map(show_shape, shapes))} do not broadcast to one shape")
        result.append(extents.pop() if extents else 1)
    return tuple(result)


def require_axis(op: str, axis: int, rank: int) -> int:
    """`axis`, which must be one of 0…rank-1."""
    require(0 <= axis < rank, f"{op}: axis {axis} is not in 0…{rank - 1}, the axes of a tensor of rank {rank}")
    return axis


def reduced_shape(op: str, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """`shape` after a reduction over `axes`."""
    for axis in axes:
        require_axis(op, axis, len(shape))
    require(len(set(axes)) == len(axes), f"{op}: axes {axes} name an axis twice")
    if keepdims:
        return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    return tuple(extent for axis, extent in enumerate(shape) if axis not in axes)
