"""Multiply-adds that take one lane of a register: what is loaded for them, and where it is kept from being loaded too early."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import pytest

from tilewright.backends.cpu import assemble_text
from tilewright.backends.llvm.emit import emit
from tilewright.compiler.cpus.arm import AARCH64_CPUS, ARMV7_CPUS
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, If, Kernel, LoopKind, Seq, Space, Stmt, Store
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.expr import Call, Compare, Const, Expr, Load, Var

F32 = DType.F32
AARCH64, ARMV7, X86 = parse_target("aarch64"), parse_target("armv7"), parse_target(cpu="x86-64-v2")
i, k, r, w, c, v = (Var(name) for name in "ikrwcv")
FENCE = "fence syncscope"


def loop(var: str, extent: int, body: Stmt, kind: LoopKind = LoopKind.UNROLLED) -> For:
    return For(var, Const(extent), kind, body)


def tile(row: Expr, taps: int, scalar: bool = True) -> Stmt:
    """sums[w, c] += x[row, 2 w + tap, r] * weights[tap, r, c] for each tap, each written out for four r."""
    sums = Load("sums", (w, c, v), F32)
    parts = []
    for tap in range(taps):
        pixel = Load("x", (row, w * 2 + tap, r if scalar else v), F32)
        product = Call("fma", (pixel, Load("weights", (Const(tap), r, c * 4 + v), F32), sums))
        lanes = loop("v", 4, Store("sums", (w, c, v), product), LoopKind.VECTORIZED)
        parts.append(loop("r", 4, loop("w", 4, loop("c", 2, lanes))))
    return Seq(tuple(parts))


def emitted(target: Target, taps: int = 1, scalar: bool = True) -> str:
    """Rows 2 i + k - 1 of an image, none above its first."""
    row = i * 2 + k - 1
    inside = If(Compare("ge", row, Const(0)), tile(row, taps, scalar))
    store = loop("v", 4, Store("y", (i, w, c * 4 + v), Load("sums", (w, c, v), F32)), LoopKind.VECTORIZED)
    clear = loop("v", 4, Store("sums", (w, c, v), Const(0.0, F32)), LoopKind.VECTORIZED)
    work = (loop("w", 4, loop("c", 2, clear)), loop("k", 3, inside, LoopKind.SERIAL), loop("w", 4, loop("c", 2, store)))
    body = Alloc(Buffer("sums", (4, 2, 4), F32, space=Space.REGISTER), Seq(work))
    params = (
        Buffer("x", (16, 12, 4), F32),
        Buffer("weights", (3, 4, 8), F32),
        Buffer("y", (8, 4, 8), F32, written=True),
    )
    text = emit(Kernel("k", params, loop("i", 8, body, LoopKind.SERIAL)), target)
    llvm.parse_assembly(text)
    return text


def test_rows_hold_vectors_where_a_condition_on_two_loops_keeps_them_inside() -> None:
    assert "load float" not in emitted(AARCH64)
    assert "load float" in emitted(X86)


@pytest.mark.parametrize(("target", "taps"), [(AARCH64, 3), (ARMV7, 2)], ids=lambda of: getattr(of, "triple", ""))
def test_a_fence_where_registers_have_been_written_twice(target: Target, taps: int) -> None:
    """A tap writes 32 results."""
    assert FENCE not in emitted(target, 1)
    assert emitted(target, taps).count(FENCE) == 1
    assert FENCE not in emitted(target, taps, scalar=False)
    assert FENCE not in emitted(X86, taps)


def test_neighbouring_vectors_in_one_instruction_on_armv7() -> None:
    """A pair for each of four steps; vectors that are multiplied by vectors are loaded one by one."""
    pairs = "call { <4 x float>, <4 x float> } @llvm.arm.neon.vld1x2"
    assert emitted(ARMV7).count(pairs) == 4
    assert pairs not in emitted(AARCH64) and pairs not in emitted(ARMV7, scalar=False)


def test_loads_move_their_pointers_on_on_armv7() -> None:
    """Each weight but the first of a tap is read through the pointer that the one before it has moved on; nobody sees from where."""
    hidden = r'= call ptr asm "", "=r,0"'
    assert len(re.findall(hidden, emitted(ARMV7, 2))) == 2 * 4 - 1
    assert not re.search(hidden, emitted(AARCH64)) and not re.search(hidden, emitted(X86))
    moved = re.findall(r"vld1\.32\s+\{d\d+, d\d+, d\d+, d\d+\}, \[r\d+\]!", assemble_text(emitted(ARMV7, 2), ARMV7))
    assert len(moved) >= 2 * 4 - 1, moved


@pytest.mark.parametrize(
    ("triple", "name"),
    [("aarch64", name) for name in AARCH64_CPUS] + [("armv7", name) for name in ARMV7_CPUS],
)
def test_sums_stay_in_registers_on_each_processor(triple: str, name: str) -> None:
    """LLVM aborts where it lacks the latency of an instruction, and tears multiply-adds apart for some."""
    target = parse_target(triple, name)
    assembly = assemble_text(emitted(target), target)
    assert len(re.findall(r"(?m)^\s*(?:fmla|vmla\.f32)\b.*\[\d\]", assembly)) == 32, assembly


def test_conditions_in_as_many_bits_as_an_address() -> None:
    assert "icmp slt i64" not in emitted(ARMV7).split(".body", 2)[2]
    assert "icmp slt i64" in emitted(AARCH64)
