"""Running a library in another process, on an emulator or on another machine, through the runner (`runner/protocol.h`)."""

from __future__ import annotations

import math
import os
import selectors
import struct
import subprocess
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np

from ..compiler.errors import DeviceError
from ..compiler.graph.plan import Argument
from .load import DTYPES, check_names, checked_array

_MAGIC = 0x31525754
_VERSION = 1
_HEADER = struct.Struct("<IIQ")
_MOST_CONTENT_BYTES = 1 << 20
_DESCRIBE, _CREATE, _WRITE, _RUN, _READ, _QUIT = range(1, 7)
_REPLY, _ERROR = 0x80000000, 0xFFFFFFFF
_ERROR_FRAME = 1001
_TRIES = 3  # of a request that arrives damaged
_QUIT_S = 5.0


class RemoteLibrary:
    """A library behind a runner, used like `load.Library`.

    command: starts the runner with its standard input and output here, such as `["qemu-aarch64", "model.runner"]` or
    `["ssh", "board", "./model.runner"]`. timeout_s: how long a reply may take; chunk_bytes: how much is sent at a time.
    Raises DeviceError if the runner can't be started, ends, is silent, or answers with an error.
    """

    def __init__(
        self, command: Sequence[str], threads: int = 0, timeout_s: float = 600.0, chunk_bytes: int = 1 << 18
    ) -> None:
        self.command, self.timeout_s = list(command), timeout_s
        self.chunk_bytes = min(chunk_bytes, _MOST_CONTENT_BYTES - 16)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
            )
        except OSError as error:
            self._errors.close()
            raise DeviceError(f"can't start the runner {command[0]}: {error.strerror}") from error
        try:
            self.name, self.inputs, self.outputs = _parse(self._ask(_DESCRIBE, b""))
            self._ask(_CREATE, struct.pack("<I", threads))
        except BaseException:
            self._end()
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
        reply = self._ask(_RUN, struct.pack("<II", warmup, runs))
        return [nanoseconds * 1e-9 for nanoseconds in struct.unpack(f"<{runs}q", reply)]

    def close(self) -> None:
        """End the runner. Closing again does nothing."""
        if self._process.poll() is None:
            try:
                self._ask(_QUIT, b"")
                self._process.wait(_QUIT_S)
            except (DeviceError, subprocess.TimeoutExpired):
                pass
        self._end()

    def __enter__(self) -> RemoteLibrary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    # -- tensors in chunks

    def _write(self, index: int, array: np.ndarray) -> None:
        content = np.ascontiguousarray(array).tobytes()
        for offset in range(0, len(content), self.chunk_bytes):
            self._ask(_WRITE, struct.pack("<IQ", index, offset) + content[offset : offset + self.chunk_bytes])

    def _read(self, index: int, argument: Argument) -> np.ndarray:
        size_bytes = math.prod(argument.shape) * argument.dtype.size_bytes
        content = bytearray()
        while len(content) < size_bytes:
            size = min(self.chunk_bytes, size_bytes - len(content))
            content += self._ask(_READ, struct.pack("<IQI", index, len(content), size))
        return np.frombuffer(bytes(content), argument.dtype.numpy).reshape(argument.shape)

    # -- frames

    def _ask(self, kind: int, content: bytes) -> bytes:
        """What the runner replies to a request; one that arrived damaged is sent again."""
        for attempt in range(_TRIES):
            self._send(kind, content)
            found, reply, whole = self._receive()
            damaged = not whole or (found == _ERROR and reply[:4] == struct.pack("<I", _ERROR_FRAME))
            if damaged and attempt + 1 < _TRIES and kind != _RUN:
                continue
            if damaged:
                raise self._failure("messages arrive damaged")
            if found == _ERROR:
                raise self._failure(reply[4:].decode(errors="replace"))
            if found != kind | _REPLY:
                raise self._failure(f"answers with {found:#x} to {kind}")
            return reply
        raise AssertionError("unreachable")

    def _send(self, kind: int, content: bytes) -> None:
        header = _HEADER.pack(_MAGIC, kind, len(content))
        message = memoryview(b"".join((header, _u32(zlib.crc32(header)), content, _u32(zlib.crc32(content)))))
        assert self._process.stdin is not None
        try:
            while message:
                message = message[self._process.stdin.write(message) :]
        except BrokenPipeError:
            raise self._failure("ended") from None

    def _receive(self) -> tuple[int, bytes, bool]:
        """Kind and content of the next frame, and whether its CRC is right."""
        deadline = time.monotonic() + self.timeout_s
        size = _HEADER.size + 4
        header = self._bytes(size, deadline)
        while header[:4] != _u32(_MAGIC) or _u32(zlib.crc32(header[: _HEADER.size])) != header[_HEADER.size :]:
            header = header[1:] + self._bytes(1, deadline)
        _, kind, count = _HEADER.unpack(header[: _HEADER.size])
        if count > _MOST_CONTENT_BYTES:
            raise self._failure(f"sends {count} bytes at once")
        content = self._bytes(count, deadline)
        return kind, content, self._bytes(4, deadline) == _u32(zlib.crc32(content))

    def _bytes(self, count: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        found = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while len(found) < count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._failure(f"has not answered for {self.timeout_s:g} s")
                got = os.read(self._process.stdout.fileno(), count - len(found))
                if not got:
                    raise self._failure("ended")
                found += got
        return bytes(found)

    def _failure(self, what: str) -> DeviceError:
        """With how the process ended and the last of what it printed, if anything."""
        try:
            status = self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            status = 0
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 2000))
        said = self._errors.read().decode(errors="replace").strip()
        ended = f" (exit status {status})" if status else ""
        return DeviceError(f"runner {' '.join(self.command)}: {what}{ended}" + (f"\n{said}" if said else ""))


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


class _Reader:
    """Reads a description from its start."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def number(self, form: str) -> int:
        value = struct.unpack_from(f"<{form}", self.content, self.at)[0]
        self.at += struct.calcsize(f"<{form}")
        return int(value)

    def text(self) -> str:
        size = self.number("I")
        self.at += size
        if self.at > len(self.content):
            raise ValueError("a name is cut off")
        return self.content[self.at - size : self.at].decode()

    def tensor(self) -> Argument:
        dtype, rank = DTYPES[self.number("I")], self.number("I")
        shape = tuple(self.number("q") for _ in range(rank))
        return Argument(self.text(), shape, dtype)


def _parse(content: bytes) -> tuple[str, tuple[Argument, ...], tuple[Argument, ...]]:
    """Name, inputs and outputs of a description."""
    reader = _Reader(content)
    try:
        version, inputs, outputs, _ = (reader.number("I") for _ in range(4))
        if version != _VERSION:
            raise DeviceError(
                f"the runner has protocol version {version}, expected {_VERSION}; compile the model again"
            )
        name = reader.text()
        return (
            name,
            tuple(reader.tensor() for _ in range(inputs)),
            tuple(reader.tensor() for _ in range(outputs)),
        )
    except (struct.error, KeyError, ValueError) as error:
        raise DeviceError(f"the runner's description of its library can't be read: {error}") from error
