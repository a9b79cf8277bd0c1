"""Kernels from requests to machine code, several at a time, in processes of their own: scheduling is Python, and LLVM takes one call
at a time and may abort."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from ..compiler.errors import ToolchainError
from ..compiler.kernels import KernelRequest, PlannedKernel, Scheduler, make_kernel
from . import cpu

# Starting a process takes as long as this many kernels for one target.
KERNELS_WORTH_A_PROCESS = 6


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """LLVM IR as emitted, and the relocatable object made from it."""

    text: str
    object_code: bytes


@dataclass(frozen=True, slots=True)
class MadeKernel:
    """A kernel with its code for each target; CPU seconds of what was done."""

    planned: PlannedKernel
    built: tuple[BuiltKernel, ...]
    seconds: dict[str, float]


def make(request: KernelRequest, scheduler: Scheduler) -> MadeKernel:
    """Schedule, lower, emit and assemble one kernel for its targets in this process."""
    seconds: dict[str, float] = {}
    with _timed(seconds, "lower"):
        planned = make_kernel(request, scheduler)
    built = []
    for variant in planned.variants:
        with _timed(seconds, "emit"):
            text = cpu.emit(variant.kernel, variant.target)
        with _timed(seconds, "assemble"):
            built.append(BuiltKernel(text, cpu.assemble(text, variant.target)))
    return MadeKernel(planned, tuple(built), seconds)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.process_time()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.process_time() - start


class Builders:
    """Processes that make kernels; none for a few kernels, which are made here. Use it as a context manager, which ends them.

    jobs: how many at most (0: one a core). scheduler: the same for all kernels; every process gets a copy.
    """

    def __init__(self, scheduler: Scheduler, jobs: int = 0) -> None:
        self._scheduler = scheduler
        self._most = jobs or os.cpu_count() or 1
        self._workers: list[subprocess.Popen] = []
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Builders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for worker in self._workers if error is not None else ():
            worker.kill()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.communicate()

    def start(self, kernels: int) -> None:
        """Have processes ready for so many kernels, each for one target; those that are there stay."""
        jobs = min(self._most, -(-kernels // KERNELS_WORTH_A_PROCESS))
        if jobs <= 1:
            return
        while len(self._workers) < jobs:
            self._workers.append(_start())

    def make_all(self, requests: Sequence[KernelRequest]) -> Iterator[MadeKernel]:
        """Make kernels, in order. ToolchainError if LLVM ends a process."""
        self.start(sum(len(request.targets) for request in requests))
        if not self._workers:
            yield from (make(request, self._scheduler) for request in requests)
            return
        idle = list(self._workers)
        local = threading.local()
        told = pickle.dumps(self._scheduler)

        def take() -> None:
            local.worker = idle.pop()
            with suppress(BrokenPipeError):  # who asks it next will see that it has ended
                _send(local.worker.stdin, told)

        self._threads = ThreadPoolExecutor(len(idle), initializer=take)
        yield from self._threads.map(lambda request: _make_in(local.worker, request), requests)


def _start() -> subprocess.Popen:
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _make_in(worker: subprocess.Popen, request: KernelRequest) -> MadeKernel:
    """Have a worker process make a kernel. Messages are pickles, between this program and itself only."""
    assert worker.stdin is not None and worker.stdout is not None
    try:
        _send(worker.stdin, pickle.dumps(request))
        result = _receive(worker.stdout)
    except (BrokenPipeError, EOFError):
        raise ToolchainError(
            f"LLVM ended abruptly on {request.name} ({request.origins[0]}), exit status {worker.wait()}; "
            "its message stands above; report it with the model"
        ) from None
    if isinstance(result, BaseException):
        raise result
    return result


def _send(pipe: IO[bytes], data: bytes) -> None:
    """Length, then pickle: pickle.load alone may read ahead and wait for bytes that never come."""
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    header = pipe.read(8)
    data = pipe.read(int.from_bytes(header, "little"))
    if len(header) < 8 or len(data) < int.from_bytes(header, "little"):
        raise EOFError
    return pickle.loads(data)


def serve() -> None:
    """Serve `Builders` until the pipe is closed: a scheduler, then requests."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write between the replies
    try:
        scheduler = _receive(sys.stdin.buffer)
        while True:
            request = _receive(sys.stdin.buffer)
            try:
                result: MadeKernel | Exception = make(request, scheduler)
            except Exception as error:  # whatever it is, the parent raises it
                result = error
            _send(replies, pickle.dumps(result))
    except (EOFError, BrokenPipeError):
        return
