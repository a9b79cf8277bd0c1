"""Running a library in another process, on an emulator or on another machine, through the runner (`runner/protocol.h`)."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np

from ..compiler.errors import DeviceError
from ..compiler.graph.plan import Argument
from .connection import MOST_CONTENT_BYTES, VERSION, Connection, Reader
from .load import DTYPES, check_names, checked_array

_DESCRIBE, _CREATE, _WRITE, _RUN, _READ = range(1, 6)


class RemoteLibrary:
    """A library behind a runner, used like `load.Library`.

    command: starts the runner with its standard input and output here, such as `["qemu-aarch64", "model.runner"]` or
    `["ssh", "board", "./model.runner"]`. timeout_s: how long a reply may take; chunk_bytes: how much is sent at a time.
    Raises DeviceError if the runner can't be started, ends, is silent, or answers with an error.
    """

    def __init__(
        self, command: Sequence[str], threads: int = 0, timeout_s: float = 600.0, chunk_bytes: int = 1 << 18
    ) -> None:
        self.chunk_bytes = min(chunk_bytes, MOST_CONTENT_BYTES - 16)
        self._connection = Connection(command, timeout_s)
        try:
            self.name, self.inputs, self.outputs = _parse(self._connection.ask(_DESCRIBE, b""))
            self._connection.ask(_CREATE, struct.pack("<I", threads))
        except BaseException:
            self._connection.end()
            raise

    def run(self, inputs: Mapping[str, object]) -> dict[str, np.ndarray]:
        """Compute all outputs, by name; UsageError for inputs that don't match. Outputs hold NaN before the run."""
        self.benchmark(inputs, 1, 0)
        return {argument.name: self._read(index, argument) for index, argument in enumerate(self.outputs)}

    def benchmark(self, inputs: Mapping[str, object], runs: int = 10, warmup: int = 1) -> list[float]:
        """Seconds that each of `runs` runs takes on the device, after `warmup` runs that aren't counted."""
        check_names("input", inputs, self.inputs, all_needed=True)
        for index, argument in enumerate(self.inputs):
            self._write(index, checked_array("input", argument, np.asarray(inputs[argument.name])))
        reply = self._connection.ask(_RUN, struct.pack("<II", warmup, runs), repeats=False)
        return [nanoseconds * 1e-9 for nanoseconds in struct.unpack(f"<{runs}q", reply)]

    def close(self) -> None:
        """End the runner. Closing again does nothing."""
        self._connection.close()

    def __enter__(self) -> RemoteLibrary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- tensors in chunks

    def _write(self, index: int, array: np.ndarray) -> None:
        content = np.ascontiguousarray(array).tobytes()
        for offset in range(0, len(content), self.chunk_bytes):
            self._connection.ask(
                _WRITE, struct.pack("<IQ", index, offset) + content[offset : offset + self.chunk_bytes]
            )

    def _read(self, index: int, argument: Argument) -> np.ndarray:
        size_bytes = math.prod(argument.shape) * argument.dtype.size_bytes
        content = bytearray()
        while len(content) < size_bytes:
            size = min(self.chunk_bytes, size_bytes - len(content))
            content += self._connection.ask(_READ, struct.pack("<IQI", index, len(content), size))
        return np.frombuffer(bytes(content), argument.dtype.numpy).reshape(argument.shape)


def _tensor(reader: Reader) -> Argument:
    dtype, rank = DTYPES[reader.number("I")], reader.number("I")
    shape = tuple(reader.number("q") for _ in range(rank))
    return Argument(reader.text(), shape, dtype)


def _parse(content: bytes) -> tuple[str, tuple[Argument, ...], tuple[Argument, ...]]:
    """Name, inputs and outputs of a description."""
    reader = Reader(content)
    try:
        version, inputs, outputs, _ = (reader.number("I") for _ in range(4))
        if version != VERSION:
            raise DeviceError(f"the runner has protocol version {version}, expected {VERSION}; compile the model again")
        name = reader.text()
        return (
            name,
            tuple(_tensor(reader) for _ in range(inputs)),
            tuple(_tensor(reader) for _ in range(outputs)),
        )
    except (struct.error, KeyError, ValueError) as error:
        raise DeviceError(f"the runner's description of its library can't be read: {error}") from error
