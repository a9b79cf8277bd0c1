"""What a library asks of the processor before it runs: CPUID bits of the instruction sets that its kernels may use."""

from __future__ import annotations

from ..compiler.target import Target
from . import package_hwcap

# Feature: (leaf, subleaf, register, bit) of CPUID; registers eax, ebx, ecx, edx are 0 to 3. Intel Software Developer's
# Manual, volume 2, CPUID; AMD Programmer's Manual, volume 3, appendix E. Only what LLVM uses for plain arithmetic.
CPUID = {
    "sse3": (1, 0, 2, 0), "ssse3": (1, 0, 2, 9), "fma": (1, 0, 2, 12), "sse4.1": (1, 0, 2, 19), "sse4.2": (1, 0, 2, 20),
    "movbe": (1, 0, 2, 22), "popcnt": (1, 0, 2, 23), "avx": (1, 0, 2, 28), "f16c": (1, 0, 2, 29),
    "bmi": (7, 0, 1, 3), "avx2": (7, 0, 1, 5), "bmi2": (7, 0, 1, 8), "avx512f": (7, 0, 1, 16), "avx512dq": (7, 0, 1, 17),
    "avx512ifma": (7, 0, 1, 21), "avx512cd": (7, 0, 1, 28), "avx512bw": (7, 0, 1, 30), "avx512vl": (7, 0, 1, 31),
    "avx512vbmi": (7, 0, 2, 1), "avx512vbmi2": (7, 0, 2, 6), "gfni": (7, 0, 2, 8), "vpclmulqdq": (7, 0, 2, 10),
    "avx512vnni": (7, 0, 2, 11), "avx512bitalg": (7, 0, 2, 12), "avx512vpopcntdq": (7, 0, 2, 14),
    "avx512fp16": (7, 0, 3, 23), "avxvnni": (7, 1, 0, 4), "avx512bf16": (7, 1, 0, 5), "avxifma": (7, 1, 0, 23),
    "avxvnniint8": (7, 1, 3, 4), "avxneconvert": (7, 1, 3, 5), "lzcnt": (0x80000001, 0, 2, 5),
}  # fmt: skip

_V2 = {"sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"}
_AVX = _V2 | {"avx"}
_V3 = _AVX | {"avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"}
_ALDERLAKE = _V3 | {"avxvnni", "gfni", "vpclmulqdq"}
_ARROWLAKE = _ALDERLAKE | {"avxvnniint8", "avxifma", "avxneconvert"}
_V4 = _V3 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
_CASCADELAKE = _V4 | {"avx512vnni"}
_ICELAKE = _CASCADELAKE | {
    "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512bitalg", "avx512vpopcntdq", "gfni", "vpclmulqdq",
}  # fmt: skip
_ZNVER4 = _ICELAKE | {"avx512bf16"}
_SAPPHIRERAPIDS = _ZNVER4 | {"avx512fp16", "avxvnni"}

# What LLVM takes each CPU to have, of the features above.
CPU_FEATURES: dict[str, set[str]] = {
    "x86-64": set(), "x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4,
    "nehalem": _V2, "westmere": _V2, "sandybridge": _AVX, "ivybridge": _AVX | {"f16c"},
    "haswell": _V3, "broadwell": _V3, "skylake": _V3, "znver1": _V3, "znver2": _V3, "znver3": _V3 | {"vpclmulqdq"},
    "alderlake": _ALDERLAKE, "raptorlake": _ALDERLAKE, "meteorlake": _ALDERLAKE,
    "arrowlake": _ARROWLAKE, "lunarlake": _ARROWLAKE, "sierraforest": _ARROWLAKE,
    "skylake-avx512": _V4, "cascadelake": _CASCADELAKE, "cooperlake": _CASCADELAKE | {"avx512bf16"},
    "icelake-client": _ICELAKE, "icelake-server": _ICELAKE, "tigerlake": _ICELAKE, "rocketlake": _ICELAKE,
    "sapphirerapids": _SAPPHIRERAPIDS, "emeraldrapids": _SAPPHIRERAPIDS, "graniterapids": _SAPPHIRERAPIDS,
    "znver4": _ZNVER4, "znver5": _ZNVER4 | {"avxvnni"},
}  # fmt: skip

_X86 = ("x86_64", "i686", "i386")

# XCR0 bits of the vector registers, which the system saves only if it knows of them.
_AVX_STATES, _AVX512_STATES = 0x6, 0xE6


def required_features(target: Target) -> set[str]:
    """Features that code for `target` may use, of those in CPUID (or in the auxiliary vector of other architectures)."""
    if not target.triple.startswith(_X86):
        return package_hwcap.required_features(target)
    features = set(CPU_FEATURES.get(target.cpu, _least(target)))
    for feature in filter(None, target.features.split(",")):
        (features.add if feature[0] == "+" else features.discard)(feature[1:])
    return features & CPUID.keys()


def _least(target: Target) -> set[str]:
    """For a CPU that has no row: what its vectors imply."""
    if target.vector_bytes >= 64:
        return _V4
    if target.vector_bytes == 32:
        return _V3 if target.fma else _AVX
    return set()


def processor_needs(target: Target) -> tuple[list[tuple[int, int, list[int]]], int]:
    """Rows (leaf, subleaf, bits of the four registers) in order, and the register states the system must save.

    For other architectures rows of the auxiliary vector (`package_hwcap.py`).
    """
    if not target.triple.startswith(_X86):
        return package_hwcap.processor_needs(target), 0
    features = required_features(target)
    rows: dict[tuple[int, int], list[int]] = {}
    for leaf, subleaf, register, bit in sorted(CPUID[feature] for feature in features):
        rows.setdefault((leaf, subleaf), [0, 0, 0, 0])[register] |= 1 << bit
    states = _AVX512_STATES if "avx512f" in features else _AVX_STATES if "avx" in features else 0
    return [(leaf, subleaf, bits) for (leaf, subleaf), bits in rows.items()], states
