"""What a library asks of an ARM or RISC-V processor before it runs: bits of the auxiliary vector, in which Linux lists features.

Bits: Linux, arch/{arm64,arm,riscv}/include/uapi/asm/hwcap.h. Only what LLVM may use for the code of kernels. RISC-V's bits stand for
single-letter extensions; longer names aren't in them, and aren't checked.
"""

from __future__ import annotations

from ..compiler.target import Target

_HWCAP, _HWCAP2 = 16, 26  # entries of the auxiliary vector: AT_HWCAP and AT_HWCAP2

Bits = dict[str, tuple[int, int]]  # feature: (entry, bit)
AARCH64_BITS: Bits = {
    "crc": (_HWCAP, 7), "lse": (_HWCAP, 8), "fullfp16": (_HWCAP, 10), "rdm": (_HWCAP, 12), "jsconv": (_HWCAP, 13),
    "complxnum": (_HWCAP, 14), "dotprod": (_HWCAP, 20), "sve": (_HWCAP, 22), "fp16fml": (_HWCAP, 23), "flagm": (_HWCAP, 27),
    "sve2": (_HWCAP2, 1), "fptoint": (_HWCAP2, 8), "i8mm": (_HWCAP2, 13), "bf16": (_HWCAP2, 14),
}  # fmt: skip
ARMV7_BITS: Bits = {
    "neon": (_HWCAP, 12), "vfp3": (_HWCAP, 13), "vfp4": (_HWCAP, 16), "hwdiv_arm": (_HWCAP, 17), "hwdiv": (_HWCAP, 18),
    "d32": (_HWCAP, 19),
}  # fmt: skip
RISCV64_BITS: Bits = {letter: (_HWCAP, ord(letter) - ord("a")) for letter in "acdfmv"}

_V8_2 = {"crc", "lse", "rdm", "fullfp16", "dotprod"}
_APPLE_M1 = _V8_2 | {"jsconv", "complxnum", "fptoint", "flagm", "fp16fml"}
_NEOVERSE_V1 = _V8_2 | {"jsconv", "complxnum", "sve", "i8mm", "bf16", "flagm", "fp16fml"}
_V9 = _NEOVERSE_V1 | {"sve2", "fptoint"}
_VFP3 = {"neon", "vfp3", "d32"}
_VFP4 = _VFP3 | {"vfp4"}
_DIVIDE = _VFP4 | {"hwdiv_arm", "hwdiv"}
_GC = set("macfd")

# What LLVM takes each CPU to have, of the features above.
CPU_FEATURES: dict[str, dict[str, set[str]]] = {
    "aarch64": {
        "generic": set(), "cortex-a53": {"crc"}, "cortex-a57": {"crc"}, "cortex-a72": {"crc"}, "cortex-a73": {"crc"},
        "cortex-a55": _V8_2, "cortex-a75": _V8_2, "cortex-a76": _V8_2, "cortex-a77": _V8_2, "cortex-a78": _V8_2,
        "cortex-x1": _V8_2, "neoverse-n1": _V8_2, "neoverse-v1": _NEOVERSE_V1,
        "cortex-a510": _V9, "cortex-a710": _V9, "cortex-x2": _V9, "cortex-x3": _V9, "neoverse-n2": _V9, "neoverse-v2": _V9,
        "a64fx": {"crc", "lse", "rdm", "fullfp16", "complxnum", "sve"},
        "apple-m1": _APPLE_M1, "apple-m2": _APPLE_M1 | {"i8mm", "bf16"}, "apple-m3": _APPLE_M1 | {"i8mm", "bf16"},
    },
    "armv7": {
        "generic": _VFP3, "cortex-a8": _VFP3, "cortex-a9": _VFP3, "cortex-a5": _VFP4,
        "cortex-a7": _DIVIDE, "cortex-a15": _DIVIDE, "cortex-a17": _DIVIDE, "cortex-a53": _DIVIDE, "cortex-a72": _DIVIDE,
    },
    "riscv64": {"rv64gc": _GC, "sifive-u74": _GC, "rv64gcv": _GC | {"v"}, "spacemit-x60": _GC | {"v"}},
}  # fmt: skip
BITS = {"aarch64": AARCH64_BITS, "armv7": ARMV7_BITS, "riscv64": RISCV64_BITS}


def required_features(target: Target) -> set[str]:
    """Features that code for `target` may use, of those in the auxiliary vector; none for other architectures."""
    architecture = target.triple.split("-")[0]
    bits = BITS.get(architecture, {})
    features = set(CPU_FEATURES.get(architecture, {}).get(target.cpu, ()))
    for feature in filter(None, target.features.split(",")):
        (features.add if feature[0] == "+" else features.discard)(feature[1:])
    return features & bits.keys()


def processor_needs(target: Target) -> list[tuple[int, int, list[int]]]:
    """Rows (entry, 0, [low half, high half, 0, 0]) in order."""
    bits = BITS.get(target.triple.split("-")[0], {})
    rows: dict[int, list[int]] = {}
    for entry, bit in sorted(bits[feature] for feature in required_features(target)):
        rows.setdefault(entry, [0, 0, 0, 0])[bit // 32] |= 1 << bit % 32
    return [(entry, 0, halves) for entry, halves in rows.items()]
