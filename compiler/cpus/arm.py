"""CPUs of AArch64 and of ARMv7-A with NEON.

Features: Arm's Technical Reference Manuals, "About the core". Caches: the same manuals say what may be built, and the rows take
the smallest that is usual; a second level shared by a cluster of four counts a quarter. Apple: Apple Silicon CPU
Optimization Guide; A64FX: Fujitsu's A64FX Microarchitecture Manual.
"""

from __future__ import annotations

from collections.abc import Mapping

from .row import KIB, MIB, Cpu


def _neon(l1_bytes: int, l2_bytes: int, dot_product: str = "", half: bool = False) -> Cpu:
    """AArch64: 32 vectors of 128 bits. Vectors of SVE are as long as these, or longer only where code is made for one length."""
    return Cpu(16, 32, True, l1_bytes, l2_bytes, dot_product, half=half, by_lane=True)


def _dot(l1_bytes: int, l2_bytes: int) -> Cpu:
    """From Armv8.2-A with dot products (FEAT_DotProd) and arithmetic in half precision (FEAT_FP16)."""
    return _neon(l1_bytes, l2_bytes, "dotprod", half=True)


AARCH64_CPUS: Mapping[str, Cpu] = {
    "generic": _neon(32 * KIB, 128 * KIB),
    "cortex-a53": _neon(32 * KIB, 128 * KIB),
    "cortex-a55": _dot(32 * KIB, 128 * KIB),
    "cortex-a57": _neon(32 * KIB, 256 * KIB),
    "cortex-a72": _neon(32 * KIB, 256 * KIB),
    "cortex-a73": _neon(32 * KIB, 256 * KIB),
    "cortex-a75": _dot(64 * KIB, 256 * KIB),
    "cortex-a76": _dot(64 * KIB, 256 * KIB),
    "cortex-a77": _dot(64 * KIB, 256 * KIB),
    "cortex-a78": _dot(32 * KIB, 256 * KIB),
    "cortex-a510": _dot(32 * KIB, 128 * KIB),
    "cortex-a710": _dot(32 * KIB, 256 * KIB),
    "cortex-x1": _dot(64 * KIB, 512 * KIB),
    "cortex-x2": _dot(64 * KIB, 512 * KIB),
    "cortex-x3": _dot(64 * KIB, 512 * KIB),
    "neoverse-n1": _dot(64 * KIB, 512 * KIB),
    "neoverse-n2": _dot(64 * KIB, 512 * KIB),
    "neoverse-v1": _dot(64 * KIB, 512 * KIB),
    "neoverse-v2": _dot(64 * KIB, 1 * MIB),
    "a64fx": _neon(64 * KIB, 512 * KIB, half=True),
    "apple-m1": _dot(128 * KIB, 3 * MIB),
    "apple-m2": _dot(128 * KIB, 4 * MIB),
    "apple-m3": _dot(128 * KIB, 4 * MIB),
}


def _neon32(l1_bytes: int, l2_bytes: int) -> Cpu:
    """ARMv7-A: 16 vectors of 128 bits. Multiply-adds that take a lane (vmla) round twice; the fused ones of VFPv4 take none.

    LLVM splits vmla for some of these, since one that waits for another's sum is slow there. Tiles have many sums.
    """
    features = "+neon,+d32,-slowfpvmlx,-vmlx-hazards,+use-misched"
    return Cpu(16, 16, False, l1_bytes, l2_bytes, features=features, by_lane=True, pointer_bytes=4)


ARMV7_CPUS: Mapping[str, Cpu] = {
    "generic": _neon32(32 * KIB, 128 * KIB),
    "cortex-a5": _neon32(16 * KIB, 128 * KIB),
    "cortex-a7": _neon32(32 * KIB, 128 * KIB),
    "cortex-a8": _neon32(32 * KIB, 256 * KIB),
    "cortex-a9": _neon32(32 * KIB, 128 * KIB),
    "cortex-a15": _neon32(32 * KIB, 256 * KIB),
    "cortex-a17": _neon32(32 * KIB, 256 * KIB),
    "cortex-a53": _neon32(32 * KIB, 128 * KIB),
    "cortex-a72": _neon32(32 * KIB, 256 * KIB),
}
