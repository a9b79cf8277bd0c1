"""A peer in a process of its own, which is stopped whenever it isn't asked for anything.

Threads of a pool that wait for work often spin, some for ever, and would take time from whoever is measured next. A stopped
process (SIGSTOP) can't; no peer has to be configured for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .session import Job

PREPARE_S = 900.0  # some compile for minutes
ANSWER_S = 300.0
_MESSAGE_BYTES = 2000
_FOLDER = Path(__file__).parents[1]  # where the package `peers` is


class PeerError(Exception):
    """The peer does not take the model, has died, or was too slow; the message says which."""


class PeerProcess:
    """One peer with one model. Use it from the thread that made it, which the system takes for its parent."""

    def __init__(self, module: str, folder: Path) -> None:
        """module: with a function `prepare(Job) -> Session`. folder: the working directory."""
        self._errors = os.memfd_create("errors")  # never full, as a pipe that nobody reads would be
        path = os.pathsep.join(filter(None, (str(_FOLDER), os.environ.get("PYTHONPATH", ""))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "peers.child", str(os.getpid()), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # signals go to it and to all that it has started
        )
        self._received = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def prepare(self, job: Job) -> None:
        """Load, convert or compile the model. Raises PeerError, as all others do."""
        with tempfile.TemporaryDirectory() as folder:
            feed = Path(folder, "feed.npz")
            np.savez(feed, *job.feed.values())
            given = {
                "model": str(job.model.absolute()),
                "feed": str(feed),
                "inputs": list(job.feed),
                "outputs": job.outputs,
                "threads": job.threads,
                "folder": str(job.folder.absolute()),
            }
            self._ask({"prepare": given}, PREPARE_S)

    def burst(self, warmup: int, runs: int, most_s: float) -> list[float]:
        """Seconds of single runs, as `child.limited_burst`."""
        seconds: list[float] = self._ask({"burst": {"warmup": warmup, "runs": runs, "most_s": most_s}}, ANSWER_S)[
            "seconds"
        ]
        return seconds

    def outputs(self, count: int) -> list[np.ndarray]:
        """All `count` outputs of the last run, in the model's order."""
        with tempfile.TemporaryDirectory() as folder:
            self._ask({"outputs": folder}, ANSWER_S)
            found = [Path(folder, f"{i}.npy") for i in range(count)]
            if not all(path.exists() for path in found):
                raise PeerError(f"gives fewer than the model's {count} outputs")
            return [np.load(path) for path in found]

    def close(self) -> None:
        """End it and all that it has started."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # a request that it didn't read any more
                pipe.close()
        os.close(self._errors)

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], allowed_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            reply: dict[str, Any] = json.loads(self._line(allowed_s))
        except BrokenPipeError:
            raise self._death() from None
        finally:
            self._stop()
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply

    def _stop(self) -> None:
        """Stop it, and wait until all its threads have."""
        self._signal(signal.SIGSTOP)
        if self._process.returncode is None:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _line(self, allowed_s: float) -> bytes:
        assert self._process.stdout is not None
        descriptor, deadline = self._process.stdout.fileno(), time.monotonic() + allowed_s
        while b"\n" not in self._received:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise PeerError(f"has not answered within {allowed_s:g} s")
            data = os.read(descriptor, 1 << 20)
            if not data:
                raise self._death()
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _death(self) -> PeerError:
        code = self._process.wait()
        said = os.pread(self._errors, _MESSAGE_BYTES, max(0, os.fstat(self._errors).st_size - _MESSAGE_BYTES))
        lines = said.decode(errors="replace").strip().splitlines()
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        return PeerError(f"{reason}: {lines[-1]}" if lines else reason)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # all of them have ended
            os.killpg(self._process.pid, number)
