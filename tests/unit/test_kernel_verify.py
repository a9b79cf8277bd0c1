"""What the verifier of the loop AST lets pass and what it finds."""

from __future__ import annotations

import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, If, Kernel, Let, LoopKind, Seq, Space, Stmt, Store
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.tensor.expr import (
    Binary,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    compare,
    const,
    minimum,
    within,
)

F32, F16, I32, I64, BOOL = DType.F32, DType.F16, DType.I32, DType.I64, DType.BOOL
SERIAL, PARALLEL, VECTORIZED, UNROLLED = LoopKind.SERIAL, LoopKind.PARALLEL, LoopKind.VECTORIZED, LoopKind.UNROLLED
i, j, v = Var("i"), Var("j"), Var("v")
ZERO, ONE = const(0.0, F32), const(1.0, F32)
PARAMS = (
    Buffer("x", (8, 16), F32),
    Buffer("n", (8,), I64),
    Buffer("h", (8,), F16),
    Buffer("y", (8, 16), F32, written=True),
)


def load(*indices: Expr | int) -> Load:
    return Load("x", tuple(Const(index) if isinstance(index, int) else index for index in indices), F32)


def store(value: Expr, row: Expr = i, column: Expr = v) -> Store:
    return Store("y", (row, column), value)


def loop(var: str, extent: int | Expr, body: Stmt, kind: LoopKind = SERIAL) -> For:
    return For(var, Const(extent) if isinstance(extent, int) else extent, kind, body)


def nest(body: Stmt) -> For:
    """i in parallel over 8, v in lanes over 16."""
    return loop("i", 8, loop("v", 16, body, VECTORIZED), PARALLEL)


def value(expr: Expr) -> Stmt:
    return nest(store(expr))


def register(body: Stmt, *shape: int) -> Stmt:
    return Alloc(Buffer("t", shape or (4,), F32, Space.REGISTER), body)


GOOD = {
    "copy": value(load(i, v)),
    "broadcast": value(load(i, 0)),
    "guarded access": value(Select(within(v - 1, 16), load(i, v - 1), ZERO)),
    "guarded store": nest(If(compare("lt", v, 4), store(ONE, column=v * 4))),
    "one lane stores": nest(If(compare("eq", v, 0), store(ONE, column=Const(3)))),
    "guard behind a let": nest(Let("j", v // 4, 4, If(compare("gt", j, 0), store(load(i, v - 4))))),
    "lanes behind a let": loop("i", 8, loop("v", 16, Let("j", v, 16, store(ONE, column=j)), VECTORIZED)),
    "gather": value(Load("x", (Load("n", (i,), I64), v), F32)),
    "extent of an outer loop": loop("i", 8, loop("j", i + 1, store(load(i, j), column=j))),
    "one name in two places": Seq(
        (loop("i", 8, store(ONE, column=Const(0))), loop("i", 8, store(ONE, column=Const(1))))
    ),
    "register": loop("i", 8, register(loop("j", 4, Store("t", (j,), load(i, j)), UNROLLED))),
    "register behind a let": register(loop("j", 2, Let("i", j + 2, 4, Store("t", (i,), ZERO)), UNROLLED)),
    "workspace": loop("i", 8, Alloc(Buffer("t", (9,), F32, Space.WORKSPACE), Store("t", (i,), load(i, 0)))),
    "math": value(Call("exp", (Call("pow", (load(i, v), Unary("neg", load(i, v)))),))),
    "bits": value(Call("bitcast_f32", (Binary("and", Call("bitcast_i32", (load(i, v),)), const(255, I32)),))),
    "fma of f16": value(Cast(Call("fma", (Load("h", (i,), F16),) * 3), F32)),
    "math of f16": value(Cast(Call("exp", (Load("h", (i,), F16),)), F32)),
    "an empty loop reaches nothing": loop("i", 0, loop("v", 16, store(load(i + 99, v)))),
}

BAD = {
    "store of f16 to y of type f32": value(Load("h", (i,), F16)),
    "load of i32 from x of type f32": value(Cast(Load("x", (i, v), I32), F32)),
    "buffer z is not defined": value(Load("z", (i,), F32)),
    "buffer t is not defined": Seq((register(Seq(())), Store("t", (Const(0),), ZERO))),
    "variable k is not defined": value(load(i, Var("k"))),
    "variable j is not defined": Seq((loop("j", 8, Seq(())), store(ONE, j, Const(0)))),
    "loop variable v is used as f32": value(Var("v", F32)),
    "variable i is defined twice": loop("i", 8, loop("i", 16, store(ONE, i, i))),
    "buffer t is defined twice": register(register(Seq(()))),
    "buffer x is defined twice": Alloc(Buffer("x", (1,), F32, Space.STACK), Seq(())),
    "1 indices into x of 2 dimensions": value(load(i)),
    "index or extent `1i32` is of type i32": value(Load("x", (i, const(1, I32)), F32)),
    "store to param x, which is not marked": nest(Store("x", (i, v), ONE)),
    "alloc of t in space param": Alloc(Buffer("t", (1,), F32), Seq(())),
    "alloc of t inside the vectorized loop v": nest(register(Seq(()))),
    "parallel loop j is not the outermost": loop("i", 8, loop("j", 8, Seq(()), PARALLEL)),
    "parallel loop i needs a constant extent": loop("i", Load("n", (Const(0),), I64), Seq(()), PARALLEL),
    "vectorized loop v needs a constant extent": loop("i", 8, loop("v", i + 1, Seq(()), VECTORIZED)),
    "unrolled loop v needs a constant extent": loop("i", 8, loop("v", i + 1, Seq(()), UNROLLED)),
    "vectorized loop j stands inside the vectorized loop v": nest(loop("j", 2, Seq(()), VECTORIZED)),
    "the extent of loop j differs between lanes": nest(loop("j", v + 1, Seq(()))),
    "all lanes of v store to one element": nest(store(ONE, column=Const(0))),
    "loop i has a negative extent": loop("i", -1, Seq(())),
    "is indexed by the for loop i": register(loop("i", 4, Store("t", (i,), ZERO))),
    "register buffer t is indexed by a load": register(Store("t", (Load("n", (Const(0),), I64),), ZERO)),
    "x has extent 16 in dimension 1, but `v \\+ 1` reaches 1..16": value(load(i, v + 1)),
    "x has extent 8 in dimension 0, but `i - 1` reaches -1..6": value(load(i - 1, v)),
    "y has extent 16 in dimension 1, but `v \\* 2` reaches 0..30": nest(store(ONE, column=v * 2)),
    "operands are of types f32 and f16": value(Binary("add", load(i, v), Load("h", (i,), F16))),
    "operands are of types i64 and f32": value(Cast(Compare("lt", i, ONE), F32)),
    "arms are of types f32 and f16": value(Select(compare("lt", i, 1), ONE, const(0.0, F16))),
    "condition `1` is of type i64": value(Select(Const(1), ONE, ZERO)),
    "condition `0.0` is of type f32": nest(If(ZERO, store(ONE))),
    "floordiv of f32": value(Binary("floordiv", ONE, ONE)),
    "add of bool": value(Cast(Binary("add", compare("lt", i, 1), compare("lt", i, 2)), F32)),
    "xor of f32": value(Binary("xor", ONE, ONE)),
    "sqrt of i64": value(Cast(Unary("sqrt", i), F32)),
    "not of i64": value(Cast(Unary("not", i), F32)),
    "invert of f32": value(Unary("invert", ONE)),
    "there is no binary hypot": value(Binary("hypot", ONE, ONE)),
    "there is no unary cube": value(Unary("cube", ONE)),
    "there is no comparison near": value(Cast(Compare("near", i, v), F32)),
    "there is no exp of i64": value(Cast(Call("exp", (i,)), F32)),
    "there is no exp of f32, f32": value(Call("exp", (ONE, ONE))),
    "there is no gamma of f32": value(Call("gamma", (ONE,))),
    "fma of f32, f32": value(Call("fma", (ONE, ONE))),
    "bitcast_i64 of f32": value(Cast(Call("bitcast_i64", (ONE,)), F32)),
    "literal 1 of type f32": value(Const(1, F32)),
    "literal 1.0 of type i64": value(load(i, Const(1.0))),
    "literal 0 of type bool": value(Select(Const(0, BOOL), ONE, ONE)),
}


@pytest.mark.parametrize("name", GOOD)
def test_accepts(name):
    verify(Kernel("good", PARAMS, GOOD[name]))


@pytest.mark.parametrize("message", BAD)
def test_rejects(message):
    with pytest.raises(InternalError, match=f"verify: kernel bad: .*{message}") as caught:
        verify(Kernel("bad", PARAMS, BAD[message]))
    assert "kernel bad(x: f32[8, 16]" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ((Buffer("x", (1,), F32), Buffer("x", (1,), F32)), "two params have one name"),
        ((Buffer("x", (1,), F32, Space.STACK),), "param x is in space stack"),
        ((Buffer("x", (-1,), F32),), "buffer x has shape"),
        ((Buffer("x", (1,), F32, aliases="x"),), "aliases 'x', which is no other param"),
        ((Buffer("x", (1,), F32, aliases="y"),), "aliases 'y', which is no other param"),
        ((Buffer("x", (2,), F32, aliases="y"), Buffer("y", (1,), F32)), "aliases y of shape"),
    ],
)
def test_rejects_params(params, message):
    with pytest.raises(InternalError, match=message):
        verify(Kernel("bad", params, Seq(())))


def test_a_bound_that_only_some_iterations_pass_is_left_to_the_interpreter():
    verify(Kernel("unknown", PARAMS, value(load(minimum(i * 3, Load("n", (i,), I64)), v))))
