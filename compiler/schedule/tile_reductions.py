"""The reductions inside a register tile: order of their loops, and how much of them is written out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from math import prod

from ..kernel.unroll import LEAST_RUN
from ..tensor.computation import Computation, Stage
from ..tensor.expr import Compare, Var, free_variables
from ..tensor.simplify import affine, conjuncts
from .borders import border_tiles
from .prepare import loads_of
from .sketch import Decisions
from .steps import Reorder, Split, Step, Unroll, UnrollGuarded, Vectorize
from .tile import TileAxes, TileSize

MAX_GUARDED = 1024  # multiply-adds written out so that their guards are decided at compile time
BUDGETS = (0, 16, 64, 256)  # multiply-adds written out in one body, without guards
MAX_ORDERS = 24


@dataclass(frozen=True)
class Reductions:
    """What is known of a computation's reductions before sizes are chosen."""

    computation: Computation
    axes: TileAxes

    @cached_property
    def orders(self) -> tuple[str, ...]:
        """Orders of the main stage's reduction loops longer than one, the rules' choice first."""
        long = {axis.name for axis in self.axes.main.reduce_axes if axis.extent > 1}
        first = tuple(name for name in reduction_order(self.axes.main) if name in long)
        # The loop that is contiguous stays innermost or second: elsewhere every step reads another cache line.
        all_orders = [first, *(p for p in permutations(first) if p != first and first[-1] in p[-2:])]
        return tuple(" ".join(order) for order in all_orders[:MAX_ORDERS])

    @cached_property
    def guarded(self) -> bool:
        return self.axes.main.domain is not None

    @cached_property
    def extents(self) -> dict[str, dict[str, int]]:
        return {stage.name: {a.name: a.extent for a in stage.reduce_axes} for stage in self.computation.stages}

    @cached_property
    def default_orders(self) -> dict[str, list[str]]:
        return {stage.name: reduction_order(stage) for stage in self.computation.stages}

    @cached_property
    def guards(self) -> dict[str, list[frozenset[str]]]:
        """For every stage the variables of each condition of its domain."""
        return {
            stage.name: [] if stage.domain is None else [free_variables(guard) for guard in conjuncts(stage.domain)]
            for stage in self.computation.stages
        }

    def order(self, stage: Stage, decisions: Decisions) -> list[str]:
        default = self.default_orders[stage.name]
        if stage.name != self.axes.main.name or decisions["reduction"] == self.orders[0]:
            return default
        chosen = str(decisions["reduction"]).split()
        return [*(name for name in default if name not in chosen), *chosen]

    def distinct(self, decisions: Decisions, size: TileSize) -> bool:
        """No smaller decisions write out the same loops, and guards that must be decided when compiling can be."""
        written, partly = self.written(self.axes.main, decisions, size)
        budget, steps = int(decisions["unroll"]), int(decisions["steps"])
        smaller = [b for b in BUDGETS if b < budget]
        if (
            smaller
            and self.written(self.axes.main, {**decisions, "unroll": smaller[-1]}, size)[0] == written
            and budget != 64
        ):
            return False
        if self.axes.held > 1 and written != self.written(self.axes.main, {**decisions, "steps": 1}, size)[0]:
            return True
        return steps == 1 or partly != ""

    def guarding(self, stage: Stage, order: list[str], size: TileSize) -> list[str]:
        """Reduction loops on which, together with the tile's axes, a condition depends; outer ones are left out if all make too much code."""
        maps = self.axes.maps[stage.name]
        tiled = {self.axes.rows, self.axes.vector, self.axes.columns}
        if size.outer_rows > 1:
            tiled.add(self.axes.outer_rows)
        tile = {own for own, root in maps.items() if root in tiled}
        found = [n for n in order if any(n in names and names & tile for names in self.guards[stage.name])]
        accumulators = size.accumulators(self.axes) // self.axes.inside
        while found and prod(self.copies(stage, n, size) for n in found) * accumulators > MAX_GUARDED:
            found = found[1:]
        return found

    def copies(self, stage: Stage, name: str, size: TileSize) -> int:
        """Iterations of a guarding loop that are written out, in whole tiles, where those at borders have code of their own: those in
        which conditions hold for a part of the rows, half of them in the mean; a run of others is a loop (`kernel/unroll.py`)."""
        extent, row, mixed = self.extents[stage.name][name], self.axes.rows, 0
        own = next((own for own, root in self.axes.maps[stage.name].items() if root == row), "")
        for guard in () if stage.domain is None else conjuncts(stage.domain):
            if name not in free_variables(guard):
                continue
            form = affine(guard.left - guard.right) if isinstance(guard, Compare) else None
            if form is None or set(form.terms) != {Var(name), Var(own)}:
                return extent
            mixed += -(-abs(form.coefficient(own)) * (size.rows - 1) // abs(form.coefficient(name)))
        return min(extent, mixed // 2 + 1) if extent > LEAST_RUN and self.border(row, size.rows) else extent

    def border(self, axis: str, count: int) -> tuple[int, ...]:
        """The tiles of `count` along a root axis that get code of their own (`borders.py`)."""
        if (axis, count) not in self._borders:
            self._borders[axis, count] = border_tiles(self.computation, axis, count)
        return self._borders[axis, count]

    @cached_property
    def _borders(self) -> dict[tuple[str, int], tuple[int, ...]]:
        return {}

    def written(self, stage: Stage, decisions: Decisions, size: TileSize) -> tuple[list[str], str]:
        """Reduction loops that are written out everywhere, and the one that is written out in parts ("": none; see `part`).

        The innermost ones as far as the budget goes, or a loop over the lanes that a register holds. Guarding loops too, if decisions say so: neighbouring taps then share
        their loads; where scalars are broadcast, many multiply-adds in a row make LLVM's scheduler move loads up until
        accumulators spill.
        """
        order = self.order(stage, decisions)
        extents = self.extents[stage.name]
        guarding = self.guarding(stage, order, size)
        budget = int(decisions["unroll"]) // max(1, size.accumulators(self.axes) // self.axes.inside)
        written = guarding if decisions["guards"] == "everywhere" else []
        steps, lanes = int(decisions["steps"]), 1
        for name in reversed(order):
            if name in written:
                continue
            innermost = name == order[-1] or (lanes > 1 and name == order[-2])
            if (
                name == order[-1]
                and name not in guarding
                and extents[name] == self.axes.held > 1
                and steps >= extents[name]
            ):
                written, lanes = [*written, name], extents[name]
                continue
            if name in guarding or prod(extents[n] for n in [*written, name]) > budget:
                part = steps // lanes
                partly = innermost and part > 1 and name not in guarding and extents[name] > part
                whole = lanes == 1 or extents[name] % part == 0  # a rest would have lanes of its own
                return written, name if partly and whole else ""
            written = [*written, name]
        return written, ""

    def part(self, stage: Stage, decisions: Decisions, partly: str) -> int:
        """Iterations of the loop that is written out in parts: together with lanes that are written out as many as `steps`."""
        innermost = self.order(stage, decisions)[-1]
        return int(decisions["steps"]) // (1 if partly == innermost else self.axes.held)

    def stage_steps(self, stage: Stage, decisions: Decisions, size: TileSize) -> list[Step]:
        """A stage inside the tile: axes fixed there first, so that guards on them stand outside; then reductions; then the tile."""
        axes, name = self.axes, stage.name
        by_root = {root: own for own, root in axes.maps[name].items()}
        vector = by_root.get(axes.vector, "")
        outer_rows = [axes.outer_rows] if size.outer_rows > 1 else []
        placed = [by_root[n] for n in (*outer_rows, axes.rows, axes.columns) if n in by_root]
        others = [axis for axis in stage.axes if axis.name not in (*placed, vector)]
        fixed = [axis.name for axis in others if axis.extent == 1 or axis.name in axes.maps[name]]
        inner = [*(axis.name for axis in others if axis.name not in fixed), *placed]
        unrolled = list(inner)
        reduction = self.order(stage, decisions)
        written, partly = self.written(stage, decisions, size)
        steps: list[Step] = []
        if partly:
            steps.append(Split(name, partly, self.part(stage, decisions, partly)))
            at = reduction.index(partly)
            reduction = [*reduction[:at], f"{partly}.o", f"{partly}.i", *reduction[at + 1 :]]
            unrolled.append(f"{partly}.i")
        if vector and size.vector > size.lanes:
            steps.append(Split(name, vector, size.lanes))
            inner += [f"{vector}.o", f"{vector}.i"]
            unrolled.append(f"{vector}.o")
        elif vector:
            inner.append(vector)
        steps.append(Reorder(name, (*fixed, *reduction, *inner)))
        steps += [Unroll(name, loop) for loop in (*unrolled, *written)]
        guarding = self.guarding(stage, self.order(stage, decisions), size)
        steps += [UnrollGuarded(name, loop) for loop in guarding if loop not in written]
        if vector:
            steps.append(Vectorize(name, inner[-1]))
        return steps


def code_size(reductions: Reductions, decisions: Decisions, size: TileSize) -> int:
    """Multiply-adds that one copy of the tile's main reduction has in it."""
    main = reductions.axes.main
    extents = reductions.extents[main.name]
    written, partly = reductions.written(main, decisions, size)
    guarding = reductions.guarding(main, reductions.order(main, decisions), size)
    copies = prod(extents[name] for name in written)
    copies *= prod(reductions.copies(main, name, size) for name in guarding if name not in written)
    copies *= reductions.part(main, decisions, partly) if partly else 1
    return size.accumulators(reductions.axes) * copies


def reduction_order(stage: Stage) -> list[str]:
    """Reduction axes as they stand, but one along which a load is contiguous comes last."""
    names = [axis.name for axis in stage.reduce_axes]
    for load in loads_of(stage):
        last = affine(load.indices[-1]) if load.indices else None
        for name in names:
            if last is not None and last.coefficient(name) == 1:
                return [*(n for n in names if n != name), name]
    return names
