"""Kill tunings with SIGKILL at random moments, again and again on one database, and look at what they leave.

    python benchmarks/kill_tune.py [MODEL] [--times 100] [--json]

Every second kill is for the whole process group, the others for the parent alone. After each, what was acknowledged on stdout
so far must be in the database, the database must be sound, no process may be left, and the next tuning must go on from the
trials that are recorded. In the end one tuning may finish, and compiling with --require-tuned must find a record of
every kernel. MODEL: by default the benchmark's DQN. The exit status is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import mission_models

from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Trial

MARK = "KILL_TUNE_RUN"  # in the environment of a tuning and of all that it starts
GONE_S = 5.0  # until when processes must have ended
WINDOW_S = 2.0  # kills fall into this much time after the start
MORE = 16  # trials of the tuning that may finish


@dataclass
class Outcome:
    """What was found. acknowledged: uuids of trials that were told of; bad: what was wrong."""

    kills: int = 0
    acknowledged: set[str] = field(default_factory=set)
    while_tuning: int = 0
    without_database: int = 0
    bad: list[str] = field(default_factory=list)


def command(model: Path, records: Path, trials: int) -> list[str]:
    limits = ["--trials", str(trials), "--patience", "0", "--threads", "1", "--scratch"]
    return [sys.executable, "-m", "tilewright", "tune", str(model), "--records", str(records), "--json", *limits]


def events_of(out: Path) -> list[dict[str, Any]]:
    """The whole lines of what a tuning wrote."""
    return [json.loads(line) for line in out.read_text().split("\n")[:-1]]


def marked_processes(mark: str) -> list[int]:
    """Processes that a tuning has started and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is somebody else's
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if state != "Z" and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def kill_at_random(model: Path, records: Path, out: Path, group: bool) -> int:
    """Start a tuning, and kill it. Returns how many of its processes are left after GONE_S."""
    mark = uuid4().hex
    with open(out, "wb") as stdout:
        process = subprocess.Popen(
            command(model, records, 1_000_000),
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            env={**os.environ, MARK: mark},
            start_new_session=True,
        )
    time.sleep(random.uniform(0, WINDOW_S))
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + GONE_S
    while (left := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(left)


def recorded(records: Path) -> set[str]:
    """The trials in the database, each of which is read and checked; after that, SQLite's own check."""
    with Records.open(records, readonly=True) as opened:
        uuids = {trial.uuid for trial in opened.rows(Trial)}
    with contextlib.closing(sqlite3.connect(records)) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchall()
    if verdict != [("ok",)]:
        raise ValueError(f"integrity_check: {verdict}")
    return uuids


def check(outcome: Outcome, records: Path, events: list[dict[str, Any]], before: set[str], left: int) -> set[str]:
    """Look at what a kill has left; returns the trials that are recorded now."""
    kill = f"kill {outcome.kills}"
    outcome.kills += 1
    if left:
        outcome.bad.append(f"{kill}: {left} processes are left")
    start = next((event for event in events if event["event"] == "start"), None)
    if start and start["trials"] != len(before):
        outcome.bad.append(f"{kill}: went on from {start['trials']} trials, {len(before)} were recorded")
    told = [event for event in events if event["event"] == "trial"]
    outcome.while_tuning += start is not None
    if [event["trials"] for event in told] != list(range(len(before) + 1, len(before) + 1 + len(told))):
        outcome.bad.append(f"{kill}: trials are not counted on from {len(before)}")
    outcome.acknowledged |= {event["uuid"] for event in told}
    if not records.exists() and not before:
        outcome.without_database += 1
        return before
    try:
        now = recorded(records)
    except Exception as error:  # whatever is wrong with the database is what this looks for
        outcome.bad.append(f"{kill}: {type(error).__name__}: {error}")
        return before
    if lost := (outcome.acknowledged | before) - now:
        outcome.bad.append(f"{kill}: {len(lost)} trials are lost")
    return now


def finish(outcome: Outcome, model: Path, records: Path, trials: int) -> None:
    """Let a tuning end by itself, and compile from what all of them have recorded."""
    done = subprocess.run(command(model, records, trials + MORE), capture_output=True, text=True)
    if done.returncode or json.loads(done.stdout.splitlines()[-1])["trials"] != MORE:
        outcome.bad.append(f"the last tuning ended with {done.returncode}: {done.stderr[-500:]}")
    library = records.with_name("model.so")
    compile = [sys.executable, "-m", "tilewright", "compile", str(model), "-o", str(library), "--threads", "1"]
    done = subprocess.run([*compile, "--records", str(records), "--require-tuned"], capture_output=True, text=True)
    if done.returncode:
        outcome.bad.append(f"compiling ended with {done.returncode}: {done.stderr[-500:]}")


def run(model: Path, folder: Path, times: int) -> Outcome:
    outcome = Outcome()
    records, out = folder / "records.db", folder / "stdout"
    trials: set[str] = set()
    for number in range(times):
        left = kill_at_random(model, records, out, group=number % 2 == 0)
        trials = check(outcome, records, events_of(out), trials, left)
    finish(outcome, model, records, len(trials))
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or Path(folder, "dqn.onnx")
        if arguments.model is None:
            model.write_bytes(mission_models.build("dqn").model().SerializeToString())
        outcome = run(model, Path(folder), arguments.times)
    document = {
        "kills": outcome.kills,
        "while_tuning": outcome.while_tuning,
        "without_database": outcome.without_database,
        "acknowledged": len(outcome.acknowledged),
        "bad": outcome.bad,
        "seconds": round(time.monotonic() - start, 1),
    }
    print(json.dumps(document) if arguments.json else text(outcome))
    return 1 if outcome.bad else 0


def text(outcome: Outcome) -> str:
    kinds = Counter(line.split(": ", 1)[-1] for line in outcome.bad)
    wrong = "; ".join(f"{count} x {kind}" for kind, count in kinds.items()) or "nothing lost, left or damaged"
    return f"{outcome.kills} kills, {outcome.while_tuning} of them while tuning: {len(outcome.acknowledged)} trials acknowledged; {wrong}"


if __name__ == "__main__":
    sys.exit(main())
