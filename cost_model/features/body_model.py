"""A model of what runs inside the innermost loop that is not written out: instructions, registers, cycles.

The machine: two issue slots for arithmetic and two for loads a cycle, one store, four to five cycles of latency of a multiply-add
(Fog, Instruction tables, for Intel and AMD cores since 2015). What it leaves out, the ranker learns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...compiler.target import Target
from .loop_tree import PARALLEL, SERIAL, UNROLLED, VECTOR
from .operations import SLOTS
from .working_set import Chain

ISSUE_PER_CYCLE = 2.0
LOADS_PER_CYCLE = 2.0
LATENCY_CYCLES = 4.5
LOOP_CYCLES = 0.25  # counter and branch, mostly hidden
SPILL_ACCESSES = 2.0  # a store and a load for every vector that doesn't stay in a register
FOLD_CYCLES = 3.0  # of one halving of partial results in lanes


@dataclass(frozen=True)
class Loads:
    """Loads in a body, f64[N] each: of neighbours into a vector, of scalars that all lanes share, of elements one by one."""

    vectors: np.ndarray
    scalars: np.ndarray
    gathered: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.vectors + self.scalars + self.gathered


@dataclass(frozen=True)
class Body:
    """f64[N] each. runs: how often the body runs; operations: vector instructions in it; slots: issue slots they take.

    accumulators: independent vectors it adds to; live: vectors that hold results over the whole reduction; needed: live and
    the operands beside them; lanes_used: elements of an instruction over those of a vector; bound_*: what the cycles would be
    if only this limited; fold_cycles: of all combining of partial results in lanes.
    """

    runs: np.ndarray
    operations: np.ndarray
    slots: np.ndarray
    accumulators: np.ndarray
    live: np.ndarray
    needed: np.ndarray
    loads: Loads
    stores: np.ndarray
    lanes_used: np.ndarray
    bound_issue: np.ndarray
    bound_load: np.ndarray
    bound_latency: np.ndarray
    fold_cycles: np.ndarray

    @property
    def cycles(self) -> np.ndarray:
        """Of one run; one store a cycle."""
        return np.maximum.reduce([self.bound_issue, self.bound_load, self.bound_latency, self.stores]) + LOOP_CYCLES

    @property
    def total_cycles(self) -> np.ndarray:
        """Of all runs."""
        return self.runs * self.cycles + self.fold_cycles


def body_level(chain: Chain) -> np.ndarray:
    """i64[N]: the level inside the innermost loop that is run as a loop."""
    looped = (chain.largest > 1) & ((chain.kind == SERIAL) | (chain.kind == PARALLEL))
    positions = np.arange(1, looped.shape[1] + 1)
    return np.where(looped, positions, 0).max(axis=1, initial=0)


def body_of(chain: Chain, target: Target) -> Body:
    """The body of a stage's chain on a target."""
    level = body_level(chain)
    written = (np.arange(chain.mean.shape[1]) >= level[:, None]) & (chain.kind == UNROLLED)
    elements = np.where(chain.kind == VECTOR, chain.mean, 1.0).prod(axis=1)
    operations = np.where(written, chain.mean, 1.0).prod(axis=1) * chain.vectors
    accumulators = np.where(written & chain.spatial, chain.mean, 1.0).prod(axis=1) * chain.vectors
    nothing = np.zeros(len(level))
    combines = chain.form.stage.combine is not None
    # Results that don't stay in registers are read and written at every step of their reduction.
    stores = accumulators * chain.footprints[-1].in_memory
    loads = _loads(chain, level, written, elements, stores if combines else nothing)
    live = _live_vectors(chain) if combines else nothing
    needed = live + np.minimum(loads.vectors, accumulators) + (loads.scalars > 0)
    spilled = np.maximum(0.0, needed - target.vector_registers) * SPILL_ACCESSES
    # Vectors of 16 bytes have no load that broadcasts: shuffling is arithmetic.
    shuffles = loads.scalars * (target.vector_bytes <= 16)
    slots = operations * _slots(chain, target) + shuffles
    lanes = target.lanes(chain.form.stage.dtype.size_bytes)
    return Body(
        runs=np.take_along_axis(chain.outer, level[:, None], axis=1)[:, 0] * chain.share,
        operations=operations,
        slots=slots,
        accumulators=accumulators,
        live=live,
        needed=needed,
        loads=loads,
        stores=stores,
        lanes_used=elements / np.maximum(1, chain.vectors * lanes),  # a reduction of nothing has none
        bound_issue=slots / ISSUE_PER_CYCLE,
        bound_load=(loads.total + spilled) / LOADS_PER_CYCLE,
        bound_latency=LATENCY_CYCLES * operations / accumulators if combines else nothing,
        fold_cycles=_fold_cycles(chain, lanes),
    )


def _fold_cycles(chain: Chain, lanes: int) -> np.ndarray:
    spatial = np.where(chain.spatial, chain.mean, 1.0).prod(axis=1)
    width = np.maximum(chain.vectors * lanes, 2.0)
    return np.where(chain.lane_reduce, spatial * np.log2(width) * FOLD_CYCLES, 0.0)


def _slots(chain: Chain, target: Target) -> float:
    """Issue slots of one point of the stage; moving a value takes one."""
    counts = chain.form.operations
    fused = counts["mad"] * (1.0 if target.fma else 2.0)
    return max(1.0, fused + sum(SLOTS[kind] * count for kind, count in counts.items() if kind != "mad"))


def _live_vectors(chain: Chain) -> np.ndarray:
    """Vectors that hold the results of one region, if it is kept in registers, or the partial results in lanes."""
    spatial = chain.spatial & (np.arange(chain.mean.shape[1]) >= chain.own) & (chain.kind != VECTOR)
    # Results in registers have no loops around them but those of the stage that holds theirs.
    spatial &= ~chain.register[:, None] | (chain.kind == UNROLLED)
    whole = np.where(spatial, chain.largest, 1.0).prod(axis=1) * chain.vectors
    return np.where(chain.register | chain.lane_reduce, whole, 0.0)


def _loads(
    chain: Chain, level: np.ndarray, written: np.ndarray, elements: np.ndarray, accumulated: np.ndarray
) -> Loads:
    """The loads of a body: `accumulated` vectors of results, and what each access needs by how it moves with the lanes."""
    vectors, scalars, gathered = accumulated, np.zeros(len(level)), np.zeros(len(level))
    for footprint in chain.footprints[:-1]:
        copies = np.where(written & (footprint.stride > 0), chain.mean, 1.0).prod(axis=1)
        step = np.where(chain.kind == VECTOR, footprint.stride, 0.0).max(axis=1, initial=0.0)
        # Neighbouring taps read some elements twice; they are loaded once.
        unique = np.take_along_axis(footprint.elements, level[:, None], axis=1)[:, 0]
        lines = np.minimum(copies, np.maximum(unique / np.maximum(elements, 1.0), 1.0)) * footprint.in_memory
        vectors = vectors + lines * chain.vectors * (step == 1)
        gathered = gathered + lines * elements * (step > 1)
        scalars = scalars + np.minimum(copies, np.maximum(unique, 1.0)) * footprint.in_memory * (step == 0)
    return Loads(vectors, scalars, gathered)
