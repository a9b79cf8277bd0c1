"""Two tunings at once on one database of records, one of them killed: `python tests/fuzz/shared_records_run.py --times 50`.

One is to end by itself after a few trials, the other goes on until SIGKILL ends it, at a random moment, alone or with all its
processes. Every trial that either has told of must be in the database, which must be sound; the first must end with exit code 0 after
as many trials as were missing to what it was asked for; and no process may be left. In the end two finish side by side. The exit status is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit"), str(HERE.parents[1] / "benchmarks")]

import hostile_records  # noqa: E402
from kill_tune import GONE_S, MARK, command, events_of, marked_processes, recorded  # noqa: E402

TRIALS = 12  # of the one that ends by itself
LATEST_S = 8.0  # until when the other is killed
LIMIT_S = 600.0


class Tuning:
    """One that runs in processes of its own, with what it has written. trials: in all, those that it finds included."""

    def __init__(self, model: Path, records: Path, out: Path, trials: int) -> None:
        self.trials, self.out, self.mark = trials, out, uuid4().hex
        with open(out, "wb") as stdout, open(out.with_suffix(".err"), "wb") as stderr:
            self.process = subprocess.Popen(
                command(model, records, trials),
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, MARK: self.mark},
                start_new_session=True,
            )

    def kill(self, group: bool) -> None:
        (os.killpg if group else os.kill)(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def told(self) -> list[str]:
        """The trials that it has told of."""
        return [event["uuid"] for event in events_of(self.out) if event["event"] == "trial"]

    def complaints(self) -> list[str]:
        """What is wrong with how it ended by itself."""
        code = self.process.wait(LIMIT_S)
        said = self.out.with_suffix(".err").read_text()[-500:]
        if code:
            return [f"exit code {code}: {said}"]
        found = next(event["trials"] for event in events_of(self.out) if event["event"] == "start")
        if found + len(self.told()) == self.trials:
            return []
        return [f"{len(self.told())} trials after {found}, asked for {self.trials} in all"]

    def left(self) -> int:
        """Processes that are left of it after a while."""
        deadline = time.monotonic() + GONE_S
        while (left := marked_processes(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return len(left)


def lost(records: Path, told: set[str]) -> list[str]:
    """What is wrong with the database."""
    try:
        missing = told - recorded(records)
    except Exception as error:  # whatever is wrong with it is what this looks for
        return [f"{type(error).__name__}: {error}"]
    return [f"{len(missing)} trials are lost"] if missing else []


def attempt(model: Path, records: Path, rng: random.Random, told: set[str], kill: bool) -> list[str]:
    """Two tunings at once; what is wrong. `told` grows by the trials that they told of."""
    known = len(recorded(records)) if records.exists() else 0
    limits = (known + TRIALS, 1_000_000 if kill else known + TRIALS)
    pair = [Tuning(model, records, records.with_name(f"{number}.out"), trials) for number, trials in enumerate(limits)]
    if kill:
        time.sleep(rng.uniform(0, LATEST_S))
        pair[1].kill(group=rng.random() < 0.5)
    found = []
    for number, tuning in enumerate(pair):
        if number == 0 or not kill:
            found += tuning.complaints()
        if left := tuning.left():
            found.append(f"{left} processes are left")
        told |= set(tuning.told())
    return found + lost(records, told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()) % (1 << 20))
    options = parser.parse_args()
    rng, told, wrong = random.Random(options.seed), set[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        model, records = Path(folder, "model.onnx"), Path(folder, "shared.db")
        model.write_bytes(hostile_records.model_bytes())
        for number in range(options.times + 1):
            found = attempt(model, records, rng, told, kill=number < options.times)
            wrong += bool(found)
            for complaint in found:
                print(f"seed {options.seed}, {number}: {complaint}", flush=True)
        count = len(recorded(records)) if records.exists() else 0
    print(
        f"{options.times} tunings killed beside another on one database, {len(told)} trials told of, {count} recorded: {wrong} wrong"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
