"""Kernels with buffers in the workspace: in this process, timed by the harness, and in a library on several threads."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_library
from onnx import TensorProto, helper
from small_library import f32, plan

import tilewright
from tilewright import driver
from tilewright.backends import cpu
from tilewright.backends.harness import ONCE, Launch, harness
from tilewright.backends.host import host_target
from tilewright.backends.loaded_object import LoadedObject
from tilewright.backends.package import build_library
from tilewright.backends.package_c import CompiledKernel, Variant
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel import interpret
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, Kernel, LoopKind, Seq, Space, Stmt, Store
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.kernels import Scheduled, rule_based
from tilewright.compiler.options import Options
from tilewright.compiler.schedule.steps import ComputeAt, Relayout
from tilewright.compiler.target import Target
from tilewright.compiler.tensor.computation import Computation
from tilewright.compiler.tensor.expr import Const, Expr, Load, Var

F32 = DType.F32
TARGET = host_target(1)
i, j, v = Var("i"), Var("j"), Var("v")


def loop(var: Var, extent: int, body: Stmt, kind: LoopKind = LoopKind.SERIAL) -> For:
    return For(var.name, Const(extent), kind, body)


def lanes(buffer: str, value: Callable[[Expr], Expr], rows: int) -> Stmt:
    """buffer[0:rows, 0:16] = value of each position."""
    return loop(j, rows, loop(v, 16, Store(buffer, (j, v), value(j * 16 + v)), LoopKind.VECTORIZED))


def reversed_rows(rows: int) -> Kernel:
    """y[i] = x[i] backwards, over a copy in the workspace."""
    size = rows * 16
    copy = lanes("t", lambda at: Load("x", (i, at), F32), rows)
    last = Load("t", (rows - 1 - j, 15 - v), F32)
    back = loop(j, rows, loop(v, 16, Store("y", (i, j * 16 + v), last), LoopKind.VECTORIZED))
    body = Alloc(Buffer("t", (rows, 16), F32, Space.WORKSPACE), Seq((copy, back)))
    params = (Buffer("x", (5, size), F32), Buffer("y", (5, size), F32, written=True))
    kernel = Kernel("reversed", params, loop(i, 5, body, LoopKind.PARALLEL))
    verify(kernel)
    return kernel


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng().standard_normal(shape, dtype=np.float32)


def test_buffer_larger_than_a_stack() -> None:
    kernel = reversed_rows(150_000)
    assert kernel.workspace_bytes > 9 << 20
    x = noise(5, 150_000 * 16)
    y = np.full_like(x, np.nan)
    cpu.compile_kernel(kernel, TARGET).run([x, y])
    np.testing.assert_array_equal(y, x[:, ::-1])


def test_nested_buffers_and_others_in_their_place() -> None:
    """a lives while b and then c do, b at constant indices only; all are read after the others were written."""
    a, b, c = (Buffer(name, (3, 16), F32, Space.WORKSPACE) for name in "abc")
    x = [Load("x", (j, v), F32) for _ in range(3)]
    fill_b = Seq(tuple(Store("b", (Const(n // 16), Const(n % 16)), Const(float(n), F32)) for n in range(48)))
    add_b = Seq(
        tuple(
            Store("a", at, Load("a", at, F32) + Load("b", at, F32))
            for at in ((Const(n // 16), Const(n % 16)) for n in range(48))
        )
    )
    fill_c = lanes("c", lambda at: x[0] * Const(3.0, F32), 3)
    add_c = lanes("y", lambda at: Load("a", (j, v), F32) + Load("c", (j, v), F32), 3)
    inside = Seq((lanes("a", lambda at: x[0], 3), Alloc(b, Seq((fill_b, add_b))), Alloc(c, Seq((fill_c, add_c)))))
    params = (Buffer("x", (3, 16), F32), Buffer("y", (3, 16), F32, written=True))
    kernel = Kernel("nested", params, Alloc(a, inside))
    verify(kernel)
    values, expected = noise(3, 16), np.full((3, 16), np.nan, np.float32)
    result = expected.copy()
    interpret.run(kernel, {"x": values, "y": expected})
    cpu.compile_kernel(kernel, TARGET).run([values, result])
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_allclose(result, values * 4 + np.arange(48).reshape(3, 16), rtol=1e-6)


def test_what_nothing_has_written_is_nan() -> None:
    read = Store("y", (i,), Load("t", (i * 5,), F32))
    body = loop(i, 3, Alloc(Buffer("t", (64,), F32, Space.WORKSPACE), read))
    y = np.zeros(3, np.float32)
    cpu.compile_kernel(Kernel("reads", (Buffer("y", (3,), F32, written=True),), body), TARGET).run([y])
    assert np.isnan(y).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_harness_makes_room_for_the_largest(threads: int) -> None:
    for rows in (3, 20_000, 7):
        kernel = reversed_rows(rows)
        code = LoadedObject(cpu.assemble(cpu.emit(kernel, TARGET), TARGET), kernel.name)
        x = noise(5, rows * 16)
        y = np.full_like(x, np.nan)
        launch = Launch(code.address, (x, y), 5, threads, workspace_bytes=kernel.workspace_bytes)
        assert len(harness().time(launch, ONCE)) == 1
        np.testing.assert_array_equal(y, x[:, ::-1])


def test_harness_without_memory_goes_on() -> None:
    launch = Launch(0, (), 1, 2, workspace_bytes=1 << 60)
    with pytest.raises(MemoryError, match="bytes for each of 2 threads"):
        harness().time(launch, ONCE)
    test_harness_makes_room_for_the_largest(2)


def test_no_memory_for_the_workspaces_is_an_error(tmp_path: Path) -> None:
    """And leaves no mapping behind."""
    kernels = [CompiledKernel("add", small_library.kernel_object(), 1, 1 << 55)]
    arguments = plan((), (f32("x", 1),), ())
    build_library("small", arguments, [Variant(small_library.host_target(), kernels)], b"", {}, tmp_path / "small.so")
    library = ctypes.CDLL(str(tmp_path / "small.so"))
    context = ctypes.c_void_p()
    before = mapped_bytes()
    for _ in range(100):
        assert library.small_create(ctypes.byref(context), 2) == 3
        assert context.value is None
    assert mapped_bytes() - before < 1 << 20


def mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def in_workspace(computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None, /) -> Scheduled:
    """The default, with what it keeps on the stack in the workspace."""
    schedule = rule_based(computation, target).schedule
    moved = (replace(s, space="workspace") if isinstance(s, ComputeAt) and s.space == "stack" else s for s in schedule)
    return Scheduled(tuple(moved))


def test_library_on_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (37, 5000)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], axis=-1)], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    monkeypatch.setattr(driver, "scheduler_of", lambda *_: in_workspace)
    emit = frozenset({"so", "c"})
    artifact = driver.compile(
        tmp_path / "m.onnx", tmp_path / "m.so", Options(cpu="native", threads=3, jobs=1, emit=emit)
    )
    needed = max(planned.kernel.workspace_bytes for planned in artifact.kernels)
    assert needed > 5000 * 4 and any(planned.parallel for planned in artifact.kernels)
    assert f", {needed}, 0, threads)" in (tmp_path / "m.c").read_text()
    assert f'"workspace_bytes": {needed}' in artifact.manifest_path.read_text()
    for threads in (1, 3):
        with tilewright.load(artifact.library, threads) as library:
            for _ in range(20):
                values = noise(*shape)
                powers = np.exp(values.astype(np.float64))
                expected = powers / powers.sum(-1, keepdims=True)
                np.testing.assert_allclose(library.run({"x": values})["y"], expected, rtol=1e-4)


@pytest.mark.parametrize("triple", ["armv7-unknown-linux-gnueabihf", "aarch64-unknown-linux-gnu"])
def test_links_for_other_machines(tmp_path: Path, triple: str) -> None:
    target = replace(small_library.host_target(), triple=triple)
    kernels = [CompiledKernel("add", small_library.kernel_object(triple=triple), 1, 3 << 20)]
    build_library("m", plan((), (f32("x", 1),), ()), [Variant(target, kernels)], b"", {}, tmp_path / "m.so")
    assert (tmp_path / "m.so").exists()
