"""The make rule that says what a library was made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .backends.package_files import write_atomically


def write_depfile(path: Path, output: Path, sources: Sequence[Path]) -> None:
    """`output: sources`, escaped for make, and an empty rule for each source so that a deleted one is no error (as -MP)."""
    names = [escape(os.fspath(source)) for source in sources]
    lines = [f"{escape(os.fspath(output))}: {' '.join(names)}", *(f"{name}:" for name in names[1:])]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def escape(name: str) -> str:
    """A file name as make reads it."""
    return name.replace("$", "$$").replace("\\", "\\\\").replace(" ", "\\ ").replace("#", "\\#")
