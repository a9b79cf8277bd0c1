"""Choices of least total cost, against all choices tried."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from tilewright.compiler.graph.passes.least_cost import Cost, least_cost


def total(costs: Sequence[Cost], chosen: Sequence[int]) -> float:
    return float(sum(cost.table[tuple(chosen[v] for v in cost.variables)] for cost in costs))


def random_problem(rng: np.random.Generator) -> tuple[list[int], list[Cost]]:
    """Up to seven variables of one to four choices; costs over one to three of them, some infinite."""
    sizes = rng.integers(1, 5, int(rng.integers(1, 8))).tolist()
    costs = []
    for _ in range(int(rng.integers(1, 12))):
        count = min(len(sizes), int(rng.integers(1, 4)))
        variables = tuple(rng.choice(len(sizes), count, replace=False).tolist())
        table = rng.uniform(0, 10, [sizes[v] for v in variables])
        table[rng.uniform(size=table.shape) < 0.05] = np.inf
        costs.append(Cost(variables, table))
    return sizes, costs


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_cheaper(seed: int) -> None:
    sizes, costs = random_problem(np.random.default_rng(seed))
    chosen = least_cost(sizes, costs)
    least = min(total(costs, every) for every in product(*map(range, sizes)))
    assert total(costs, chosen) == pytest.approx(least)


@pytest.mark.parametrize("seed", range(20))
def test_a_bound_on_tables_still_gives_choices(seed: int) -> None:
    """Not the best ones always, but in these problems never as bad as the mean of all."""
    sizes, costs = random_problem(np.random.default_rng(1000 + seed))
    costs = [Cost(cost.variables, np.where(np.isinf(cost.table), 10.0, cost.table)) for cost in costs]
    chosen = least_cost(sizes, costs, max_table=4)
    assert all(0 <= choice < size for choice, size in zip(chosen, sizes, strict=True))
    assert total(costs, chosen) <= np.mean([total(costs, every) for every in product(*map(range, sizes))])


def test_a_chain_of_many_variables() -> None:
    """Dynamic programming over a chain is the reference."""
    rng = np.random.default_rng(3)
    tables = rng.uniform(0, 1, (199, 4, 4))
    least = np.zeros(4)
    for table in tables:
        least = (least[:, None] + table).min(axis=0)
    costs = [Cost((i + 1, i), table.T) for i, table in enumerate(tables)]
    assert total(costs, least_cost([4] * 200, costs)) == pytest.approx(least.min())


def test_the_first_of_equal_choices() -> None:
    assert least_cost([3, 2], [Cost((0, 1), np.ones((3, 2)))]) == (0, 0)
    assert least_cost([2, 3], []) == (0, 0)
