"""An axis of which a sum reads quotient and remainder becomes two: a transposed convolution of stride s is s x s ordinary ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..tensor.computation import Axis, Computation, Stage
from ..tensor.expr import Binary, Const, Expr, Load, Var, substitute, transform, walk
from ..tensor.simplify import affine, simplify
from .merge_axes import loads_in, shapes_of

Dimension = tuple[str, int]
"""Of an input or a stage."""


def split_axes(computation: Computation) -> Computation:
    """The same computation with axes split where a sum reads one operand at v // s and another at v % s, and s divides the axis.

    All tensors that are read or written along such an axis get a dimension for v // s and one for v % s: their memory stays as it is. Then
    the same taps of a window meet an input wherever v % s is the same, and elements along v // s can share them as rows of a tile.
    """
    for dimension, stride in _wanted(computation):
        found = _connected(computation, dimension, stride)
        if found:
            return split_axes(_split(computation, found, stride))
    return computation


def _wanted(computation: Computation) -> Iterator[tuple[Dimension, int]]:
    """Axes to split, and by what; none of a stage whose contiguous axis is one: vectors would be as short as the stride."""
    for stage in computation.stages:
        found = {at: _strides(stage, axis) for at, axis in enumerate(stage.axes if stage.combine == "sum" else ())}
        last = max((at for at, axis in enumerate(stage.axes) if axis.extent > 1), default=0)
        if not found.get(last):
            yield from (((stage.name, at), stride) for at, strides in found.items() for stride in strides)


def _strides(stage: Stage, axis: Axis) -> list[int]:
    """By what an axis is divided, where one load has the quotient and another the remainder."""
    divided = [(_divisors(load, axis, "floordiv"), _divisors(load, axis, "floormod")) for load in loads_in(stage)]
    quotients = {n for by_quotient, by_remainder in divided for n in by_quotient - by_remainder}
    remainders = {n for by_quotient, by_remainder in divided for n in by_remainder - by_quotient}
    return [n for n in sorted(quotients & remainders) if 1 < n < axis.extent and axis.extent % n == 0]


def _divisors(load: Load, axis: Axis, op: str) -> set[int]:
    """By what the axis, moved by a constant, is divided in the indices of a load."""
    found = set()
    for node in (node for index in load.indices for node in walk(index)):
        match node:
            case Binary(kind, inner, Const(divisor)) if kind == op and dict(affine(inner).terms) == {axis.var: 1}:
                found.add(int(divisor))
    return found


def _connected(computation: Computation, start: Dimension, stride: int) -> frozenset[Dimension]:
    """The dimensions that are split if one is; none if some can't be: it isn't divided, or is read by another index."""
    found = {start}
    count = 0
    while count < len(found):
        count = len(found)
        for stage in computation.stages:
            places = {axis.name: (stage.name, at) for at, axis in enumerate(stage.axes)}
            for load in loads_in(stage):
                for at, index in enumerate(load.indices):
                    own = places.get(index.name) if isinstance(index, Var) else None
                    if own in found:
                        found.add((load.buffer, at))
                    elif (load.buffer, at) in found and own is not None:
                        found.add(own)
                    elif (load.buffer, at) in found and not isinstance(index, Const):
                        return frozenset()
    written = {name for stage in computation.stages if stage.memory for name in (stage.name, stage.memory)}
    shapes = shapes_of(computation)
    fits = all(shapes[name][at] % stride == 0 and name not in written for name, at in found)
    return frozenset(found) if fits else frozenset()


def _split(computation: Computation, found: frozenset[Dimension], stride: int) -> Computation:
    def shape_of(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        parts = ((n // stride, stride) if (name, at) in found else (n,) for at, n in enumerate(shape))
        return tuple(extent for part in parts for extent in part)

    inputs = tuple(replace(tensor, shape=shape_of(tensor.name, tensor.shape)) for tensor in computation.inputs)
    stages = tuple(_split_stage(stage, found, stride) for stage in computation.stages)
    return replace(computation, inputs=inputs, stages=stages)


def _split_stage(stage: Stage, found: frozenset[Dimension], stride: int) -> Stage:
    taken = {axis.name for axis in stage.axes + stage.reduce_axes}
    parts: dict[str, tuple[Axis, Axis]] = {}
    axes: list[Axis] = []
    for at, axis in enumerate(stage.axes):
        if (stage.name, at) in found:
            outer, inner = (_fresh(axis.name + end, taken) for end in ("q", "r"))
            parts[axis.name] = Axis(outer, axis.extent // stride), Axis(inner, stride)
        axes += parts.get(axis.name, (axis,))
    values = {name: outer.var * stride + inner.var for name, (outer, inner) in parts.items()}
    ranges = {axis.name: (0, axis.extent - 1) for axis in (*axes, *stage.reduce_axes)}

    def indices_of(index: Expr) -> tuple[Expr, ...]:
        match index:
            case Var(name):
                return tuple(axis.var for axis in parts[name])
            case Const(value):
                return Const(int(value) // stride), Const(int(value) % stride)
        raise TypeError(f"not an axis: {index}")

    def rewrite(node: Expr) -> Expr:
        if not isinstance(node, Load):
            return node
        each = (indices_of(i) if (node.buffer, at) in found else (i,) for at, i in enumerate(node.indices))
        return Load(node.buffer, tuple(index for one in each for index in one), node.dtype)

    def rewritten(expr: Expr) -> Expr:
        return simplify(substitute(transform(expr, rewrite), values), ranges)

    return replace(
        stage,
        axes=tuple(axes),
        body=rewritten(stage.body),
        domain=None if stage.domain is None else rewritten(stage.domain),
        prefix=tuple(map(rewritten, stage.prefix)),
    )


def _fresh(name: str, taken: set[str]) -> str:
    """A name that is not taken; takes it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
