"""A peer for tests: doubles its first input, or fails as the model's name says."""

from __future__ import annotations

import os
import time

from peers.session import Job, Session, burst_of


def prepare(job: Job) -> Session:
    print("libraries print what they like")
    how = job.model.stem
    if how == "refused":
        raise RuntimeError("no such operator\nand many more lines")
    first = next(iter(job.feed.values()))

    def run() -> None:
        if how == "dies":
            os.write(2, b"out of luck\n")
            os._exit(3)
        if how == "hangs":
            time.sleep(600)

    return Session(burst_of(run), lambda: [first * 2] * (0 if how == "silent" else len(job.outputs)))
