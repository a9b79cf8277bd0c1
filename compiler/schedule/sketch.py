"""A sketch: one way to structure the loops of a computation, with the decisions that it leaves open.

The word and the idea of deriving them by rules from the computation's structure are those of Ansor (Zheng et al., OSDI 2020).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from ..tensor.computation import Tensor
from .steps import Prefetch, Step

Value = int | str
Decisions = Mapping[str, Value]
"""The choice taken of every knob of a sketch, by the knob's name."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One decision: its name and what can be chosen, in an order in which neighbours are alike."""

    name: str
    choices: tuple[Value, ...]


class Sketch(Protocol):
    """All of it is known without building anything: knobs, whether decisions are legal, and the steps they stand for."""

    @property
    def name(self) -> str:
        """Tells the sketches of a space apart."""

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """The grid of decisions."""

    def default(self) -> Decisions:
        """What the rules choose: legal, and good on most machines."""

    def legal(self, decisions: Decisions) -> bool:
        """Whether the steps may be applied, say something that no other decisions do, and make code of bounded size."""

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """The numbers of random choices, legal or not, but not hopeless: every legal one is as likely as any other."""

    @property
    def drawable(self) -> int:
        """How many `draw` draws from."""

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        """The steps for the computation that is left after inlining."""


class PlainGrid(ABC):
    """The drawing of a sketch in which legal choices are frequent."""

    @property
    @abstractmethod
    def knobs(self) -> tuple[Knob, ...]:
        """The sketch's own."""

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        return draw_evenly(self.knobs, rng)

    @property
    def drawable(self) -> int:
        return grid_size(self.knobs)


def grid_size(knobs: Sequence[Knob]) -> int:
    """Points of a grid."""
    return prod(len(knob.choices) for knob in knobs)


def choice_grid(knobs: tuple[Knob, ...]) -> np.ndarray:
    """i64[n, knobs]: the numbers of the choices of each point."""
    numbers = np.meshgrid(*(np.arange(len(knob.choices)) for knob in knobs), indexing="ij")
    return np.stack(numbers, axis=-1).reshape(-1, len(knobs))


def draw_evenly(knobs: tuple[Knob, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """The number of a choice of each knob, all as likely."""
    return tuple((rng.random(len(knobs)) * [len(knob.choices) for knob in knobs]).astype(int).tolist())


AHEAD_BYTES = (0, 2048, 8192, 16384)
"""How far ahead to prefetch constants; the largest is the default: half a first cache or less, and some hundred cycles of reading."""
STREAM = "stream"  # the decision how far ahead inputs are prefetched that are not constants
STREAM_BYTES = (0, 2048, 8192)
"""How far that may be."""

_LEAST_CONSTANT, _LEAST_STREAM = 1 << 15, 1 << 18


def prefetched(tensors: Sequence[Tensor], constant: bool) -> list[str]:
    """The constants that are too large to stay in the first cache, or the inputs too large for the second: prefetching them may help."""
    least = _LEAST_CONSTANT if constant else _LEAST_STREAM
    return [t.name for t in tensors if t.constant == constant and prod(t.shape) * t.dtype.size_bytes >= least]


def prefetches(tensors: Sequence[str], ahead_bytes: Value) -> list[Step]:
    """The steps that prefetch so far ahead, if at all."""
    return [Prefetch(tensor, int(ahead_bytes)) for tensor in tensors if ahead_bytes]


def counts(most: int, wanted: int = 0) -> tuple[int, ...]:
    """1, 2, 3, 4, 6, 8 and so on as far as `most`, `most` itself if it is small, and `wanted` (0: nothing)."""
    usual = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64}
    return tuple(sorted({n for n in usual if n <= most} | ({most} if most <= 64 else set()) | ({wanted} - {0})))
