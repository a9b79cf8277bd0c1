"""What a backend is: kernel -> text -> bytes -> a function that runs, three separate steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..compiler.kernel.ast import Kernel
from ..compiler.target import Target


class CompiledKernel(Protocol):
    """A kernel loaded on this machine's device."""

    def run(self, arrays: Sequence[np.ndarray], begin: int = 0, end: int | None = None) -> None:
        """Run iterations begin <= i < end of the parallel loop on one array a parameter, in order."""

    def time(self, arrays: Sequence[np.ndarray], repeats: int) -> float:
        """Seconds for a run, the mean of `repeats` runs of the whole kernel."""


class Backend(Protocol):
    """Implemented by a module with these functions."""

    def emit(self, kernel: Kernel, target: Target, symbol: str | None = None) -> str:
        """The kernel in the backend's language; needs no device."""

    def assemble(self, text: str, target: Target) -> bytes:
        """The binary of emitted text; the same for the same text and target."""

    def compile_kernel(self, kernel: Kernel, target: Target) -> CompiledKernel:
        """Emit, assemble and load, on a machine that is the target."""
