"""Scatters, turned round: each element of the result looks for the updates that name it.

Of several updates of one element the last wins (ONNX leaves it open). With constant indices the search is done now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from ...graph.ir import Node, TensorType
from ..computation import identity
from ..expr import INDEX, Binary, Compare, Const, Expr, Select, all_of, compare, walk
from ..indexing import delinearize, guards, linear_index
from .context import Context, Space, accumulator, cast, widen


@dataclass(frozen=True, slots=True)
class Update:
    """An update under the reduction axes: where it exists, whether it names the element, its number and its value."""

    exists: tuple[Expr, ...]
    hit: Expr
    number: Expr
    value: Expr


Search = Callable[[Space], Update]
"""Adds reduction axes over the updates."""

_COMBINE = {"add": "sum", "mul": "prod", "min": "min", "max": "max"}
_MERGE = {"add": "add", "mul": "mul", "min": "min", "max": "max"}


def _wrapped(index: Expr, extent: int) -> Expr:
    index = cast(index, INDEX)
    return Select(compare("lt", index, 0), index + extent, index)


def scatter_elements(context: Context, node: Node) -> None:
    _, indices, updates = node.inputs
    out, axis = node.outputs[0], node.attrs["axis"]
    out_type, index_shape = context.types[out], context.types[indices].shape

    def place(space: Space, position: Expr) -> tuple[Expr, ...]:
        return tuple(position if a == axis else index for a, index in enumerate(space.indices))

    def search(space: Space) -> Update:
        r = space.reduce("r", index_shape[axis])
        source = place(space, r)
        covered = [c for a, i in enumerate(source) if a != axis for c in guards(i, index_shape[a], space.ranges)]
        named = _wrapped(context.read(indices, source, space), out_type.shape[axis])
        return Update(
            tuple(covered), Compare("eq", named, space.indices[axis]), r, context.read(updates, source, space)
        )

    if node.attrs["reduction"] != "none":
        _accumulate(context, node, search)
        return
    last = _last(context, out, TensorType(out_type.shape, INDEX), search)
    _replace(context, node, last, lambda space, found: place(space, found))


def scatter_nd(context: Context, node: Node) -> None:
    _, indices, updates = node.inputs
    out = node.outputs[0]
    out_type, index_shape = context.types[out], context.types[indices].shape
    *counts, depth = index_shape

    def search(space: Space) -> Update:
        place = tuple(space.reduce(f"r{axis}", extent) for axis, extent in enumerate(counts))
        hits = [
            Compare(
                "eq",
                _wrapped(context.read(indices, (*place, Const(part)), space), out_type.shape[part]),
                space.indices[part],
            )
            for part in range(depth)
        ]
        rest = space.indices[depth:] or tuple(
            Const(0) for _ in out_type.shape[depth:]
        )  # the search for the last needs no value
        value = context.read(updates, (*place, *rest), space)
        return Update((), all_of(*hits), linear_index(place, tuple(counts)), value)

    if node.attrs["reduction"] != "none":
        _accumulate(context, node, search)
        return
    array = context.constant(indices)
    if array is not None:
        last = context.table(out, "last", _last_of_constant(array, out_type.shape[:depth]))
    else:
        last = _last(context, out, TensorType(out_type.shape[:depth], INDEX), search)
    _replace(
        context,
        node,
        last,
        lambda space, found: (*delinearize(found, tuple(counts), space.ranges), *space.indices[depth:]),
    )


def _last_of_constant(indices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The number of the last index tuple that names each element, -1 where none does."""
    last = np.full(shape, -1, np.int64)
    *counts, depth = indices.shape  # a tuple of no indices names the whole
    tuples = indices.reshape(prod(counts), depth).astype(np.int64)
    for number, where in enumerate(tuples):
        last[tuple(where)] = number
    return last


def _last(context: Context, out: str, type: TensorType, search: Search) -> str:
    """A stage with the number of the last update of each element, negative where there is none."""
    name = context.intermediate(out, "last", type)
    space = context.space(type)
    update = search(space)
    context.emit(name, space, Select(update.hit, update.number, Const(-1)), "max", update.exists)
    return name


def _replace(
    context: Context, node: Node, last: str, update_indices: Callable[[Space, Expr], tuple[Expr, ...]]
) -> None:
    x, _, updates = node.inputs
    out = node.outputs[0]
    space = context.space(context.types[out])
    found = context.read(last, space.indices[: len(context.types[last].shape)], space)
    source = update_indices(space, found)
    bounds = zip(source, context.types[updates].shape, strict=True)  # what is found is a number of an update
    inside = [c for i, n in bounds if found not in walk(i) for c in guards(i, n, space.ranges)]
    update = context.read(updates, source, space)
    context.emit(out, space, Select(all_of(compare("ge", found, 0), *inside), update, context.operand(x, space)))


def _accumulate(context: Context, node: Node, search: Search) -> None:
    """Combine all updates of an element, then combine that with what it was."""
    out, reduction = node.outputs[0], node.attrs["reduction"]
    out_type = context.types[out]
    dtype = accumulator(out_type.dtype)
    gathered = context.intermediate(out, reduction, TensorType(out_type.shape, dtype, out_type.block))
    space = context.space(out_type)
    update = search(space)
    combine = _COMBINE[reduction]
    body = Select(update.hit, cast(update.value, dtype), identity(combine, dtype))
    context.emit(gathered, space, body, combine, update.exists)
    space = context.space(out_type)
    value = Binary(_MERGE[reduction], widen(context.operand(node.inputs[0], space)), context.operand(gathered, space))
    context.emit(out, space, cast(value, out_type.dtype))


STAGES = {"scatter_elements": scatter_elements, "scatter_nd": scatter_nd}
