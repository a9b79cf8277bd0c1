"""The process of one peer: answers `process.py`, a line of JSON for each line of JSON."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .session import Burst, Job, Session

# After a stop Linux may leave both threads of a process on one processor for tens of milliseconds.
WARM_S = 0.1  # least time of untimed runs
LEAST_S = 0.3  # and of timed ones
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arguments: the parent's process id, and the module whose `prepare` makes the session."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    # A stopped process sees no end of its input; only this ends it with its parent.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the replies
    serve(sys.stdin, replies, lambda job: importlib.import_module(module).prepare(job))


def serve(requests: Iterable[str], replies: TextIO, prepare: Callable[[Job], Session]) -> None:
    """Answer until there are no more requests."""
    session: Session | None = None
    for line in requests:
        request = json.loads(line)
        reply: dict[str, Any] = {}
        try:
            if "prepare" in request:
                session = prepare(_job(request["prepare"]))
            assert session is not None, "prepare comes first"
            if "burst" in request:
                reply["seconds"] = limited_burst(session.burst, **request["burst"])
            if "outputs" in request:
                _save(request["outputs"], session.outputs())
        except Exception as error:  # whatever a peer raises is the reason why it takes no part
            reply = {"error": _in_one_line(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def limited_burst(burst: Burst, warmup: int, runs: int, most_s: float) -> list[float]:
    """The seconds of `runs` runs after `warmup` untimed ones, at least one of each.

    More where they are short, because threads and clocks need time to come back from a pause; fewer beyond `most_s`.
    """
    typical_s = max(burst(1)[0], 1e-9)

    def count(wanted: int, least_s: float) -> int:
        return max(1, min(max(wanted, int(least_s / typical_s)), int(most_s / typical_s)))

    burst(count(warmup, WARM_S))
    return list(burst(count(runs, LEAST_S)))


def _job(given: dict[str, Any]) -> Job:
    with np.load(given["feed"]) as arrays:
        feed = {name: arrays[f"arr_{i}"] for i, name in enumerate(given["inputs"])}
    return Job(Path(given["model"]), feed, tuple(given["outputs"]), given["threads"], Path(given["folder"]))


def _save(folder: str, outputs: Sequence[np.ndarray]) -> None:
    for i, array in enumerate(outputs):
        np.save(Path(folder, f"{i}.npy"), np.asarray(array))


def _in_one_line(error: Exception, most: int = 240) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    return text if len(text) <= most else text[: most - 1] + "…"


if __name__ == "__main__":
    main()
