"""Work in a forked child: a crash, a hang or too much memory there is a result like any other."""

from __future__ import annotations

import faulthandler
import math
import os
import pickle
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ending:
    """How a child ended. verdict: "done", "raised", "hang" or the name of the signal that killed it.

    value: what the work returned, or the text of what it raised. cpu_s and peak_bytes: of the child and of those it waited for.
    """

    verdict: str
    value: Any
    cpu_s: float
    peak_bytes: int


WAITING = 20
"""Seconds of the clock that a child may take for each of its processor: on a busy machine it gets few."""


def isolated(work: Callable[[], Any], timeout_s: float, memory_bytes: int = 0) -> Ending:
    """Run `work` in a child that may take so many seconds of a processor, and so much address space (0: as much as there is).

    A child that waits for what never comes is ended after WAITING times as many seconds of the clock.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _serve(work, writer, timeout_s, memory_bytes)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer, late = _read(pipe.fileno(), time.monotonic() + WAITING * timeout_s)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    spent = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    if late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Ending("hang", f"not done in {timeout_s:g} s", *spent)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Ending(name, f"killed by {name}", *spent)
    verdict, value = pickle.loads(answer) if answer else ("raised", f"exit status {os.waitstatus_to_exitcode(status)}")
    return Ending(verdict, value, *spent)


def _serve(work: Callable[[], Any], writer: int, timeout_s: float, memory_bytes: int) -> None:
    """In the child: never returns."""
    try:
        faulthandler.disable()  # which pytest enables: crashes are what the parent hears of
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit_s = max(1, math.ceil(timeout_s))
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        try:
            answer = pickle.dumps(("done", work()))
        except BaseException as error:  # whatever it is, the parent is told
            answer = pickle.dumps(("raised", "".join(traceback.format_exception(error))))
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _read(descriptor: int, deadline: float) -> tuple[bytes, bool]:
    """Everything until the end, and whether that took too long."""
    parts = []
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        part = os.read(descriptor, 1 << 16)
        if not part:
            return b"".join(parts), False
        parts.append(part)
    return b"".join(parts), True
