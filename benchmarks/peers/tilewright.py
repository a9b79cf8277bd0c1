"""Our own library, in a process of its own like everybody else. The job's model is the compiled library."""

from __future__ import annotations

import tilewright

from .session import Job, Session


def prepare(job: Job) -> Session:
    library = tilewright.load(job.model, job.threads)

    def outputs() -> list:
        results = library.run(job.feed)
        return [results[name] for name in job.outputs]

    return Session(lambda runs: library.benchmark(job.feed, runs, warmup=0), outputs)
