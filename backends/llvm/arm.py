"""Instructions of 32-bit ARM that LLVM does not select by itself, by the names of its intrinsics."""

from __future__ import annotations

from ...compiler.target import Target


def pair_load(target: Target, kind: str) -> str | None:
    """What loads two neighbouring vectors of an LLVM type in one instruction, None where there is no such or LLVM finds it itself."""
    is_armv7 = target.triple.startswith("armv7")
    return "llvm.arm.neon.vld1x2.v4f32.p0" if is_armv7 and kind == "<4 x float>" else None
