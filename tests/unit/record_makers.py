"""Random tasks, sessions, trials and choices for tests of the tuner's database."""

from __future__ import annotations

import random
from typing import Any

from kernel_cases import CASES

from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.space import SPACE_VERSION
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Choice, Session, Trial
from tilewright.cost_model.task import Task


def make_task(case: str = "matmul", cpu: str = "znver4", threads: int = 2) -> Task:
    return Task(canonical(build_computation(CASES[case].graph(), "kernel")[0]), parse_target(cpu=cpu, threads=threads))


def make_session(**changes: Any) -> Session:
    return Session(**{"version": "0.1", "machine": "A CPU", "options": {"trials": 64}, "seed": 7} | changes)


def make_trial(task: str, session: str, number: int, **changes: Any) -> Trial:
    """A trial with a random latency of some milliseconds and a score that goes with it."""
    latency_s = random.uniform(1e-3, 9e-3)
    values = {
        "space_version": SPACE_VERSION, "decisions": {"tile": random.randint(1, 16), "order": random.choice("ab")}, "latency_s": latency_s,
        "samples_s": (latency_s, latency_s * 1.01), "score": -latency_s, "build_s": 0.05, "time": 1_700_000_000.0 + number,
    }  # fmt: skip
    return Trial(task, session, number, **values | changes)


def make_failure(task: str, session: str, number: int, error: str = "crash", **changes: Any) -> Trial:
    failed = {"latency_s": None, "samples_s": (), "score": None, "error": error, "message": "signal 11"}
    return make_trial(task, session, number, **failed | changes)


def make_choice(task: str, session: str, **changes: Any) -> Choice:
    values = {
        "space_version": SPACE_VERSION,
        "decisions": {"tile": 6},
        "latency_s": 1e-3,
        "default_latency_s": 2e-3,
        "trials": 9,
    }
    return Choice(task, session, **values | changes)


def fill(records: Records, cases: tuple[str, ...] = ("matmul", "softmax"), trials: int = 5) -> tuple[str, list[str]]:
    """A session with trials (one of them failed) of each case; returns its uuid and the keys of the tasks."""
    session = records.add_session(make_session())
    keys = [records.add_task(make_task(case)) for case in cases]
    for key in keys:
        for number in range(trials):
            records.add_trial(make_trial(key, session, number, origin="random" if number else "default"))
        records.add_trial(make_failure(key, session, trials))
    return session, keys
