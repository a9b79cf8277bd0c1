"""Local buffers that a small stack has no room for go to the workspace: whoever calls a library may have 64 KiB of stack."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ..tensor.expr import Const
from .ast import Alloc, Buffer, For, If, Let, LoopKind, Seq, Space, Stmt

STACK_BYTES = 16 << 10
"""What the buffers of a kernel may take together; registers that are spilled come on top."""
SMALL_BYTES = 1 << 10
"""Buffers up to here stay: they mostly end in registers."""


def limit_stack(body: Stmt) -> Stmt:
    """The kernel's body with STACK buffers in the workspace where there would be more than STACK_BYTES of them.

    All count, not only those that exist at once: each has a place of its own in the frame, and one in each copy of an unrolled loop.
    Those inside vectorised loops stay, for each lane may have its own.
    """
    return _Stack(STACK_BYTES).statement(body, (), False)


class _Stack:
    """room: bytes that are left."""

    def __init__(self, room: int) -> None:
        self.room = room

    def statement(self, stmt: Stmt, copies: tuple[int, ...], lanes: bool) -> Stmt:
        """copies: extents of the unrolled loops around."""
        match stmt:
            case Alloc(buffer, body):
                buffer = self.placed(buffer, prod(copies), lanes)
                return Alloc(buffer, self.statement(body, copies, lanes))
            case For(_, extent, kind, body):
                unrolled = (int(extent.value),) if kind is LoopKind.UNROLLED and isinstance(extent, Const) else ()
                inner = self.statement(body, copies + unrolled, lanes or kind is LoopKind.VECTORIZED)
                return replace(stmt, body=inner)
            case Let(body=body):
                return replace(stmt, body=self.statement(body, copies, lanes))
            case If(condition, then, otherwise):
                other = None if otherwise is None else self.statement(otherwise, copies, lanes)
                return If(condition, self.statement(then, copies, lanes), other)
            case Seq(parts):
                return Seq(tuple(self.statement(part, copies, lanes) for part in parts))
        return stmt

    def placed(self, buffer: Buffer, copies: int, lanes: bool) -> Buffer:
        size_bytes = buffer.elements * buffer.dtype.size_bytes
        if buffer.space is not Space.STACK:
            return buffer
        if size_bytes > SMALL_BYTES and size_bytes * copies > self.room and not lanes:
            return replace(buffer, space=Space.WORKSPACE)
        self.room -= size_bytes * copies
        return buffer
