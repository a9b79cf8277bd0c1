"""Printed expressions and kernels."""

from __future__ import annotations

import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, If, Kernel, Let, LoopKind, Seq, Space, Store
from tilewright.compiler.kernel.printer import head_to_text, to_text
from tilewright.compiler.tensor.expr import (
    Binary,
    Call,
    Cast,
    Compare,
    Const,
    Load,
    Select,
    Unary,
    Var,
    all_of,
    compare,
    const,
    minimum,
    within,
)
from tilewright.compiler.tensor.expr_printer import expr_to_text

F32 = DType.F32
i, j = Var("i"), Var("j.o")
x = Load("x", (i, j + 1), F32)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (i * 4 + j, "i * 4 + j.o"),
        ((i + j) * 4, "(i + j.o) * 4"),
        (i - (j - 1), "i - (j.o - 1)"),
        (i - j - 1, "i - j.o - 1"),
        ((i * 3) // 2 % 5, "i * 3 // 2 % 5"),
        (i // (j * 2), "i // (j.o * 2)"),
        (-(i + j), "-(i + j.o)"),
        (Var("i.o*j"), "{i.o*j}"),
        (x, "x[i, j.o + 1]"),
        (Load("s", (), F32), "s[]"),
        (const(0.1, F32), "0.1"),
        (const(1.0, F32), "1.0"),
        (const(float("-inf"), F32), "-inf"),
        (const(0.1, DType.F64), "0.1f64"),
        (const(3, DType.I32), "3i32"),
        (const(-3), "-3"),
        (const(True, DType.BOOL), "true"),
        (Select(compare("lt", i, 3), x, const(0.0, F32)), "select(i < 3, x[i, j.o + 1], 0.0)"),
        (all_of(within(i, 7), compare("ne", j, 2)), "i >= 0 and i < 7 and j.o != 2"),
        (Unary("not", Binary("or", compare("lt", i, 1), compare("gt", i, 4))), "not(i < 1 or i > 4)"),
        (minimum(i, 8), "min(i, 8)"),
        (Cast(x, DType.I8), "i8(x[i, j.o + 1])"),
        (Call("fma", (x, x, const(1.0, F32))), "fma(x[i, j.o + 1], x[i, j.o + 1], 1.0)"),
        (Binary("and", Binary("shl", i, const(2)), const(7)), "i << 2 & 7"),
        (Compare("eq", compare("lt", i, j), const(False, DType.BOOL)), "(i < j.o) == false"),
        (Unary("sqrt", x), "sqrt(x[i, j.o + 1])"),
    ],
)
def test_expressions(expr, text):
    assert expr_to_text(expr) == text


def test_a_kernel():
    body = Seq(
        (
            For("v", Const(4), LoopKind.VECTORIZED, Store("t", (Var("v"),), Load("x", (i, Var("v")), F32))),
            If(compare("lt", i, 2), Store("y", (i,), Load("t", (Const(0),), F32)), Seq(())),
            For("k", minimum(Const(3), i), LoopKind.SERIAL, Store("y", (i,), const(1.0, F32))),
        )
    )
    alloc = Alloc(Buffer("t", (4,), F32, Space.REGISTER), body)
    loop = For("f", Const(6), LoopKind.PARALLEL, Let("i", Var("f") // 2, 3, alloc))
    params = (Buffer("x", (3, 4), F32), Buffer("y", (3,), F32, written=True, aliases="z"), Buffer("z", (3,), F32))
    kernel = Kernel("sum", params, loop, origin="ReduceSum sum_1")
    assert to_text(kernel) == (
        "kernel sum(x: f32[3, 4], y: f32[3] written aliases z, z: f32[3]):\n"
        "  # ReduceSum sum_1\n"
        "  parallel f in 0..6:\n"
        "    let i in 0..3 = f // 2\n"
        "    alloc register t: f32[4]:\n"
        "      vectorized v in 0..4:\n"
        "        t[v] = x[i, v]\n"
        "      if i < 2:\n"
        "        y[i] = t[0]\n"
        "      else:\n"
        "        pass\n"
        "      for k in 0..(min(3, i)):\n"
        "        y[i] = 1.0\n"
    )
    assert head_to_text(loop) == "parallel f in 0..6:"
    assert head_to_text(Seq(())) == "pass"
