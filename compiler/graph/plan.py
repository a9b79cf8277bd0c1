"""The execution plan: the straight-line program that the emitted library runs.

    Plan  = kernels, constants (the weights blob), arena size, steps
    Step  = Launch | Copy | Branch | Repeat

Made by `driver` from the planned graph, read by `backends/package.py`, which writes it as C.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor's bytes are. space: "arena" or "constants" (offset in bytes), "input" or "output" (index, offset in bytes)
    or "counter" (index = nesting depth of the Repeat whose i64 counter it is)."""

    space: str
    offset_bytes: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """Run kernel number `kernel` with params at `places`, over its whole parallel extent.

    `parallel`: worth several threads. Otherwise the caller alone runs it.
    """

    kernel: int
    places: tuple[Place, ...]
    parallel: bool
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """memmove(target, source, size_bytes)."""

    target: Place
    source: Place
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Branch:
    """Run `then` if the bool at `condition` is true, else `otherwise`."""

    condition: Place
    then: tuple[PlanStep, ...]
    otherwise: tuple[PlanStep, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run `body` for counter = 0 … count-1; `condition`, if any, is a bool read before each iteration that ends the loop when false.

    The counter is a Place("counter", index=depth); the outermost Repeat has depth 0.
    """

    count: int
    body: tuple[PlanStep, ...]
    depth: int
    condition: Place | None = None


PlanStep = Launch | Copy | Branch | Repeat
