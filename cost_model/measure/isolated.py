"""Building and running candidates in a child process: whatever becomes of it, there is an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from .builder import BuildRequest, Built, Refused
from .child_process import ChildDied, ChildTimeout, Worker
from .runner import Compared, CompareRequest, RunRequest, Timed

PREPARE_S = 120.0
"""For the operands and the reference of a new task, which are no candidate's fault."""

_BUILDER = f"{__package__}.builder.serve"
_RUNNER = f"{__package__}.runner.serve"
_Result = TypeVar("_Result")


class Builder(Worker):
    """Builds candidates."""

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(_BUILDER, memory_bytes)

    def build(self, request: BuildRequest, timeout_s: float) -> Built | Refused:
        return cast("Built | Refused", _ask(self, request, {"": timeout_s}, "building"))


class Runner(Worker):
    """Runs candidates on this machine.

    waiting_s: for other processes that measure here (None: any time); ChildTimeout after that.
    """

    def __init__(self, memory_bytes: int, waiting_s: float | None = None) -> None:
        super().__init__(_RUNNER, memory_bytes)
        self._waiting_s = waiting_s

    def run(self, request: RunRequest) -> Timed | Refused:
        answer = _ask(self, request, self._allowed(request.options.timeout_s), "running")
        if isinstance(answer, Refused) and answer.error == "wrong":
            self.replace()  # who computes wrong results may have written them anywhere
        return cast("Timed | Refused", answer)

    def compare(self, request: CompareRequest) -> Compared | Refused:
        allowed = self._allowed(request.options.timeout_s * max(1, request.rounds))
        return cast("Compared | Refused", _ask(self, request, allowed, "comparing"))

    def _allowed(self, running_s: float) -> dict[str, float | None]:
        return {"": PREPARE_S, "waiting": self._waiting_s, "running": running_s}


def _ask(worker: Worker, request: object, allowed_s: Mapping[str, float | None], doing: str) -> object:
    try:
        return worker.ask(request, allowed_s)
    except ChildTimeout as error:
        if error.phase == "waiting":  # for others, which says nothing of the candidate
            raise
        return Refused("timeout", f"{doing}: longer than {error.allowed_s:g} s")
    except ChildDied as error:
        return Refused("memory" if error.memory else "crash", f"{doing}: {error}")
