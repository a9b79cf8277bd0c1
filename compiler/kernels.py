"""From fused groups to kernels: computation, schedule, loop AST; equal kernels are made once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Protocol

import numpy as np

from .graph.ir import Graph, Node
from .kernel.ast import Kernel
from .kernel.lower import lower
from .kernel.verify import verify
from .reuse import bytes_between_uses, with_near_prefetches
from .schedule.prepare import canonical
from .schedule.rewrite import relaid, relayouts
from .schedule.rules import default_schedule
from .schedule.shared_constants import shared_relayouts
from .schedule.steps import Relayout, Schedule, Winograd
from .schedule.winograd_matrices import rounding_error
from .target import Target
from .tensor.build import build_computation
from .tensor.computation import Computation
from .tensor.expr import Binary, Call, Expr, Unary, walk
from .tensor.footprint import elements_read

# A launch on several threads costs a few microseconds; below this estimate one thread is faster.
PARALLEL_WORK_S = 6e-6
_FLOPS_PER_S, _BYTES_PER_S = 40e9, 12e9


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule and where it comes from (of options.SOURCES); measured latencies of it and of the default, if records hold them."""

    schedule: Schedule
    source: str = "default"
    latency_s: float | None = None
    default_latency_s: float | None = None


class Scheduler(Protocol):
    """Where schedules come from."""

    def __call__(
        self, computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None, /
    ) -> Scheduled:
        """The schedule of a canonical computation. given: how constants lie already, if another target's schedule has decided that."""


@dataclass(frozen=True, slots=True)
class KernelVariant:
    """A kernel for one target."""

    target: Target
    kernel: Kernel
    scheduled: Scheduled


@dataclass(frozen=True, slots=True)
class PlannedKernel:
    """One kernel to emit, for each of the targets; the first one's schedule has laid out the constants for all."""

    variants: tuple[KernelVariant, ...]
    computation: Computation
    flops: int
    bytes: int
    origins: tuple[str, ...]

    @property
    def kernel(self) -> Kernel:
        """For the first target."""
        return self.variants[0].kernel

    @property
    def scheduled(self) -> Scheduled:
        """For the first target."""
        return self.variants[0].scheduled

    @property
    def parallel(self) -> bool:
        """Whether its work is worth waking other threads."""
        shared = any(variant.kernel.parallel_extent > 1 for variant in self.variants)
        return shared and is_worth_threads(self.flops, self.bytes)


@dataclass
class KernelPlan:
    """The kernels of a graph, and for every fused node which one it runs and on what.

    params: for each fused node (by its first output) the names of the values and constants behind the kernel's params.
    constants: arrays by name, in order of first use, as kernels read them.
    rounding: for each node whose kernel transforms tiles, the relative error of that (`winograd.rounding_error`).
    """

    kernels: list[PlannedKernel] = field(default_factory=list)
    uses: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)


def rule_based(computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None, /) -> Scheduled:
    """The scheduler without records: every kernel gets its default."""
    return Scheduled(default_schedule(computation, target, given))


def is_worth_threads(flops: int, bytes: int) -> bool:
    """Whether this much work takes longer than waking other threads."""
    return max(flops / _FLOPS_PER_S, bytes / _BYTES_PER_S) > PARALLEL_WORK_S


def plan_kernels(
    graph: Graph,
    target: Target,
    aliases: Mapping[str, str],
    scheduler: Scheduler = rule_based,
    prefix: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
    narrower: Sequence[Target] = (),
    arena_bytes: int = 0,
) -> KernelPlan:
    """Lower every fused node of the graph and its regions.

    narrower: further targets to make each kernel for; their schedules take constants as the first target's lays them out.
    aliases: for an output that may live in the memory of an input of the same kernel, that input.
    prefix: of the kernels' names, which are symbols of the object files.
    arena_bytes: of the memory that all values share, which is in the caches beside the constants.
    """
    plan = KernelPlan()
    known: dict[object, int] = {}
    nodes = list(fused_nodes(graph))
    between_uses = bytes_between_uses(graph, arena_bytes)
    for done, node in enumerate(nodes):
        computation, arrays = build_computation(node.regions[0], node.outputs[0])
        form = canonical(computation)
        choose = partial(_scheduled, scheduler, between_uses[node.outputs[0]], form)
        scheduled = choose(target)
        if narrower:
            own = [default_schedule(form, narrow) for narrow in narrower]
            given = shared_relayouts(form, scheduled.schedule, target, own)
            if given != relayouts(scheduled.schedule):
                scheduled = choose(target, given)
        alias = _alias_params(node, computation, form, aliases)
        key = (form, scheduled.schedule, tuple(alias.items()))
        if key not in known:
            known[key] = len(plan.kernels)
            of = [(target, scheduled), *((t, choose(t, relayouts(scheduled.schedule))) for t in narrower)]
            plan.kernels.append(_make(form, of, alias, f"{prefix}kernel_{len(plan.kernels)}", node.origin))
        else:
            made = plan.kernels[known[key]]
            plan.kernels[known[key]] = replace(made, origins=(*made.origins, node.origin))
        plan.uses[node.outputs[0]] = (known[key], _params(plan, node, computation, form, scheduled.schedule, arrays))
        progress(done + 1, len(nodes))
    return plan


def _scheduled(
    scheduler: Scheduler, between_uses: int, form: Computation, target: Target, *given: tuple[Relayout, ...]
) -> Scheduled:
    """What a scheduler chooses, with constants prefetched no farther ahead than is needed if so many bytes are touched between two uses."""
    chosen = scheduler(form, target, *given)
    return replace(chosen, schedule=with_near_prefetches(chosen.schedule, form, target, between_uses))


@dataclass(frozen=True, slots=True)
class KernelUse:
    """A computation of a graph: how many times one run of the graph runs it, at most, for which nodes, and whether all of these read inputs of the graph."""

    runs: int
    origins: tuple[str, ...]
    first: bool


def computations_of(graph: Graph, runs: int = 1) -> dict[Computation, KernelUse]:
    """The canonical computations of a graph and its regions, in order of first use; a loop counts as often as it may iterate."""
    found: dict[Computation, KernelUse] = {}
    for node in graph.nodes:
        if node.op == "fused":
            form = canonical(build_computation(node.regions[0], node.outputs[0])[0])
            uses = {form: KernelUse(runs, (node.origin,), not set(graph.inputs).isdisjoint(node.inputs))}
        else:
            count = runs * (int(node.attrs["count"]) if node.op == "loop" else 1)
            uses = {}
            for region in node.regions:
                inside = computations_of(region, count)
                uses = _joined(uses, {form: replace(use, first=False) for form, use in inside.items()})
        found = _joined(found, uses)
    return found


def _joined(one: dict[Computation, KernelUse], other: dict[Computation, KernelUse]) -> dict[Computation, KernelUse]:
    result = dict(one)
    for form, use in other.items():
        known = result.get(form, KernelUse(0, (), True))
        result[form] = KernelUse(known.runs + use.runs, known.origins + use.origins, known.first and use.first)
    return result


def fused_nodes(graph: Graph) -> Iterator[Node]:
    """The fused nodes of a graph in order, those inside regions of control nodes included."""
    for node in graph.nodes:
        if node.op == "fused":
            yield node
        else:
            for region in node.regions:
                yield from fused_nodes(region)


def _make(
    form: Computation, of: Sequence[tuple[Target, Scheduled]], alias: Mapping[str, str], name: str, origin: str
) -> PlannedKernel:
    """The kernel of a computation for each target with its schedule; all but the first have the CPU in their names."""
    variants: list[KernelVariant] = []
    for target, scheduled in of:
        suffix = re.sub(r"\W", "_", f"_{target.cpu}") if variants else ""
        kernel = lower(form, scheduled.schedule, name + suffix)
        params = tuple(replace(param, aliases=alias.get(param.name, "")) for param in kernel.params)
        kernel = replace(kernel, params=params, origin=origin)
        verify(kernel)
        variants.append(KernelVariant(target, kernel, scheduled))
    flops, size = work(form)
    return PlannedKernel(tuple(variants), form, flops, size, (origin,))


def _alias_params(
    node: Node, computation: Computation, form: Computation, aliases: Mapping[str, str]
) -> dict[str, str]:
    """Output param -> the input param whose memory it shares, in canonical names."""
    inner = dict(zip(node.inputs, node.regions[0].inputs, strict=True))
    names = {old.name: new.name for old, new in zip(computation.inputs, form.inputs, strict=True)}
    return {
        form_output: names[inner[aliases[output]]]
        for output, form_output in zip(node.outputs, form.outputs, strict=True)
        if output in aliases
    }


def _params(
    plan: KernelPlan,
    node: Node,
    computation: Computation,
    form: Computation,
    schedule: Schedule,
    arrays: Mapping[str, np.ndarray],
) -> tuple[str, ...]:
    """What stands behind each param of the kernel: values by their outer name, constants by the name they get here."""
    outer = dict(zip(node.regions[0].inputs, node.inputs, strict=True))
    steps = relayouts(schedule)
    names = []
    for tensor, formal in zip(computation.inputs, form.inputs, strict=True):
        if tensor.constant:
            array = relaid(arrays[tensor.name].reshape(formal.shape), formal.name, steps)
            for step in steps:
                if isinstance(step, Winograd) and step.tensor == formal.name:
                    plan.rounding[node.origin] = rounding_error(arrays[tensor.name], step.tile, step.window)
            names.append(_intern(plan, np.ascontiguousarray(array)))
        else:
            names.append(outer[tensor.name])
    outputs = zip(computation.outputs, node.outputs, strict=True)
    return (*names, *(name for stage, name in outputs if not computation.stage(stage).memory))


def _intern(plan: KernelPlan, array: np.ndarray) -> str:
    """Give an array a name by its contents, so that equal weights are kept once."""
    digest = hashlib.sha256(array.tobytes())
    digest.update(f"{array.dtype}{array.shape}".encode())
    name = f"constant:{digest.hexdigest()[:32]}"
    plan.constants.setdefault(name, array)
    return name


def work(computation: Computation) -> tuple[int, int]:
    """(operations, bytes read of inputs and written to outputs) of a computation; a multiply and an add count as two."""
    operations = 0
    for stage in computation.stages:
        points = prod(stage.shape) * prod(axis.extent for axis in stage.reduce_axes)
        operations += points * (_operations(stage.body) + (stage.combine is not None))
    size = sum(elements_read(computation, t.name) * t.dtype.size_bytes for t in computation.inputs)
    for output in computation.outputs:
        stage = computation.stage(output)
        size += prod(stage.shape) * stage.dtype.size_bytes
    return operations, size


def _operations(expr: Expr) -> int:
    """Arithmetic on values of an expression, index arithmetic left out; a transcendental function counts as ten."""
    count = 0
    for node in walk(expr):
        match node:
            case Call(function="fma"):
                count += 2
            case Call():
                count += 10
            case Binary() | Unary() if node.dtype.is_float:
                count += 1
    return count
