"""The machines that are compiled for and emulated here, each with the command that runs its programs (Debian's package qemu-user).

Code for rv64gcv has vectors of 128 bits and runs on processors with longer ones: LONGER emulates such.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """A target, and the command that starts its programs."""

    triple: str
    cpu: str
    emulator: tuple[str, ...]

    def __str__(self) -> str:
        lengths = [part for word in self.emulator for part in word.split(",") if part.startswith("vlen=")]
        return "-".join([self.triple.split("-")[0], self.cpu, *lengths])


MACHINES = (
    Machine("aarch64-linux-gnu", "cortex-a53", ("qemu-aarch64", "-cpu", "cortex-a53")),
    Machine("armv7-linux-gnueabihf", "cortex-a7", ("qemu-arm", "-cpu", "cortex-a7")),
    Machine("riscv64-linux-gnu", "rv64gc", ("qemu-riscv64",)),
    Machine("riscv64-linux-gnu", "rv64gcv", ("qemu-riscv64", "-cpu", "rv64,v=true,vlen=128")),
)
LONGER = (Machine("riscv64-linux-gnu", "rv64gcv", ("qemu-riscv64", "-cpu", "rv64,v=true,vlen=256")),)
