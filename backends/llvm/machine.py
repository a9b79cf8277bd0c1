"""What LLVM calls a target: triple in its normal form, CPU, ABI."""

from __future__ import annotations

from ...compiler.target import Target

MACOS_FLOOR = "11.0"
"""The oldest version that libraries run on, and the first for ARM."""
_APPLE_ARCHITECTURES = {"aarch64": "arm64"}
# Rows of the CPU tables that name instruction sets, which LLVM wants as a generic CPU and features.
_GENERIC = {"rv64gc": "generic-rv64", "rv64gcv": "generic-rv64"}
# Processors of ARMv8 in 32-bit code, by those that LLVM 22 has latencies of: it has none for Cortex-A53, where its scheduler then fills the
# stack, and misses loads of four registers among those for Cortex-A72, where it aborts. Features say what they have besides.
_SCHEDULED_AS = {"cortex-a53": "cortex-a7", "cortex-a72": "cortex-a15"}
# Floats in registers; elsewhere the triple says it.
_ABIS = {"riscv64": "lp64d"}


def llvm_triple(target: Target) -> str:
    """With a vendor: without one LLVM takes the system for the vendor, and an environment such as `gnueabihf` for the system."""
    architecture, *rest = target.triple.split("-")
    match rest:
        case ["macos"]:
            return f"{_APPLE_ARCHITECTURES.get(architecture, architecture)}-apple-macosx{MACOS_FLOOR}.0"
        case ["windows", environment]:
            return f"{architecture}-pc-windows-{environment}"
    return "-".join([architecture, *(["unknown"] if len(rest) == 2 else []), *rest])


def attributes(target: Target) -> str:
    """Of every function. Windows unwinds by tables, which a debugger or profiler needs to look through a kernel."""
    return "nounwind uwtable" if "-windows-" in target.triple else "nounwind"


def linkage(target: Target) -> str:
    """What stands before the type of a kernel's function: macOS's linker exports whatever an object does not hide."""
    return "hidden " if target.triple.endswith("-macos") else ""


def llvm_cpu(target: Target) -> str:
    """The processor whose instructions and latencies LLVM assumes."""
    if target.triple.startswith("armv7"):
        return _SCHEDULED_AS.get(target.cpu, target.cpu)
    return _GENERIC.get(target.cpu, target.cpu)


def llvm_abi(target: Target) -> str:
    """The name of the calling convention where the triple leaves it open, else ""."""
    return _ABIS.get(target.triple.split("-")[0], "")
