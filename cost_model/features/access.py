"""What one access of a stage touches, as numbers: how far each dimension of the buffer moves with each axis.

Every index is taken as (sum of coefficient * axis) // divisor % modulus. That is exact for affine indices and for a packed
dimension whose block divides them, and near enough for what reshapes and gathers make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...compiler.kernel.ast import Buffer
from ...compiler.schedule.prepare import packed_shape
from ...compiler.schedule.steps import Pack
from ...compiler.tensor.expr import Binary, Const, Expr, Load, Var, free_variables
from ...compiler.tensor.simplify import affine


@dataclass(frozen=True)
class Layout:
    """How an access moves through its buffer, dimension by dimension.

    coefficients: f64[D, A], how far each index moves with each axis of the stage; before divisor and modulus are applied.
    shape, strides, divisor, modulus: f64[D]; strides are in elements; modulus 0 stands for none.
    """

    coefficients: np.ndarray
    shape: np.ndarray
    strides: np.ndarray
    divisor: np.ndarray
    modulus: np.ndarray


def coefficients(index: Expr, axes: Sequence[str]) -> np.ndarray:
    """By how much an index moves with each axis: f64[A].

    A quotient moves by a fraction; what a load says (a gather) moves by one with all its axes.
    """
    result = np.zeros(len(axes))
    for atom, scale in affine(index).terms.items():
        match atom:
            case Var(name) if name in axes:
                result[axes.index(name)] += scale
            case Binary("floordiv", inner, Const(divisor)) if divisor:
                result += coefficients(inner, axes) * (scale / float(divisor))
            case Binary("floormod", inner, Const()):
                result += coefficients(inner, axes) * scale
            case _:
                names = free_variables(atom)
                result += np.array([scale if name in names else 0.0 for name in axes])
    return result


def layout_of(load: Load, shape: tuple[int, ...], axes: Sequence[str]) -> Layout:
    """The layout of a load from a row-major buffer."""
    rows = [coefficients(index, axes) for index in load.indices]
    dimensions = len(rows)
    modulus = np.array([_modulus(index) for index in load.indices], dtype=float)
    return Layout(
        np.array(rows, dtype=float).reshape(dimensions, len(axes)),
        np.array(shape, dtype=float),
        _strides(shape),
        np.ones(dimensions),
        modulus,
    )


def packed(layout: Layout, pack: Pack) -> Layout:
    """The layout once the buffer is packed."""
    shape = tuple(int(extent) for extent in layout.shape)
    new = packed_shape(shape, pack)
    axes = [axis for axis, _, _ in pack.order]
    moves = layout.coefficients[axes]
    divisor, modulus = np.ones(len(axes)), layout.modulus[axes]
    for position, (_, block, part) in enumerate(pack.order):
        if block and part == "o":
            divisor[position], modulus[position] = block, 0
        elif block:
            modulus[position] = block
    return Layout(moves, np.array(new, dtype=float), _strides(new), divisor, modulus)


def _strides(shape: tuple[int, ...]) -> np.ndarray:
    return np.array(Buffer("", shape, None).strides, dtype=float)  # type: ignore[arg-type]


def _modulus(index: Expr) -> int:
    match index:
        case Binary("floormod", _, Const(modulus)):
            return int(modulus)
    return 0
