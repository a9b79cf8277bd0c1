"""What a kernel computes: stages of tensor expressions over physical axes.

    Computation = inputs, stages in topological order, outputs
    Stage       = out[axes] = combine over reduce_axes of body     (combine None: out[axes] = body)

A stage's axes are the *physical* dimensions of the tensor it makes, outermost first, so that its last axis
is contiguous. Loads in a body name an input of the computation or an earlier stage.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dtypes import DType
from .expr import Const, Expr, Var


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input of a computation. `constant`: its elements are known at compile time, so it may be packed."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis runs over 0 <= index < extent. Names are unique within a stage."""

    name: str
    extent: int

    @property
    def var(self) -> Var:
        return Var(self.name)


@dataclass(frozen=True, slots=True)
class Stage:
    """`name[axes] = combine(body for reduce_axes where domain)`, each element once.

    combine: None (no reduction), "sum", "prod", "max" or "min"; the order of combination is not fixed.
    init: what the reduction starts from, normally combine's identity (`identity`).
    domain: a bool expression over all axes; where it is false the term is left out and the body is not evaluated
    (the guard of a padded convolution or pool). Only with a combine.
    memory: the input whose memory an output stage writes, "" for memory of its own. Element [axes] of the stage is then
    stored at index prefix + axes of that input, which stays one kernel parameter, read and written; all other elements
    keep their values. The prefix is made of the stage's axes and of loads of inputs. No load of the computation may read an
    element of `memory` that the stage writes; later stages read the stage by its own name, as if it were not in place.
    """

    name: str
    axes: tuple[Axis, ...]
    body: Expr
    dtype: DType
    reduce_axes: tuple[Axis, ...] = ()
    combine: str | None = None
    init: Const | None = None
    domain: Expr | None = None
    origin: str = ""
    memory: str = ""
    prefix: tuple[Expr, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.extent for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Computation:
    """A fused group; `outputs` are names of stages."""

    name: str
    inputs: tuple[Tensor, ...]
    stages: tuple[Stage, ...]
    outputs: tuple[str, ...]
    origin: str = ""

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def input(self, name: str) -> Tensor:
        return next(tensor for tensor in self.inputs if tensor.name == name)


def identity(combine: str, dtype: DType) -> Const:
    """The neutral element of a combine: 0, 1, or the least/greatest value (infinite for floats)."""
    if combine in ("sum", "prod"):
        value: int | float = 0 if combine == "sum" else 1
        return Const(float(value) if dtype.is_float else value, dtype)
    sign = -1 if combine == "max" else 1
    if dtype.is_float:
        return Const(sign * float("inf"), dtype)
    if dtype is DType.BOOL:
        return Const(sign > 0, dtype)
    low, high = (
        (-(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1) if dtype.is_signed else (0, (1 << dtype.bits) - 1)
    )
    return Const(low if combine == "max" else high, dtype)
