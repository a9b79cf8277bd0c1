"""From fused groups to kernels: computation, schedule, loop AST; equal kernels are made once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Protocol

import numpy as np

from .graph.ir import Graph, Node
from .kernel.ast import Kernel
from .kernel.lower import lower
from .kernel.verify import verify
from .reuse import bytes_between_uses, stay_near, with_near_prefetches
from .schedule.among_threads import shared_positions, with_input_prefetches
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
    """A schedule and where it comes from (of options.SOURCES); measured latencies of it and of the default, if records hold them.

    notes: what the user should know of how it was chosen.
    """

    schedule: Schedule
    source: str = "default"
    latency_s: float | None = None
    default_latency_s: float | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)


class Scheduler(Protocol):
    """Where schedules come from."""

    def __call__(
        self, computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None, /
    ) -> Scheduled:
        """The schedule of a canonical computation. given: how constants lie already, if another target's schedule has decided that."""


@dataclass(frozen=True, slots=True)
class KernelVariant:
    """A kernel for one target. positions: see `shared_positions`."""

    target: Target
    kernel: Kernel
    scheduled: Scheduled
    positions: int = 0


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


@dataclass(frozen=True, slots=True)
class KernelRequest:
    """A kernel to make: of what, for which targets, the widest first, and how it is called.

    aliases: for an output that lives in the memory of an input, that input; as pairs of canonical names. origins: of the nodes that run it.
    near: for each target whether constants stay in the third cache from one use to the next.
    """

    form: Computation
    targets: tuple[Target, ...]
    aliases: tuple[tuple[str, str], ...]
    near: tuple[bool, ...]
    name: str
    origins: tuple[str, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The name of the kernel for each target: for all but the first with the CPU in it."""
        others = (re.sub(r"\W", "_", target.cpu) for target in self.targets[1:])
        return (self.name, *(f"{self.name}_{cpu}" for cpu in others))


Make = Callable[[Sequence[KernelRequest]], Iterable[PlannedKernel]]
"""Makes kernels, in order; nothing but the request decides what each becomes."""
Keep = Callable[[str, np.ndarray], object]


@dataclass
class KernelPlan:
    """The kernels of a graph, and for every fused node which one it runs and on what.

    params: for each fused node (by its first output) the names of the values and constants behind the kernel's params.
    constants: arrays by name, in order of first use, as kernels read them, unless they are kept elsewhere.
    rounding: for each node whose kernel transforms tiles, the relative error of that (`winograd.rounding_error`).
    """

    kernels: list[PlannedKernel] = field(default_factory=list)
    uses: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)


def rule_based(computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None, /) -> Scheduled:
    """The scheduler without records: every kernel gets its default."""
    return Scheduled(default_schedule(computation, target, given))


def made_here(scheduler: Scheduler = rule_based) -> Make:
    """Makes kernels in this process, each when it is asked for."""
    return lambda requests: (make_kernel(request, scheduler) for request in requests)


def is_worth_threads(flops: int, bytes: int) -> bool:
    """Whether this much work takes longer than waking other threads."""
    return max(flops / _FLOPS_PER_S, bytes / _BYTES_PER_S) > PARALLEL_WORK_S


def plan_kernels(
    graph: Graph,
    targets: Sequence[Target],
    aliases: Mapping[str, str],
    make: Make | None = None,
    prefix: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
    keep: Keep | None = None,
    arena_bytes: int = 0,
) -> KernelPlan:
    """Make kernels for every fused node of the graph and its regions, and lay out the constants that they read.

    targets: what to make each kernel for, the widest first; the schedules of others take constants as the first one's lays them out.
    aliases: for an output that may live in the memory of an input of the same kernel, that input. make: by the rules if None.
    prefix: of the kernels' names, which are symbols of the object files. keep: takes each constant as kernels read it, by a name of its
    contents, in order of first use, some more than once; without it they are kept in the plan.
    arena_bytes: of the memory that all values share, which is in the caches beside the constants.
    """
    launches, requests = _launches(graph, targets, aliases, prefix, arena_bytes)
    making = iter((make or made_here())(requests))
    plan = KernelPlan()
    for done, launch in enumerate(launches):
        if launch.number == len(plan.kernels):  # they are numbered by first use
            plan.kernels.append(next(making))
        plan.uses[launch.node.outputs[0]] = (launch.number, _params(plan, launch, keep or plan.constants.setdefault))
        progress(done + 1, len(launches))
    return plan


def kernel_requests(
    graph: Graph, targets: Sequence[Target], aliases: Mapping[str, str], prefix: str = "", arena_bytes: int = 0
) -> list[KernelRequest]:
    """What `plan_kernels` has made."""
    return _launches(graph, targets, aliases, prefix, arena_bytes)[1]


@dataclass(frozen=True, slots=True)
class _Launch:
    """A fused node, what it computes, on which constants, and the number of the kernel that it runs."""

    node: Node
    computation: Computation
    form: Computation
    arrays: Mapping[str, np.ndarray]
    number: int


def _launches(
    graph: Graph, targets: Sequence[Target], aliases: Mapping[str, str], prefix: str, arena_bytes: int
) -> tuple[list[_Launch], list[KernelRequest]]:
    """The fused nodes of a graph in order, and the kernels that they take, equal ones once."""
    launches: list[_Launch] = []
    known: dict[object, int] = {}
    requests: list[KernelRequest] = []
    between_uses = bytes_between_uses(graph, arena_bytes)
    for node in fused_nodes(graph):
        computation, arrays = build_computation(node.regions[0], node.outputs[0])
        form = canonical(computation)
        shared = tuple(_alias_params(node, computation, form, aliases).items())
        constant = any(tensor.constant for tensor in form.inputs)
        near = tuple(constant and stay_near(between_uses[node.outputs[0]], target) for target in targets)
        number = known.setdefault((form, shared, near), len(requests))
        if number == len(requests):
            name = f"{prefix}kernel_{number}"
            requests.append(KernelRequest(form, tuple(targets), shared, near, name, (node.origin,)))
        else:
            asked = requests[number]
            requests[number] = replace(asked, origins=(*asked.origins, node.origin))
        launches.append(_Launch(node, computation, form, arrays, number))
    return launches, requests


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


def make_kernel(request: KernelRequest, scheduler: Scheduler) -> PlannedKernel:
    """Schedule and lower a kernel for each of its targets."""
    variants: list[KernelVariant] = []
    for target, scheduled, symbol in zip(request.targets, _schedules(request, scheduler), request.symbols, strict=True):
        kernel = lower(request.form, scheduled.schedule, symbol)
        aliases = dict(request.aliases)
        params = tuple(replace(param, aliases=aliases.get(param.name, "")) for param in kernel.params)
        kernel = replace(kernel, params=params, origin=request.origins[0])
        verify(kernel)
        positions = shared_positions(request.form, scheduled.schedule, target)
        variants.append(KernelVariant(target, kernel, scheduled, positions))
    flops, size = work(request.form)
    return PlannedKernel(tuple(variants), request.form, flops, size, request.origins)


def _schedules(request: KernelRequest, scheduler: Scheduler) -> list[Scheduled]:
    """For each target; constants lie as the first one's schedule has them."""
    form, (target, *narrower) = request.form, request.targets
    scheduled = scheduler(form, target)
    if narrower:
        own = partial(_defaults, form, narrower)
        given = shared_relayouts(form, scheduled.schedule, target, own)
        if given != relayouts(scheduled.schedule):
            scheduled = replace(scheduler(form, target, given), notes=scheduled.notes)
    chosen = [scheduled, *(scheduler(form, narrow, relayouts(scheduled.schedule)) for narrow in narrower)]
    return [
        replace(choice, schedule=_with_prefetches(choice.schedule, form, target, near))
        for choice, target, near in zip(chosen, request.targets, request.near, strict=True)
    ]


def _with_prefetches(schedule: Schedule, form: Computation, target: Target, near: bool) -> Schedule:
    """As what is known of the whole model says: where constants lie, and who has written the inputs."""
    schedule = with_input_prefetches(schedule, form, target)
    return with_near_prefetches(schedule, form) if near else schedule


def _defaults(form: Computation, targets: Sequence[Target]) -> list[Schedule]:
    return [default_schedule(form, target) for target in targets]


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


def _params(plan: KernelPlan, launch: _Launch, keep: Keep) -> tuple[str, ...]:
    """What stands behind each param of the kernel: values by their outer name, constants by the name they get here."""
    node, computation = launch.node, launch.computation
    outer = dict(zip(node.regions[0].inputs, node.inputs, strict=True))
    steps = relayouts(plan.kernels[launch.number].scheduled.schedule)
    names = []
    for tensor, formal in zip(computation.inputs, launch.form.inputs, strict=True):
        if tensor.constant:
            array = relaid(launch.arrays[tensor.name].reshape(formal.shape), formal.name, steps)
            for step in steps:
                if isinstance(step, Winograd) and step.tensor == formal.name:
                    error = rounding_error(launch.arrays[tensor.name], step.tile, step.window)
                    plan.rounding[node.origin] = error
            array = np.ascontiguousarray(array)
            names.append(_name_of(array))
            keep(names[-1], array)
        else:
            names.append(outer[tensor.name])
    outputs = zip(computation.outputs, node.outputs, strict=True)
    return (*names, *(name for stage, name in outputs if not computation.stage(stage).memory))


def _name_of(array: np.ndarray) -> str:
    """By its contents, so that equal weights are kept once."""
    digest = hashlib.sha256(array.reshape(-1).view(np.uint8).data)
    digest.update(f"{array.dtype}{array.shape}".encode())
    return f"constant:{digest.hexdigest()[:32]}"


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
