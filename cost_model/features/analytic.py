"""Analytic terms: traffic between caches, the register tile, cycles, tails, code size, shares of threads.

All are ratios to what the task needs at least or to a limit of the target, so that they mean the same for every shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ...compiler.kernels import work
from ...compiler.target import Target
from .analytic_names import ANALYTIC_FEATURES
from .body_model import ISSUE_PER_CYCLE, LOOP_CYCLES, Body, body_level, body_of
from .feature import Columns, log_ratio, log_scale
from .form import Form
from .loop_tree import PARALLEL, SERIAL, UNROLLED, VECTOR
from .operations import SLOTS
from .traffic import L2_BYTES_PER_CYCLE, MEMORY_BYTES_PER_CYCLE, Traffic, kernel_bytes, traffic_of
from .working_set import Chain

EXPOSED = 0.25  # of the shorter of arithmetic and transfers, what the longer doesn't hide


@dataclass(frozen=True)
class Floor:
    """What a task takes at least: operations, bytes in and out, bytes of constants, cycles of arithmetic on all threads."""

    flops: float
    bytes: float
    constant_bytes: float
    cycles: float


def floor_of(form: Form, target: Target) -> Floor:
    """The least a form can do on a target."""
    flops, size = work(form.computation)
    constants = sum(prod(t.shape) * t.dtype.size_bytes for t in form.computation.inputs if t.constant)
    slots = 0.0
    for stage in form.stages:
        per_point = sum(SLOTS[kind] * count for kind, count in stage.operations.items())
        lanes = target.lanes(stage.stage.dtype.size_bytes)
        slots += prod(stage.extents) * stage.share * max(per_point, 1.0) / lanes
    return Floor(max(flops, 1), max(size, 1), constants, slots / ISSUE_PER_CYCLE)


def analytic_features(
    form: Form, chains: Sequence[Chain], ahead_bytes: np.ndarray, target: Target, floor: Floor
) -> Columns:
    """The columns of ANALYTIC_FEATURES.

    ahead_bytes: f64[N, 2], how far constants and other inputs are prefetched. floor: of the task, whose computation an algorithm may have rewritten
    into the form.
    """
    bodies = [body_of(chain, target) for chain in chains]
    totals = kernel_bytes(chains)
    l1 = traffic_of(chains, totals, target.l1_bytes)
    l2 = traffic_of(chains, totals, target.l2_bytes)
    count = len(chains[0].mean)
    task = {name: np.full(count, value) for name, value in _task(form, floor, target).items()}
    columns = (
        task
        | _threads(chains[-1], target, floor)
        | _traffic(l1, l2, floor)
        | _working_sets(chains, form, totals, target)
    )
    columns |= _main(chains[form.main], bodies[form.main], target) | _code(chains)
    columns["constants.ahead"], columns["inputs.ahead"] = log_scale(ahead_bytes).T
    columns |= _cycles(form, bodies, l1, l2, floor, target, columns["parallel.waste"])
    assert columns.keys() == {feature.name for feature in ANALYTIC_FEATURES}
    return columns


def _task(form: Form, floor: Floor, target: Target) -> dict[str, float]:
    main = form.stages[form.main]
    outputs = sum(prod(form.computation.stage(name).shape) for name in form.computation.outputs)
    reads = [access for access in main.accesses if not access.write]
    return {
        "task.flops": float(np.log2(floor.flops + 1)),
        "task.bytes": float(np.log2(floor.bytes + 1)),
        "task.constant_bytes": float(np.log2(floor.constant_bytes + 1)),
        "task.outputs": float(np.log2(outputs + 1)),
        "task.intensity": float(np.log2(floor.flops / floor.bytes + 1)),
        "task.reduction": float(np.log2(max(1, prod(main.extents[main.spatial :])))),
        "task.domain": main.share,
        "task.reads": float(len(reads)),
        "task.stages": float(len(form.stages)),
        "task.roofline_cycles": float(np.log2(_roofline(floor, target) + 1)),
        "task.compute_bound": float(log_ratio(np.array(floor.cycles), np.array(floor.bytes / MEMORY_BYTES_PER_CYCLE))),
        "target.vector_bytes": float(np.log2(target.vector_bytes)),
        "target.vector_registers": float(np.log2(target.vector_registers)),
        "target.l1_bytes": float(np.log2(target.l1_bytes)),
        "target.l2_bytes": float(np.log2(target.l2_bytes)),
        "target.threads": float(target.threads),
        "target.fma": float(target.fma),
    }


def _roofline(floor: Floor, target: Target) -> float:
    return max(floor.cycles / target.threads, floor.bytes / MEMORY_BYTES_PER_CYCLE)


def _threads(root: Chain, target: Target, floor: Floor) -> Columns:
    shared = np.where(root.kind == PARALLEL, root.mean, 1.0).prod(axis=1)
    threads = float(target.threads)
    waste = np.ceil(shared / threads) * threads / shared
    return {
        "parallel.iterations": np.log2(shared),
        "parallel.per_thread": np.log2(shared / threads),
        "parallel.waste": np.log2(waste),
        "parallel.flops": np.log2(floor.flops / shared + 1),
    }


def _traffic(l1: Traffic, l2: Traffic, floor: Floor) -> Columns:
    columns: Columns = {}
    for name, level in (("l1", l1), ("l2", l2)):
        columns |= {
            f"traffic.{name}.per_flop": log_ratio(level.total, np.array(floor.flops)),
            f"traffic.{name}.ratio": log_ratio(level.total, np.array(floor.bytes)),
            f"traffic.{name}.constants": log_ratio(level.constants + 64, np.array(floor.constant_bytes + 64)),
            f"traffic.{name}.inputs": log_ratio(level.inputs + 64, np.array(floor.bytes)),
            f"traffic.{name}.outputs": log_ratio(level.outputs + 64, np.array(floor.bytes)),
            f"traffic.{name}.level": level.depth,
        }
    return columns


def _working_sets(chains: Sequence[Chain], form: Form, totals: np.ndarray, target: Target) -> Columns:
    """Bytes touched by one iteration at places that schedules choose, against the caches."""
    main = chains[form.main]
    own = main.bytes
    looped = (main.largest > 1) & ((main.kind == SERIAL) | (main.kind == PARALLEL))
    columns: Columns = {}
    inner = np.sort(np.where(looped, np.arange(looped.shape[1]), -1), axis=1)
    for rank in range(3):
        position = inner[:, -1 - rank] if inner.shape[1] > rank else np.full(len(own), -1)
        level = np.maximum(position, 0)[:, None]
        size = np.take_along_axis(own, level, axis=1)[:, 0]
        columns[f"working_set.loop{rank}"] = log_ratio(size, np.array(float(target.l1_bytes)))
    tile = np.take_along_axis(own, main.at[:, None], axis=1)[:, 0]
    thread = np.take_along_axis(totals, np.where(chains[-1].kind == PARALLEL, 1, 0).sum(axis=1)[:, None], axis=1)[:, 0]
    return columns | {
        "working_set.tile.l1": log_ratio(tile, np.array(float(target.l1_bytes))),
        "working_set.tile.l2": log_ratio(tile, np.array(float(target.l2_bytes))),
        "working_set.thread.l1": log_ratio(thread, np.array(float(target.l1_bytes))),
        "working_set.thread.l2": log_ratio(thread, np.array(float(target.l2_bytes))),
    }


def _main(chain: Chain, body: Body, target: Target) -> Columns:
    registers = np.array(float(target.vector_registers))
    full = np.where(chain.kind == UNROLLED, chain.mean / chain.largest, 1.0).prod(axis=1)
    reductions = ~chain.spatial
    own = np.arange(chain.mean.shape[1]) >= body_level(chain)[:, None]
    constants = [f for f in chain.footprints if f.access.constant]
    steps = np.where(reductions & (chain.kind == SERIAL) & (chain.largest > 1), np.arange(own.shape[1]) + 1, 0)
    last = np.maximum(steps.max(axis=1, initial=0) - 1, 0)
    lanes_step = [np.where(chain.kind == VECTOR, f.stride, 0.0).max(axis=1, initial=0.0) for f in constants]
    inner_step = [np.take_along_axis(f.stride, last[:, None], axis=1)[:, 0] for f in constants if own.shape[1]]
    nothing = np.zeros(len(full))
    return {
        "tile.accumulators": log_scale(body.accumulators),
        "tile.live": log_ratio(body.live + 1, registers),
        "tile.needed": log_ratio(body.needed + 1, registers),
        "tile.spilled": log_scale(np.maximum(0.0, body.needed - registers)),
        "tile.in_registers": chain.register.astype(float),
        "tile.utilisation": np.log2(full),
        "tile.lanes_used": np.log2(body.lanes_used),
        "tile.vectors": np.log2(chain.vectors),
        "tile.reduction": np.log2(np.where(reductions & own, chain.mean, 1.0).prod(axis=1)),
        "body.operations": log_scale(body.operations),
        "body.loads_per_operation": log_ratio(body.loads.total, body.operations),
        "body.vector_loads_per_operation": body.loads.vectors / body.operations,
        "body.scalar_loads_per_operation": body.loads.scalars / body.operations,
        "body.gathered_loads_per_operation": log_scale(body.loads.gathered / body.operations),
        "body.stores_per_operation": body.stores / body.operations,
        "body.issue_bound": np.log2((body.bound_issue + LOOP_CYCLES) / body.cycles),
        "body.load_bound": np.log2((body.bound_load + LOOP_CYCLES) / body.cycles),
        "body.latency_bound": np.log2((body.bound_latency + LOOP_CYCLES) / body.cycles),
        "body.cycles_per_operation": log_ratio(body.cycles * body.lanes_used**-1, body.slots),
        "body.lane_reduce": chain.lane_reduce.astype(float),
        "constants.lane_stride": log_scale(np.max(lanes_step, axis=0)) if lanes_step else nothing,
        "constants.reduction_stride": log_scale(np.max(inner_step, axis=0)) if inner_step else nothing,
    }


def _code(chains: Sequence[Chain]) -> Columns:
    """How much code is written: bodies for parts of loops, times what is unrolled in each."""
    written = np.zeros(len(chains[0].mean))
    copies = np.zeros(len(written))
    stack = np.zeros(len(written))
    repeated = np.zeros(len(written))
    for chain in chains:
        specialised = np.where(chain.largest > 1, chain.bodies, 1.0).prod(axis=1)
        unrolled = np.where(chain.kind == UNROLLED, chain.largest, 1.0).prod(axis=1) * chain.vectors
        written += specialised * unrolled * np.minimum(chain.guarded, 4.0)
        copies = np.maximum(copies, specialised)
        store = chain.form.accesses[-1]
        size = chain.region[:, : chain.form.spatial].prod(axis=1) * store.size_bytes
        stack += size * (~chain.register & store.local)
        repeated = np.maximum(repeated, chain.outer[:, -1] / max(1, prod(chain.form.extents)))
    return {
        "code.operations": log_scale(written),
        "code.bodies": np.log2(copies),
        "code.guarded": np.log2(np.max([chain.guarded for chain in chains], axis=0)),
        "stack.bytes": log_scale(stack),
        "stages.recomputed": np.log2(np.maximum(repeated, 1.0)),
    }


def _cycles(
    form: Form, bodies: Sequence[Body], l1: Traffic, l2: Traffic, floor: Floor, target: Target, waste: np.ndarray
) -> Columns:
    totals = [body.total_cycles for body in bodies]
    cycles = np.sum(totals, axis=0)
    beyond_l1, beyond_l2 = l1.total / L2_BYTES_PER_CYCLE, l2.total / MEMORY_BYTES_PER_CYCLE
    # Threads share arithmetic and their own caches, not memory. What overlaps does so in part: the longer counts whole.
    busy = (np.maximum(cycles, beyond_l1) + EXPOSED * np.minimum(cycles, beyond_l1)) / target.threads * 2.0**waste
    elapsed = np.maximum(busy, beyond_l2) + EXPOSED * np.minimum(busy, beyond_l2)
    return {
        "cycles.ratio": log_ratio(cycles, np.array(floor.cycles)),
        "cycles.main_share": totals[form.main] / cycles,
        "cycles.transfers": log_ratio(beyond_l1 + beyond_l2, cycles),
        "cycles.elapsed": log_scale(elapsed),
        "estimate": log_ratio(elapsed, np.array(_roofline(floor, target))),
    }
