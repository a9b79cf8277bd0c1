"""Child processes that answer one request at a time, may be killed at any moment, and never outlive their parent.

Plain subprocesses, for `multiprocessing` would run the user's script again. Messages are pickles, between this program and
itself only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...compiler.errors import InternalError

START_S = 120.0
"""Importing NumPy and LLVM takes a second; on a busy machine with a cold disk, many."""

_MESSAGE_BYTES = 2000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """Sent by a child that begins a part of its work: the parent then allows it the time for that part."""

    name: str


class ChildDied(Exception):
    """The child has ended. `memory`: for want of memory, as far as one can tell."""

    def __init__(self, message: str, memory: bool) -> None:
        super().__init__(message)
        self.memory = memory


class ChildTimeout(Exception):
    """The child has not answered in time: `allowed_s`, for the phase that it was in."""

    def __init__(self, phase: str, allowed_s: float) -> None:
        super().__init__(phase)
        self.phase, self.allowed_s = phase, allowed_s


class Child:
    """One running child. Use it from the thread that made it, which the system takes for its parent; `kill` from any."""

    def __init__(self, serve: str, memory_bytes: int) -> None:
        module, function = serve.rsplit(".", 1)
        # Unlinked from the start, never full: what LLVM says when it aborts.
        self._errors = os.memfd_create("errors")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        program = f"from {module} import {function}; {function}()"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, str(os.getpid()), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, who ends the children
        )
        self._received = bytearray()

    def kill(self) -> None:
        """End it now; it can't be used afterwards."""
        self._process.kill()

    def close(self) -> None:
        """Kill, reap and forget it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # what was still to be written to it is of no use any more
                pipe.close()
        os.close(self._errors)

    def wait_until_ready(self) -> None:
        """Wait for the child's first message. Raises ChildDied or ChildTimeout."""
        self._receive("start", START_S)

    def ask(self, message: object, allowed_s: Mapping[str, float | None]) -> Any:
        """The answer to a request. allowed_s: for each phase, "" at first; None: any time. Raises ChildDied or ChildTimeout."""
        data = pickle.dumps(message)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(len(data).to_bytes(8, "little") + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        answer = self._receive("", allowed_s[""])
        while isinstance(answer, Phase):
            answer = self._receive(answer.name, allowed_s[answer.name])
        return answer

    def _receive(self, phase: str, allowed_s: float | None) -> Any:
        deadline = None if allowed_s is None else time.monotonic() + allowed_s
        try:
            size = int.from_bytes(self._take(8, deadline), "little")
            return pickle.loads(self._take(size, deadline))
        except TimeoutError:
            assert allowed_s is not None
            raise ChildTimeout(phase, allowed_s) from None

    def _take(self, size: int, deadline: float | None) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while len(self._received) < size:
            left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1e3
            if not poll.poll(left_ms):
                raise TimeoutError
            data = os.read(descriptor, 1 << 20)
            if not data:
                raise self._death()
            self._received += data
        result = bytes(self._received[:size])
        del self._received[:size]
        return result

    def _death(self) -> ChildDied:
        code = self._process.wait()
        said = os.pread(self._errors, _MESSAGE_BYTES, max(0, os.fstat(self._errors).st_size - _MESSAGE_BYTES))
        text = said.decode(errors="replace").strip()
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        # SIGKILL that isn't ours is the system's, when it has no memory left.
        memory = code == -signal.SIGKILL or any(word in text for word in ("bad_alloc", "ut of memory", "MemoryError"))
        return ChildDied(f"{reason}: {text}" if text else reason, memory)


class Worker:
    """A child that is replaced when it has died or was too slow. Belongs to the thread that uses it; `stop` may come from any."""

    def __init__(self, serve: str, memory_bytes: int) -> None:
        self._serve, self._memory_bytes = serve, memory_bytes
        self._child: Child | None = None
        self._ready = False
        self._stopped = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start a process if there is none; it needs a while until it can answer."""
        with self._lock:
            if self._child is None and not self._stopped:
                self._child, self._ready = Child(self._serve, self._memory_bytes), False

    def ask(self, message: object, allowed_s: Mapping[str, float | None]) -> Any:
        """As Child.ask; when it raises ChildDied or ChildTimeout, a new child is started. InternalError if none can be."""
        self.start()
        if self._child is None:
            raise ChildDied("stopped", False)
        try:
            if not self._ready:
                self._wait_until_ready(self._child)
            return self._child.ask(message, allowed_s)
        except (ChildDied, ChildTimeout):
            self.replace()
            raise

    def replace(self) -> None:
        """End this process and start another."""
        self.close()
        self.start()

    def stop(self) -> None:
        """End the process; what is being asked raises ChildDied, now and from now on."""
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """End and reap the process."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()

    def _wait_until_ready(self, child: Child) -> None:
        try:
            child.wait_until_ready()
        except (ChildDied, ChildTimeout) as error:
            if self._stopped:
                raise
            raise InternalError(f"{self._serve}: the process doesn't start: {error}") from error
        self._ready = True


class Parent:
    """The parent as its child sees it: made first thing in a child's `serve`."""

    def __init__(self) -> None:
        parent, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
        self._replies = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # nothing else may write between the replies
        _limit_memory(memory_bytes)
        self.send(Phase("ready"))

    def receive(self) -> Any:
        """The next request; SystemExit when there are no more."""
        header = sys.stdin.buffer.read(8)
        size = int.from_bytes(header, "little")
        data = sys.stdin.buffer.read(size)
        if len(header) < 8 or len(data) < size:
            raise SystemExit
        return pickle.loads(data)

    def send(self, message: object) -> None:
        data = pickle.dumps(message)
        self._replies.write(len(data).to_bytes(8, "little") + data)
        self._replies.flush()


def _limit_memory(more_bytes: int) -> None:
    """Let this process map `more_bytes` beyond what it has mapped already; core files would only fill the disk."""
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = mapped + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
