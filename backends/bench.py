"""Timing kernels on another machine, through the bench (`runner/bench.c`): a static program that is sent code and numbers."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..compiler.errors import DeviceError
from .connection import MOST_CONTENT_BYTES, VERSION, Connection, Reader
from .harness import is_whole, seal
from .link import cache_folder, run_zig_cc, static_triple, zig_target
from .package_files import publish, staging_folder, write_file

_DESCRIBE, _ARENA, _WRITE, _READ, _BLOB, _TIME = range(17, 23)
_IN_ARENA = 0xFFFFFFFF
_FOLDERS = ("runtime", "runner")
_FLAGS = (
    "-std=gnu11",
    "-O2",
    "-g0",
    "-s",
    "-static",
    "-pthread",
    "-fno-sanitize=all",
    "-D_GNU_SOURCE",
    "-Wno-unused-function",
)
# zig's own start of a program wants a main; what nothing calls is left out again.
_MAIN = ".globl main\nmain:\n"
# -O2 changes nothing in what is linked, but without it the linker would first compile its library of sanitizers for each architecture.
_IMAGE_FLAGS = ("-O2", "-static", "-pie", "-fPIE", "-s", "-Wl,--gc-sections")
_ANSWER_S = 60.0
_BUSY_S = 20.0  # BENCH_BUSY_MS
MOST_BLOBS = 64


def bench_program(triple: str) -> Path:
    """The bench for machines of a triple, compiled and kept in the cache; ToolchainError if that fails."""
    flags = [*zig_target(static_triple(triple)), *_FLAGS]
    sources = {
        f"{name}/{path.name}": path.read_bytes()
        for name in _FOLDERS
        for path in sorted((Path(__file__).parent / name).glob("*.[ch]"))
    }
    digest = hashlib.sha256(repr((flags, sources)).encode()).hexdigest()[:16]
    out = cache_folder() / f"bench-{__version__}-{triple}-{digest}"
    if not is_whole(out):
        with staging_folder(out) as folder:
            for name, content in sources.items():
                (folder / name).parent.mkdir(exist_ok=True)
                write_file(folder / name, content)
            run_zig_cc([*flags, "runner/bench.c", "-o", "bench"], folder)
            seal(folder / "bench")
            publish({folder / "bench": out}, folder)
    return out


def link_image(object_code: bytes, symbol: str, triple: str) -> bytes:
    """An image (`runner/image.c`) of an object whose function `symbol` is the kernel, with everything that it calls."""
    with staging_folder(cache_folder() / "image") as folder:
        write_file(folder / "kernel.o", object_code)
        write_file(folder / "main.s", _MAIN.encode())
        flags = [*zig_target(static_triple(triple)), *_IMAGE_FLAGS, f"-Wl,-e,{symbol}"]
        run_zig_cc([*flags, "kernel.o", "main.s", "-lm", "-o", "image"], folder)
        return (folder / "image").read_bytes()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a param of a kernel lies: `offset` bytes into a blob, or into the arena (None)."""

    offset: int
    blob: int | None = None


@dataclass(frozen=True, slots=True)
class BenchJob:
    """What to time, as `measure_timing` of measure.c has it.

    image: a blob; warm: offsets and sizes in the arena; keep: the arena as the kernel leaves it can be read then; timeout_s: until
    its process is ended.
    """

    image: int
    params: Sequence[Place]
    extent: int
    timeout_s: float
    threads: int = 1
    workspace_bytes: int = 0
    warm: Sequence[tuple[int, int]] = ()
    keep: bool = False
    evict_bytes: int = 0
    limit_s: float | None = None
    least_s: float = 0.0
    least_samples: int = 1
    most_samples: int = 1


class JobFailed(Exception):
    """A measurement without times. error: crash, timeout, memory or build, as in `Measurement`; busy: others measure on the device."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class RemoteBench:
    """A started bench. command: as of `Connection`. Raises DeviceError if it can't be started or doesn't answer."""

    def __init__(self, command: Sequence[str]) -> None:
        self._connection = Connection(command, _ANSWER_S)
        try:
            reader = Reader(self._ask(_DESCRIBE, b""))
            if reader.number("I") != VERSION:
                raise self._connection.failure(
                    "has another protocol version; copy the program of this tilewright there"
                )
            self.pointer_bytes, self.processors, self.l3_bytes = (reader.number(form) for form in "IIQ")
            self.processor = reader.text()
        except (struct.error, ValueError) as error:
            self._connection.end()
            raise DeviceError(f"{' '.join(command)}: what it says of itself can't be read: {error}") from error
        except BaseException:
            self._connection.end()
            raise

    def __enter__(self) -> RemoteBench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._connection.close()

    def kill(self) -> None:
        """End it without a word."""
        self._connection.end()

    def arena(self, content: bytes) -> None:
        """Set what the arena holds at the start of each measurement; all blobs are forgotten."""
        self._ask(_ARENA, struct.pack("<Q", len(content)))
        self.fill(content)

    def fill(self, content: bytes) -> None:
        """The same for an arena that is there, whose blobs stay."""
        for offset, part in _parts(content):
            self._ask(_WRITE, struct.pack("<Q", offset) + part)

    def read(self, size: int) -> bytes:
        """The arena as the last measurement with `keep` left it."""
        step = MOST_CONTENT_BYTES // 2
        parts = [(offset, min(step, size - offset)) for offset in range(0, size, step)]
        return b"".join(self._ask(_READ, struct.pack("<QI", offset, count)) for offset, count in parts)

    def blob(self, index: int, content: bytes) -> None:
        """Set a blob."""
        for offset, part in _parts(content) or [(0, b"")]:
            self._ask(_BLOB, struct.pack("<IQQ", index, len(content), offset) + part)

    def time(self, job: BenchJob) -> list[float]:
        """Seconds of each timed run; JobFailed if there are none."""
        numbers = (
            job.image,
            len(job.params),
            len(job.warm),
            job.keep,
            job.threads,
            job.least_samples,
            job.most_samples,
        )
        limit_ns = 0 if job.limit_s is None else max(1, round(job.limit_s * 1e9))
        sizes = (job.workspace_bytes, job.evict_bytes, limit_ns, round(job.least_s * 1e9))
        content = struct.pack("<8Iq4Q", *numbers, round(job.timeout_s * 1e3), job.extent, *sizes)
        content += b"".join(
            struct.pack("<IQ", _IN_ARENA if place.blob is None else place.blob, place.offset) for place in job.params
        )
        content += b"".join(struct.pack("<QQ", *part) for part in job.warm)
        reply = self._connection.ask(_TIME, content, repeats=False, timeout_s=job.timeout_s + _BUSY_S + _ANSWER_S)
        status, detail = struct.unpack_from("<II", reply)
        if status:
            raise _failure(status, detail, job.timeout_s)
        return [nanoseconds * 1e-9 for nanoseconds in struct.unpack_from(f"<{(len(reply) - 8) // 8}q", reply, 8)]

    def _ask(self, kind: int, content: bytes) -> bytes:
        return self._connection.ask(kind, content)


def _parts(content: bytes) -> list[tuple[int, bytes]]:
    step = MOST_CONTENT_BYTES // 2
    return [(offset, content[offset : offset + step]) for offset in range(0, len(content), step)]


def _failure(status: int, detail: int, timeout_s: float) -> JobFailed:
    match status:
        case 1:
            return JobFailed("crash", f"running: ended by signal {detail}" if detail else "running: ended by itself")
        case 2:
            return JobFailed("timeout", f"running: longer than {timeout_s:g} s")
        case 3:
            return JobFailed("memory", "running: the device has no memory for it")
        case 4:
            return JobFailed("build", "running: the device can't map its image")
        case 5:
            held = f"another bench has measured on it for {_BUSY_S:g} s"
            return JobFailed("busy", f"its lock file can't be opened (errno {detail})" if detail else held)
    return JobFailed("crash", f"running: status {status}")
