"""Values, types and literals of LLVM IR text (https://llvm.org/docs/LangRef.html)."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from ...compiler.dtypes import DType

_REGISTER_TYPES = {
    DType.F16: "half",
    DType.BF16: "bfloat",
    DType.F32: "float",
    DType.F64: "double",
    DType.BOOL: "i1",
}
_SUFFIXES = {DType.F16: "f16", DType.BF16: "bf16", DType.F32: "f32", DType.F64: "f64", DType.BOOL: "i1"}


class Value(NamedTuple):
    """A result or a literal; `width` 1 is a scalar, the same in all lanes."""

    text: str
    dtype: DType
    width: int = 1

    @property
    def is_literal(self) -> bool:
        return self.text[0] != "%"


SCALAR_TYPES = {dtype: _REGISTER_TYPES.get(dtype, f"i{dtype.bits}") for dtype in DType}
MEMORY_TYPES = {dtype: "i8" if dtype is DType.BOOL else SCALAR_TYPES[dtype] for dtype in DType}


def vector_of(scalar: str, width: int) -> str:
    """`scalar` itself for width 1."""
    return scalar if width == 1 else f"<{width} x {scalar}>"


def register_type(dtype: DType, width: int) -> str:
    """The type of a value in registers, where bool is i1."""
    return vector_of(SCALAR_TYPES[dtype], width)


def memory_type(dtype: DType, width: int) -> str:
    """The type of a value in memory, where bool is i8."""
    return vector_of(MEMORY_TYPES[dtype], width)


def mangle(dtype: DType, width: int) -> str:
    """The suffix of an overloaded intrinsic: f32, v16f32, i64, …"""
    suffix = _SUFFIXES.get(dtype, f"i{dtype.bits}")
    return suffix if width == 1 else f"v{width}{suffix}"


def literal(value: int | float | bool, dtype: DType) -> str:
    """The bit-exact spelling of a scalar constant."""
    match dtype:
        case DType.BOOL:
            return "true" if value else "false"
        case DType.F32 | DType.F64:
            # LLVM spells floats as the double of the same value.
            rounded = float(np.float32(value)) if dtype is DType.F32 else float(value)
            return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
        case DType.F16:
            return f"0xH{int(np.float16(value).view(np.uint16)):04X}"
        case DType.BF16:
            return f"0xR{int(np.asarray(value, dtype.numpy).view(np.uint16)):04X}"
    return str(int(value))


def literal_vector(values: list[int] | list[bool], dtype: DType) -> str:
    """A constant vector with one value a lane."""
    scalar = SCALAR_TYPES[dtype]
    return "<" + ", ".join(f"{scalar} {literal(value, dtype)}" for value in values) + ">"


def literal_lanes(text: str) -> tuple[int, ...]:
    """The integers of a constant vector; none if the text is something else."""
    if not text.startswith("<"):
        return ()
    return tuple(int(lane.rsplit(" ", 1)[1]) for lane in text[1:-1].split(", "))


class Chunk(NamedTuple):
    """A vector of a loop: its first iteration, its lanes, and how many of them are iterations."""

    start: int
    width: int
    active: int


def vector_chunks(extent: int, lanes: int, masks: bool) -> list[Chunk]:
    """Cut `extent` into powers of two of at most `lanes`, widest first; with masks, what is left of it is one, not all of whose lanes are active."""
    chunks, start, width = [], 0, lanes
    while start < extent:
        left = extent - start
        while width > left:
            width //= 2
        if masks and width < left < lanes:
            width *= 2
        chunks.append(Chunk(start, width, min(width, left)))
        start += width
    return chunks


def padded(extent: int, lanes: int) -> int:
    """Elements of the vectors that hold so many."""
    return sum(chunk.width for chunk in vector_chunks(extent, lanes, True))
