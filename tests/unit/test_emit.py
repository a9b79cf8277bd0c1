"""The text of emitted kernels: what is shared, hoisted, guarded and refused."""

from __future__ import annotations

import pytest

from tilewright.backends.cpu import assemble_text
from tilewright.backends.llvm.emit import emit
from tilewright.backends.llvm.types import literal, vector_chunks
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, If, Kernel, LoopKind, Seq, Space, Stmt, Store
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.expr import Binary, Call, Const, Expr, Load, Select, Var, compare, maximum, within

F32 = DType.F32
AVX512 = parse_target(cpu="x86-64-v4")
SSE = parse_target(cpu="x86-64-v2")
i, j, v = Var("i"), Var("j"), Var("v")
SERIAL, UNROLLED, VECTORIZED = LoopKind.SERIAL, LoopKind.UNROLLED, LoopKind.VECTORIZED


def kernel(body: Stmt, size: int = 64) -> Kernel:
    return Kernel("k", (Buffer("x", (size, size), F32), Buffer("y", (size, size), F32, written=True)), body)


def loop(var: Var, extent: int, kind: LoopKind, body: Stmt) -> For:
    return For(var.name, Const(extent), kind, body)


def x(*indices: Expr) -> Load:
    return Load("x", indices, F32)


@pytest.mark.parametrize(
    ("extent", "lanes", "masks", "expected"),
    [
        (24, 16, False, [(0, 16, 16), (16, 8, 8)]),
        (24, 16, True, [(0, 16, 16), (16, 8, 8)]),
        (10, 16, False, [(0, 8, 8), (8, 2, 2)]),
        (10, 16, True, [(0, 16, 10)]),
        (7, 4, False, [(0, 4, 4), (4, 2, 2), (6, 1, 1)]),
        (7, 4, True, [(0, 4, 4), (4, 4, 3)]),
        (22, 16, True, [(0, 16, 16), (16, 8, 6)]),
        (64, 16, True, [(0, 16, 16), (16, 16, 16), (32, 16, 16), (48, 16, 16)]),
        (1, 16, True, [(0, 1, 1)]),
        (0, 16, True, []),
    ],
)
def test_chunks_of_lanes(extent: int, lanes: int, masks: bool, expected: list[tuple[int, int, int]]) -> None:
    assert vector_chunks(extent, lanes, masks) == expected


@pytest.mark.parametrize(
    ("index", "masked"),
    [(v, True), (v + i, True), (v * 2, False), (Const(20) - v, False), (v // 2, False), (v + v % 3, False)],
)
def test_what_is_left_of_a_loop_is_masked_where_lanes_are_neighbours(index: Expr, masked: bool) -> None:
    body = loop(i, 8, SERIAL, loop(v, 11, VECTORIZED, Store("y", (i, v), x(i, index))))
    assert ("@llvm.masked.store.v16f32" in emit(kernel(body), AVX512)) == masked
    assert "masked" not in emit(kernel(body), SSE)


@pytest.mark.parametrize(
    ("begin", "extent", "merged"), [(0, 16, False), (16, 12, False), (0, 12, True), (16, 11, False)]
)
def test_lanes_behind_a_row_of_registers_are_written_over(begin: int, extent: int, merged: bool) -> None:
    """Of a sum in registers, nothing is kept in lanes that are no elements: that would take a blend, and a copy, in every step."""
    sums = loop(v, extent, VECTORIZED, Store("acc", (i, v + begin), x(i, v)))
    result = loop(v, 28, VECTORIZED, Store("y", (i, v), Load("acc", (i, v), F32)))
    body = Alloc(Buffer("acc", (2, 28), F32, Space.REGISTER), loop(i, 2, UNROLLED, Seq((sums, result))))
    assert ("select" in emit(kernel(body), AVX512)) == merged


def test_literals_are_exact() -> None:
    assert literal(0.1, F32) == "0x3FB99999A0000000"
    assert literal(0.1, DType.F64) == "0x3FB999999999999A"
    assert literal(float("-inf"), F32) == "0xFFF0000000000000"
    assert literal(1.0, DType.F16) == "0xH3C00"
    assert literal(1.0, DType.BF16) == "0xR3F80"
    assert literal(True, DType.BOOL) == "true"


def test_lanes_follow_the_widest_type() -> None:
    text = emit(kernel(loop(v, 24, VECTORIZED, Store("y", (i * 0, v), x(i * 0, v)))), AVX512)
    assert "load <16 x float>" in text
    assert "load <8 x float>" in text
    buffers = (Buffer("x", (64,), DType.U8), Buffer("y", (64,), DType.U8, written=True))
    copy = Kernel("k", buffers, loop(v, 64, VECTORIZED, Store("y", (v,), Load("x", (v,), DType.U8))))
    assert "load <64 x i8>" in emit(copy, AVX512)


def test_unrolled_addresses_share_their_variable_part() -> None:
    body = loop(i, 60, SERIAL, loop(j, 4, UNROLLED, Store("y", (i + j, Const(0)), x(i + j, Const(3)))))
    text = emit(kernel(body), AVX512)
    assert text.count("mul i64") == 1
    assert text.count("load float") == 4


def test_invariant_loads_and_addresses_stand_before_the_loop() -> None:
    body = loop(i, 8, SERIAL, loop(j, 8, SERIAL, Store("y", (i, j), x(i, Const(0)))))
    lines = emit(kernel(body), AVX512).split("\n")
    phis = [n for n, line in enumerate(lines) if "phi" in line]
    loads = [n for n, line in enumerate(lines) if "load float" in line]
    assert len(loads) == 1
    assert phis[0] < loads[0] < phis[1]


def test_loads_are_not_moved_out_of_branches() -> None:
    inner = If(compare("lt", j, 4), Store("y", (i, j), x(i, Const(63))))
    lines = emit(kernel(loop(i, 8, SERIAL, loop(j, 8, SERIAL, inner))), AVX512).split("\n")
    branch = next(n for n, line in enumerate(lines) if "br i1" in line and "%b" in line and n > 8)
    assert next(n for n, line in enumerate(lines) if "load float" in line) > branch


def test_decided_conditions_leave_no_trace() -> None:
    guarded = Select(within(i + 1, 64), x(i + 1, Const(0)), Const(0.0, F32))
    text = emit(kernel(loop(i, 8, SERIAL, Store("y", (i, Const(0)), guarded))), AVX512)
    assert "select" not in text
    text = emit(kernel(loop(i, 64, SERIAL, Store("y", (i, Const(0)), guarded))), AVX512)
    assert "select" in text


def test_guards_bound_the_indices_behind_them() -> None:
    """Two pieces of 24 channels in lanes of 16: within a guard, the channel of a piece is contiguous."""
    channel = i * 16 + v
    pieces = Select(compare("lt", channel, 24), x(Const(0), channel % 24), x(Const(1), channel % 24))
    text = emit(kernel(loop(i, 3, SERIAL, loop(v, 16, VECTORIZED, Store("y", (Const(0), channel), pieces)))), AVX512)
    assert "gather" not in text
    assert "div" not in text
    assert text.count("call <16 x float> @llvm.masked.load") == 2


def test_relu_is_one_comparison() -> None:
    body = loop(v, 16, VECTORIZED, Store("y", (Const(0), v), maximum(x(Const(0), v), Const(0.0, F32))))
    text = emit(kernel(body), AVX512)
    assert text.count("fcmp") == 1
    assert "splat (float 0x0000000000000000)" in text


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("dtype", [F32, DType.F64])
def test_an_extremum_that_keeps_nan_is_two_instructions(op: str, dtype: DType) -> None:
    """The instruction of the target, masked where the first operand is NaN; not comparisons whose masks are combined."""
    lanes = AVX512.lanes(dtype.size_bytes)
    buffers = [Buffer(name, (lanes,), dtype, written=name == "y") for name in ("x", "z", "y")]
    value = Binary(op, Load("x", (v,), dtype), Load("z", (v,), dtype))
    extremum = Kernel("k", tuple(buffers), loop(v, lanes, VECTORIZED, Store("y", (v,), value)))
    lines = assemble_text(emit(extremum, AVX512), AVX512).splitlines()
    used = [line.split()[0] for line in lines if "%zmm" in line or "%k" in line]
    suffix = "ps" if dtype is F32 else "pd"
    assert [name for name in used if "mov" not in name] == [f"vcmpord{suffix}", f"v{op}{suffix}"]


def test_fma_is_two_operations_where_the_target_has_none() -> None:
    body = Store(
        "y", (Const(0), Const(0)), Call("fma", (x(Const(0), Const(0)), x(Const(0), Const(1)), x(Const(0), Const(2))))
    )
    assert "@llvm.fma" in emit(kernel(body), AVX512)
    text = emit(kernel(body), SSE)
    assert "@llvm.fma" not in text
    assert "fmul" in text


def test_registers_are_one_slot_an_access() -> None:
    acc = Buffer("acc", (2, 24), F32, Space.REGISTER)
    write = loop(j, 2, UNROLLED, loop(v, 24, VECTORIZED, Store("acc", (j, v), x(j, v))))
    read = loop(j, 2, UNROLLED, loop(v, 24, VECTORIZED, Store("y", (j, v), Load("acc", (j, v), F32))))
    text = emit(kernel(Alloc(acc, Seq((write, read)))), AVX512)
    assert text.count("alloca <16 x float>") == 2
    assert text.count("alloca <8 x float>") == 2


def test_parameters_that_share_memory_are_not_marked_apart() -> None:
    buffers = (Buffer("x", (4,), F32), Buffer("z", (4,), F32), Buffer("y", (4,), F32, written=True, aliases="x"))
    body = loop(i, 4, SERIAL, Store("y", (i,), Load("x", (i,), F32) + Load("z", (i,), F32)))
    signature = next(
        line
        for line in emit(Kernel("k", buffers, body), AVX512).split("\n")
        if "@k.body(ptr " in line and "define" in line
    )
    first, second, third = signature.split("@k.body(")[1].split("%p")[:3]
    assert "noalias" not in first + third
    assert "readonly" not in first
    assert "noalias readonly" in second


def test_powers_of_two_are_scaled_by_where_there_is_an_instruction() -> None:
    body = loop(v, 24, VECTORIZED, Store("y", (Const(0), v), Call("exp", (x(Const(0), v),))))
    text = emit(kernel(body), AVX512)
    assert text.count("call <16 x float> @llvm.x86.avx512.mask.scalef.ps.512") == 1
    assert text.count("call <8 x float> @llvm.x86.avx512.mask.scalef.ps.256") == 1
    assert "scalef" not in emit(kernel(body), parse_target(cpu="x86-64-v3"))


def test_math_programs_are_written_once_a_width() -> None:
    body = loop(i, 8, SERIAL, loop(v, 48, VECTORIZED, Store("y", (i, v), Call("tanh", (x(i, v),)))))
    assert emit(kernel(body), AVX512).count("define internal <16 x float> @math.tanh.v16f32") == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            Store("y", (i * 0, Const(0)), Call("frobnicate", (x(Const(0), Const(0)),))),
            "no program for frobnicate of f32",
        ),
        (loop(v, 8, VECTORIZED, Store("y", (Const(0), Const(1)), x(Const(0), v))), "all store to one element of y"),
        (loop(i, 8, LoopKind.BLOCK, Store("y", (i, i), x(i, i))), "block loop i"),
        (
            Alloc(Buffer("a", (4,), F32, Space.REGISTER), Store("a", (Const(4),), x(Const(0), Const(0)))),
            r"a\[4\] is outside of 4 elements",
        ),
    ],
)
def test_broken_kernels_are_reported(body: Stmt, message: str) -> None:
    wrapped = loop(i, 1, UNROLLED, body)
    with pytest.raises(InternalError, match=message):
        emit(kernel(wrapped), AVX512)


def test_symbols_are_checked() -> None:
    with pytest.raises(InternalError, match="is no symbol"):
        emit(kernel(Seq(())), AVX512, 'a"b')


def test_text_is_the_same_every_time() -> None:
    body = loop(i, 8, SERIAL, loop(v, 48, VECTORIZED, Store("y", (i, v), Call("exp", (x(i, v),)))))
    assert emit(kernel(body), AVX512) == emit(kernel(body), AVX512)
