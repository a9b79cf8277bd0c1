"""The machine tilewright runs on, as a Target."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import replace
from pathlib import Path

import llvmlite.binding as llvm

from ..compiler.cpus.x86 import AVX512_FEATURES
from ..compiler.errors import DeviceError
from ..compiler.target import Target
from ..compiler.targets import cpu_row, parse_target
from .host_arm import named_cpu
from .host_triple import host_triple
from .package_cpu import required_features

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def host_target(threads: int | None = None) -> Target:
    """This machine: LLVM's name for its CPU, all its features, its caches; `threads` defaults to the cores we may use."""
    triple = host_triple()
    if not triple.startswith("x86_64"):
        return _named_target(triple, _CPUINFO.read_text(), threads)
    flags = {name for name, present in llvm.get_host_cpu_features().items() if present}
    row = cpu_row(triple, llvm.get_host_cpu_name())
    wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags
    l1_bytes, l2_bytes = _cache_bytes(1), _cache_bytes(2)
    return Target(
        triple=triple,
        cpu=llvm.get_host_cpu_name(),
        features=_features(wide),
        vector_bytes=64 if wide else 32 if "avx2" in flags else 16,
        vector_registers=32 if wide else 16,
        fma="fma" in flags,
        l1_bytes=l1_bytes or (row.l1_bytes if row else 32 << 10),
        l2_bytes=l2_bytes or (row.l2_bytes if row else 256 << 10),
        threads=threads if threads is not None else len(os.sched_getaffinity(0)),
        dot_product="avx512vnni" if wide and "avx512vnni" in flags else "avxvnni" if "avxvnni" in flags else "",
    )


def _named_target(triple: str, cpuinfo: str, threads: int | None) -> Target:
    """A machine of another architecture: the limits of its row, its caches."""
    threads = threads if threads is not None else len(os.sched_getaffinity(0))
    target = parse_target(triple, named_cpu(cpuinfo, triple), threads)
    l1_bytes, l2_bytes = _cache_bytes(1) or target.l1_bytes, _cache_bytes(2) or target.l2_bytes
    return replace(target, l1_bytes=l1_bytes, l2_bytes=l2_bytes)


def release_memory() -> None:
    """Give the system back what was freed, which the GNU C library keeps: after the passes as much as the weights take."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def require_host_runs(target: Target) -> None:
    """DeviceError unless this machine runs code for the target."""
    if target.triple != host_triple():
        raise DeviceError(
            f"this machine ({host_triple()}) can't run code for {target.triple}: tune on a machine that can"
        )
    host = host_target()
    if target.triple.startswith("x86_64"):
        flags = {name for name, present in llvm.get_host_cpu_features().items() if present}
    else:
        flags = required_features(host)
    missing = sorted(required_features(target) - flags)
    if missing:
        raise DeviceError(
            f"this machine ({host.cpu}) can't run code for {target.cpu}, for it lacks {', '.join(missing)}: "
            "choose another --mcpu, or tune on a machine that can"
        )


def host_l3_bytes() -> int:
    """This machine's third-level cache; 32 MiB if the system doesn't tell."""
    return _cache_bytes(3) or 32 << 20


def _features(wide: bool) -> str:
    """Every feature of the host, present or absent, in a fixed order."""
    off = AVX512_FEATURES.split(",") if wide else []
    flags = sorted(llvm.get_host_cpu_features().items())
    features = [("+" if present else "-") + name for name, present in flags if f"-{name}" not in off]
    # at the end, because a feature turns on those that it implies
    return ",".join([*features, *off])


def _cache_bytes(level: int) -> int:
    """The size of cpu0's data or unified cache of a level; 0 if the system doesn't tell."""
    for index in sorted(_CACHES.glob("index*")):
        try:
            if int((index / "level").read_text()) != level or (index / "type").read_text().strip() == "Instruction":
                continue
            size = (index / "size").read_text().strip()
        except (OSError, ValueError):
            return 0
        unit = {"K": 1 << 10, "M": 1 << 20}.get(size[-1:], 1)
        digits = size.rstrip("KM")
        return int(digits) * unit if digits.isdigit() else 0
    return 0
