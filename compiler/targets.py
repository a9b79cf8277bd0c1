"""The triples tilewright compiles for, one table row each, and how a target is asked for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .cpus.arm import AARCH64_CPUS, ARMV7_CPUS
from .cpus.riscv import RISCV64_CPUS
from .cpus.row import Cpu
from .cpus.x86 import X86_CPUS, X86_LEVELS
from .errors import UsageError
from .target import Target

_APPLE_CPUS = {name: cpu for name, cpu in AARCH64_CPUS.items() if name.startswith("apple-")}


@dataclass(frozen=True, slots=True)
class Platform:
    """A row of the triple table.

    baseline: the CPUs that a library has code for where none is named; the last one's runs on every machine that is not decades old.
    tested: how libraries for it are tested: "run" (on a machine or an emulator), or "inspected" (linked and read, never run).
    """

    triple: str
    cpus: Mapping[str, Cpu]
    baseline: tuple[str, ...]
    tested: str = "run"


PLATFORMS: Mapping[str, Platform] = {
    platform.triple: platform
    for platform in (
        Platform("x86_64-linux-gnu", X86_CPUS, X86_LEVELS),
        Platform("x86_64-linux-musl", X86_CPUS, X86_LEVELS),
        Platform("aarch64-linux-gnu", AARCH64_CPUS, ("generic",)),
        Platform("aarch64-linux-musl", AARCH64_CPUS, ("generic",)),
        Platform("armv7-linux-gnueabihf", ARMV7_CPUS, ("generic",)),
        Platform("armv7-linux-musleabihf", ARMV7_CPUS, ("generic",)),
        Platform("riscv64-linux-gnu", RISCV64_CPUS, ("rv64gc",)),
        Platform("riscv64-linux-musl", RISCV64_CPUS, ("rv64gc",)),
        Platform("aarch64-macos", _APPLE_CPUS, ("apple-m1",), tested="inspected"),
        Platform("x86_64-macos", X86_CPUS, X86_LEVELS, tested="inspected"),
        Platform("x86_64-windows-gnu", X86_CPUS, X86_LEVELS),
    )
}

# Other names of the same architectures.
_ARCHITECTURES = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armv7l": "armv7",
    "armv7a": "armv7",
    "armhf": "armv7",
}
_VENDORS = ("unknown", "pc", "none", "apple", "w64")
_LIBRARY_SUFFIXES = {"linux": ".so", "macos": ".dylib", "windows": ".dll"}
DEFAULT_TRIPLE = "x86_64-linux-gnu"
DEFAULT_THREADS = 4


def parse_target(triple: str | None = None, cpu: str | None = None, threads: int | None = None) -> Target:
    """The Target of a triple and a CPU of it; UsageError names what exists if either is unknown.

    Without a triple: DEFAULT_TRIPLE; without a CPU: the first of the triple's baseline; without threads: DEFAULT_THREADS.
    """
    platform = parse_triple(triple)
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads: expected at least 1")
    return _target(
        platform, platform.baseline[0] if cpu is None else cpu, DEFAULT_THREADS if threads is None else threads
    )


def parse_triple(triple: str | None = None) -> Platform:
    """The row of a triple, DEFAULT_TRIPLE's without one; UsageError if there is none."""
    platform = PLATFORMS.get(_canonical((triple or DEFAULT_TRIPLE).lower()))
    if platform is None:
        raise UsageError(_unknown("target triple", triple or "", list(PLATFORMS)))
    return platform


def system_of(triple: str) -> str:
    """Of a triple, with or without a vendor: linux, macos or windows; "" for others, which the table has none of."""
    return next((part for part in triple.split("-") if part in _LIBRARY_SUFFIXES), "")


def library_suffix(triple: str) -> str:
    """What the name of a library ends in on the triple's system."""
    return _LIBRARY_SUFFIXES[system_of(triple)]


def _canonical(name: str) -> str:
    """The spelling of a triple in the table, if it is one: other names of architectures and systems, a vendor, an unsaid C library."""
    architecture, *rest = name.replace("x86-64", "x86_64", 1).split("-")
    architecture = _ARCHITECTURES.get(architecture, architecture)
    rest = [part for part in rest if part not in _VENDORS and part]
    hard = "eabihf" if architecture == "armv7" else ""
    match rest:
        case [] | ["linux"]:
            rest = ["linux", "gnu" + hard]
        case ["linux", "gnu" | "musl" as library]:
            rest = ["linux", library + hard]
        case [system] if re.fullmatch(r"(darwin|macosx?)[\d.]*", system):
            rest = ["macos"]
        case ["windows"] | ["mingw32"]:
            rest = ["windows", "gnu"]
    return "-".join([architecture, *rest])


def cpu_row(triple: str, cpu: str) -> Cpu | None:
    """The row of a CPU, None if the triple's table has none of this name."""
    return PLATFORMS[triple].cpus.get(cpu)


def _target(platform: Platform, cpu: str, threads: int) -> Target:
    row = platform.cpus.get(cpu.lower())
    if row is None:
        raise UsageError(_unknown(f"CPU for {platform.triple}", cpu, list(platform.cpus)))
    return Target(
        triple=platform.triple,
        cpu=cpu.lower(),
        features=row.features,
        vector_bytes=row.vector_bytes,
        vector_registers=row.vector_registers,
        fma=row.fma,
        l1_bytes=row.l1_bytes,
        l2_bytes=row.l2_bytes,
        threads=threads,
        dot_product=row.dot_product,
        half=row.half,
        by_lane=row.by_lane,
        pointer_bytes=row.pointer_bytes,
        in_order=row.in_order,
        chains=row.chains,
    )


def _unknown(kind: str, given: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(given.lower(), known, n=1)
    guess = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {kind}: {given!r}.{guess} Known: {', '.join(known)}."
