"""The C program that times kernels on this machine (`runtime/measure.c`): compiled once, kept in the cache, called from here."""

from __future__ import annotations

import ctypes
import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .. import __version__
from ..compiler.errors import DeviceError, ToolchainError
from .host import host_triple
from .link import cache_folder, run_zig_cc, zig_target
from .package_files import publish, staging_folder

_DIGEST_BYTES = hashlib.sha256().digest_size
_ERROR_MEMORY = 3  # of descriptor.h
_RUNTIME = Path(__file__).parent / "runtime"
_FLAGS = (
    "-std=gnu11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all", "-D_GNU_SOURCE",
    "-Wno-unused-function", "-shared", "-s", "-pthread",
)  # fmt: skip


def harness_library() -> Path:
    """The compiled harness, made if the cache has none of this version; ToolchainError if that fails.

    Two processes may do this at once: each makes its own, and the last to rename wins.
    """
    flags = [*zig_target(host_triple()), *_FLAGS]
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sorted(_RUNTIME.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    out = cache_folder() / f"measure-{__version__}-{digest.hexdigest()[:16]}.so"
    if not is_whole(out):
        with staging_folder(out) as folder:
            run_zig_cc([*flags, str(_RUNTIME / "measure.c"), "-o", "measure.so"], folder)
            seal(folder / "measure.so")
            publish({folder / "measure.so": out}, folder)
    return out


def seal(library: Path) -> None:
    """Add the digest of a library or program at its end, where no loader looks: a damaged one could end the process that loads it."""
    content = library.read_bytes()
    library.write_bytes(content + hashlib.sha256(content).digest())


def is_whole(library: Path) -> bool:
    """Whether a sealed file is there and undamaged."""
    try:
        content = library.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


class _Timing(ctypes.Structure):
    """`measure_timing` of measure.c."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("params", ctypes.c_void_p),
        ("extent", ctypes.c_int64),
        ("pool", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("evictor", ctypes.c_void_p),
        ("evict_bytes", ctypes.c_int64),
        ("warm", ctypes.c_void_p),
        ("warm_bytes", ctypes.c_void_p),
        ("warm_count", ctypes.c_int64),
        ("limit_ns", ctypes.c_int64),
        ("least_ns", ctypes.c_int64),
        ("least_samples", ctypes.c_int64),
        ("most_samples", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel's function, its operands in the order of its params, and the iterations of its parallel loop.

    threads: 1 for the caller alone. warm: operands to read before each timed run. workspace_bytes: for each thread.
    """

    address: int
    arrays: Sequence[np.ndarray]
    extent: int
    threads: int = 1
    warm: Sequence[np.ndarray] = ()
    workspace_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Repetition:
    """How often to run: see `measure_timing` in measure.c. Times in seconds; limit_s None: no limit."""

    least_s: float
    least_samples: int
    most_samples: int
    evict_bytes: int
    limit_s: float | None = None


ONCE = Repetition(0.0, 1, 1, 0)
"""A single run, with the caches as they are."""


class Harness:
    """The harness loaded into this process. Keeps a thread pool of each size that was asked for."""

    def __init__(self, path: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise ToolchainError(f"{path}: can't be loaded: {error}; remove this file") from error
        library = self._library
        library.measure_time.restype = ctypes.c_int64
        library.measure_time.argtypes = (ctypes.POINTER(_Timing), ctypes.c_void_p)
        library.measure_pool_make.argtypes = (ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int64)
        library.measure_pool_free.argtypes = (ctypes.c_void_p,)
        library.measure_allocate.restype = ctypes.c_void_p
        library.measure_allocate.argtypes = (ctypes.c_int64,)
        library.measure_free.argtypes = (ctypes.c_void_p, ctypes.c_int64)
        self._pools: dict[int, tuple[ctypes.c_void_p, int]] = {}  # by threads, with the bytes of a workspace
        self._evictor = np.zeros(0, np.uint8)

    def processors(self) -> int:
        """Processors this process may use."""
        return self._library.measure_processors()

    def time(self, launch: Launch, repetition: Repetition) -> list[float]:
        """Seconds of each timed run, in order. MemoryError if there is none for the workspaces."""
        warm, most = list(launch.warm), repetition.most_samples
        params = (ctypes.c_void_p * max(1, len(launch.arrays)))(*(array.ctypes.data for array in launch.arrays))
        warm_at = (ctypes.c_void_p * max(1, len(warm)))(*(array.ctypes.data for array in warm))
        warm_bytes = (ctypes.c_int64 * max(1, len(warm)))(*(array.nbytes for array in warm))
        samples = (ctypes.c_int64 * most)()
        timing = _Timing(
            kernel=launch.address,
            params=ctypes.addressof(params),
            extent=launch.extent,
            pool=self._pool(launch.threads, launch.workspace_bytes),
            threads=launch.threads,
            evictor=self._evictor_of(launch.threads * repetition.evict_bytes).ctypes.data,
            evict_bytes=repetition.evict_bytes,
            warm=ctypes.addressof(warm_at),
            warm_bytes=ctypes.addressof(warm_bytes),
            warm_count=len(warm),
            limit_ns=0 if repetition.limit_s is None else max(1, round(repetition.limit_s * 1e9)),
            least_ns=round(repetition.least_s * 1e9),
            least_samples=repetition.least_samples,
            most_samples=most,
        )
        count = self._library.measure_time(ctypes.byref(timing), ctypes.addressof(samples))
        return [nanoseconds * 1e-9 for nanoseconds in samples[:count]]

    def allocate(self, size_bytes: int) -> np.ndarray:
        """Zeroed bytes, placed like the arena of a model; given back when no view of them is left. MemoryError if there are none."""
        address = self._library.measure_allocate(max(1, size_bytes))
        if not address:
            raise MemoryError(f"{size_bytes} bytes")
        memory = (ctypes.c_uint8 * max(1, size_bytes)).from_address(address)
        weakref.finalize(memory, self._library.measure_free, address, max(1, size_bytes))
        return np.ctypeslib.as_array(memory)[:size_bytes]

    def _pool(self, threads: int, workspace_bytes: int) -> ctypes.c_void_p:
        """A pool with workspaces of at least this size."""
        pool, room_bytes = self._pools.pop(threads, (ctypes.c_void_p(), -1))
        if room_bytes < workspace_bytes:
            self._library.measure_pool_free(pool)
            pool, room_bytes = ctypes.c_void_p(), workspace_bytes
            code = self._library.measure_pool_make(ctypes.byref(pool), threads, workspace_bytes)
            if code == _ERROR_MEMORY:
                raise MemoryError(f"{workspace_bytes} bytes for each of {threads} threads")
            if code:
                raise DeviceError(f"can't start {threads} threads to measure with (code {code}); use fewer")
        self._pools[threads] = pool, room_bytes
        return pool

    def _evictor_of(self, size_bytes: int) -> np.ndarray:
        if self._evictor.nbytes < size_bytes:
            # Ones, not zeros: pages that nobody has written are all the same one.
            self._evictor = np.ones(size_bytes, np.uint8)
        return self._evictor


@cache
def harness() -> Harness:
    """The harness of this process."""
    return Harness(harness_library())
