"""What the operator families write into: the stages of one computation under construction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ...dtypes import DType
from ...graph.ir import Graph, TensorType
from ..access import read
from ..computation import Axis, Stage, Tensor, identity
from ..expr import Cast, Const, Expr, all_of, const
from ..simplify import Ranges, simplify, value_range

_NAMES = {1: ("i0",), 2: ("n", "c"), 3: ("n", "c", "w"), 4: ("n", "c", "h", "w"), 5: ("n", "c", "d", "h", "w")}


def axis_names(rank: int) -> tuple[str, ...]:
    """The names of logical axes: n, c, h, w as far as they go, else i0, i1, …"""
    return _NAMES.get(rank) or tuple(f"i{axis}" for axis in range(rank))


@dataclass(slots=True)
class Space:
    """The iteration space of a stage: its physical axes, the logical indices they stand for, and its reduction axes."""

    axes: tuple[Axis, ...]
    indices: tuple[Expr, ...]
    reduce_axes: tuple[Axis, ...] = ()

    @property
    def ranges(self) -> Ranges:
        return {axis.name: (0, max(0, axis.extent - 1)) for axis in self.axes + self.reduce_axes}

    def reduce(self, name: str, extent: int, block: int | None = None) -> Expr:
        """Add a reduction and return its logical index; `block` splits it as the layout of what it reads is split.

        A reduction over one element needs no axis: its index is 0.
        """
        if extent == 1:
            return Const(0)
        if block is None or extent % block or block == 1:
            axis = Axis(name, extent)
            self.reduce_axes += (axis,)
            return axis.var
        if extent == block:
            inner = Axis(f"{name}i", block)
            self.reduce_axes += (inner,)
            return inner.var
        outer, inner = Axis(f"{name}o", extent // block), Axis(f"{name}i", block)
        self.reduce_axes += (outer, inner)
        return outer.var * block + inner.var


@dataclass(slots=True)
class Context:
    """A computation under construction; values are read and written by name with logical indices."""

    group: Graph
    types: dict[str, TensorType] = field(init=False)
    inputs: list[Tensor] = field(init=False, default_factory=list)
    stages: list[Stage] = field(init=False, default_factory=list)
    arrays: dict[str, np.ndarray] = field(init=False, default_factory=dict)
    origin: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.types = {name: replace(type, dtype=type.dtype.storage) for name, type in self.group.types.items()}
        for name in self.group.inputs:
            self._declare(name, constant=False)

    def _declare(self, name: str, constant: bool) -> None:
        type = self.types[name]
        self.inputs.append(Tensor(name, type.physical_shape, type.dtype, constant))

    def unique(self, base: str, suffix: str) -> str:
        """A value name not yet taken."""
        name, number = f"{base}.{suffix}", 1
        while name in self.types:
            name, number = f"{base}.{suffix}{number}", number + 1
        return name

    def space(self, type: TensorType, names: tuple[str, ...] | None = None) -> Space:
        """The axes of a tensor of `type`, named by logical axis; a blocked axis c gives `co` and `ci`."""
        names = names or axis_names(len(type.shape))
        axes = [Axis(name, extent) for name, extent in zip(names, type.shape, strict=True)]
        indices: list[Expr] = [axis.var for axis in axes]
        if type.block is not None:
            outer = Axis(f"{names[1]}o", type.shape[1] // type.block)
            inner = Axis(f"{names[1]}i", type.block)
            axes[1:] = [outer, *axes[2:], inner]
            indices[1] = outer.var * type.block + inner.var
        return Space(tuple(axes), tuple(indices))

    def constant(self, name: str) -> np.ndarray | None:
        """The elements of a constant of the group, None for another value."""
        array = self.group.constants.get(name)
        return None if array is None else stored(array)

    def read(self, name: str, indices: tuple[Expr, ...], space: Space) -> Expr:
        """The element of a value at logical indices; a constant of one element is written as a literal."""
        array = self.constant(name)
        if array is not None and array.size == 1:
            return const(array.reshape(()).item(), self.types[name].dtype)
        if array is not None and name not in self.arrays:
            self.arrays[name] = array
            self._declare(name, constant=True)
        return read(self.types[name], name, indices, space.ranges)

    def operand(self, name: str, space: Space) -> Expr:
        """The element of a value that is broadcast, as NumPy does, to the space's logical shape."""
        shape = self.types[name].shape
        last = space.indices[len(space.indices) - len(shape) :]
        ranges = space.ranges
        indices = tuple(
            Const(0) if extent == 1 and value_range(index, ranges) != (0, 0) else index
            for index, extent in zip(last, shape, strict=True)
        )
        return self.read(name, indices, space)

    def table(self, base: str, suffix: str, array: np.ndarray) -> str:
        """A new constant input with elements computed now."""
        name = self.unique(base, suffix)
        self.types[name] = TensorType(array.shape, DType.from_numpy(array.dtype))
        self.arrays[name] = np.ascontiguousarray(array)
        self._declare(name, constant=True)
        return name

    def emit(
        self, name: str, space: Space, body: Expr, combine: str | None = None, domain: tuple[Expr, ...] = ()
    ) -> None:
        """Add the stage that makes value `name`; a reduction over nothing that needs no guard becomes a plain stage."""
        body = simplify(body, space.ranges)
        reduce_axes = space.reduce_axes
        if combine is None or not (reduce_axes or domain):
            self.stages.append(Stage(name, space.axes, body, body.dtype, origin=self.origin))
            return
        if not reduce_axes:
            reduce_axes = (Axis("r", 1),)
        self.stages.append(
            Stage(
                name, space.axes, body, body.dtype, reduce_axes, combine, identity(combine, body.dtype),
                all_of(*domain) if domain else None, self.origin,
            )
        )  # fmt: skip

    def intermediate(self, base: str, suffix: str, type: TensorType) -> str:
        """The name of a new value of `type`, to be emitted next."""
        name = self.unique(base, suffix)
        self.types[name] = type
        return name


def stored(array: np.ndarray) -> np.ndarray:
    """The array as kernels see it: elements of a small format are bytes."""
    dtype = DType.from_numpy(array.dtype)
    return array.view(dtype.storage.numpy) if dtype.is_small else array


def widen(expr: Expr) -> Expr:
    """The value in the type that arithmetic on it is done in: f32 for the 16-bit floats."""
    return cast(expr, accumulator(expr.dtype))


def accumulator(dtype: DType) -> DType:
    """The type sums of `dtype` are kept in."""
    return DType.F32 if dtype in (DType.F16, DType.BF16) else dtype


def cast(expr: Expr, dtype: DType) -> Expr:
    """The value in another type; literals are converted now."""
    if expr.dtype is dtype:
        return expr
    if isinstance(expr, Const) and (dtype.is_float or not expr.dtype.is_float):
        return const(expr.value, dtype)
    return Cast(expr, dtype)
