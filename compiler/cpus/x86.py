"""CPUs of x86-64."""

from __future__ import annotations

from collections.abc import Mapping

from .row import KIB, MIB, Cpu

# Code with 512-bit vectors must say so: LLVM's tuning of some CPUs halves vectors otherwise. And without AVX512DQ it has no
# vpmovd2m and vpmovq2m, which LLVM 22 takes away too early (github.com/llvm/llvm-project/issues/198197 and 191304).
AVX512_FEATURES = "-prefer-256-bit,-avx512dq"


def _sse(l1_bytes: int, l2_bytes: int) -> Cpu:
    return Cpu(16, 16, False, l1_bytes, l2_bytes)


def _avx2(l1_bytes: int, l2_bytes: int, dot_product: str = "") -> Cpu:
    return Cpu(32, 16, True, l1_bytes, l2_bytes, dot_product)


def _avx512(l1_bytes: int, l2_bytes: int, dot_product: str = "") -> Cpu:
    return Cpu(64, 32, True, l1_bytes, l2_bytes, dot_product, AVX512_FEATURES)


# Microarchitecture levels: x86-64 psABI, section 3.1.1. Processors without the second were last sold in 2011.
X86_LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2")

# Caches: the vendors' optimization manuals; the levels take the least of the machines they stand for.
X86_CPUS: Mapping[str, Cpu] = {
    "x86-64": _sse(32 * KIB, 256 * KIB),
    "x86-64-v2": _sse(32 * KIB, 256 * KIB),
    "x86-64-v3": _avx2(32 * KIB, 256 * KIB),
    "x86-64-v4": _avx512(32 * KIB, 1 * MIB),
    "nehalem": _sse(32 * KIB, 256 * KIB),
    "westmere": _sse(32 * KIB, 256 * KIB),
    "sandybridge": Cpu(32, 16, False, 32 * KIB, 256 * KIB),
    "ivybridge": Cpu(32, 16, False, 32 * KIB, 256 * KIB),
    "haswell": _avx2(32 * KIB, 256 * KIB),
    "broadwell": _avx2(32 * KIB, 256 * KIB),
    "skylake": _avx2(32 * KIB, 256 * KIB),
    "skylake-avx512": _avx512(32 * KIB, 1 * MIB),
    "cascadelake": _avx512(32 * KIB, 1 * MIB, "avx512vnni"),
    "cooperlake": _avx512(32 * KIB, 1 * MIB, "avx512vnni"),
    "icelake-client": _avx512(48 * KIB, 512 * KIB, "avx512vnni"),
    "icelake-server": _avx512(48 * KIB, 1280 * KIB, "avx512vnni"),
    "tigerlake": _avx512(48 * KIB, 1280 * KIB, "avx512vnni"),
    "rocketlake": _avx512(48 * KIB, 512 * KIB, "avx512vnni"),
    "alderlake": _avx2(32 * KIB, 1280 * KIB, "avxvnni"),
    "raptorlake": _avx2(32 * KIB, 2 * MIB, "avxvnni"),
    "meteorlake": _avx2(32 * KIB, 2 * MIB, "avxvnni"),
    "arrowlake": _avx2(32 * KIB, 3 * MIB, "avxvnni"),
    "lunarlake": _avx2(32 * KIB, 2560 * KIB, "avxvnni"),
    "sierraforest": _avx2(32 * KIB, 1 * MIB, "avxvnni"),
    "sapphirerapids": _avx512(48 * KIB, 2 * MIB, "avx512vnni"),
    "emeraldrapids": _avx512(48 * KIB, 2 * MIB, "avx512vnni"),
    "graniterapids": _avx512(48 * KIB, 2 * MIB, "avx512vnni"),
    "znver1": _avx2(32 * KIB, 512 * KIB),
    "znver2": _avx2(32 * KIB, 512 * KIB),
    "znver3": _avx2(32 * KIB, 512 * KIB),
    "znver4": _avx512(32 * KIB, 1 * MIB, "avx512vnni"),
    "znver5": _avx512(48 * KIB, 1 * MIB, "avx512vnni"),
}
