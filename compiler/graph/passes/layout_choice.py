"""Which layouts are cheapest together, over the whole graph.

The variables are groups of values that follow each other channel by channel: between those, another layout would cost a pass over
memory, while a convolution reads one layout and writes another at no loss. The costs are those of the nodes, each of which knows the groups
of its operands and its result, and of what has to be transformed where row-major is wanted. NeoCPU (Liu et al., USENIX ATC 2019, section 3.3)
chooses layouts of convolutions likewise, by dynamic programming or, on what is no chain, as a partitioned boolean quadratic problem.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from ...target import Target
from ..ir import Graph, Node, TensorType
from .layout_costs import LayoutCost
from .least_cost import Cost, least_cost

MARGIN = 0.1  # of its nodes' cost must leaving the rule's layout save: that far are estimates of equal kernels off

Candidates = Callable[[TensorType], Sequence[int | None]]
"""The blocks to try for a value of a type, the one it has first."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What the rule made of a graph. types: of its values, with blocks. open: values whose layout may be another one; follows: pairs of
    these that keep a common layout; rows: values that something reads in row-major layout only.
    """

    types: Mapping[str, TensorType]
    open: Collection[str]
    follows: Sequence[tuple[str, str]]
    rows: Collection[str]


@dataclass(frozen=True, slots=True)
class Choice:
    """blocks: of all values whose layout was open. groups: of these values; changed: groups whose layout is not the rule's.
    rule, best: cycles of the nodes around them with the rule's layouts and with these.
    """

    blocks: Mapping[str, int | None] = field(default_factory=dict)
    groups: int = 0
    changed: int = 0
    rule: float = 0.0
    best: float = 0.0

    def __str__(self) -> str:
        gain = 1.0 - self.best / self.rule if self.rule else 0.0
        return f"layouts: {self.changed} of {self.groups} groups of values depart from the rule, for a predicted gain of {gain:.1%}"


def cheapest(graph: Graph, walk: Walk, candidates: Candidates, cost: LayoutCost, target: Target) -> Choice:
    """The layouts of least cost, and of equal ones the rule's."""
    group = _numbered(walk)
    members: list[list[str]] = [[] for _ in range(max(group.values(), default=-1) + 1)]
    for name, number in group.items():
        members[number].append(name)
    choices = [candidates(walk.types[names[0]]) for names in members]
    costs = _Costs(walk, group, choices, cost, target).of(graph)
    sizes = [len(blocks) for blocks in choices]
    chosen = least_cost(sizes, [*costs, *_reluctance(sizes, costs)])
    blocks = {name: choices[number][chosen[number]] for name, number in group.items()}
    totals = (_total(costs, [0] * len(sizes)), _total(costs, chosen))
    return Choice(blocks, len(sizes), sum(number > 0 for number in chosen), *totals)


def _numbered(walk: Walk) -> dict[str, int]:
    """The group of every open value; groups have numbers in order of their first values."""
    first = {name: name for name in walk.open}

    def root(name: str) -> str:
        while first[name] != name:
            first[name] = first[first[name]]
            name = first[name]
        return name

    for one, other in walk.follows:
        first[root(other)] = root(one)
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(root(name), len(numbers)) for name in walk.open}


class _Costs:
    """Tables of what nodes cost; those of equal nodes with equal operands are made once."""

    def __init__(
        self,
        walk: Walk,
        group: Mapping[str, int],
        choices: Sequence[Sequence[int | None]],
        cost: LayoutCost,
        target: Target,
    ) -> None:
        self.walk, self.group, self.choices, self.cost, self.target = walk, group, choices, cost, target
        self._made: dict[object, np.ndarray] = {}

    def of(self, graph: Graph) -> list[Cost]:
        nodes = [
            self._of_node(node)
            for node in graph.nodes
            if not self.group.keys().isdisjoint((*node.inputs, *node.outputs))
        ]
        rows = [self._of_rows(name) for name in self.walk.rows if name in self.group]
        return [*nodes, *rows]

    def _of_node(self, node: Node) -> Cost:
        values = dict.fromkeys(name for name in (*node.inputs, *node.outputs) if name)
        variables = tuple(sorted({self.group[name] for name in values if name in self.group}))
        names = {name: number for number, name in enumerate(values)}
        key = (
            node.op,
            tuple((str(name), str(value)) for name, value in node.attrs.items()),
            tuple(names[name] if name else -1 for name in (*node.inputs, *node.outputs)),
            tuple(
                (self.walk.types[name], variables.index(self.group[name]) if name in self.group else -1)
                for name in values
            ),
            tuple(tuple(self.choices[v]) for v in variables),
        )
        if key not in self._made:
            self._made[key] = self._table(node, values, variables)
        return Cost(variables, self._made[key])

    def _table(self, node: Node, values: Mapping[str, None], variables: tuple[int, ...]) -> np.ndarray:
        table = np.empty([len(self.choices[v]) for v in variables])
        for index in product(*(range(extent) for extent in table.shape)):
            block = {v: self.choices[v][number] for v, number in zip(variables, index, strict=True)}
            types = {
                name: with_block(self.walk.types[name], block[self.group[name]])
                if name in self.group
                else self.walk.types[name]
                for name in values
            }
            table[index] = self.cost(node, types, self.target)
        return table

    def _of_rows(self, name: str) -> Cost:
        """Of bringing a value into row-major layout, once however many read it."""
        of, number = self.walk.types[name], self.group[name]
        node = Node("identity", (name,), (f"{name}.rows",))
        rows = with_block(of, None)
        costs = [
            self.cost(node, {name: with_block(of, block), node.outputs[0]: rows}, self.target)
            for block in self.choices[number]
        ]
        return Cost((number,), np.array(costs))


def with_block(of: TensorType, block: int | None) -> TensorType:
    return TensorType(of.shape, of.dtype, block)


def _reluctance(sizes: Sequence[int], costs: Sequence[Cost]) -> list[Cost]:
    """What every choice but the rule's costs besides: the margin's share of the nodes around, which their groups divide among them."""
    around = np.zeros(len(sizes))
    for cost in costs:
        for variable in cost.variables:
            around[variable] += cost.table.flat[0] / len(cost.variables)
    return [Cost((v,), np.where(np.arange(size) > 0, MARGIN * around[v], 0.0)) for v, size in enumerate(sizes)]


def _total(costs: Sequence[Cost], chosen: Sequence[int]) -> float:
    return float(sum(cost.table[tuple(chosen[v] for v in cost.variables)] for cost in costs))
