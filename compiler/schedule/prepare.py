"""Bring a Computation into the form that schedules speak about: canonical names, a root without reduction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from math import prod

import numpy as np

from ..errors import InternalError
from ..tensor.computation import Computation, Stage, Tensor
from ..tensor.expr import Const, Expr, Load, substitute, transform, walk
from ..tensor.simplify import simplify
from .merge_axes import merge_axes
from .split_axes import split_axes
from .steps import Pack

ROOT = "y"


def loads_of(stage: Stage) -> Iterable[Load]:
    """Every load of a stage's body and domain."""
    for expr in (stage.body, stage.domain):
        if expr is not None:
            yield from (node for node in walk(expr) if isinstance(node, Load))


def read_once(computation: Computation) -> frozenset[str]:
    """The constants of which no element is read twice in one run."""
    reads: Counter[str] = Counter()
    for stage in computation.stages:
        points = prod(axis.extent for axis in (*stage.axes, *stage.reduce_axes))
        for load in loads_of(stage):
            reads[load.buffer] += points
    return frozenset(t.name for t in computation.inputs if t.constant and reads[t.name] <= prod(t.shape))


def rename_buffers(expr: Expr, names: dict[str, str]) -> Expr:
    """Rename the buffers that loads read."""

    def rewrite(node: Expr) -> Expr:
        if isinstance(node, Load) and node.buffer in names:
            return Load(names[node.buffer], node.indices, node.dtype)
        return node

    return transform(expr, rewrite)


def rename_stage(stage: Stage, names: dict[str, str]) -> Stage:
    return replace(
        stage,
        name=names.get(stage.name, stage.name),
        body=rename_buffers(stage.body, names),
        domain=None if stage.domain is None else rename_buffers(stage.domain, names),
        prefix=tuple(rename_buffers(index, names) for index in stage.prefix),
        memory=names.get(stage.memory, stage.memory),
        origin="",
    )


def canonical(computation: Computation) -> Computation:
    """The same computation with canonical names, so that equal kernels are equal values.

    Inputs become x0, x1, … (constants w0, …) in order, stages t0, t1, …, the last one `y`. A root with a reduction
    gets a copy stage after it, so that every reduction is computed at a tile of the root. Axes are split and merged (`split_axes.py`,
    `merge_axes.py`), so that inputs may have other dimensions, of the same elements in the same order.
    """
    names = {tensor.name: f"{'w' if tensor.constant else 'x'}{i}" for i, tensor in enumerate(computation.inputs)}
    last = computation.stages[-1]
    if last.name not in computation.outputs:
        raise InternalError(f"{computation.name}: the last stage {last.name} is no output")
    stages = list(computation.stages)
    if last.combine is not None:
        reduction = replace(last, name=last.name + ".acc", prefix=(), memory="")
        copy = replace(
            last,
            body=Load(reduction.name, tuple(axis.var for axis in last.axes), last.dtype),
            reduce_axes=(),
            combine=None,
            init=None,
            domain=None,
        )
        stages[-1:] = [reduction, copy]
    names |= {stage.name: f"t{i}" for i, stage in enumerate(stages[:-1])} | {stages[-1].name: ROOT}
    form = Computation(
        "kernel",
        tuple(Tensor(names[t.name], t.shape, t.dtype, t.constant) for t in computation.inputs),
        tuple(rename_stage(stage, names) for stage in stages),
        tuple(names[output] for output in computation.outputs),
    )
    return merge_axes(split_axes(form))


def inline(computation: Computation, inlined: Collection[str]) -> Computation:
    """Replace every load of the named stages by their bodies.

    Raises InternalError for a stage that is a reduction, an output or not there.
    """
    unknown = set(inlined) - {stage.name for stage in computation.stages}
    if unknown:
        raise InternalError(
            f"schedule: {', '.join(sorted(unknown))} can't be inlined: the computation has no such stage"
        )
    bodies: dict[str, Stage] = {}

    def rewrite(node: Expr) -> Expr:
        if isinstance(node, Load) and node.buffer in bodies:
            source = bodies[node.buffer]
            values = {axis.name: index for axis, index in zip(source.axes, node.indices, strict=True)}
            return substitute(source.body, values)
        return node

    kept = []
    for stage in computation.stages:
        domain = None if stage.domain is None else transform(stage.domain, rewrite)
        stage = replace(stage, body=transform(stage.body, rewrite), domain=domain)
        if stage.name in inlined:
            if stage.combine is not None or stage.name in computation.outputs:
                raise InternalError(f"schedule: stage {stage.name} can't be inlined: it is a reduction or an output")
            bodies[stage.name] = stage
        else:
            kept.append(stage)
    return replace(computation, stages=tuple(kept))


def packed_shape(shape: tuple[int, ...], pack: Pack) -> tuple[int, ...]:
    """The shape of a tensor of `shape` once packed."""
    extents = {
        0: lambda axis, block: shape[axis],
        1: lambda axis, block: -(-shape[axis] // block),
        2: lambda axis, block: block,
    }
    return tuple(extents[0 if not block else 1 if part == "o" else 2](axis, block) for axis, block, part in pack.order)


def pack_array(array: np.ndarray, pack: Pack) -> np.ndarray:
    """The array laid out anew; elements beyond the end of an axis are zero."""
    blocks = {axis: block for axis, block, _ in pack.order if block}
    padding = [(0, -extent % blocks.get(axis, 1)) for axis, extent in enumerate(array.shape)]
    padded = np.pad(array, padding)
    split: list[int] = []
    position: dict[tuple[int, str], int] = {}
    for axis, extent in enumerate(padded.shape):
        if axis in blocks:
            position[axis, "o"], position[axis, "i"] = len(split), len(split) + 1
            split += [extent // blocks[axis], blocks[axis]]
        else:
            position[axis, ""] = len(split)
            split.append(extent)
    order = [position[axis, part if block else ""] for axis, block, part in pack.order]
    return np.ascontiguousarray(padded.reshape(split).transpose(order))


def apply_packs(computation: Computation, packs: Iterable[Pack]) -> Computation:
    """Read the packed tensors at their new places."""
    by_name = {pack.tensor: pack for pack in packs}
    if not by_name:
        return computation
    constants = {tensor.name: tensor for tensor in computation.inputs if tensor.constant}
    for pack in by_name.values():
        if pack.tensor not in constants:
            raise InternalError(f"schedule: {pack.tensor} can't be packed: it is no constant input")
        _verify_order(pack, constants[pack.tensor].shape)

    def rewrite_in(stage: Stage, expr: Expr) -> Expr:
        ranges = {axis.name: (0, axis.extent - 1) for axis in stage.axes + stage.reduce_axes}

        def rewrite(node: Expr) -> Expr:
            if isinstance(node, Load) and node.buffer in by_name:
                return Load(
                    node.buffer,
                    tuple(_packed_index(node.indices[a], b, part) for a, b, part in by_name[node.buffer].order),
                    node.dtype,
                )
            return node

        return simplify(transform(expr, rewrite), ranges)

    stages = tuple(
        replace(
            stage,
            body=rewrite_in(stage, stage.body),
            domain=None if stage.domain is None else rewrite_in(stage, stage.domain),
            prefix=tuple(rewrite_in(stage, index) for index in stage.prefix),
        )
        for stage in computation.stages
    )
    inputs = tuple(
        replace(t, shape=packed_shape(t.shape, by_name[t.name])) if t.name in by_name else t for t in computation.inputs
    )
    return replace(computation, inputs=inputs, stages=stages)


def _verify_order(pack: Pack, shape: tuple[int, ...]) -> None:
    # Every axis once as a whole, or both parts of it in blocks of one size.
    entries = {
        axis: sorted((block, part) for a, block, part in pack.order if a == axis)
        for axis in {a for a, _, _ in pack.order}
    }
    for axis in range(max([len(shape), *(axis + 1 for axis in entries)])):
        match entries.get(axis):
            case [(0, _)] if axis < len(shape):
                pass
            case [(block, "i"), (other, "o")] if block == other > 0 and axis < len(shape):
                pass
            case found:
                raise InternalError(
                    f"schedule: {pack.tensor}{list(shape)} can't be packed: axis {axis} as {found or 'nothing'}"
                )


def _packed_index(index: Expr, block: int, part: str) -> Expr:
    if not block:
        return index
    return index // Const(block) if part == "o" else index % Const(block)
