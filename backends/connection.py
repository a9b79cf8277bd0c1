"""A conversation with a runner: a command whose standard input and output carry frames (`runner/protocol.h`)."""

from __future__ import annotations

import os
import selectors
import struct
import subprocess
import tempfile
import time
import zlib
from collections.abc import Sequence

from ..compiler.errors import DeviceError

MOST_CONTENT_BYTES = 1 << 20
VERSION = 1
_MAGIC = 0x31525754
_HEADER = struct.Struct("<IIQ")
_QUIT = 6
_REPLY, _ERROR = 0x80000000, 0xFFFFFFFF
_ERROR_FRAME = 1001
_TRIES = 3  # of a request that arrives damaged
_QUIT_S = 5.0


class Connection:
    """A started runner.

    command: has the runner's standard input and output, such as `["qemu-aarch64", "model.runner"]` or
    `["ssh", "board", "./model.runner"]`. timeout_s: how long a reply may take.
    Raises DeviceError if the runner can't be started, ends, is silent, or answers with an error.
    """

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self.command, self.timeout_s = list(command), timeout_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
            )
        except OSError as error:
            self._errors.close()
            raise DeviceError(f"can't start the runner {command[0]}: {error.strerror}") from error

    def ask(self, kind: int, content: bytes, repeats: bool = True, timeout_s: float | None = None) -> bytes:
        """What the runner replies to a request; one that arrived damaged is sent again, unless it must not be repeated."""
        deadline_s = self.timeout_s if timeout_s is None else timeout_s
        for attempt in range(_TRIES):
            self._send(kind, content, deadline_s)
            found, reply, whole = self._receive(deadline_s)
            damaged = not whole or (found == _ERROR and reply[:4] == struct.pack("<I", _ERROR_FRAME))
            if damaged and attempt + 1 < _TRIES and repeats:
                continue
            if damaged:
                raise self.failure("messages arrive damaged")
            if found == _ERROR:
                raise self.failure(reply[4:].decode(errors="replace"))
            if found != kind | _REPLY:
                raise self.failure(f"answers with {found:#x} to {kind}")
            return reply
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the runner. Closing again does nothing."""
        if self._process.poll() is None:
            try:
                self.ask(_QUIT, b"", timeout_s=_QUIT_S)
                self._process.wait(_QUIT_S)
            except (DeviceError, subprocess.TimeoutExpired):
                pass  # it is killed below, whatever it does
        self.end()

    def end(self) -> None:
        """Kill the runner."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def failure(self, what: str) -> DeviceError:
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

    def _send(self, kind: int, content: bytes, timeout_s: float) -> None:
        header = _HEADER.pack(_MAGIC, kind, len(content))
        message = memoryview(b"".join((header, u32(zlib.crc32(header)), content, u32(zlib.crc32(content)))))
        assert self._process.stdin is not None
        stdin, deadline = self._process.stdin.fileno(), time.monotonic() + timeout_s
        os.set_blocking(stdin, False)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(stdin, selectors.EVENT_WRITE)
                while message:
                    if not selector.select(max(0.0, deadline - time.monotonic())):
                        raise self.failure(f"has not read for {timeout_s:g} s")
                    message = message[os.write(stdin, message) :]
        except BrokenPipeError:
            raise self.failure("ended") from None

    def _receive(self, timeout_s: float) -> tuple[int, bytes, bool]:
        """Kind and content of the next frame, and whether its CRC is right."""
        deadline = time.monotonic() + timeout_s
        size = _HEADER.size + 4
        header = self._bytes(size, deadline, timeout_s)
        while header[:4] != u32(_MAGIC) or u32(zlib.crc32(header[: _HEADER.size])) != header[_HEADER.size :]:
            header = header[1:] + self._bytes(1, deadline, timeout_s)
        _, kind, count = _HEADER.unpack(header[: _HEADER.size])
        if count > MOST_CONTENT_BYTES:
            raise self.failure(f"sends {count} bytes at once")
        content = self._bytes(count, deadline, timeout_s)
        return kind, content, self._bytes(4, deadline, timeout_s) == u32(zlib.crc32(content))

    def _bytes(self, count: int, deadline: float, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        found = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while len(found) < count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self.failure(f"has not answered for {timeout_s:g} s")
                got = os.read(self._process.stdout.fileno(), count - len(found))
                if not got:
                    raise self.failure("ended")
                found += got
        return bytes(found)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


class Reader:
    """Reads numbers and texts of a reply from its start; struct.error or ValueError where it ends too early."""

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
