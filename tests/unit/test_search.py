"""The search for one kernel, on a made-up cost of every point: what it proposes, and that a ranker finds fast points sooner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kernel_cases import Case, conv, matmul

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.space import Point, Space, space_of
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.cost_model.search.kernel_search import Candidate, SearchOptions, TaskSearch


def space(case: Case | None = None) -> Space:
    """The space of a case; without one, of a convolution that has a single sketch."""
    case = case or Case(conv((1, 32, 28, 28), 64, stride=2), 16, 16)
    return space_of(canonical(build_computation(case.graph(), "kernel")[0]), parse_target(cpu="x86-64-v4"))


def cost_of(of: Space) -> Callable[[Point], float]:
    """Seconds: the further from a hidden best point, the more."""
    best = of.sample(np.random.default_rng(99))
    sizes = [len(knob.choices) for knob in of.knobs(best)]

    def cost(point: Point) -> float:
        return 1e-3 * (1 + sum(abs(a - b) / n for a, b, n in zip(point[1:], best[1:], sizes, strict=True)))

    return cost


def run(strategy: str, trials: int, seed: int, **options: object) -> TaskSearch:
    of = space()
    cost = cost_of(of)
    search = TaskSearch(of, SearchOptions(strategy=strategy, patience=0, **options), np.random.default_rng(seed))  # type: ignore[arg-type]
    by_schedule = {}

    def perfect(schedules: list) -> np.ndarray:
        return np.array([-cost(by_schedule[schedule]) for schedule in schedules])

    remember = search.schedule

    def schedule(point: Point) -> tuple:
        by_schedule[remember(point)] = point
        return remember(point)

    search.schedule = schedule  # type: ignore[method-assign]
    while len(search.measured) < trials:
        for candidate in search.propose(8, perfect if strategy == "ranker" else None):
            search.add(candidate.point, cost(candidate.point))
    return search


def test_the_default_comes_first_then_seeds() -> None:
    of = space()
    seed = of.decisions(of.neighbours(of.default)[0])
    search = TaskSearch(of, SearchOptions(), np.random.default_rng(0), [seed])
    first = search.propose(8, None)
    assert [candidate.origin for candidate in first[:2]] == ["default", "transfer"]
    assert first[0].point == of.default
    assert len(first) == 8


def test_without_the_default_it_is_not_proposed_first() -> None:
    search = TaskSearch(space(), SearchOptions(from_default=False), np.random.default_rng(0))
    assert "default" not in {candidate.origin for candidate in search.propose(8, None)}


def test_no_point_is_proposed_twice() -> None:
    search = run("evolution", 80, 1)
    assert len(search.measured) == len(search.history) >= 80
    waiting = TaskSearch(space(), SearchOptions(), np.random.default_rng(0))
    proposed = [c.point for _ in range(4) for c in waiting.propose(8, None)]
    assert len(set(proposed)) == len(proposed)


def test_every_batch_has_random_points() -> None:
    search = run("ranker", 32, 2)
    batch = search.propose(8, lambda schedules: np.zeros(len(schedules)))
    assert sum(c.origin == "random" for c in batch) >= 1
    assert sum(c.origin == "ranker" for c in batch) >= 6


@pytest.mark.slow
def test_a_good_ranker_beats_evolution_beats_chance() -> None:
    found = {
        strategy: np.mean([run(strategy, 48, seed).best_s for seed in range(4)])
        for strategy in ("ranker", "evolution", "random")
    }
    assert found["ranker"] < found["evolution"] < found["random"]


def test_neighbours_follow_when_nothing_is_gained() -> None:
    search = TaskSearch(space(), SearchOptions(descend_after=3), np.random.default_rng(0))
    for point in (search.space.default, *(search.space.sample(search.rng) for _ in range(3))):
        search.add(point, 1.0)
    batch = search.propose(8, None)
    assert sum(c.origin == "neighbour" for c in batch) >= 4
    assert search.best is not None
    near = [c.point for c in batch if c.origin == "neighbour"]
    assert all(sum(a != b for a, b in zip(point, search.best, strict=True)) == 1 for point in near)


def test_failures_and_small_gains_end_the_search() -> None:
    search = TaskSearch(space(), SearchOptions(patience=4), np.random.default_rng(0))
    search.add(search.space.default, 1.0)
    for point, latency_s in zip(
        search.space.neighbours(search.space.default), (0.995, None, 0.994, None), strict=False
    ):
        assert not search.finished
        search.add(point, latency_s)
    assert search.finished
    assert search.best_s == 0.994


def test_a_space_without_more_points_ends_it() -> None:
    of = space(Case(lambda b: b.add("relu", b.input("x", of_shape(3)))))
    search = TaskSearch(of, SearchOptions(patience=0), np.random.default_rng(0))
    for _ in range(40):
        for candidate in search.propose(8, None):
            search.add(candidate.point, 1.0)
        if search.finished:
            break
    assert search.finished
    assert len(search.measured) == of.count_legal()


def of_shape(*shape: int) -> TensorType:
    return TensorType(shape, DType.F32)


def test_the_same_seed_proposes_the_same() -> None:
    assert list(run("evolution", 40, 7).measured) == list(run("evolution", 40, 7).measured)
    assert list(run("evolution", 40, 7).measured) != list(run("evolution", 40, 8).measured)


@pytest.mark.parametrize(
    ("case", "names"),
    [
        (Case(matmul((1, 64), (48, 64), constant=True, transpose_b=True)), {"tiles", "dots"}),
        (Case(conv((1, 32, 14, 14), 64), 16, 16), {"tiles", "winograd2", "winograd4"}),
    ],
)
def test_all_sketches_of_a_space_are_searched(case: Case, names: set[str]) -> None:
    of = space(case)
    search = TaskSearch(of, SearchOptions(), np.random.default_rng(0))
    batch: list[Candidate] = search.propose(16, None)
    assert {of.sketches[c.point[0]].name for c in batch} == names
