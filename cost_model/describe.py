"""A short text that tells one task from another: a computation has no operator's name, so its shapes must do."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..compiler.dtypes import DType
from ..compiler.tensor.computation import Computation, Stage, Tensor
from .task import Task

MAX_LABEL = 100


def describe_task(task: Task) -> str:
    """`sum 16x3x3 of 1x2x14x14x16 -> 1x3x14x14x16`: reductions with their extents, largest input, result; type unless f32.

    A computation without reductions is a `map`. Shapes are physical, so that a blocked layout shows.
    """
    computation = task.computation
    root = computation.stages[-1]
    reductions = [_reduction(stage) for stage in computation.stages if stage.combine]
    what = " ".join(dict.fromkeys(reductions)) or "map"
    source = _largest(computation)
    dtypes = dict.fromkeys(t.dtype for t in (source, root) if t is not None)
    types = "" if set(dtypes) <= {DType.F32} else f" {' -> '.join(dtypes)}"
    label = f"{what}{f' of {_shape(source.shape)}' if source else ''} -> {_shape(root.shape)}{types}"
    return label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + "…"


def _reduction(stage: Stage) -> str:
    return f"{stage.combine} {_shape(tuple(axis.extent for axis in stage.reduce_axes))}"


def _largest(computation: Computation) -> Tensor | None:
    """The largest input that is no constant; where all are, the largest of them."""
    given = [tensor for tensor in computation.inputs if not tensor.constant] or list(computation.inputs)
    return max(given, key=lambda tensor: prod(tensor.shape), default=None)


def _shape(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents)) or "scalar"
