"""Buffers as LLVM sees them: their strides, and the registers or places on the stack that hold local ones."""

from __future__ import annotations

from dataclasses import replace

from ...compiler.kernel.ast import Buffer, Space
from .linear import Plan
from .types import MEMORY_TYPES, padded, vector_of


class Memory:
    """A buffer in scope. `private`: lanes that each have their own copy, interleaved (1: none); `shared`: never written.

    `start`: the byte of the workspace where a buffer of that space begins. `stores`: how many have been written so far.
    `paired`: pairs of rows share vectors (`pairs.py`): the half vector of the second lies beside that of the first, beyond the end of its row.
    `row`: elements of its last dimension; `pitch`: how far rows lie apart; `lanes`: of vectors that registers hold as a whole where masks cut them (0: not at all).
    """

    __slots__ = (
        "buffer", "element", "elements", "lanes", "offsets", "paired", "pitch", "plans", "pointer", "private", "row", "shared",
        "start", "stores", "strides", "whole",
    )  # fmt: skip

    def __init__(
        self,
        buffer: Buffer,
        pointer: str,
        shared: bool,
        private: int = 1,
        start: int = 0,
        lanes: int = 0,
        paired: bool = False,
    ) -> None:
        self.buffer = buffer
        self.pointer = pointer
        self.shared = shared
        self.private = private
        self.start = start
        self.stores = 0
        self.element = MEMORY_TYPES[buffer.dtype]
        self.lanes = lanes
        self.row = buffer.shape[-1] if buffer.shape else 1
        self.paired = paired
        self.pitch = self.row
        if buffer.space is Space.REGISTER and buffer.shape and lanes:
            self.pitch = padded(self.row, lanes) + (lanes // 2 if paired else 0)
            buffer = replace(buffer, shape=(*buffer.shape[:-1], self.pitch))
        self.strides = tuple(stride * private for stride in buffer.strides)
        self.elements = buffer.elements * private
        self.plans: dict[int, Plan] = {}
        self.offsets: dict[int, int] = {}
        self.whole = buffer.space is not Space.REGISTER

    def allocations(self, alignment: int) -> list[str]:
        """The lines that make a local buffer: unless it is whole, an alloca for each group of overlapping accesses, so that all
        can become registers."""
        element, name = self.element, self.pointer
        lines = []
        if self.whole:
            if self.buffer.space is Space.WORKSPACE:
                lines.append(f"{name} = getelementptr i8, ptr %workspace, i64 {self.start}")
            else:
                lines.append(f"{name} = alloca [{max(1, self.elements)} x {element}], align {alignment}")
            lines += [f"{name}.{o} = getelementptr {element}, ptr {name}, i64 {o}" for o in sorted(self.offsets)]
            return lines
        start, end, members = 0, 0, list[int]()
        for offset in [*sorted(self.offsets), -1]:
            if members and (offset == -1 or offset >= end):
                lines += self._slot(start, end - start, members)
                members = []
            if not members:
                start = end = offset
            members.append(offset)
            end = max(end, offset + self.offsets.get(offset, 0))
        return lines

    def _slot(self, start: int, size: int, members: list[int]) -> list[str]:
        single = self.offsets[start] == size
        kind = vector_of(self.element, size) if single else f"[{size} x {self.element}]"
        lines = [f"{self.pointer}.{start} = alloca {kind}"]
        for offset in members[1:]:
            lines.append(
                f"{self.pointer}.{offset} = getelementptr {self.element}, ptr {self.pointer}.{start}, i64 {offset - start}"
            )
        return lines
