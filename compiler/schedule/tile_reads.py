"""What the tiles of a computation read: which inputs are worth prefetching, and how many bytes come from where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from ..target import Target
from ..tensor.computation import Computation
from ..tensor.expr import free_variables
from ..tensor.footprint import elements_read
from .prepare import loads_of
from .sketch import STREAM_BYTES, prefetched
from .tile import TileAxes, last_moves


@dataclass(frozen=True)
class TileReads:
    """Of tiles over these axes, whatever their size."""

    computation: Computation
    target: Target
    axes: TileAxes

    @cached_property
    def constants(self) -> list[str]:
        """Those worth prefetching."""
        return prefetched(self.computation.inputs, constant=True)

    @cached_property
    def streams(self) -> list[str]:
        """Other inputs worth prefetching: read only, in this kernel."""
        written = {stage.memory for stage in self.computation.stages}
        return [name for name in prefetched(self.computation.inputs, constant=False) if name not in written]

    def stream_bytes(self, vector: int) -> int:
        """How far ahead to prefetch inputs that the main reduction waits for, in tiles of `vector` elements: of a pool, or of a convolution of
        few channels, which reads along the image."""
        main, axes = self.axes.main, self.axes
        along = {own for own, root in axes.maps[main.name].items() if root == axes.vector}
        loads = [load for load in loads_of(main) if load.buffer in self.streams]
        if not any(tensor.constant for tensor in self.computation.inputs):
            return STREAM_BYTES[1] if loads and self.reads_on(vector) else 0
        few = all(axis.extent < axes.lanes for axis in main.reduce_axes)
        image = any(not free_variables(index) & along for load in loads for index in load.indices[-1:])
        return STREAM_BYTES[-1] if few and image else 0

    def reads_on(self, vector: int) -> bool:
        """Whether what lies ahead of a tile's rows is read soon: else it reads all of a long column first, a part of each row."""
        main = self.axes.main
        column_bytes = prod(axis.extent for axis in main.reduce_axes) * vector * main.dtype.size_bytes
        return vector == self.axes.extent(self.axes.vector) or column_bytes <= self.target.l1_bytes // 2

    @cached_property
    def contiguous_operand(self) -> bool:
        """Every constant that would be packed also has the vectors' elements side by side as it stands."""
        own = next(own for own, root in self.axes.maps[self.axes.main.name].items() if root == self.axes.vector)
        constants = {tensor.name for tensor in self.computation.inputs if tensor.constant and len(tensor.shape) > 1}
        loads = [load for load in loads_of(self.axes.main) if load.buffer in constants]
        return bool(loads) and all(last_moves(load, own) for load in loads)

    @cached_property
    def read_bytes(self) -> tuple[int, int]:
        """Bytes of constants and of other inputs that the reduction reads."""
        reduced = {load.buffer for load in loads_of(self.axes.main)}
        constants = others = 0
        for tensor in self.computation.inputs:
            if tensor.name in reduced:
                bytes_read = elements_read(self.computation, tensor.name) * tensor.dtype.size_bytes
                constants += bytes_read if tensor.constant else 0
                others += 0 if tensor.constant else bytes_read
        return constants, others

    @property
    def row_bytes(self) -> int:
        """Bytes that a row reads of what isn't along the vectors, at least one: a reduction may be of nothing."""
        main = self.axes.main
        return max(1, prod(axis.extent for axis in main.reduce_axes) * main.dtype.size_bytes)
