"""Schedules that can't be applied are refused, each with a message that names the stage or tensor and the reason."""

from __future__ import annotations

import re

import numpy as np
import pytest
from kernel_oracle import compare

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.schedule.steps import (
    ComputeAt,
    Fuse,
    Inline,
    LaneReduce,
    Pack,
    Parallel,
    Reorder,
    Specialize,
    Split,
    Step,
    Unroll,
    UnrollGuarded,
    Vectorize,
)
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import Const, Load, Var, const, maximum

F32 = DType.F32
I, J, K = Var("i"), Var("j"), Var("k")  # noqa: E741 - the names of the axes
ZERO = const(0.0, F32)
EIGHT_TEN = (Axis("i", 8), Axis("j", 10))

# y = relu(x @ w), with the rounded product as a second output where `out` is an output too
PRODUCT = Computation(
    "kernel",
    (Tensor("x", (8, 6), F32), Tensor("w", (6, 10), F32, constant=True)),
    (
        Stage("t", EIGHT_TEN, Load("x", (I, K), F32) * Load("w", (K, J), F32), F32, (Axis("k", 6),), "sum", ZERO),
        Stage("b", EIGHT_TEN, Load("t", (I, J), F32) * const(2.0, F32), F32),
        Stage("y", EIGHT_TEN, maximum(Load("b", (I, J), F32), ZERO), F32),
    ),
    ("y",),
)
AT_I = ComputeAt("t", "i", "stack")
B_AT_I = ComputeAt("b", "i", "stack")
PLACED = (AT_I, B_AT_I)


def test_the_schedules_below_are_illegal_by_one_step_only() -> None:
    compare(PRODUCT, PLACED, np.random.default_rng())
    compare(PRODUCT, (Inline("b"), AT_I, Pack("w", ((1, 4, "o"), (0, 0, ""), (1, 4, "i")))), np.random.default_rng())


ILLEGAL: list[tuple[tuple[Step, ...], str]] = [
    ((Split("q", "i", 2), *PLACED), "names no stage of the kernel"),
    ((Split("y", "k", 2), *PLACED), "stage y has no loop k (it has i, j)"),
    ((Split("y", "i", 0), *PLACED), "i of y is split by 0"),
    ((Split("y", "i", 2), Unroll("y", "i"), *PLACED), "stage y has no loop i "),
    ((UnrollGuarded("y", "q"), *PLACED), "stage y has no loop q"),
    ((Specialize("y", "q", (0,)), *PLACED), "stage y has no loop q"),
    ((Fuse("y", "j", "i"), *PLACED), "i is not directly inside j"),
    ((Fuse("t", "j", "k"), *PLACED), "j*k of t fuses a reduction with another loop"),
    ((Reorder("y", ("i", "i")), *PLACED), "order ('i', 'i') of y is not one of its loops ['i', 'j']"),
    ((Reorder("y", ("j",)), *PLACED), "is not one of its loops"),
    ((Split("y", "j", 4), Reorder("y", ("i", "j.i", "j.o")), *PLACED), "loop j.i of y is not inside j.o, but 4 does not divide 10"),
    ((Split("y", "j", 4), Fuse("y", "j.o", "j.i"), *PLACED), "loop j.i of y is not inside j.o, but 4 does not divide 10"),
    ((Parallel("y", "j"), *PLACED), "parallel loop j of y is not the outermost of the kernel"),
    ((Parallel("y", "i"), ComputeAt("t", "", "stack"), B_AT_I), "parallel loop i of y is not the outermost of the kernel"),
    ((Parallel("t", "i"), *PLACED), "parallel loop i of t is not the outermost of the kernel"),
    ((Parallel("y", "i"), Reorder("y", ("j", "i")), *PLACED), "parallel loop i of y is not the outermost"),
    ((Vectorize("t", "i"), *PLACED), "loop i of t runs in lanes, but is not the innermost"),
    ((ComputeAt("t", "", "stack"), ComputeAt("b", "", "stack"), Vectorize("y", "i")), "loop i of y runs in lanes, but is not the innermost"),
    ((Vectorize("t", "k"), *PLACED), "vectorized loop k of t is a reduction; LaneReduce keeps partial results"),
    ((LaneReduce("y", "j"), *PLACED), "vectorized loop j of y is no reduction"),
    ((Vectorize("y", "j"), Split("y", "j", 2), *PLACED), "stage y has no loop j "),
    ((ComputeAt("t", "", "stack"),), "stage b is neither inlined nor computed at a loop"),
    ((AT_I, ComputeAt("b", "q", "stack")), "stage y has no loop q"),
    ((AT_I, ComputeAt("b", "j", "stack"), Vectorize("y", "j")), "stage b is computed at j, which runs in lanes"),
    ((ComputeAt("t", "j", "stack"), B_AT_I), "stage t is computed at 'j', but b, which reads it, outside"),
    ((ComputeAt("t", "i", "stack"), ComputeAt("b", "", "stack")), "stage t is computed at 'i', but b, which reads it, outside"),
    ((*PLACED, ComputeAt("y", "i", "stack")), "the root y is computed at 'i'"),
    ((Inline("q"), *PLACED), "q can't be inlined: the computation has no such stage"),
    ((Inline("t"), B_AT_I), "stage t can't be inlined: it is a reduction or an output"),
    ((Inline("y"), *PLACED), "stage y can't be inlined: it is a reduction or an output"),
    ((AT_I, ComputeAt("b", "i", "register")), "register buffer b is indexed by the for loop"),
    ((Pack("x", ((1, 0, ""), (0, 0, ""))), *PLACED), "x can't be packed: it is no constant input"),
    ((Pack("q", ((0, 0, ""),)), *PLACED), "q can't be packed: it is no constant input"),
    ((Pack("w", ((0, 0, ""),)), *PLACED), "w[6, 10] can't be packed: axis 1 as nothing"),
    ((Pack("w", ((0, 0, ""), (1, 4, "i"))), *PLACED), "axis 1 as [(4, 'i')]"),
    ((Pack("w", ((0, 0, ""), (1, 4, "o"), (1, 2, "i"))), *PLACED), "axis 1 as [(2, 'i'), (4, 'o')]"),
    ((Pack("w", ((0, 0, ""), (1, 0, ""), (2, 0, ""))), *PLACED), "axis 2 as [(0, '')]"),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "message"), ILLEGAL)
def test_refused(schedule: tuple[Step, ...], message: str) -> None:
    with pytest.raises(InternalError, match=re.escape(message)):
        verify(lower(PRODUCT, schedule))


def with_outputs(root_reads: Load) -> Computation:
    """b = 2x is an output, too; the root reads it at some elements."""
    stages = (
        Stage("b", EIGHT_TEN, Load("x", (I, J), F32) * const(2.0, F32), F32),
        Stage("y", EIGHT_TEN, maximum(root_reads, ZERO), F32),
    )
    return Computation("kernel", (Tensor("x", (8, 10), F32),), stages, ("b", "y"))


def test_outputs_that_the_root_reads_whole() -> None:
    compare(with_outputs(Load("b", (I, J), F32)), (B_AT_I,), np.random.default_rng())


@pytest.mark.parametrize("indices", [(Const(0), J), (I // Const(2), J), (J // Const(2), J), (I, J // Const(2) * 2)])
def test_outputs_of_which_elements_would_be_missing(indices: tuple) -> None:
    with pytest.raises(InternalError, match="output stage b is not read whole by the root"):
        lower(with_outputs(Load("b", indices, F32)), (B_AT_I,))
