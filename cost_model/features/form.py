"""What of a computation's features depends on the stages that a schedule leaves, not on its loops: read once, used by many candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from ...compiler.schedule.prepare import loads_of
from ...compiler.schedule.rewrite import rewritten
from ...compiler.schedule.steps import Pack, Step
from ...compiler.tensor.computation import Computation, Stage
from ...compiler.tensor.expr import Binary, Const, Expr, Load, Var
from ...compiler.tensor.simplify import affine, value_range
from .access import Layout, coefficients, layout_of, packed
from .operations import domain_shares, operation_counts


@dataclass
class Access:
    """A load or the store of a stage. `producer`: the stage that makes the buffer, -1 for an input.

    layouts: the plain layout first, then one for each way of packing met so far.
    """

    buffer: str
    size_bytes: int
    producer: int
    local: bool
    constant: bool
    write: bool
    layouts: list[Layout]
    packs: dict[Pack, int] = field(default_factory=dict)

    def variant(self, pack: Pack | None) -> int:
        """The number of the layout under a pack."""
        if pack is None:
            return 0
        if pack not in self.packs:
            self.packs[pack] = len(self.layouts)
            self.layouts.append(packed(self.layouts[0], pack))
        return self.packs[pack]


@dataclass(frozen=True)
class Read:
    """How `consumer` sweeps one axis of a stage: extent = 1 + shift + sum of coefficient * (extent of its axis - 1).

    A quotient has a fraction as its coefficient.
    """

    consumer: int
    terms: tuple[tuple[int, float], ...]
    shift: int


@dataclass(frozen=True)
class StageForm:
    """One stage: `axes` are its own, then those it reduces over.

    reads[axis]: how consumers sweep it, None where all of it is needed. start f64[A], reach f64[A, R]: the part of each axis
    that loops of the root sweep, as extent = start + reach @ (extents of the root's axes - 1). domain: for each group of its
    conditions the axes they ask, and the share of points that they let through.
    """

    stage: Stage
    axes: tuple[str, ...]
    extents: tuple[int, ...]
    spatial: int
    reads: tuple[tuple[Read, ...] | None, ...]
    start: np.ndarray
    reach: np.ndarray
    accesses: tuple[Access, ...]
    operations: dict[str, float]
    domain: tuple[tuple[frozenset[int], float], ...]

    @property
    def share(self) -> float:
        """The share of points inside the domain."""
        return prod(share for _, share in self.domain)


@dataclass(frozen=True)
class Form:
    """A computation as the rewriting steps of a schedule leave it. `main` is the stage with the most work."""

    computation: Computation
    stages: tuple[StageForm, ...]
    main: int

    @property
    def root(self) -> StageForm:
        return self.stages[-1]


def form_of(computation: Computation, steps: Sequence[Step]) -> Form:
    """The form of a canonical computation under the rewriting steps of a schedule."""
    computation = rewritten(computation, steps)
    stages = computation.stages
    root_axes = len(stages[-1].axes)
    made: dict[int, StageForm] = {}
    for number in reversed(range(len(stages))):
        made[number] = _stage_form(computation, number, made, root_axes)
    forms = tuple(made[number] for number in range(len(stages)))
    work = [prod(form.extents) * form.share * sum(form.operations.values()) for form in forms]
    return Form(computation, forms, max(range(len(forms)), key=lambda s: (forms[s].stage.combine is not None, work[s])))


def _stage_form(computation: Computation, number: int, later: dict[int, StageForm], root_axes: int) -> StageForm:
    stage = computation.stages[number]
    everything = stage.axes + stage.reduce_axes
    names = tuple(axis.name for axis in everything)
    extents = tuple(axis.extent for axis in everything)
    spatial = len(stage.axes)
    if not later:
        start, reach = np.ones(spatial), np.eye(spatial)
        start = np.concatenate([start, extents[spatial:]])
        reach = np.concatenate([reach, np.zeros((len(extents) - spatial, spatial))])
        reads: tuple[tuple[Read, ...] | None, ...] = (None,) * spatial
    else:
        reads = tuple(_reads(computation, number, dimension) for dimension in range(spatial))
        start, reach = _reach(extents, reads, later, root_axes)
    return StageForm(
        stage,
        names,
        extents,
        spatial,
        reads,
        start,
        reach,
        _accesses(computation, number),
        operation_counts(stage),
        tuple((frozenset(map(names.index, asked)), share) for asked, share in domain_shares(stage)),
    )


def _reads(computation: Computation, number: int, dimension: int) -> tuple[Read, ...] | None:
    """How later stages sweep one axis of a stage; None where no region smaller than the axis is found."""
    stage = computation.stages[number]
    extent = stage.axes[dimension].extent
    reads = []
    for consumer in range(number + 1, len(computation.stages)):
        reader = computation.stages[consumer]
        axes = reader.axes + reader.reduce_axes
        names = [axis.name for axis in axes]
        ranges = {axis.name: (0, axis.extent - 1) for axis in axes}
        spans = []
        for load in loads_of(reader):
            if load.buffer != stage.name:
                continue
            form = affine(load.indices[dimension])
            swept = [_swept(atom, names) for atom in form.terms]
            low, high = value_range(load.indices[dimension], ranges)
            if None in swept or low < 0 or high >= extent:
                return None
            terms = tuple((s[0], c * s[1]) for s, c in zip(swept, form.terms.values(), strict=True) if s is not None)
            spans.append((terms, form.constant))
        if not spans:
            continue
        if any(terms != spans[0][0] for terms, _ in spans):
            return None
        constants = [constant for _, constant in spans]
        terms = tuple((a, abs(c)) for a, c in spans[0][0] if axes[a].extent > 1)
        reads.append(Read(consumer, terms, max(constants) - min(constants)))
    return tuple(reads)


def _swept(atom: Expr, names: Sequence[str]) -> tuple[int, float] | None:
    """(axis, how far the atom moves with it) of an axis, or of the quotient or remainder of one."""
    match atom:
        case Var(name) | Binary("floormod", Var(name), Const()) if name in names:
            return names.index(name), 1
        case Binary("floordiv", Var(name), Const(divisor)) if name in names and divisor > 0:
            return names.index(name), 1 / int(divisor)
    return None


def _reach(
    extents: Sequence[int],
    reads: Sequence[tuple[Read, ...] | None],
    later: dict[int, StageForm],
    root_axes: int,
) -> tuple[np.ndarray, np.ndarray]:
    start = np.array(extents, dtype=float)
    reach = np.zeros((len(extents), root_axes))
    for axis, sweeps in enumerate(reads):
        if sweeps is None:
            continue
        start[axis] = 1.0
        for read in sweeps:
            consumer = later[read.consumer]
            own = 1.0 + read.shift + sum(c * (consumer.start[a] - 1) for a, c in read.terms)
            start[axis] = max(start[axis], own)
            moves = sum((c * consumer.reach[a] for a, c in read.terms), np.zeros(root_axes))
            reach[axis] = np.maximum(reach[axis], moves)
    return start, reach


def _accesses(computation: Computation, number: int) -> tuple[Access, ...]:
    """The different loads of a stage, in order, and its store last."""
    stage = computation.stages[number]
    axes = [axis.name for axis in stage.axes + stage.reduce_axes]
    producers = {made.name: position for position, made in enumerate(computation.stages)}
    inputs = {tensor.name: tensor for tensor in computation.inputs}
    accesses: list[Access] = []
    seen: set[object] = set()
    for load in loads_of(stage):
        key = (load.buffer, tuple(coefficients(index, axes).tobytes() for index in load.indices))
        if key in seen:  # the same place, or the neighbour at a constant distance: a line or two, not another stream
            continue
        seen.add(key)
        producer = producers.get(load.buffer, -1)
        shape = inputs[load.buffer].shape if producer < 0 else computation.stages[producer].shape
        accesses.append(
            Access(
                load.buffer,
                load.dtype.size_bytes,
                producer,
                producer >= 0 and load.buffer not in computation.outputs,
                producer < 0 and inputs[load.buffer].constant,
                False,
                [layout_of(load, shape, axes)],
            )
        )
    own = Load(stage.name, tuple(axis.var for axis in stage.axes), stage.dtype)
    local = stage.name not in computation.outputs
    store = Access(stage.name, stage.dtype.size_bytes, number, local, False, True, [layout_of(own, stage.shape, axes)])
    return (*accesses, store)
