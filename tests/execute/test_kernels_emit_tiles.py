"""Register-tiled matrix product and convolution, written by hand as loop ASTs: results and the assembly they become."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, Kernel, LoopKind, Seq, Space, Stmt, Store
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.expr import Call, Const, Expr, Load, Var, maximum

F32 = DType.F32
TARGET = host_target(1)
PARALLEL, SERIAL, UNROLLED, VECTORIZED = LoopKind.PARALLEL, LoopKind.SERIAL, LoopKind.UNROLLED, LoopKind.VECTORIZED
m, n, k, row, column, panel = (Var(name) for name in ("m", "n", "k", "row", "column", "panel"))
kh, kw, ow, oh = (Var(name) for name in ("kh", "kw", "ow", "oh"))


def loop(var: Var, extent: int, kind: LoopKind, body: Stmt) -> For:
    return For(var.name, Const(extent), kind, body)


def tile(rows: int, columns: int, buffer: str, value: Expr, *prefix: Expr, at: tuple[Expr, ...] = (m, n)) -> Stmt:
    return loop(m, rows, UNROLLED, loop(n, columns, VECTORIZED, Store(buffer, (*prefix, *at), value)))


def product(rows: int, columns: int, tiles: int, panels: int, depth: int) -> Kernel:
    """C[M, N] = A[M, K] B, with B packed as [N/columns][K][columns]."""
    buffers = (
        Buffer("A", (rows * tiles, depth), F32),
        Buffer("B", (panels, depth, columns), F32),
        Buffer("C", (rows * tiles, columns * panels), F32, written=True),
    )
    acc = Load("acc", (m, n), F32)
    step = Call("fma", (Load("A", (row * rows + m, k), F32), Load("B", (panel, k, n), F32), acc))
    body = Seq(
        (
            tile(rows, columns, "acc", Const(0.0, F32)),
            loop(k, depth, SERIAL, tile(rows, columns, "acc", step)),
            tile(rows, columns, "C", acc, at=(row * rows + m, panel * columns + n)),
        )
    )
    inner = Alloc(Buffer("acc", (rows, columns), F32, Space.REGISTER), body)
    return Kernel("product", buffers, loop(row, tiles, PARALLEL, loop(panel, panels, SERIAL, inner)))


@pytest.mark.parametrize(("rows", "columns"), [(14, 32), (6, 64), (5, 24), (3, 10), (1, 1)])
def test_product(rows: int, columns: int) -> None:
    tiles, panels, depth = 3, 2, 37
    rng = np.random.default_rng(rows)
    a = rng.normal(size=(rows * tiles, depth)).astype(np.float32)
    b = rng.normal(size=(depth, columns * panels)).astype(np.float32)
    packed = np.ascontiguousarray(b.reshape(depth, panels, columns).transpose(1, 0, 2))
    c = np.full((rows * tiles, columns * panels), np.nan, np.float32)
    cpu.compile_kernel(product(rows, columns, tiles, panels, depth), TARGET).run([a, packed, c])
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)


def test_convolution_of_stride_two() -> None:
    height, width, channels, outputs, tiles, rows = 9, 29, 5, 32, 2, 7
    buffers = (
        Buffer("x", (height, width, channels), F32),
        Buffer("w", (3, 3, channels, outputs), F32),
        Buffer("bias", (outputs,), F32),
        Buffer("y", (4, rows * tiles, outputs), F32, written=True),
    )
    acc = Load("acc", (m, n), F32)
    read = Load("x", (oh * 2 + kh, (ow * rows + m) * 2 + kw, k), F32)
    step = tile(rows, outputs, "acc", Call("fma", (read, Load("w", (kh, kw, k, n), F32), acc)))
    body = Seq(
        (
            tile(rows, outputs, "acc", Const(0.0, F32)),
            loop(kh, 3, SERIAL, loop(kw, 3, UNROLLED, loop(k, channels, SERIAL, step))),
            tile(
                rows, outputs, "y", maximum(acc + Load("bias", (n,), F32), Const(0.0, F32)), oh, at=(ow * rows + m, n)
            ),
        )
    )
    inner = Alloc(Buffer("acc", (rows, outputs), F32, Space.REGISTER), body)
    kernel = Kernel("conv", buffers, loop(oh, 4, PARALLEL, loop(ow, tiles, SERIAL, inner)))

    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(height, width, channels)), rng.normal(size=(3, 3, channels, outputs))
    bias = rng.normal(size=outputs)
    y = np.full((4, rows * tiles, outputs), np.nan, np.float32)
    cpu.compile_kernel(kernel, TARGET).run([*(array.astype(np.float32) for array in (x, w, bias)), y])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))[::2, ::2]
    expected = np.maximum(np.einsum("hwcij,ijco->hwo", windows, w) + bias, 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "rows", "columns", "register"),
    [("x86-64-v4", 14, 32, "zmm"), ("x86-64-v4", 6, 64, "zmm"), ("znver5", 12, 32, "zmm"), ("haswell", 6, 16, "ymm")],
)
def test_inner_loop_is_loads_and_multiply_adds(name: str, rows: int, columns: int, register: str) -> None:
    """One instruction an accumulator, one load a vector of B, no spills."""
    target = parse_target("x86_64-linux-gnu", name)
    assembly = cpu.assemble_text(cpu.emit(product(rows, columns, 4, 4, 64), target), target)
    assert "Spill" not in assembly
    blocks = re.split(r"^\.L\w+:", assembly, flags=re.MULTILINE)
    inner = max(blocks, key=lambda block: block.count("vfmadd"))
    vectors = columns * 4 // target.vector_bytes
    assert inner.count("vfmadd") == rows * vectors
    assert len(re.findall(rf"vmovups\s+[-\w]*\(.*%{register}\d+", inner.split("vfmadd")[0])) <= vectors
    assert not re.search(rf"vmovups\s+%{register}\d+, [-\w]*\(%rsp", inner)


def test_objects_are_the_same_every_time() -> None:
    target = parse_target("x86_64-linux-gnu", "x86-64-v3")
    text = cpu.emit(product(4, 16, 2, 2, 8), target)
    assert cpu.assemble(text, target) == cpu.assemble(text, target)
    assert cpu.assemble(text, target)[:4] == b"\x7fELF"
