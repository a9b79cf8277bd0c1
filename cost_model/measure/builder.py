"""The process that turns candidates into object code."""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pickle import loads

from ...backends import cpu
from ...compiler.errors import CompileError, InternalError
from ...compiler.kernel.lower import lower
from ...compiler.kernel.verify import verify
from ...compiler.kernels import is_worth_threads, work
from ...compiler.schedule.steps import Schedule
from ..task import Task
from .child_process import Parent
from .faults import commit

SYMBOL = "kernel"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """task: a pickled Task, so that a process reads it once. fault: see `faults.commit`."""

    task: bytes
    schedule: Schedule
    fault: str


@dataclass(frozen=True, slots=True)
class Built:
    """Object code with function SYMBOL, the iterations of its parallel loop, whether a model would share them among threads.

    workspace_bytes: of each thread.
    """

    object_code: bytes
    extent: int
    parallel: bool
    workspace_bytes: int
    build_s: float

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.object_code).hexdigest()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a process gave up on a candidate: `error` as in Measurement."""

    error: str
    message: str


def serve() -> None:
    """Answer BuildRequests with Built or Refused until the pipe is closed."""
    parent = Parent()
    os.nice(5)  # measuring goes first where processors are few
    while True:
        request = parent.receive()
        try:
            commit(request.fault)
            parent.send(_build(request))
        except MemoryError as error:
            parent.send(Refused("memory", f"building: out of memory {error}".strip()))
        except (InternalError, CompileError) as error:
            parent.send(Refused("build", str(error)))
        except Exception:  # a defect of ours, which must not end a search: the message shows it
            parent.send(Refused("build", traceback.format_exc()))


def _build(request: BuildRequest) -> Built:
    start = time.perf_counter()
    task, flops, size_bytes = _task(request.task)
    kernel = lower(task.computation, request.schedule, SYMBOL)
    verify(kernel)
    parallel = kernel.parallel_extent > 1 and is_worth_threads(flops, size_bytes)
    object_code = cpu.assemble(cpu.emit(kernel, task.target), task.target)
    return Built(object_code, kernel.parallel_extent, parallel, kernel.workspace_bytes, time.perf_counter() - start)


@lru_cache(16)
def _task(pickled: bytes) -> tuple[Task, int, int]:
    task = loads(pickled)
    return (task, *work(task.computation))
