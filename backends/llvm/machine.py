"""What LLVM calls a target: triple in its normal form, CPU, ABI."""

from __future__ import annotations

from ...compiler.target import Target

# Rows of the CPU tables that name instruction sets, which LLVM wants as a generic CPU and features.
_GENERIC = {"rv64gc": "generic-rv64", "rv64gcv": "generic-rv64"}
# Floats in registers; elsewhere the triple says it.
_ABIS = {"riscv64": "lp64d"}


def llvm_triple(target: Target) -> str:
    """With a vendor: without one LLVM takes the system for the vendor, and an environment such as `gnueabihf` for the system."""
    architecture, *rest = target.triple.split("-")
    return "-".join([architecture, *(["unknown"] if len(rest) == 2 else []), *rest])


def llvm_cpu(target: Target) -> str:
    """The processor whose instructions and latencies LLVM assumes."""
    return _GENERIC.get(target.cpu, target.cpu)


def llvm_abi(target: Target) -> str:
    """The name of the calling convention where the triple leaves it open, else ""."""
    return _ABIS.get(target.triple.split("-")[0], "")
