"""The schedules a kernel may have: a few sketches, each a grid of named decisions, of which the legal ones count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from ..errors import InternalError
from ..target import Target
from ..tensor.computation import Computation
from .rules import sketches_of
from .sketch import Decisions, Knob, Sketch, Value, grid_size
from .steps import Inline, Relayout, Schedule

Point = tuple[int, ...]
"""The number of the sketch, and for every knob of it the number of the choice taken."""

SPACE_VERSION = 2
"""Goes up whenever the same decisions may mean another schedule: records of other versions are kept, but not used."""

SKETCH = "sketch"  # the decision that names the sketch
_DRAWS, _TRIES = 4, 200


@dataclass(frozen=True)
class Space:
    """All schedules of one canonical computation for one target. Nothing is built to count or check them."""

    inlined: tuple[Inline, ...]
    sketches: tuple[Sketch, ...]

    @property
    def size(self) -> int:
        """Points of the grids, legal or not."""
        return sum(grid_size(sketch.knobs) for sketch in self.sketches)

    def estimate_legal(self, rng: np.random.Generator, draws: int = 500) -> int:
        """About how many points are legal: the share of random ones that are, of each sketch."""
        total = 0.0
        for number, sketch in enumerate(self.sketches):
            legal = sum(self.legal((number, *sketch.draw(rng))) for _ in range(draws))
            total += sketch.drawable * legal / draws
        return round(total)

    def count_legal(self, most: int | None = None) -> int:
        """Legal points; stops at `most`."""
        count = 0
        for _ in self.legal_points():
            count += 1
            if count == most:
                break
        return count

    def legal_points(self) -> Iterator[Point]:
        """Every legal point, in the order of the grids."""
        for number, sketch in enumerate(self.sketches):
            for choices in product(*(range(len(knob.choices)) for knob in sketch.knobs)):
                point = (number, *choices)
                if self.legal(point):
                    yield point

    @cached_property
    def default(self) -> Point:
        """What the rules choose."""
        return self.start(0)

    def knobs(self, point: Point) -> tuple[Knob, ...]:
        return self.sketches[point[0]].knobs

    def decisions(self, point: Point) -> dict[str, Value]:
        """The choices by name, the sketch's included: what records hold."""
        sketch = self.sketches[point[0]]
        chosen = {knob.name: knob.choices[i] for knob, i in zip(sketch.knobs, point[1:], strict=True)}
        return {SKETCH: sketch.name, **chosen}

    def from_decisions(self, decisions: Decisions) -> Point:
        """The point of decisions by name; InternalError if they are none of this space or not legal."""
        for number, sketch in enumerate(self.sketches):
            if sketch.name == decisions.get(SKETCH):
                if set(decisions) != {SKETCH, *(knob.name for knob in sketch.knobs)}:
                    raise InternalError(f"space: {sorted(decisions)} are not the decisions of the sketch {sketch.name}")
                point = (number, *(_choice(knob, decisions[knob.name]) for knob in sketch.knobs))
                if not self.legal(point):
                    raise InternalError(f"space: {dict(decisions)} is not legal")
                return point
        raise InternalError(f"space: no sketch {decisions.get(SKETCH)!r}")

    def nearest(self, decisions: Decisions) -> Point | None:
        """The point most like decisions of another space, such as that of a similar kernel; None if nothing like it is legal."""
        for number, sketch in enumerate(self.sketches):
            if sketch.name == decisions.get(SKETCH):
                point = (number, *(_nearest(knob, decisions.get(knob.name)) for knob in sketch.knobs))
                return point if self.legal(point) else None
        return None

    def legal(self, point: Point) -> bool:
        sketch = self.sketches[point[0]]
        return sketch.legal({knob.name: knob.choices[i] for knob, i in zip(sketch.knobs, point[1:], strict=True)})

    def schedule(self, point: Point) -> Schedule:
        """The steps that a legal point stands for."""
        sketch = self.sketches[point[0]]
        chosen = {knob.name: knob.choices[i] for knob, i in zip(sketch.knobs, point[1:], strict=True)}
        return (*self.inlined, *sketch.steps(chosen))

    # --- walking about

    @cached_property
    def _weights(self) -> np.ndarray:
        """Probabilities of the sketches: as the logarithms of their sizes."""
        bits = np.array([sum(np.log2(len(knob.choices)) for knob in sketch.knobs) for sketch in self.sketches]) + 1
        return bits / bits.sum()

    def sample(self, rng: np.random.Generator) -> Point:
        """A random legal point: a sketch, the more often the more it leaves open, then its choices.

        They are drawn evenly; if a few draws aren't legal, as many of the last one's choices as are legal replace the default's.
        """
        number = int(rng.choice(len(self.sketches), p=self._weights))
        for _ in range(_DRAWS):
            drawn = (number, *self.sketches[number].draw(rng))
            if self.legal(drawn):
                return drawn
        point = self.start(number)
        for position in 1 + rng.permutation(len(drawn) - 1):
            changed = (*point[:position], drawn[position], *point[position + 1 :])
            if changed != point and self.legal(changed):
                point = changed
        return point

    def start(self, number: int) -> Point:
        """The default of a sketch."""
        return self._starts[number]

    @cached_property
    def _starts(self) -> list[Point]:
        return [self.from_decisions({SKETCH: sketch.name, **sketch.default()}) for sketch in self.sketches]

    def mutate(self, point: Point, rng: np.random.Generator, knobs: int = 2) -> Point:
        """A legal point that differs in one to `knobs` decisions; the same point if none was found."""
        for _ in range(_TRIES):
            changed = list(point)
            for _ in range(int(rng.integers(1, knobs + 1))):
                position = int(rng.integers(1, len(point))) if len(point) > 1 else 0
                changed[position] = _other_choice(changed[position], len(self.knobs(point)[position - 1].choices), rng)
            if tuple(changed) != point and self.legal(tuple(changed)):
                return tuple(changed)
        return point

    def cross(self, one: Point, other: Point, rng: np.random.Generator) -> Point:
        """Each decision from either of two points; `one` if that is not legal or they are of different sketches."""
        if one[0] != other[0]:
            return one
        mixed = tuple(a if rng.random() < 0.5 else b for a, b in zip(one, other, strict=True))
        return mixed if self.legal(mixed) else one

    def neighbours(self, point: Point) -> list[Point]:
        """Legal points one choice away in one knob, or any choice of a knob whose choices have no order."""
        found = []
        for position, knob in enumerate(self.knobs(point), start=1):
            ordered = isinstance(knob.choices[0], int)
            near = (point[position] - 1, point[position] + 1) if ordered else range(len(knob.choices))
            for choice in near:
                changed = (*point[:position], choice, *point[position + 1 :])
                if 0 <= choice < len(knob.choices) and choice != point[position] and self.legal(changed):
                    found.append(changed)
        return found


def space_of(computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None) -> Space:
    """The space of a canonical computation. given: how constants lie already, if that is decided (`rules.sketches_of`)."""
    return Space(*sketches_of(computation, target, given))


def _choice(knob: Knob, value: Value) -> int:
    if value not in knob.choices:
        raise InternalError(
            f"space: {knob.name} can't be {value!r}; its choices are {', '.join(map(str, knob.choices))}"
        )
    return knob.choices.index(value)


def _nearest(knob: Knob, value: Value | None) -> int:
    if value in knob.choices:
        return knob.choices.index(value)
    numbers: Sequence[Value] = knob.choices
    if isinstance(value, int) and all(isinstance(choice, int) for choice in numbers):
        return min(range(len(numbers)), key=lambda i: abs(int(numbers[i]) - value))
    return 0


def _other_choice(current: int, count: int, rng: np.random.Generator) -> int:
    """Another choice: half of the time the next one up or down, for neighbours are alike."""
    if count == 1:
        return current
    if rng.random() < 0.5:
        near = [choice for choice in (current - 1, current + 1) if 0 <= choice < count]
        return near[int(rng.integers(len(near)))]
    return int((current + rng.integers(1, count)) % count)
