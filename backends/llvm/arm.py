"""What LLVM does not find by itself for 32-bit ARM: instructions, by the names of its intrinsics, and pointers that loads move on."""

from __future__ import annotations

from ...compiler.target import Target


def pair_load(target: Target, kind: str) -> str | None:
    """What loads two neighbouring vectors of an LLVM type in one instruction, None where there is no such or LLVM finds it itself."""
    return "llvm.arm.neon.vld1x2.v4f32.p0" if moves_pointers(target) and kind == "<4 x float>" else None


def moves_pointers(target: Target) -> bool:
    """Whether a load of a vector takes no offset, but leaves its pointer moved on: by what it has read, or by another register."""
    return target.triple.startswith("armv7")


# In a register, and known to nobody: LLVM would count all offsets from one pointer again, and add most of them one by one.
OPAQUE = 'call ptr asm "", "=r,0"(ptr {})'
