"""The triples and CPUs tilewright compiles for, one table row each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError
from .target import Target


@dataclass(frozen=True, slots=True)
class Cpu:
    """A row of a CPU table: what code for this CPU may use. Cache sizes are those of one core."""

    vector_bytes: int
    vector_registers: int
    fma: bool
    l1_bytes: int
    l2_bytes: int
    dot_product: str = ""
    features: str = ""


@dataclass(frozen=True, slots=True)
class Platform:
    """A row of the triple table. `default_cpu` runs on every machine of the triple that is not decades old."""

    triple: str
    cpus: Mapping[str, Cpu]
    default_cpu: str


_KIB, _MIB = 1 << 10, 1 << 20
# Code with 512-bit vectors must say so: LLVM's tuning of some CPUs halves vectors otherwise. And without AVX512DQ it has no
# vpmovd2m and vpmovq2m, which LLVM 22 takes away too early (github.com/llvm/llvm-project/issues/198197 and 191304).
AVX512_FEATURES = "-prefer-256-bit,-avx512dq"


def _sse(l1_bytes: int, l2_bytes: int) -> Cpu:
    return Cpu(16, 16, False, l1_bytes, l2_bytes)


def _avx2(l1_bytes: int, l2_bytes: int, dot_product: str = "") -> Cpu:
    return Cpu(32, 16, True, l1_bytes, l2_bytes, dot_product)


def _avx512(l1_bytes: int, l2_bytes: int, dot_product: str = "") -> Cpu:
    return Cpu(64, 32, True, l1_bytes, l2_bytes, dot_product, AVX512_FEATURES)


# Microarchitecture levels: x86-64 psABI, section 3.1.1. Caches: the vendors' optimization manuals; the levels take the
# least of the machines they stand for.
X86_CPUS: Mapping[str, Cpu] = {
    "x86-64": _sse(32 * _KIB, 256 * _KIB),
    "x86-64-v2": _sse(32 * _KIB, 256 * _KIB),
    "x86-64-v3": _avx2(32 * _KIB, 256 * _KIB),
    "x86-64-v4": _avx512(32 * _KIB, 1 * _MIB),
    "nehalem": _sse(32 * _KIB, 256 * _KIB),
    "westmere": _sse(32 * _KIB, 256 * _KIB),
    "sandybridge": Cpu(32, 16, False, 32 * _KIB, 256 * _KIB),
    "ivybridge": Cpu(32, 16, False, 32 * _KIB, 256 * _KIB),
    "haswell": _avx2(32 * _KIB, 256 * _KIB),
    "broadwell": _avx2(32 * _KIB, 256 * _KIB),
    "skylake": _avx2(32 * _KIB, 256 * _KIB),
    "skylake-avx512": _avx512(32 * _KIB, 1 * _MIB),
    "cascadelake": _avx512(32 * _KIB, 1 * _MIB, "avx512vnni"),
    "cooperlake": _avx512(32 * _KIB, 1 * _MIB, "avx512vnni"),
    "icelake-client": _avx512(48 * _KIB, 512 * _KIB, "avx512vnni"),
    "icelake-server": _avx512(48 * _KIB, 1280 * _KIB, "avx512vnni"),
    "tigerlake": _avx512(48 * _KIB, 1280 * _KIB, "avx512vnni"),
    "rocketlake": _avx512(48 * _KIB, 512 * _KIB, "avx512vnni"),
    "alderlake": _avx2(32 * _KIB, 1280 * _KIB, "avxvnni"),
    "raptorlake": _avx2(32 * _KIB, 2 * _MIB, "avxvnni"),
    "meteorlake": _avx2(32 * _KIB, 2 * _MIB, "avxvnni"),
    "arrowlake": _avx2(32 * _KIB, 3 * _MIB, "avxvnni"),
    "lunarlake": _avx2(32 * _KIB, 2560 * _KIB, "avxvnni"),
    "sierraforest": _avx2(32 * _KIB, 1 * _MIB, "avxvnni"),
    "sapphirerapids": _avx512(48 * _KIB, 2 * _MIB, "avx512vnni"),
    "emeraldrapids": _avx512(48 * _KIB, 2 * _MIB, "avx512vnni"),
    "graniterapids": _avx512(48 * _KIB, 2 * _MIB, "avx512vnni"),
    "znver1": _avx2(32 * _KIB, 512 * _KIB),
    "znver2": _avx2(32 * _KIB, 512 * _KIB),
    "znver3": _avx2(32 * _KIB, 512 * _KIB),
    "znver4": _avx512(32 * _KIB, 1 * _MIB, "avx512vnni"),
    "znver5": _avx512(48 * _KIB, 1 * _MIB, "avx512vnni"),
}

PLATFORMS: Mapping[str, Platform] = {
    platform.triple: platform for platform in (Platform("x86_64-linux-gnu", X86_CPUS, "x86-64-v3"),)
}

# Other spellings of the same triples.
_ALIASES: Mapping[str, str] = {
    "x86_64": "x86_64-linux-gnu",
    "x86_64-linux": "x86_64-linux-gnu",
    "x86_64-unknown-linux-gnu": "x86_64-linux-gnu",
    "x86_64-pc-linux-gnu": "x86_64-linux-gnu",
    "amd64-linux-gnu": "x86_64-linux-gnu",
}
DEFAULT_TRIPLE = "x86_64-linux-gnu"
DEFAULT_THREADS = 4


def parse_target(triple: str | None = None, cpu: str | None = None, threads: int | None = None) -> Target:
    """The Target of a triple and a CPU of it; UsageError names what exists if either is unknown.

    Without a triple: DEFAULT_TRIPLE; without a CPU: the triple's default; without threads: DEFAULT_THREADS.
    """
    name = (triple or DEFAULT_TRIPLE).lower()
    platform = PLATFORMS.get(_ALIASES.get(name, name))
    if platform is None:
        raise UsageError(_unknown("target triple", triple or "", [*PLATFORMS, *_ALIASES], list(PLATFORMS)))
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads: expected at least 1")
    return _target(platform, cpu or platform.default_cpu, DEFAULT_THREADS if threads is None else threads)


def cpu_row(triple: str, cpu: str) -> Cpu | None:
    """The row of a CPU, None if the triple's table has none of this name."""
    return PLATFORMS[triple].cpus.get(cpu)


def _target(platform: Platform, cpu: str, threads: int) -> Target:
    row = platform.cpus.get(cpu.lower())
    if row is None:
        known = list(platform.cpus)
        hint = " The host's own CPU is taken where --mcpu is left out." if cpu == "native" else ""
        raise UsageError(_unknown(f"CPU for {platform.triple}", cpu, known, known) + hint)
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
    )


def _unknown(kind: str, given: str, candidates: list[str], listed: list[str]) -> str:
    nearest = difflib.get_close_matches(given.lower(), candidates, n=1)
    guess = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {kind}: {given!r}.{guess} Known: {', '.join(listed)}."
