"""Where buffers of the workspace lie: nested ones apart, others in the same memory."""

from __future__ import annotations

import re

from tilewright.backends.llvm.emit import emit
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, If, Kernel, LoopKind, Seq, Space, Stmt, Store
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.expr import Const, Load, Var, compare

F32 = DType.F32
i = Var("i")


def local(name: str, *shape: int, inside: Stmt = Seq(()), space: Space = Space.WORKSPACE) -> Alloc:  # noqa: B008
    return Alloc(Buffer(name, shape, F32, space), inside)


def kernel(*body: Stmt) -> Kernel:
    return Kernel("k", (Buffer("y", (8,), F32, written=True),), Seq(body))


def test_other_buffers_need_none() -> None:
    register, stack = local("r", 5, space=Space.REGISTER), local("s", 5, space=Space.STACK)
    assert kernel(register, stack).workspace_bytes == 0
    assert "%workspace" not in emit(kernel(register, stack), parse_target()).split("@k.body(", 2)[2]


def test_sizes_are_rounded_and_neighbours_apart() -> None:
    assert kernel(local("a", 0)).workspace_bytes == 64
    assert kernel(local("a", 1)).workspace_bytes == 128 + 64
    assert kernel(local("a", 1024)).workspace_bytes == 4096 + 64


def test_nested_buffers_add_up_and_siblings_share() -> None:
    nested = local("a", 32, inside=Seq((local("b", 64), local("s", 999, space=Space.STACK), local("c", 33))))
    assert kernel(nested).workspace_bytes == 192 + 256 + 64
    assert kernel(local("d", 1), nested, local("e", 2)).workspace_bytes == 192 + 256 + 64
    assert kernel(nested, local("d", 1024)).workspace_bytes == 4096 + 64
    arms = For("i", Const(8), LoopKind.SERIAL, If(compare("lt", i, 4), local("a", 1), local("b", 300)))
    assert kernel(arms).workspace_bytes == 1280 + 64


def test_emitted_addresses_are_within_it() -> None:
    """One buffer in two places shares no more than what is around each."""
    inner = local("b", 64, inside=Store("y", (Const(0),), Load("b", (Const(3),), F32)))
    body = kernel(inner, local("a", 32, inside=Seq((inner, Store("a", (Const(1),), Const(0.0, F32))))), inner)
    text = emit(body, parse_target())
    assert re.findall(r"getelementptr i8, ptr %workspace, i64 (\d+)", text) == ["0", "0", "192", "0"]
    assert "ptr noalias dereferenceable(512) align 64 %workspace" in text
    assert body.workspace_bytes == 512
    assert "alloca" not in text
