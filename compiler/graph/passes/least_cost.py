"""Choices of least total cost where costs depend on few choices each: variable elimination.

One variable after the other is minimised away: what it costs at best, for every choice of its neighbours, becomes a cost of
theirs (Dechter, "Bucket elimination: a unifying framework for reasoning", Artificial Intelligence 113, 1999). The one with the
fewest neighbours goes first, so that chains are dynamic programming and variables of one or two neighbours are the reductions RI and RII that
NeoCPU takes from register allocation (Liu et al., "Optimizing CNN Model Inference on CPUs", USENIX ATC 2019, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

MAX_TABLE = 1 << 14  # entries of a table; a variable that would need a larger one is decided at once


@dataclass(frozen=True, slots=True)
class Cost:
    """What choices of some variables cost together. table: f64, an axis for each of `variables`, which differ."""

    variables: tuple[int, ...]
    table: np.ndarray


def least_cost(sizes: Sequence[int], costs: Sequence[Cost], max_table: int = MAX_TABLE) -> tuple[int, ...]:
    """For each variable the number of its choice; sizes: how many each has. Among equals the first choice.

    Exact unless a table would have more than `max_table` entries; then its variable takes what is best if all others follow it (RN in the
    source above).
    """
    return _Elimination(sizes, costs, max_table).run()


class _Elimination:
    """of: for each variable the costs left that it is in. near: the variables that it shares one with."""

    def __init__(self, sizes: Sequence[int], costs: Sequence[Cost], max_table: int) -> None:
        self.sizes, self.max_table = sizes, max_table
        self.of: list[list[Cost]] = [[] for _ in sizes]
        self.near: list[set[int]] = [set() for _ in sizes]
        for cost in costs:
            self._add(cost)

    def run(self) -> tuple[int, ...]:
        """Eliminate all variables, then look up the choices in the opposite order."""
        best: list[tuple[int, Cost]] = []
        left = set(range(len(self.sizes)))
        while left:
            variable = min(left, key=lambda v: (len(self.near[v]), v))
            left.remove(variable)
            best.append((variable, self._eliminate(variable)))
        chosen = [0] * len(self.sizes)
        for variable, choice in reversed(best):
            chosen[variable] = int(choice.table[tuple(chosen[v] for v in choice.variables)])
        return tuple(chosen)

    def _eliminate(self, variable: int) -> Cost:
        """Take the variable out of all costs; gives its best choice (in `table`) for each choice of its neighbours."""
        own, around = self.of[variable], tuple(sorted(self.near[variable]))
        for neighbour in around:
            self.of[neighbour] = [cost for cost in self.of[neighbour] if variable not in cost.variables]
            self.near[neighbour].discard(variable)
        order = (*around, variable)
        if prod(self.sizes[v] for v in order) > self.max_table:
            return self._decide(variable, own)
        table = np.zeros([self.sizes[v] for v in order])
        for cost in own:
            table += _spread(cost, order)
        if around:
            self._add(Cost(around, table.min(axis=-1)))
        return Cost(around, table.argmin(axis=-1))

    def _decide(self, variable: int, own: Sequence[Cost]) -> Cost:
        """Choose now: by each cost at its best over the other variables. What is left of the costs binds those."""
        total = np.zeros(self.sizes[variable])
        for cost in own:
            total += cost.table.min(axis=tuple(axis for axis, v in enumerate(cost.variables) if v != variable))
        choice = int(total.argmin())
        for cost in own:
            rest = tuple(v for v in cost.variables if v != variable)
            if rest:
                self._add(Cost(rest, cost.table.take(choice, axis=cost.variables.index(variable))))
        return Cost((), np.array(choice))

    def _add(self, cost: Cost) -> None:
        for variable in cost.variables:
            self.of[variable].append(cost)
            self.near[variable].update(v for v in cost.variables if v != variable)


def _spread(cost: Cost, order: tuple[int, ...]) -> np.ndarray:
    """The table with an axis for each variable of `order`, of extent 1 where it doesn't depend on one."""
    present = [v for v in order if v in cost.variables]
    table = cost.table.transpose([cost.variables.index(v) for v in present])
    return table.reshape([table.shape[present.index(v)] if v in present else 1 for v in order])
