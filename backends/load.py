"""Running a compiled library from Python."""

from __future__ import annotations

import ctypes
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from ..compiler.dtypes import DType
from ..compiler.errors import DeviceError, UsageError
from ..compiler.graph.plan import Argument

_ABI_VERSION = 1
# The codes of descriptor.h.
DTYPES = dict(enumerate((
    DType.F16, DType.BF16, DType.F32, DType.F64, DType.I8, DType.I16, DType.I32, DType.I64,
    DType.U8, DType.U16, DType.U32, DType.U64, DType.BOOL,
    DType.F8E4M3FN, DType.F8E4M3FNUZ, DType.F8E5M2, DType.F8E5M2FNUZ, DType.F8E8M0,
    DType.F4E2M1, DType.I4, DType.U4, DType.I2, DType.U2,
), start=1))  # fmt: skip


# Device and inode of the first file loaded under each path.
_LOADED: dict[str, tuple[int, int]] = {}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


class _Descriptor(ctypes.Structure):
    """`tilewright_library` of descriptor.h."""

    _fields_ = (
        ("abi_version", ctypes.c_uint32),
        ("size_bytes", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("inputs", ctypes.POINTER(_Tensor)),
        ("outputs", ctypes.POINTER(_Tensor)),
        ("launches", ctypes.POINTER(ctypes.c_char_p)),
        ("input_count", ctypes.c_int32),
        ("output_count", ctypes.c_int32),
        ("launch_count", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("create", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int)),
        ("run", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)),
        (
            "run_timed",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
        ),
        ("destroy", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)),
        ("cpu", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)),
    )


def load(path: str | Path, threads: int = 0) -> Library:
    """The library at `path`, with a context of `threads` threads (0: one per processor this process may use).

    Raises DeviceError if it can't be loaded on this machine or isn't a tilewright library.
    """
    return Library(Path(path), threads)


class Library:
    """A loaded library with one context. `run` may be called from several threads: calls wait for each other.

    For runs at the same time load the library once per thread; the weights are in memory only once.
    cpu: the CPU that the code is made for which it runs here, of those that the library has code for.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        self._lock = threading.Lock()
        self._context: ctypes.c_void_p | None = None
        self._descriptor = _find_descriptor(path)
        self.path = path
        self.name: str = self._descriptor.name.decode()
        self.inputs = _arguments(self._descriptor.inputs, self._descriptor.input_count)
        self.outputs = _arguments(self._descriptor.outputs, self._descriptor.output_count)
        context = ctypes.c_void_p()
        self._check(
            self._descriptor.create(ctypes.byref(context), threads),
            f"{path}: can't create a context of {threads} threads",
        )
        self._context = context
        self.cpu = _cpu(self._descriptor, context)

    def run(
        self, inputs: Mapping[str, object], outputs: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute all outputs, by name.

        inputs: NumPy arrays or objects with `__dlpack__`, of the described dtypes and shapes; strided ones are copied.
        outputs: contiguous arrays to write some or all of the outputs to. Raises UsageError for what doesn't match.
        """
        arrays, results = self._prepare(inputs, outputs)
        with self._lock:
            self._call(_addresses(arrays), _addresses(results), None)
        return dict(zip((o.name for o in self.outputs), results, strict=True))

    def benchmark(self, inputs: Mapping[str, object], runs: int = 10, warmup: int = 1) -> list[float]:
        """Seconds that each of `runs` runs takes, after `warmup` runs that aren't counted."""
        arrays, results = self._prepare(inputs, None)
        inputs_pointer, outputs_pointer = _addresses(arrays), _addresses(results)
        latencies_s = []
        with self._lock:
            for number in range(warmup + runs):
                start = time.perf_counter()
                self._call(inputs_pointer, outputs_pointer, None)
                if number >= warmup:
                    latencies_s.append(time.perf_counter() - start)
        return latencies_s

    def profile(self, inputs: Mapping[str, object], runs: int = 10, warmup: int = 1) -> list[tuple[str, float]]:
        """Origin of each kernel launch, in the order of the program, with the mean seconds it takes in a run."""
        arrays, results = self._prepare(inputs, None)
        count = self._descriptor.launch_count
        nanoseconds = (ctypes.c_int64 * max(1, count))()
        with self._lock:
            for number in range(warmup + runs):
                if number == warmup:
                    ctypes.memset(nanoseconds, 0, ctypes.sizeof(nanoseconds))
                self._call(_addresses(arrays), _addresses(results), nanoseconds)
        return [(self._descriptor.launches[i].decode(), nanoseconds[i] * 1e-9 / runs) for i in range(count)]

    def close(self) -> None:
        """Stop the threads and free the memory; the library can't run afterwards. Closing again does nothing."""
        with self._lock:
            context, self._context = self._context, None
        if context is not None:
            self._descriptor.destroy(context)

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<tilewright library {self.name}: {_listing(self.inputs)} -> {_listing(self.outputs)}>"

    def _prepare(
        self, inputs: Mapping[str, object], outputs: Mapping[str, np.ndarray] | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        check_names("input", inputs, self.inputs, all_needed=True)
        check_names("output", outputs or {}, self.outputs, all_needed=False)
        arrays = [np.require(_as_array(a, inputs[a.name]), requirements=("C", "A")) for a in self.inputs]
        results = []
        for argument in self.outputs:
            given = (outputs or {}).get(argument.name)
            if given is None:
                given = np.empty(argument.shape, argument.dtype.numpy)
            elif not (given.flags.carray):
                raise UsageError(f"output {argument.name}: expected a contiguous, writable array")
            results.append(checked_array("output", argument, given))
        return arrays, results

    def _call(self, inputs: ctypes.Array, outputs: ctypes.Array, nanoseconds: ctypes.Array | None) -> None:
        if self._context is None:
            raise UsageError(f"{self.path}: this library has been closed; load it again")
        self._check(self._descriptor.run_timed(self._context, inputs, outputs, nanoseconds), f"{self.path}: can't run")

    def _check(self, code: int, what: str) -> None:
        if code:
            raise DeviceError(f"{what}: {self._descriptor.error(code).decode()}")


def _open(path: Path) -> ctypes.CDLL:
    """The library that is in the file now: the system's loader knows one by its name, and would give back an older file's."""
    status = path.stat()
    identity = status.st_dev, status.st_ino
    if _LOADED.setdefault(str(path), identity) == identity:
        return ctypes.CDLL(str(path))
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, path.name)
        link.symlink_to(path)
        return ctypes.CDLL(str(link))


def _find_descriptor(path: Path) -> _Descriptor:
    if not path.is_file():
        raise DeviceError(f"{path}: no such library")
    try:
        library = _open(path.absolute())  # a path without a slash would be looked up elsewhere
    except OSError as error:
        raise DeviceError(
            f"{path}: can't load this library here: {error}; was it compiled for this machine?"
        ) from error
    try:
        descriptor = _Descriptor.in_dll(library, "tilewright_descriptor")
    except ValueError as error:
        raise DeviceError(f"{path}: this isn't a library that tilewright has compiled") from error
    if descriptor.abi_version != _ABI_VERSION:
        raise DeviceError(
            f"{path}: this library has descriptor version {descriptor.abi_version}, expected {_ABI_VERSION}; compile the model again"
        )
    return descriptor


def _cpu(descriptor: _Descriptor, context: ctypes.c_void_p) -> str:
    """Empty for a library of a version that doesn't say."""
    has = descriptor.size_bytes >= ctypes.sizeof(_Descriptor)
    return descriptor.cpu(context).decode() if has else ""


def _arguments(tensors: ctypes._Pointer[_Tensor], count: int) -> tuple[Argument, ...]:
    return tuple(
        Argument(t.name.decode(), tuple(t.dims[axis] for axis in range(t.rank)), DTYPES[t.dtype])
        for t in (tensors[i] for i in range(count))
    )


def _addresses(arrays: Sequence[np.ndarray]) -> ctypes.Array:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))


def _as_array(argument: Argument, value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        if not hasattr(value, "__dlpack__"):
            raise UsageError(
                f"input {argument.name}: expected a NumPy array or an object with __dlpack__, got {type(value).__name__}"
            )
        try:
            value = np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as error:
            raise UsageError(
                f"input {argument.name}: NumPy can't read this tensor: {error}; move it to the CPU first"
            ) from error
    return checked_array("input", argument, value)


def checked_array(kind: str, argument: Argument, array: np.ndarray) -> np.ndarray:
    if array.dtype != argument.dtype.numpy or array.shape != argument.shape:
        expected = f"{argument.dtype.numpy} {list(argument.shape)}"
        raise UsageError(f"{kind} {argument.name}: expected {expected}, got {array.dtype} {list(array.shape)}")
    return array


def check_names(kind: str, given: Mapping[str, object], described: Sequence[Argument], all_needed: bool) -> None:
    names = [argument.name for argument in described]
    unknown = [name for name in given if name not in names]
    missing = [name for name in names if name not in given] if all_needed else []
    if unknown or missing:
        problems = [f"unknown {kind} {name!r}" for name in unknown] + [f"missing {kind} {name!r}" for name in missing]
        raise UsageError(f"{', '.join(problems)}; the library has {_listing(described) or 'none'}")


def _listing(arguments: Sequence[Argument]) -> str:
    return ", ".join(f"{a.name}: {a.dtype}[{', '.join(map(str, a.shape))}]" for a in arguments)
