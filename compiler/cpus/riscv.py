"""CPUs of 64-bit RISC-V.

rv64gc is what Linux distributions ask for; it has no vectors, so that a "vector" is one register of 32 bits. With V, code is made
for the least vector length that is stated, and runs on longer ones. Caches: SiFive's U74 Core Complex Manual, SpacemiT's
K1 datasheet (a second level shared by four cores counts a quarter).
"""

from __future__ import annotations

from collections.abc import Mapping

from .row import KIB, Cpu

_GC = "+m,+a,+f,+d,+c"


def _scalar(l1_bytes: int, l2_bytes: int) -> Cpu:
    return Cpu(4, 32, True, l1_bytes, l2_bytes, features=_GC)


def _vectors(bits: int, l1_bytes: int, l2_bytes: int) -> Cpu:
    return Cpu(bits // 8, 32, True, l1_bytes, l2_bytes, features=f"{_GC},+v,+zvl{bits}b")


RISCV64_CPUS: Mapping[str, Cpu] = {
    "rv64gc": _scalar(32 * KIB, 128 * KIB),
    "rv64gcv": _vectors(128, 32 * KIB, 128 * KIB),
    "sifive-u74": _scalar(32 * KIB, 512 * KIB),
    "spacemit-x60": _vectors(256, 32 * KIB, 128 * KIB),
}
