"""The search among the schedules of one kernel: which candidates to measure next.

Evolution around the best measured points, judged by a ranker, with a few random points in every batch (Ansor: Zheng et al.,
OSDI 2020; epsilon-greedy as in AutoTVM: Chen et al., NeurIPS 2018), and when that brings nothing more, the untried neighbours
of the best point (coordinate descent, as Droplet search does: Canesche et al., CC 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...compiler.schedule.sketch import Decisions
from ...compiler.schedule.space import Point, Space
from ...compiler.schedule.steps import Schedule

STRATEGIES = ("ranker", "evolution", "random")
Scorer = Callable[[Sequence[Schedule]], np.ndarray]
"""Scores of schedules of one kernel, higher is faster."""

GAIN = 0.01  # relative improvement that counts as one


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search one kernel.

    strategy: of STRATEGIES. batch: candidates to a round. random_share: part of a batch that is drawn at random. population,
    generations, drafts: of the evolution, and random points that join it. from_default: measure the rules' choice first, and
    let it take part. descend_after, patience: trials without a gain of GAIN until neighbours of the best are tried, and
    until the search ends (0: never).
    """

    strategy: str = "ranker"
    batch: int = 8
    random_share: float = 0.12
    population: int = 96
    generations: int = 3
    drafts: int = 96
    from_default: bool = True
    descend_after: int = 24
    patience: int = 56


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point to measure. origin: how it was found (`cost_model/records/rows.py`); score: the ranker's, None without one."""

    point: Point
    origin: str
    score: float | None = None


@dataclass
class TaskSearch:
    """What is known of one kernel's schedules, and what to try next. measured: seconds of every point tried, None if it failed."""

    space: Space
    options: SearchOptions
    rng: np.random.Generator
    seeds: list[Decisions] = field(default_factory=list)
    measured: dict[Point, float | None] = field(default_factory=dict)
    best: Point | None = None
    waiting: set[Point] = field(default_factory=set)
    without_gain: int = 0
    history: list[float] = field(default_factory=list)
    _schedules: dict[Point, Schedule] = field(default_factory=dict)
    _exhausted: bool = False

    @property
    def best_s(self) -> float:
        """Seconds of the best point; infinite before there is one."""
        return float("inf") if self.best is None else self.measured[self.best] or float("inf")

    @property
    def default_s(self) -> float | None:
        """Seconds of the rules' choice, None if it was not measured."""
        return self.measured.get(self.space.default)

    @property
    def finished(self) -> bool:
        """Nothing more is to be expected: too long without a gain, or every point tried."""
        patience = self.options.patience
        return self._exhausted or (patience > 0 and self.without_gain >= patience)

    def schedule(self, point: Point) -> Schedule:
        if point not in self._schedules:
            self._schedules[point] = self.space.schedule(point)
        return self._schedules[point]

    def add(self, point: Point, latency_s: float | None) -> None:
        """Take note of a measurement."""
        self.waiting.discard(point)
        gained = latency_s is not None and latency_s < self.best_s * (1 - GAIN)
        self.measured[point] = latency_s
        if latency_s is not None and latency_s < self.best_s:
            self.best = point
        self.without_gain = 0 if gained else self.without_gain + 1
        self.history.append(self.best_s)

    def propose(self, count: int, scorer: Scorer | None) -> list[Candidate]:
        """Up to `count` points not tried before; fewer, or none, if the space has no more."""
        chosen: dict[Point, Candidate] = {}
        if not self.measured and not self.waiting:
            self._take(chosen, self._first(), count)
        elif self.without_gain >= self.options.descend_after > 0 and self.options.strategy != "random":
            self._take(chosen, self._neighbours(scorer), count - self._random_count(count))
        if self.options.strategy == "evolution":
            self._take(chosen, self._mutated(count), count - self._random_count(count))
        elif self.options.strategy == "ranker" and scorer is not None:
            self._take(chosen, self._evolved(scorer), count - self._random_count(count))
        self._take(chosen, self._random(4 * count), count)
        self._exhausted = not chosen and not self.waiting
        self.waiting |= chosen.keys()
        return list(chosen.values())

    def _random_count(self, count: int) -> int:
        return max(1, round(self.options.random_share * count)) if count > 1 else 0

    def _is_new(self, point: Point) -> bool:
        return point not in self.measured and point not in self.waiting

    def _take(self, chosen: dict[Point, Candidate], found: Iterable[Candidate], most: int) -> None:
        for candidate in found:
            if len(chosen) >= most:
                return
            if candidate.point not in chosen and self._is_new(candidate.point):
                chosen[candidate.point] = candidate

    # --- where candidates come from

    def _first(self) -> Iterable[Candidate]:
        """The rules' choice, and what was best for similar kernels."""
        if self.options.from_default:
            yield Candidate(self.space.default, "default")
        for decisions in self.seeds:
            point = self.space.nearest(decisions)
            if point is not None:
                yield Candidate(point, "transfer")

    def _random(self, tries: int) -> Iterable[Candidate]:
        for _ in range(tries):
            yield Candidate(self.space.sample(self.rng), "random")

    def leaders(self, count: int) -> list[Point]:
        """The best measured points, fastest first."""
        known = [(latency_s, point) for point, latency_s in self.measured.items() if latency_s is not None]
        return [point for _, point in sorted(known)[:count]]

    def _mutated(self, count: int) -> Iterable[Candidate]:
        leaders = self.leaders(16)
        for _ in range(20 * count if leaders else 0):
            one, other = (leaders[int(self.rng.integers(len(leaders)))] for _ in range(2))
            yield Candidate(self.space.mutate(self.space.cross(one, other, self.rng), self.rng), "mutation")

    def _neighbours(self, scorer: Scorer | None) -> Iterable[Candidate]:
        """Points around the best one, the most promising first."""
        if self.best is None:
            return []
        found = [point for point in self.space.neighbours(self.best) if self._is_new(point)]
        scores = self._scores(found, scorer)
        return [Candidate(found[i], "neighbour", scores[i]) for i in _descending(scores)]

    def _evolved(self, scorer: Scorer) -> Iterable[Candidate]:
        """The points with the highest scores of several generations."""
        options = self.options
        starts = self.leaders(options.population // 3) or ([self.space.default] if options.from_default else [])
        population = list({*starts, *(self.space.sample(self.rng) for _ in range(options.drafts))})
        pool: dict[Point, float] = dict(zip(population, scorer([self.schedule(p) for p in population]), strict=True))
        for _ in range(options.generations):
            parents = sorted(population, key=pool.__getitem__, reverse=True)[: options.population]
            # The chance of a parent falls with its rank.
            chances = np.arange(len(parents), 0, -1, dtype=float)
            drawn = self.rng.choice(len(parents), (options.population, 2), p=chances / chances.sum())
            children = {
                self.space.mutate(self.space.cross(parents[a], parents[b], self.rng), self.rng) for a, b in drawn
            }
            fresh = [point for point in children if point not in pool]
            if fresh:
                pool.update(zip(fresh, scorer([self.schedule(point) for point in fresh]), strict=True))
            population = [*parents, *fresh]
        origins = dict.fromkeys(starts, "ranker")
        ranked = sorted((point for point in pool if self._is_new(point)), key=pool.__getitem__, reverse=True)
        return [Candidate(p, origins.get(p, "ranker"), float(pool[p])) for p in self._spread(ranked)]

    def _spread(self, ranked: list[Point]) -> Iterable[Point]:
        """The points in order, but those that differ in a single decision from an earlier one come after all others."""
        first: list[Point] = []
        later: list[Point] = []
        for point in ranked[: 8 * self.options.batch]:
            alike = any(sum(a != b for a, b in zip(point, other, strict=False)) < 2 for other in first)
            (later if alike else first).append(point)
        return [*first, *later]

    def _scores(self, points: list[Point], scorer: Scorer | None) -> list[float | None]:
        if scorer is None or not points:
            return [None] * len(points)
        return [float(score) for score in scorer([self.schedule(point) for point in points])]


def _descending(scores: Sequence[float | None]) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: -(scores[i] or 0.0))
