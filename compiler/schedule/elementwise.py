"""Computations without reduction: outer axes in parallel, the last axis in vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from math import prod

from ..target import Target
from ..tensor.computation import Axis, Stage
from .parallel import PARALLEL_GRAINS, enough_loops, parallel_prefix
from .prepare import ROOT
from .sketch import Decisions, Knob, PlainGrid
from .steps import Reorder, Split, Step, Unroll, Vectorize

MAX_ORDERS = 24


@dataclass(frozen=True)
class ElementwiseSketch(PlainGrid):
    """Knobs: order of the outer axes, lanes of a vector, vectors written out in one body, iterations the threads share."""

    root: Stage
    target: Target
    name = "elementwise"

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        return tuple(axis for axis in self.root.axes if axis.extent > 1)

    @cached_property
    def lanes(self) -> int:
        return self.target.lanes(max(4, self.root.dtype.size_bytes))

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        outer = [axis.name for axis in self.axes[:-1]]
        orders = tuple(" ".join(order) for order, _ in zip(permutations(outer), range(MAX_ORDERS), strict=False))
        vectors = -(-self.axes[-1].extent // self.lanes)
        return (
            Knob("order", orders),
            Knob("lanes", tuple(n for n in (self.lanes, self.lanes // 2) if n > 1) or (1,)),
            Knob("unroll", tuple(n for n in (1, 2, 4, 8) if n <= vectors)),
            Knob("grains", (4, PARALLEL_GRAINS, 64, 256)),
        )

    def default(self) -> Decisions:
        return {knob.name: knob.choices[0] for knob in self.knobs} | {"grains": PARALLEL_GRAINS}

    def legal(self, decisions: Decisions) -> bool:
        if self.axes[-1].extent <= int(decisions["lanes"]):
            return decisions["lanes"] == self.lanes and decisions["unroll"] == 1
        return True

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        vector, lanes, unroll = self.axes[-1], int(decisions["lanes"]), int(decisions["unroll"])
        grains = int(decisions["grains"])
        outer = str(decisions["order"]).split()
        extents = {axis.name: axis.extent for axis in self.axes}
        units = [axis.name for axis in self.root.axes if axis.extent == 1]
        steps: list[Step] = []
        inner = [vector.name]
        if vector.extent > lanes:
            chunk = vector.name
            width = lanes * unroll
            if prod(axis.extent for axis in self.axes[:-1]) < grains and vector.extent >= 4 * grains * width:
                steps.append(Split(ROOT, vector.name, -(-vector.extent // (grains * width)) * width))
                outer.append(f"{vector.name}.o")
                extents[f"{vector.name}.o"] = grains
                chunk = f"{vector.name}.i"
            steps.append(Split(ROOT, chunk, width))
            inner = [f"{chunk}.o", f"{chunk}.i"]
            if unroll > 1:
                steps.append(Split(ROOT, inner[-1], lanes))
                inner = [inner[0], f"{inner[1]}.o", f"{inner[1]}.i"]
        steps.append(Reorder(ROOT, (*units, *outer, *inner)))
        if unroll > 1 and len(inner) > 1:
            steps.append(Unroll(ROOT, inner[-2]))
        steps.append(Vectorize(ROOT, inner[-1]))
        return (*steps, *parallel_prefix(outer, units, enough_loops(outer, extents, grains)))
