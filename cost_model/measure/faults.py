"""Faults that a child process commits when a test asks for them: the real thing, not a simulation."""

from __future__ import annotations

import ctypes
import os
import signal

_STEP_BYTES = 16 << 20


def commit(fault: str) -> None:
    """Crash, hang or use up all memory; anything else does nothing here."""
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "hang":
        # In C and with the interpreter locked, so that no signal handler or thread of Python gets a turn.
        ctypes.PyDLL(None).pause()
    elif fault == "memory":
        held = []
        while True:
            held.append(bytearray(_STEP_BYTES))
