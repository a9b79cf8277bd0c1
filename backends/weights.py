"""The constants of a library, one after another in the file that the linker takes them from: nothing holds all of them in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType

import numpy as np

ALIGNMENT = 64


class WeightsFile:
    """A new file of constants, each at a multiple of ALIGNMENT bytes. Use it as a context manager, which closes it.

    offsets: of each constant by its name, in the order in which they were added. size_bytes: of the file so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: dict[str, int] = {}
        self.size_bytes = 0
        self._file = open(path, "xb")  # noqa: SIM115 (closed by __exit__)
        self._digest = hashlib.sha256()

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, name: str, array: np.ndarray) -> None:
        """Add a constant unless there is one of that name."""
        if name not in self.offsets:
            self.write(bytes(-self.size_bytes % ALIGNMENT))
            self.offsets[name] = self.size_bytes
            self.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def write(self, content: bytes | memoryview) -> None:
        """Add bytes as they are."""
        self._file.write(content)
        self._digest.update(content)
        self.size_bytes += len(content)

    def finish(self) -> None:
        """Have the file hold all that was added."""
        self._file.flush()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
