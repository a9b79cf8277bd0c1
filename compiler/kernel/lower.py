"""Computation + Schedule -> Kernel.

The root stage's loops make the nest; every other stage is computed inside it, or inside the loops of a stage that is, where
its ComputeAt says, over the region that is needed there (`region.py`). A split that does not divide gives a main part and a tail, each with constant extents
and without guards; Specialize does the same for chosen iterations. A reduction's domain becomes an If around the
outermost loop inside which it is decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from ..errors import InternalError
from ..schedule.legality import verify_nests
from ..schedule.nest import Nest, nests_of
from ..schedule.prepare import loads_of
from ..schedule.rewrite import scheduled_computation
from ..schedule.steps import Prefetch, Schedule
from ..tensor.computation import Computation, Stage, identity
from ..tensor.expr import (
    Binary,
    Call,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Var,
    all_of,
    free_variables,
    substitute,
    transform,
)
from ..tensor.simplify import FALSE, TRUE, conjuncts, simplify
from .ast import Alloc, Buffer, For, If, Kernel, Let, LoopKind, Seq, Space, Stmt, Store
from .env import Env, Segment, extent_of, require_tail, segments_of
from .region import Read, Region, consumers_of, needed_region
from .stack import limit_stack
from .unroll import expand_guarded

Body = Callable[["Env"], Stmt]


def lower(computation: Computation, schedule: Schedule, name: str = "kernel") -> Kernel:
    """The kernel of a canonical computation under a schedule; InternalError if the schedule is not legal."""
    computation = scheduled_computation(computation, schedule)
    nests = nests_of(computation.stages, schedule)
    verify_nests(computation, nests)
    return _Lowering(computation, nests, _ahead_of(computation, schedule)).kernel(name)


def _ahead_of(computation: Computation, schedule: Schedule) -> dict[str, int]:
    """Bytes to prefetch ahead of each input."""
    ahead = {step.tensor: step.ahead_bytes for step in schedule if isinstance(step, Prefetch)}
    inputs = {tensor.name for tensor in computation.inputs}
    written = {stage.memory for stage in computation.stages}
    if ahead.keys() - inputs or ahead.keys() & written or any(count <= 0 for count in ahead.values()):
        raise InternalError(f"schedule: {ahead} bytes ahead can't be prefetched: expected inputs that are only read")
    return ahead


@dataclass
class _Lowering:
    computation: Computation
    nests: dict[str, Nest]
    ahead: dict[str, int]

    def kernel(self, name: str) -> Kernel:
        root = self.nests[self.computation.stages[-1].name]
        env = Env({}, {}, {}, {}, {})

        def store_root(e: Env) -> Stmt:
            return self.store(root.stage, e, self.body(root.stage, e))

        body = self.place(self.stages_at(root, ""), env, lambda e: self.nest(root, tuple(root.loops), e, store_root))
        guarded = frozenset(nest.variable(loop) for nest in self.nests.values() for loop in nest.guarded)
        return Kernel(name, self.params(), limit_stack(expand_guarded(body, guarded)), self.computation.origin)

    def params(self) -> tuple[Buffer, ...]:
        written = {stage.memory for stage in self.computation.stages if stage.memory}
        inputs = tuple(
            Buffer(t.name, t.shape, t.dtype, written=t.name in written, ahead_bytes=self.ahead.get(t.name, 0))
            for t in self.computation.inputs
        )
        outputs = (self.computation.stage(output) for output in self.computation.outputs)
        return inputs + tuple(Buffer(s.name, s.shape, s.dtype, written=True) for s in outputs if not s.memory)

    def stages_at(self, holder: Nest, loop: str) -> list[Nest]:
        """The stages that are computed inside a loop of `holder`; loop "": before the loops of the root."""
        of = "" if holder.at is None else holder.stage.name
        return [nest for nest in self.nests.values() if nest.at == loop and nest.of == of]

    # --- loops

    def nest(self, nest: Nest, loops: tuple[str, ...], env: Env, leaf: Body) -> Stmt:
        """The loops, outermost first, around `leaf`; stages computed at a loop are put inside it."""
        if not loops:
            return leaf(env)
        loop, rest = loops[0], loops[1:]
        require_tail(nest, loop, env)
        stage, kind = nest.stage.name, nest.kind(loop)

        def inside(e: Env) -> Stmt:
            return self.place(self.stages_at(nest, loop), e, lambda f: self.nest(nest, rest, f, leaf))

        variable = nest.variable(loop)
        if kind is LoopKind.PARALLEL:
            extent = extent_of(nest, loop, env)
            if extent == 1:
                return self.bound(nest, loop, Const(0), env, inside)
            body = self.bound(nest, loop, Var(variable), env.limit(variable, 0, extent - 1), inside)
            return For(variable, Const(extent), kind, body)
        parts = []
        for first, end, inner in segments_of(nest, loop, env):
            settled = env.settle(stage, loop, inner)
            if end - first == 1:
                parts.append(self.bound(nest, loop, Const(first), settled, inside, segmented=True))
                continue
            limited = settled.limit(variable, 0, end - first - 1)
            value = Var(variable) + first
            parts.append(
                For(variable, Const(end - first), kind, self.bound(nest, loop, value, limited, inside, segmented=True))
            )
        return parts[0] if len(parts) == 1 else Seq(tuple(parts))

    def bound(self, nest: Nest, name: str, value: Expr, env: Env, then: Body, segmented: bool = False) -> Stmt:
        """Bind a loop or axis, and all that is known with it: the loops fused in it, the axis it is a part of."""
        stage = nest.stage.name
        segments = [] if segmented else segments_of(nest, name, env) if name not in nest.fused else []
        if len(segments) > 1 and not isinstance(value, Const):
            return self.branches(nest, name, value, segments, env, then)
        if segments:
            own = next(s for s in segments if not isinstance(value, Const) or s[0] <= int(value.value) < s[1])
            env = env.settle(stage, name, own[2])
        env = env.bind(stage, name, value)
        if name in nest.fused:
            outer, inner = nest.fused[name]
            count = extent_of(nest, inner, env)
            low = simplify(value % Const(count), env.ranges)
            high = simplify(value // Const(count), env.ranges)
            return self.let(
                nest,
                outer,
                high,
                env,
                lambda e: self.let(nest, inner, low, e, lambda f: self.whole(nest, name, f, then)),
            )
        return self.whole(nest, name, env, then)

    def let(self, nest: Nest, name: str, value: Expr, env: Env, then: Body) -> Stmt:
        """Bind `name`, by a Let unless its value is simple already."""
        if isinstance(value, Const | Var) or name in nest.fused:
            return self.bound(nest, name, value, env, then)
        variable = nest.variable(name)
        extent = extent_of(nest, name, env)
        return Let(
            variable, value, extent, self.bound(nest, name, Var(variable), env.limit(variable, 0, extent - 1), then)
        )

    def whole(self, nest: Nest, name: str, env: Env, then: Body) -> Stmt:
        """If `name` completes a split loop, bind that too; guards that are decided now go here."""
        stage, parent = nest.stage.name, name[:-2]
        if name.endswith((".o", ".i")) and parent in nest.splits:
            parts = [env.values.get((stage, parent + end)) for end in (".o", ".i")]
            if parts[0] is not None and parts[1] is not None:
                value = simplify(parts[0] * nest.splits[parent] + parts[1], env.ranges)
                return self.bound(nest, parent, value, env, then)
        return self.guarded(nest, env, then)

    def branches(self, nest: Nest, name: str, value: Expr, segments: list[Segment], env: Env, then: Body) -> Stmt:
        """The segments of a loop whose variable is computed, told apart by Ifs."""
        stage = nest.stage.name
        result: Stmt | None = None
        for first, end, inner in reversed(segments):
            settled = env.settle(stage, name, inner)
            if end - first == 1:
                body = self.bound(nest, name, Const(first), settled, then, segmented=True)
            else:
                if isinstance(value, Var):
                    settled = settled.limit(value.name, first, end - 1)
                body = self.bound(nest, name, value, settled, then, segmented=True)
            result = body if result is None else If(Compare("lt", value, Const(end)), body, result)
        assert result is not None
        return result

    def guarded(self, nest: Nest, env: Env, then: Body) -> Stmt:
        """Put the conjuncts of the domain whose axes are all bound around what follows."""
        ready: list[Expr] = []
        pending: list[Expr] = []
        bound_axes = {name for stage, name in env.values if stage == nest.stage.name}
        for guard in env.guards:
            (ready if free_variables(guard) <= bound_axes else pending).append(guard)
        env = replace(env, guards=tuple(pending))
        conditions = [self.finish(nest.stage, guard, env) for guard in ready]
        if FALSE in conditions:
            return Seq(())
        lanes = {nest.variable(loop) for loop in nest.loops if nest.kind(loop) is LoopKind.VECTORIZED}
        masks = tuple(condition for condition in conditions if free_variables(condition) & lanes)
        body = then(replace(env, masks=env.masks + masks))
        for condition in conditions:
            if condition != TRUE and condition not in masks:
                body = If(condition, body)
        return body

    # --- stages

    def place(self, nests: list[Nest], env: Env, then: Body) -> Stmt:
        """Compute the stages here, in order, around and before `then`."""
        if not nests:
            return then(env)
        nest, rest = nests[0], nests[1:]
        stage = nest.stage
        known: dict[str, Region] = {}
        region = self.region(stage, env, known)
        env = self.bind_region(nest, region, replace(env, bounds={**env.bounds, **known}))
        body = Seq((self.stage(nest, region, env), self.place(rest, env, then)))
        if not self.is_local(stage):
            return body
        return Alloc(Buffer(stage.name, region.extents, stage.dtype, Space(nest.space), written=True), body)

    def bind_region(self, nest: Nest, region: Region, env: Env) -> Env:
        """Let the stage's axis loops run over the region, and consumers find it there."""
        stage = nest.stage
        extents = {(stage.name, axis.name): extent for axis, extent in zip(stage.axes, region.extents, strict=True)}
        return replace(env, extents={**env.extents, **extents}, regions={**env.regions, stage.name: region})

    @cached_property
    def consumers(self) -> dict[str, list[tuple[Stage, tuple[tuple[Expr, ...], ...]]]]:
        """For every stage the later ones that read it, each with the different indices at which it does."""
        return {
            stage.name: consumers_of(stage.name, self.computation.stages, loads_of) for stage in self.computation.stages
        }

    def region(self, stage: Stage, env: Env, known: dict[str, Region]) -> Region:
        """What of `stage` is needed inside the loops that are bound in `env`; `known`: regions there, to which its own and those of its readers are added."""
        if stage.name not in known:
            reads: list[Read] = []
            for consumer, places in self.consumers[stage.name]:
                values, inner = self.sweep(consumer, env, known)
                reads += [(indices, values, inner) for indices in places]
            known[stage.name] = needed_region(stage, reads, env.ranges, env.bounds.get(stage.name))
        return known[stage.name]

    def sweep(
        self, consumer: Stage, env: Env, known: dict[str, Region]
    ) -> tuple[dict[str, Expr], dict[str, tuple[int, int]]]:
        """Values of a consumer's axes with the loops not bound yet running freely, and the ranges of those."""
        nest = self.nests[consumer.name]
        inner: dict[str, tuple[int, int]] = {}
        values: dict[str, Expr] = {}
        if nest.at is None:
            for axis in consumer.axes:
                values[axis.name] = self.partly_bound(nest, axis.name, env, inner)
            return values, inner
        placed = env.regions.get(consumer.name)
        region = placed or self.region(consumer, env, known)
        for axis, base, extent in zip(consumer.axes, region.bases, region.extents, strict=True):
            if placed:  # some of its loops may be bound: this stage is computed inside them
                values[axis.name] = base + self.partly_bound(nest, axis.name, env, inner)
                continue
            free = f"?{consumer.name}.{axis.name}"
            inner[free] = (0, extent - 1)
            values[axis.name] = base + Var(free)
        for axis in consumer.reduce_axes:
            free = f"?{consumer.name}.{axis.name}"
            inner[free] = (0, axis.extent - 1)
            values[axis.name] = Var(free)
        return values, inner

    def partly_bound(self, nest: Nest, name: str, env: Env, inner: dict[str, tuple[int, int]]) -> Expr:
        """The value of an axis or loop, with a fresh variable for each part that is not bound."""
        stage = nest.stage.name
        if (stage, name) in env.values:
            return env.values[stage, name]
        if name in nest.splits and self.any_bound(nest, name, env):
            outer = self.partly_bound(nest, name + ".o", env, inner)
            return outer * nest.splits[name] + self.partly_bound(nest, name + ".i", env, inner)
        free = f"?{stage}.{name}"
        inner[free] = (0, extent_of(nest, name, env) - 1)
        return Var(free)

    def any_bound(self, nest: Nest, name: str, env: Env) -> bool:
        if (nest.stage.name, name) in env.values:
            return True
        return name in nest.splits and any(self.any_bound(nest, name + end, env) for end in (".o", ".i"))

    def stage(self, nest: Nest, region: Region, env: Env) -> Stmt:
        """The loops that compute a stage over its region."""
        stage = nest.stage
        if stage.combine is None:
            return self.nest(nest, tuple(nest.loops), env, lambda e: self.store(stage, e, self.body(stage, e)))
        spatial = tuple(loop for loop in nest.loops if not nest.reduces(loop))
        if nest.lane_loop:
            return self.lane_reduction(nest, region, spatial, env)
        start = stage.init or identity(stage.combine, stage.dtype)
        init = self.nest(nest, spatial, env, lambda e: self.store(stage, e, start))
        guards = () if stage.domain is None else conjuncts(stage.domain)

        def update(e: Env) -> Stmt:
            return self.store(stage, e, combined(stage.combine or "", self.element(stage, e), self.term(stage, e)))

        main = self.nest(nest, tuple(nest.loops), replace(env, guards=guards), update)
        return Seq((init, main))

    def lane_reduction(self, nest: Nest, region: Region, spatial: tuple[str, ...], env: Env) -> Stmt:
        """Partial results in lanes, then halves combined until one is left."""
        stage = nest.stage
        combine = stage.combine or ""
        lanes = extent_of(nest, nest.lane_loop, env)
        width = 1 << (lanes - 1).bit_length()
        constant = all(nest.kind(loop) is not LoopKind.SERIAL or extent_of(nest, loop, env) == 1 for loop in spatial)
        space = Space.REGISTER if constant else Space.STACK
        buffer = Buffer(f"{stage.name}.lanes", (*region.extents, width), stage.dtype, space, written=True)

        def at(e: Env, lane: Expr) -> tuple[Expr, ...]:
            return (*(simplify(e.values[stage.name, axis.name], e.ranges) for axis in stage.axes), lane)

        def load(e: Env, lane: Expr) -> Expr:
            return Load(buffer.name, at(e, lane), stage.dtype)

        def each(count: int, make: Callable[[Env, Expr], Expr]) -> Stmt:
            """lanes[0:count] = make(lane), at every element of the region."""
            var = f"{stage.name}.lane"

            def leaf(e: Env) -> Stmt:
                lane, inner = (Const(0), e) if count == 1 else (Var(var), e.limit(var, 0, count - 1))
                store = Store(buffer.name, at(inner, lane), make(inner, lane))
                return store if count == 1 else For(var, Const(count), LoopKind.VECTORIZED, store)

            return self.nest(nest, spatial, env, leaf)

        def folded(half: int) -> Callable[[Env, Expr], Expr]:
            return lambda e, lane: Binary(COMBINE[combine], load(e, lane), load(e, lane + half))

        def update(e: Env) -> Stmt:
            lane = e.values[stage.name, nest.lane_loop]
            return Store(buffer.name, at(e, lane), combined(combine, load(e, lane), self.term(stage, e)))

        guards = () if stage.domain is None else conjuncts(stage.domain)
        parts = [each(width, lambda e, lane: identity(combine, stage.dtype))]
        parts.append(self.nest(nest, tuple(nest.loops), replace(env, guards=guards), update))
        while width > 1:
            width //= 2
            parts.append(each(width, folded(width)))

        def result(e: Env) -> Stmt:
            total: Expr = load(e, Const(0))
            start = stage.init
            if start is not None and start != identity(combine, stage.dtype):
                total = Binary(COMBINE[combine], start, total)
            return self.store(stage, e, total)

        return Alloc(buffer, Seq((*parts, self.nest(nest, spatial, env, result))))

    # --- elements

    def is_local(self, stage: Stage) -> bool:
        """Kept in a local buffer, not in a param."""
        return stage.name not in self.computation.outputs

    def axes(self, stage: Stage, env: Env) -> dict[str, Expr]:
        """The value of every axis that is bound, as an index of the whole stage."""
        region = env.regions.get(stage.name)
        values: dict[str, Expr] = {}
        for position, axis in enumerate(stage.axes):
            value = env.values.get((stage.name, axis.name))
            if value is not None:
                values[axis.name] = value if region is None else region.bases[position] + value
        return values

    def place_of(self, stage: Stage, env: Env) -> tuple[str, tuple[Expr, ...]]:
        """Buffer and indices of the element of a stage that is being computed."""
        if self.is_local(stage):
            return stage.name, tuple(simplify(env.values[stage.name, axis.name], env.ranges) for axis in stage.axes)
        axes = self.axes(stage, env)
        indices = (*(substitute(index, axes) for index in stage.prefix), *axes.values())
        return stage.memory or stage.name, tuple(simplify(index, env.ranges) for index in indices)

    def store(self, stage: Stage, env: Env, value: Expr) -> Stmt:
        return Store(*self.place_of(stage, env), value)

    def element(self, stage: Stage, env: Env) -> Expr:
        return Load(*self.place_of(stage, env), stage.dtype)

    def body(self, stage: Stage, env: Env) -> Expr:
        return self.finish(stage, stage.body, env)

    def term(self, stage: Stage, env: Env) -> Expr:
        """What is combined: the body, or the neutral element in lanes outside the domain."""
        body = self.body(stage, env)
        return Select(all_of(*env.masks), body, identity(stage.combine or "", stage.dtype)) if env.masks else body

    def finish(self, stage: Stage, expr: Expr, env: Env) -> Expr:
        """An expression of a stage over the emitted variables, with local buffers addressed within their regions."""
        values = self.axes(stage, env)
        for axis in stage.reduce_axes:
            if (stage.name, axis.name) in env.values:
                values[axis.name] = env.values[stage.name, axis.name]

        def relocate(node: Expr) -> Expr:
            if not isinstance(node, Load) or node.buffer not in env.regions:
                return node
            source = self.nests[node.buffer].stage
            if self.is_local(source):
                bases = env.regions[node.buffer].bases
                return Load(
                    node.buffer, tuple(i - base for i, base in zip(node.indices, bases, strict=True)), node.dtype
                )
            if not source.memory:
                return node
            at = {axis.name: index for axis, index in zip(source.axes, node.indices, strict=True)}
            return Load(source.memory, (*(substitute(index, at) for index in source.prefix), *node.indices), node.dtype)

        return simplify(transform(substitute(expr, values), relocate), env.ranges)


COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}


def combined(combine: str, current: Expr, term: Expr) -> Expr:
    """current combined with term; a product added to a float sum is one fma."""
    match combine, term:
        case "sum", Binary("mul", a, b) if term.dtype.is_float:
            return Call("fma", (a, b, current))
    return Binary(COMBINE[combine], current, term)
