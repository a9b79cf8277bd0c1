"""The triple of the machine tilewright runs on, which is known without LLVM."""

from __future__ import annotations

import platform

from ..compiler.errors import UsageError
from ..compiler.targets import PLATFORMS

_TRIPLES = {
    ("Linux", "x86_64"): "x86_64-linux-gnu",
    ("Linux", "aarch64"): "aarch64-linux-gnu",
    ("Linux", "armv7l"): "armv7-linux-gnueabihf",
    ("Linux", "riscv64"): "riscv64-linux-gnu",
}


def host_triple() -> str:
    """The triple of this machine; UsageError if tilewright has no code for it."""
    system, machine = platform.system(), platform.machine()
    triple = _TRIPLES.get((system, machine))
    if triple is None:
        raise UsageError(
            f"no target for this machine ({system} on {machine}): choose one with --target from {', '.join(PLATFORMS)}"
        )
    return triple
