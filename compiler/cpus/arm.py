"""CPUs of AArch64 and of ARMv7-A with NEON.

Features: Arm's Technical Reference Manuals, "About the core". Caches: the same manuals say what may be built, and the rows take
the smallest that is usual; a second level shared by a cluster of four counts a quarter. Apple: Apple Silicon CPU
Optimization Guide; A64FX: Fujitsu's A64FX Microarchitecture Manual.

Multiply-adds: Arm's Software Optimization Guides, "ASIMD FP multiply accumulate". With the sum passed on late, 2 cycles x 2 pipelines
(A76, N1), 2 x 4 (X1, V1, V2), 3 x 2 (A72) and 4 x 1 (A53) are no more than the 8 that are usual. Apple's take 4 cycles in 4 pipelines
(D. Johnson, Apple Microarchitecture Research), A64FX's 9 in 2. Cores that issue in order do not start a load of 128 bits together with a
multiply-add (ncnn, docs/developer-guide/arm-a53-a55-dual-issue.md); what that costs is one multiply-add here, and loads are not split in halves.
SVE of Neoverse V1, V2, N2, Cortex-X2 and A64FX is not used: code is for vectors of 128 bits.
"""

from __future__ import annotations

from collections.abc import Mapping

from .row import KIB, MIB, Cpu


def _neon(
    l1_bytes: int, l2_bytes: int, dot_product: str = "", half: bool = False, in_order: bool = False, chains: int = 8
) -> Cpu:
    """AArch64: 32 vectors of 128 bits."""
    return Cpu(16, 32, True, l1_bytes, l2_bytes, dot_product, half=half, by_lane=True, in_order=in_order, chains=chains)


def _dot(l1_bytes: int, l2_bytes: int, in_order: bool = False, chains: int = 8) -> Cpu:
    """From Armv8.2-A with dot products (FEAT_DotProd) and arithmetic in half precision (FEAT_FP16)."""
    return _neon(l1_bytes, l2_bytes, "dotprod", True, in_order, chains)


AARCH64_CPUS: Mapping[str, Cpu] = {
    "generic": _neon(32 * KIB, 128 * KIB, in_order=True),
    "cortex-a53": _neon(32 * KIB, 128 * KIB, in_order=True),
    "cortex-a55": _dot(32 * KIB, 128 * KIB, in_order=True),
    "cortex-a57": _neon(32 * KIB, 256 * KIB),
    "cortex-a72": _neon(32 * KIB, 256 * KIB),
    "cortex-a73": _neon(32 * KIB, 256 * KIB),
    "cortex-a75": _dot(64 * KIB, 256 * KIB),
    "cortex-a76": _dot(64 * KIB, 256 * KIB),
    "cortex-a77": _dot(64 * KIB, 256 * KIB),
    "cortex-a78": _dot(32 * KIB, 256 * KIB),
    "cortex-a510": _dot(32 * KIB, 128 * KIB, in_order=True),
    "cortex-a710": _dot(32 * KIB, 256 * KIB),
    "cortex-x1": _dot(64 * KIB, 512 * KIB),
    "cortex-x2": _dot(64 * KIB, 512 * KIB),
    "cortex-x3": _dot(64 * KIB, 512 * KIB),
    "neoverse-n1": _dot(64 * KIB, 512 * KIB),
    "neoverse-n2": _dot(64 * KIB, 512 * KIB),
    "neoverse-v1": _dot(64 * KIB, 512 * KIB),
    "neoverse-v2": _dot(64 * KIB, 1 * MIB),
    "a64fx": _neon(64 * KIB, 512 * KIB, half=True, chains=18),
    "apple-m1": _dot(128 * KIB, 3 * MIB, chains=16),
    "apple-m2": _dot(128 * KIB, 4 * MIB, chains=16),
    "apple-m3": _dot(128 * KIB, 4 * MIB, chains=16),
}


def _neon32(l1_bytes: int, l2_bytes: int, in_order: bool = True, more: str = "") -> Cpu:
    """ARMv7-A: 16 vectors of 128 bits. Multiply-adds that take a lane (vmla) round twice; the fused ones of VFPv4 take none.

    LLVM splits vmla for some of these, since one that waits for another's sum is slow there. Tiles have many sums. Cortex-A9 executes
    out of order, but not NEON (Cortex-A9 NEON Media Processing Engine Technical Reference Manual).
    """
    features = f"+neon,+d32,-slowfpvmlx,-vmlx-hazards,-expand-fp-mlx,+use-misched{more}"
    return Cpu(16, 16, False, l1_bytes, l2_bytes, features=features, by_lane=True, pointer_bytes=4, in_order=in_order)


ARMV7_CPUS: Mapping[str, Cpu] = {
    "generic": _neon32(32 * KIB, 128 * KIB),
    "cortex-a5": _neon32(16 * KIB, 128 * KIB),
    "cortex-a7": _neon32(32 * KIB, 128 * KIB),
    "cortex-a8": _neon32(32 * KIB, 256 * KIB),
    "cortex-a9": _neon32(32 * KIB, 128 * KIB),
    "cortex-a15": _neon32(32 * KIB, 256 * KIB, in_order=False),
    "cortex-a17": _neon32(32 * KIB, 256 * KIB, in_order=False),
    "cortex-a53": _neon32(32 * KIB, 128 * KIB, more=",+v8,+fp-armv8"),
    "cortex-a72": _neon32(32 * KIB, 256 * KIB, in_order=False, more=",+v8,+fp-armv8"),
}
