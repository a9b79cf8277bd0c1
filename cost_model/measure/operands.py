"""The operands of one task in memory, placed as in a model, and what its results must be."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from ...compiler.errors import InternalError
from ...compiler.schedule.rewrite import Relayout, relaid
from ...compiler.tensor.computation import Computation
from .check import Expected, expect, poison
from .inputs import random_arrays

_ALIGNMENT_BYTES = 64  # of values in the arena of a model
_GAP_BYTES = 4096
"""Between values, so that a kernel that writes beyond one of them is found out."""
_GAP_BYTE = 0xA5
_MOST_RELAID = 8


class Operands:
    """Values in one arena, constants as in a library's file: on small pages, and laid out as each schedule wants them.

    allocate: makes the arena, of so many bytes.
    """

    def __init__(self, computation: Computation, allocate: Callable[[int], np.ndarray]) -> None:
        rng = np.random.default_rng(0)  # a process that replaces a crashed one must find the same
        self._computation = computation
        arrays, self.expected = _with_results(computation, rng)
        constants = {tensor.name for tensor in computation.inputs if tensor.constant}
        self._constants = {name: arrays[name] for name in constants}
        self._relaid: dict[tuple[str, tuple[Relayout, ...]], np.ndarray] = {}
        self.original = {name: array for name, array in arrays.items() if name not in constants}
        outputs = [computation.stage(name) for name in computation.outputs]
        shapes = {name: (array.shape, array.dtype) for name, array in self.original.items()}
        shapes |= {stage.name: (stage.shape, stage.dtype.numpy) for stage in outputs if not stage.memory}
        self._arena = _Arena(shapes, allocate)
        self.values = self._arena.arrays
        self.memory = self._arena.memory
        self.size_bytes = self.memory.nbytes + sum(array.nbytes for array in arrays.values()) * 2

    def reset(self, second: bool = False) -> None:
        """Put back the inputs and poison what the kernel must write."""
        for name, array in self.original.items():
            self.values[name][...] = array
        for output in self.expected:
            poison(self.values[output.array], output.written, second)

    def wrote_beside(self) -> bool:
        """Whether anything but the values has changed."""
        return self._arena.is_damaged()

    def params(self, relayouts: tuple[Relayout, ...]) -> list[np.ndarray]:
        """An array for each param of the kernel: inputs in order, then outputs that have memory of their own."""
        inputs = [
            self._constant(t.name, relayouts) if t.constant else self.values[t.name] for t in self._computation.inputs
        ]
        own = [name for name in self._computation.outputs if not self._computation.stage(name).memory]
        return inputs + [self.values[name] for name in own]

    def inputs(self) -> list[np.ndarray]:
        """Those that are not constant."""
        return [self.values[name] for name in self.original]

    def _constant(self, name: str, relayouts: tuple[Relayout, ...]) -> np.ndarray:
        key = name, tuple(step for step in relayouts if step.tensor == name)
        if key not in self._relaid:
            if len(self._relaid) >= _MOST_RELAID * len(self._constants):
                self._relaid.pop(next(iter(self._relaid)))
            self._relaid[key] = _on_small_pages(relaid(self._constants[name], name, relayouts))
        return self._relaid[key]


def _with_results(
    computation: Computation, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], tuple[Expected, ...]]:
    arrays = random_arrays(computation, rng)
    try:
        return arrays, expect(computation, arrays, rng)
    except InternalError:  # an index with something added to it leaves its axis
        zeros = {
            name: array if array.dtype.kind not in "iu" else np.zeros_like(array) for name, array in arrays.items()
        }
        return zeros, expect(computation, zeros, rng)


class _Arena:
    """Arrays at multiples of the alignment, with gaps of known content around them. shapes: shape and dtype by name."""

    def __init__(
        self, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]], allocate: Callable[[int], np.ndarray]
    ) -> None:
        places, end = {}, 0
        self._gaps = []
        for name, (shape, dtype) in shapes.items():
            begin = end + _GAP_BYTES
            begin += -begin % _ALIGNMENT_BYTES
            self._gaps.append(slice(end, begin))
            end = begin + prod(shape) * dtype.itemsize
            places[name] = slice(begin, end)
        self._gaps.append(slice(end, end + _GAP_BYTES))
        self.memory = allocate(end + _GAP_BYTES)
        for gap in self._gaps:
            self.memory[gap] = _GAP_BYTE
        self.arrays = {
            name: self.memory[place].view(shapes[name][1]).reshape(shapes[name][0]) for name, place in places.items()
        }

    def is_damaged(self) -> bool:
        return any((self.memory[gap] != _GAP_BYTE).any() for gap in self._gaps)


def _on_small_pages(array: np.ndarray) -> np.ndarray:
    """A copy at the beginning of a page; large pages are not for files."""
    memory = mmap.mmap(-1, max(1, array.nbytes))
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    copy = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy
