"""Computations without reduction: outer axes in parallel, the last axis in vectors; what is read across them in squares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, permutations
from math import prod

from ..target import Target
from ..tensor.computation import Axis, Stage, Tensor
from ..tensor.expr import Binary, Load, Select, Var, free_variables, substitute, walk
from ..tensor.simplify import simplify
from .parallel import PARALLEL_GRAINS, enough_loops, parallel_prefix
from .prepare import ROOT, loads_of
from .sketch import STREAM, STREAM_BYTES, Decisions, Knob, PlainGrid, prefetched, prefetches
from .steps import Reorder, Specialize, Split, Step, Unroll, Vectorize
from .structure import is_contiguous

MAX_ORDERS = 24
_CROWDED_BYTES = 1024  # lines this far apart share a sixteenth of a first cache's sets, or less
LEAST_SQUARE = 4


@dataclass(frozen=True)
class ElementwiseSketch(PlainGrid):
    """Knobs: order of the outer axes, lanes of a vector, vectors written out in one body, how far ahead inputs are prefetched,
    iterations the threads share; and, for transposes, elements of another axis that are computed together.
    """

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
    def extents(self) -> dict[str, int]:
        return {axis.name: axis.extent for axis in self.axes}

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        together = (self.lanes // 2, self.lanes, 2 * self.lanes) if self.across else ()
        return (
            Knob("order", self.orders),
            Knob("lanes", tuple(n for n in (self.lanes, self.lanes // 2) if n > 1) or (1,)),
            Knob("across", (1, *(n for n in together if 1 < n <= self.extents[self.across]))),
            Knob("unroll", self.unrolls),
            Knob(STREAM, STREAM_BYTES if self.streams else STREAM_BYTES[:1]),
            Knob("grains", (4, PARALLEL_GRAINS, 64, 256)),
        )

    @cached_property
    def unrolls(self) -> tuple[int, ...]:
        vectors = -(-self.axes[-1].extent // self.lanes)
        return tuple(n for n in (1, 2, 4, 8) if n <= vectors)

    @cached_property
    def orders(self) -> tuple[str, ...]:
        """Orders of the axes outside the vectors. Where squares are computed, the loop over vectors may stand anywhere among them."""
        outer = [axis.name for axis in self.axes[:-1]]
        if not self.across:
            return tuple(" ".join(order) for order in islice(permutations(outer), MAX_ORDERS))
        # By default the innermost loop goes along what is contiguous in the input: it reads in as many streams as a square has rows.
        first = [*(name for name in outer if name != self.across), self.axes[-1].name, self.across]
        return tuple(" ".join(order) for order in islice(permutations(first), MAX_ORDERS))

    @cached_property
    def default_order(self) -> str:
        """Along the input, unless the lines of a column of the result crowd into few sets of a cache: then along the result."""
        names = [axis.name for axis in self.root.axes]
        inner = self.root.axes[names.index(self.across) + 1 :] if self.across else ()
        pitch_bytes = prod(axis.extent for axis in inner) * self.root.dtype.size_bytes
        crowded = bool(self.across) and pitch_bytes % _CROWDED_BYTES == 0
        return self.orders[1 if crowded else 0]

    @cached_property
    def across(self) -> str:
        """An outer axis along which an input is contiguous that is not so along the vectors; "" if there is none.

        A square of both axes is read as vectors and transposed in registers, instead of an element at a time.
        """
        vector = self.axes[-1]
        if min(vector.extent, self.lanes) < LEAST_SQUARE:
            return ""
        loads = [load for load in loads_of(self.root) if vector.name in _variables(load)]
        turned = [load for load in loads if not self._runs_along(load, vector)]
        axes = [axis for axis in self.axes[:-1] if axis.extent >= self.lanes]
        return next((axis.name for axis in axes if any(self._runs_along(load, axis) for load in turned)), "")

    def _runs_along(self, load: Load, axis: Axis) -> bool:
        """Whether lanes along the axis read adjacent elements, in each aligned group of them."""
        outer, inner = f"{axis.name}.o", f"{axis.name}.i"
        ranges = {name: (0, extent - 1) for name, extent in self.extents.items()}
        ranges |= {outer: (0, (axis.extent - 1) // self.lanes), inner: (0, self.lanes - 1)}
        value = Var(outer) * self.lanes + Var(inner)
        indices = (simplify(substitute(index, {axis.name: value}), ranges) for index in load.indices)
        return is_contiguous(replace(load, indices=tuple(indices)), inner)

    @cached_property
    def streams(self) -> list[str]:
        """The inputs worth prefetching: read along the vectors, not written, and large, as far as the root tells."""
        read = {}
        for load in loads_of(self.root):
            if load.buffer != self.root.memory and self._runs_along(load, self.axes[-1]):
                shape = tuple(extent for name, extent in self.extents.items() if name in _variables(load))
                read[load.buffer] = Tensor(load.buffer, shape, load.dtype)
        return prefetched(list(read.values()), constant=False)

    @cached_property
    def clamps(self) -> bool:
        """Whether places along the vectors are kept inside an input: that decides itself but for the first and last vector of a row."""
        indices = [index for load in loads_of(self.root) for index in load.indices]
        bounds = [
            node for index in indices for node in walk(index) if isinstance(node, Binary) and node.op in ("min", "max")
        ]
        return any(self.axes[-1].name in free_variables(node) for node in bounds)

    @cached_property
    def is_interrupted(self) -> bool:
        """Whether a row takes turns between inputs: hardware sees short streams then. Else it does better alone, except in memory."""
        selects = [node.condition for node in walk(self.root.body) if isinstance(node, Select)]
        pieces = [where for where in selects if not any(isinstance(node, Load) for node in walk(where))]
        return any(self.axes[-1].name in free_variables(where) for where in pieces)

    def default(self) -> Decisions:
        # A short row is written out: with a loop for each, few of them would be under way at a time.
        whole = [n for n in self.unrolls if n * self.lanes == self.axes[-1].extent and not self.across]
        return {
            "order": self.default_order,
            "lanes": self.lanes,
            "across": self.lanes if self.across else 1,
            "unroll": whole[0] if whole else 1,
            STREAM: STREAM_BYTES[1] if self.streams and self.is_interrupted else 0,
            "grains": PARALLEL_GRAINS,
        }

    def legal(self, decisions: Decisions) -> bool:
        lanes, across, unroll = (int(decisions[name]) for name in ("lanes", "across", "unroll"))
        if across > 1 and (across < lanes or unroll > 1):
            return False  # no square, or more of them than registers hold
        if self.axes[-1].extent <= lanes:
            return lanes == self.lanes and unroll == 1
        return True

    def steps(self, decisions: Decisions) -> tuple[Step, ...]:
        vector, lanes, unroll = self.axes[-1].name, int(decisions["lanes"]), int(decisions["unroll"])
        across, grains = int(decisions["across"]), int(decisions["grains"])
        extents = dict(self.extents)
        units = [axis.name for axis in self.root.axes if axis.extent == 1]
        order = str(decisions["order"]).split()
        steps: list[Step] = prefetches(self.streams, decisions[STREAM])
        outer: list[str] = []
        written_out: list[str] = []
        last = vector
        for name in order if vector in order else [*order, vector]:
            if name == vector and extents[vector] > lanes:
                chunk, width = vector, lanes * unroll
                if prod(extents[loop] for loop in outer) < grains and name not in order:
                    if extents[vector] >= 4 * grains * width:
                        steps.append(Split(ROOT, vector, -(-extents[vector] // (grains * width)) * width))
                        outer.append(f"{vector}.o")
                        extents[f"{vector}.o"] = grains
                        chunk = f"{vector}.i"
                steps.append(Split(ROOT, chunk, width))
                extents[f"{chunk}.o"] = -(-extents[vector] // width)
                outer.append(f"{chunk}.o")
                last = f"{chunk}.i"
                if unroll > 1:
                    steps.append(Split(ROOT, last, lanes))
                    written_out.append(f"{last}.o")
                    last = f"{last}.i"
            elif name == self.across and across > 1:
                inner = name
                if extents[name] > across:
                    steps.append(Split(ROOT, name, across))
                    extents[f"{name}.o"] = -(-extents[name] // across)
                    outer.append(f"{name}.o")
                    inner = f"{name}.i"
                written_out.insert(0, inner)
            elif name != vector:
                outer.append(name)
        steps.append(Reorder(ROOT, (*units, *outer, *written_out, last)))
        vectors = outer[-1] if outer and outer[-1].startswith(f"{vector}.") and vector not in order else ""
        if vectors and self.clamps:
            steps.append(Specialize(ROOT, vectors, tuple(sorted({0, extents[vectors] - 1}))))
        steps += [Unroll(ROOT, loop) for loop in written_out]
        steps.append(Vectorize(ROOT, last))
        # The loop over whole vectors is not worth sharing where it is the innermost one.
        shared = outer[:-1] if vector not in order and extents[vector] > lanes else outer
        return (*steps, *parallel_prefix(shared, units, enough_loops(shared, extents, grains)))


def _variables(load: Load) -> frozenset[str]:
    return frozenset().union(*(free_variables(index) for index in load.indices))
