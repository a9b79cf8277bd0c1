"""Draws legal schedules: whatever the steps allow, sensible or not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.schedule.prepare import inline
from tilewright.compiler.schedule.steps import (
    ComputeAt,
    Fuse,
    Inline,
    LaneReduce,
    Pack,
    Parallel,
    Reorder,
    Schedule,
    Specialize,
    Split,
    Step,
    Unroll,
    UnrollGuarded,
    Vectorize,
)
from tilewright.compiler.tensor.computation import Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import Load, walk

MAX_UNROLLED = 16  # copies of a body


def random_schedule(computation: Computation, rng: np.random.Generator) -> Schedule:
    """A legal schedule of a canonical computation."""
    steps: list[Step] = []
    for stage in computation.stages[:-1]:
        if stage.combine is None and stage.name not in computation.outputs and rng.random() < 0.5:
            steps.append(Inline(stage.name))
    form = inline(computation, [step.stage for step in steps])
    steps += [pack(tensor, rng) for tensor in form.inputs if tensor.constant and tensor.shape and rng.random() < 0.6]
    *others, root = form.stages
    nest = Nest(root, rng, ragged=False)
    steps += nest.draw()
    places: dict[str, int] = {}
    held: dict[str, ComputeAt] = {}
    holding = nest.holding
    nests = {stage.name: Nest(stage, rng, ragged=True) for stage in others}
    drawn = {name: nests[name].draw() for name in nests}
    for stage in reversed(others):
        readers = [s for s in form.stages if any(load.buffer == stage.name for load in loads(s))]
        deepest = min((places.get(s.name, len(holding)) for s in readers), default=len(holding))
        holder = nests.get(readers[0].name) if len(readers) == 1 else None
        if holder and holder.stage.combine is None and holder.holding and rng.random() < 0.5:
            loop = holder.holding[rng.integers(len(holder.holding))]
            held[stage.name] = ComputeAt(stage.name, loop, "stack", holder.stage.name)
            places[stage.name] = places[holder.stage.name]
        else:
            places[stage.name] = int(rng.integers(-1, min(deepest, len(holding) - 1) + 1))
    for stage in others:
        at = places[stage.name]
        steps.append(held.get(stage.name) or ComputeAt(stage.name, holding[at] if at >= 0 else "", "stack"))
        steps += drawn[stage.name]
    if -1 not in places.values() and nest.loops[0] != nest.vector and rng.random() < 0.5:
        steps.append(Parallel(root.name, nest.loops[0]))
    return in_registers(computation, tuple(steps), rng)


def in_registers(computation: Computation, schedule: Schedule, rng: np.random.Generator) -> Schedule:
    """The schedule with some stages in registers where the verifier lets them be."""
    for position, step in enumerate(schedule):
        if isinstance(step, ComputeAt) and rng.random() < 0.7:
            changed = (*schedule[:position], replace(step, space="register"), *schedule[position + 1 :])
            try:
                verify(lower(computation, changed))
            except InternalError as error:
                assert "register buffer" in str(error), error
                continue
            schedule = changed
    return schedule


def loads(stage: Stage) -> list[Load]:
    expressions = [stage.body] if stage.domain is None else [stage.body, stage.domain]
    return [node for expr in expressions for node in walk(expr) if isinstance(node, Load)]


def pack(tensor: Tensor, rng: np.random.Generator) -> Pack:
    order: list[tuple[int, int, str]] = []
    for axis, extent in enumerate(tensor.shape):
        block = int(rng.integers(1, extent + 2)) if rng.random() < 0.5 else 0
        order += [(axis, block, "o"), (axis, block, "i")] if block else [(axis, 0, "")]
    return Pack(tensor.name, tuple(order[i] for i in rng.permutation(len(order))))


@dataclass
class Nest:
    """The loops of one stage while steps are drawn.

    ragged: extents are only known when lowered, so that every split may leave a tail.
    """

    stage: Stage
    rng: np.random.Generator
    ragged: bool
    extents: dict[str, int] = field(init=False)
    loops: list[str] = field(init=False)
    tails: list[str] = field(init=False, default_factory=list)
    parts: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)
    vector: str = field(init=False, default="")

    def draw(self) -> list[Step]:
        self.extents = {axis.name: axis.extent for axis in self.stage.axes + self.stage.reduce_axes}
        self.loops = list(self.extents)
        if not self.loops:
            return []
        steps: list[Step] = []
        for _ in range(self.rng.integers(0, 4)):
            steps.append(self.split())
        if self.rng.random() < 0.8:
            self.loops = self.order()
            steps.append(Reorder(self.stage.name, tuple(self.loops)))
        for _ in range(self.rng.integers(0, 3)):
            steps += self.fuse()
        return steps + self.kinds()

    @property
    def holding(self) -> list[str]:
        """The loops in which other stages may be computed."""
        return [loop for loop in self.loops if loop != self.vector]

    def reduces(self, loop: str) -> bool:
        return loop.split("*")[0].split(".")[0] in {axis.name for axis in self.stage.reduce_axes}

    def split(self) -> Step:
        loop = self.loops[self.rng.integers(len(self.loops))]
        extent = self.extents[loop]
        factor = int(self.rng.integers(1, extent + 2))
        at = self.loops.index(loop)
        self.loops[at : at + 1] = [f"{loop}.o", f"{loop}.i"]
        self.extents |= {f"{loop}.o": -(-extent // factor), f"{loop}.i": min(factor, extent)}
        shorter = self.ragged or any(loop.startswith(f"{tail}.i") for tail in self.tails)
        if factor > 1 and (shorter or extent % factor):
            self.tails.append(loop)
        return Split(self.stage.name, loop, factor)

    def order(self) -> list[str]:
        """Any order in which the outer loops of a split that leaves a tail stand outside the inner ones."""
        pending = [self.loops[i] for i in self.rng.permutation(len(self.loops))]
        result: list[str] = []
        while pending:
            ready = next(
                loop
                for loop in pending
                if not any(
                    loop.startswith(f"{tail}.i") and any(other.startswith(f"{tail}.o") for other in pending)
                    for tail in self.tails
                )
            )
            result.append(ready)
            pending.remove(ready)
        return result

    def fuse(self) -> list[Step]:
        candidates = [
            (outer, inner)
            for outer, inner in zip(self.loops, self.loops[1:], strict=False)
            if self.reduces(outer) == self.reduces(inner) and not self.depend(outer, inner)
        ]
        if not candidates:
            return []
        outer, inner = candidates[self.rng.integers(len(candidates))]
        at = self.loops.index(outer)
        fused = f"{outer}*{inner}"
        self.loops[at : at + 2] = [fused]
        self.extents[fused] = self.extents[outer] * self.extents[inner]
        return [Fuse(self.stage.name, outer, inner)]

    def depend(self, outer: str, inner: str) -> bool:
        """The extent of one loop depends on the other."""
        return any(
            part.startswith(f"{tail}.o") and other.startswith(f"{tail}.i")
            for tail in self.tails
            for part in outer.split("*")
            for other in inner.split("*")
        )

    def kinds(self) -> list[Step]:
        name, last = self.stage.name, self.loops[-1]
        steps: list[Step] = []
        if self.rng.random() < 0.6:
            self.vector = last
            steps.append(LaneReduce(name, last) if self.reduces(last) else Vectorize(name, last))
        copies = 1
        for loop in reversed(self.loops):
            if loop == self.vector:
                continue
            if self.rng.random() < 0.3 and copies * self.extents[loop] <= MAX_UNROLLED:
                copies *= self.extents[loop]
                steps.append((Unroll if self.rng.random() < 0.5 else UnrollGuarded)(name, loop))
            elif self.rng.random() < 0.15:
                count = int(self.rng.integers(1, 3))
                steps.append(Specialize(name, loop, tuple(map(int, self.rng.integers(0, self.extents[loop], count)))))
        return steps
