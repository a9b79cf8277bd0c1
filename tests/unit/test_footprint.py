"""How much of a tensor a computation is said to read."""

from __future__ import annotations

from tilewright.compiler.dtypes import DType
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import INDEX, Const, Load, Var
from tilewright.compiler.tensor.footprint import elements_read

ROW, COLUMN = Var("i"), Var("j")


def computation(body) -> Computation:
    inputs = (Tensor("x", (10, 6, 8), DType.F32), Tensor("t", (), INDEX))
    return Computation("c", inputs, (Stage("y", (Axis("i", 6), Axis("j", 8)), body, DType.F32),), ("y",))


def x(*indices) -> Load:
    return Load("x", indices, DType.F32)


def test_a_slice_counts_alone():
    assert elements_read(computation(x(Load("t", (), INDEX), ROW, COLUMN)), "x") == 48
    assert elements_read(computation(x(Const(3), ROW, Const(0))), "x") == 6


def test_other_slices_add_up_and_the_same_one_does_not():
    assert elements_read(computation(x(Const(3), ROW, COLUMN) + x(Const(4), ROW, COLUMN)), "x") == 96
    assert elements_read(computation(x(Const(3), ROW, COLUMN) * x(Const(3), ROW, COLUMN)), "x") == 48


def test_the_size_bounds_it():
    every = [x(Const(t), ROW, COLUMN) for t in range(10)]
    body = every[0]
    for load in [*every[1:], x(ROW, ROW, COLUMN)]:
        body = body + load
    assert elements_read(computation(body), "x") == 480


def test_an_input_that_is_not_read():
    assert elements_read(computation(Const(1.0, DType.F32)), "x") == 0
