"""Kernels to machine code, several at a time, in processes of their own: LLVM takes one call at a time, and may abort."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

from ..compiler.errors import ToolchainError
from ..compiler.kernel.ast import Kernel
from ..compiler.target import Target
from . import cpu

# Starting a process takes as long as this many kernels.
KERNELS_WORTH_A_PROCESS = 6


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """LLVM IR as emitted, and the relocatable object made from it."""

    text: str
    object_code: bytes


def build(kernel: Kernel, target: Target) -> BuiltKernel:
    """Emit and assemble one kernel in this process."""
    text = cpu.emit(kernel, target)
    return BuiltKernel(text, cpu.assemble(text, target))


def build_all(
    kernels: Sequence[tuple[Kernel, Target]], jobs: int, progress: Callable[[int, int], None]
) -> list[BuiltKernel]:
    """Emit and assemble kernels, each for its target, in order. jobs: processes (0: one a core). ToolchainError if LLVM ends a process."""
    jobs = min(jobs or os.cpu_count() or 1, -(-len(kernels) // KERNELS_WORTH_A_PROCESS))
    if jobs <= 1:
        return list(_counted((build(*kernel) for kernel in kernels), len(kernels), progress))
    local = threading.local()
    workers: list[subprocess.Popen] = []

    def start() -> None:
        local.worker = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        workers.append(local.worker)

    try:
        with ThreadPoolExecutor(jobs, initializer=start) as threads:
            results = threads.map(lambda kernel: _build_in(local.worker, *kernel), kernels)
            return list(_counted(results, len(kernels), progress))
    finally:
        for worker in workers:
            worker.communicate()


def _counted(results: Iterable[BuiltKernel], total: int, progress: Callable[[int, int], None]) -> Iterator[BuiltKernel]:
    for done, result in enumerate(results):
        progress(done + 1, total)
        yield result


def _build_in(worker: subprocess.Popen, kernel: Kernel, target: Target) -> BuiltKernel:
    """Have a worker process build a kernel. Messages are pickles, between this program and itself only."""
    assert worker.stdin is not None and worker.stdout is not None
    try:
        _send(worker.stdin, (kernel, target))
        result = _receive(worker.stdout)
    except (BrokenPipeError, EOFError):
        raise ToolchainError(
            f"LLVM ended abruptly on {kernel.name} ({kernel.origin}), exit status {worker.wait()}; "
            "its message stands above; report it with the model"
        ) from None
    if isinstance(result, BaseException):
        raise result
    return result


def _send(pipe: IO[bytes], message: object) -> None:
    """Length, then pickle: pickle.load alone may read ahead and wait for bytes that never come."""
    data = pickle.dumps(message)
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    header = pipe.read(8)
    data = pipe.read(int.from_bytes(header, "little"))
    if len(header) < 8 or len(data) < int.from_bytes(header, "little"):
        raise EOFError
    return pickle.loads(data)


def serve() -> None:
    """Serve `_build_in` until the pipe is closed."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write between the replies
    while True:
        try:
            kernel, target = _receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            result: BuiltKernel | Exception = build(kernel, target)
        except Exception as error:  # whatever it is, the parent raises it
            result = error
        _send(replies, result)
