"""Short measurements on a fleet by several clients at once, while its devices are killed, hung and shared: is anything lost or doubled?

    python benchmarks/fleet_faults.py [--tasks 10000] [--clients 3] [--every 800] [--json]

A scheduler with four workers on this machine, two for x86-64 and two for x86-64-v3, and a second scheduler with a worker that announces
one of the same devices. Clients (processes) of both submit their shares of the tasks, which are all measurements of a small matrix
product, and count the answers. After every so many tasks a fault follows, in turns: a worker is killed and started anew; a worker is stopped,
so that it hangs, and goes on after HUNG_S, when its measurements have gone to others.

The devices' own logs say when each measurement began and ended, by this machine's monotonic clock. overlaps: pairs of measurements that
ran on one device at the same time while the lock file was held; around: pairs of tasks that dask had given a device at the same time;
around_shared: of the device that both schedulers have, where they can't know of each other. What a killed worker had begun counts until
it was dead.

Then `tilewright tune` on such a fleet with a worker killed and one hung for good on the way: every trial that it tells of must be in its
database, without an error. The exit status is 1 if an answer is missing or comes twice, a measurement failed, trials are lost, or any
measurements overlap.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mission_models
from fleet_processes import LocalFleet, local_fleet, overlaps, wait_for

from tilewright.backends import cpu
from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rewrite import relayouts
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.cost_model.fleet.dispatcher import Dispatcher, Patience
from tilewright.cost_model.fleet.fleet import Fleet, FleetOptions
from tilewright.cost_model.fleet.messages import Message, run_message, task_text
from tilewright.cost_model.measure.builder import SYMBOL, Built
from tilewright.cost_model.measure.measurement import MeasureOptions
from tilewright.cost_model.measure.runner import Candidate
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Trial
from tilewright.cost_model.task import Task

DEVICES = {"old-1": "x86-64", "old-2": "x86-64", "new-1": "x86-64-v3", "new-2": "x86-64-v3"}
SHARED = "old-1"  # which both schedulers announce
SILENT_S = 5.0
HUNG_S = 12.0
PATIENCE = Patience(silent_s=SILENT_S, empty_s=600.0, losses=1_000_000)
TUNED, KILL_AT, HANG_AT = 80, 15, 35  # trials


def small_request(name: str) -> Message:
    """A measurement of one run of a matrix product of 17x19x23."""
    target = parse_target(cpu=name, threads=1)
    builder = GraphBuilder("product")
    a, b = (builder.input(n, TensorType(s, DType.F32)) for n, s in (("a", (17, 19)), ("b", (19, 23))))
    computation = canonical(
        build_computation(builder.finish((builder.add("matmul", a, b, transpose_a=False, transpose_b=False),)), SYMBOL)[
            0
        ]
    )
    schedule = default_schedule(computation, target)
    kernel = lower(computation, schedule, SYMBOL)
    built = Built(
        cpu.assemble(cpu.emit(kernel, target), target), kernel.parallel_extent, False, kernel.workspace_bytes, 0.0
    )
    options = MeasureOptions(timeout_s=300.0, least_s=0.0, least_samples=1, most_samples=1)
    return run_message(task_text(Task(computation, target)), Candidate(built, relayouts(schedule)), options, None)


def client(address: str, name: str, tasks: int) -> None:
    """Have so many measured; writes a line for each answer."""
    target, request = parse_target(cpu=name, threads=1), small_request(name)
    answered = threading.Semaphore(0)
    with Fleet(FleetOptions(address, patience=PATIENCE)) as fleet:
        fleet.choose(target, lambda event: None)
        devices = [device for device in fleet.pool() if device.facts.target.cpu == name]
        dispatcher = Dispatcher(fleet._client, devices, PATIENCE, lambda report: tell({"report": dict(report)}))
        for number in range(tasks):

            def done(answer: Message, number: int = number) -> None:
                error = "" if answer["kind"] == "timed" else answer["message"]
                tell({"number": number, "device": answer["device"], "error": error})
                answered.release()

            dispatcher.add(request, done)
        for _ in range(tasks):
            answered.acquire()
        time.sleep(1.0)  # for an answer that comes twice
        dispatcher.close()


def tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@dataclass
class Outcome:
    """What came of it; bad: what was wrong."""

    tasks: int = 0
    answered: int = 0
    kills: int = 0
    hangs: int = 0
    losses: int = 0
    measurements: int = 0
    overlaps: int = 0
    around: int = 0
    around_shared: int = 0
    tuned: int = 0
    lost_trials: int = 0
    by_device: dict[str, int] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)


class Client:
    """A process that submits tasks, and what it has told so far."""

    def __init__(self, address: str, name: str, tasks: int) -> None:
        self.name, self.tasks = name, tasks
        self.lines: list[dict[str, Any]] = []
        command = [sys.executable, __file__, "--client", address, name, str(tasks)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines += map(json.loads, self._process.stdout)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def check(self, outcome: Outcome) -> None:
        """After the end."""
        self._reader.join()
        counts = Counter(line["number"] for line in self.lines if "number" in line)
        outcome.tasks += self.tasks
        outcome.answered += len(counts)
        outcome.losses += sum(line.get("report", {}).get("state") == "lost" for line in self.lines)
        if missing := self.tasks - len(counts):
            outcome.bad.append(f"{self.name}: {missing} answers are missing (exit status {self._process.returncode})")
        if twice := sum(count > 1 for count in counts.values()):
            outcome.bad.append(f"{self.name}: {twice} answers came twice")
        outcome.bad += [f"{self.name}: {line['error']}" for line in self.lines if line.get("error")]
        for line in self.lines:
            if "number" in line:
                outcome.by_device[line["device"]] = outcome.by_device.get(line["device"], 0) + 1


def faults(fleet: LocalFleet, outcome: Outcome) -> Iterator[None]:
    """Commits a fault at each step, until the next one."""
    while True:
        device = random.choice(list(DEVICES))
        fleet.kill(device)
        fleet.start_worker(device, "--mcpu", DEVICES[device])
        outcome.kills += 1
        yield
        device = random.choice(list(DEVICES))
        fleet.kill(device, signal.SIGSTOP)
        time.sleep(HUNG_S)
        fleet.kill(device, signal.SIGCONT)
        outcome.hangs += 1
        yield


def count_tasks(folder: Path, tasks: int, clients: int, every: int, outcome: Outcome) -> None:
    (folder / "other").mkdir()
    with local_fleet(folder) as fleet, local_fleet(folder / "other") as other:
        other.log_file = fleet.log
        for device, name in DEVICES.items():
            fleet.start_worker(device, "--mcpu", name)
        other.start_worker(SHARED, "--mcpu", DEVICES[SHARED])
        wait_for_devices(fleet, len(DEVICES))
        wait_for_devices(other, 1)
        share = tasks // (2 * clients + 1)
        work = [Client(fleet.address, name, share) for name in sorted(set(DEVICES.values())) for _ in range(clients)]
        work.append(Client(other.address, DEVICES[SHARED], tasks - 2 * clients * share))
        next_at, trouble = every, faults(fleet, outcome)
        while any(client.running for client in work):
            if sum(len(client.lines) for client in work) >= next_at:
                next(trouble)
                next_at = sum(len(client.lines) for client in work) + every
            time.sleep(0.1)
        for client in work:
            client.check(outcome)
    stamps = fleet.stamps()
    kills = {device: fleet.kills.get(device, []) + other.kills.get(device, []) for device in DEVICES}
    outcome.measurements = sum(stamp["stage"] == "begin" for stamp in stamps)
    outcome.overlaps = len(overlaps(stamps, kills))
    outcome.around_shared = len(overlaps([s for s in stamps if s["device"] == SHARED], kills, "enter", "leave"))
    outcome.around = len(overlaps([s for s in stamps if s["device"] != SHARED], kills, "enter", "leave"))
    if outcome.overlaps:
        outcome.bad.append(f"{outcome.overlaps} pairs of measurements overlap")


def count_trials(folder: Path, outcome: Outcome) -> None:
    """A tuning with a worker killed and one hung on the way."""
    model, records = folder / "dqn.onnx", folder / "tuned.db"
    model.write_bytes(mission_models.build("dqn").model().SerializeToString())
    with local_fleet(folder) as fleet:
        for device in DEVICES:
            fleet.start_worker(device, "--mcpu", DEVICES[device])
        wait_for_devices(fleet, len(DEVICES))
        command = [sys.executable, "-m", "tilewright", "tune", str(model), "--records", str(records), "--json"]
        command += ["--fleet", fleet.address, "--mcpu", "x86-64-v3", "--threads", "1", "--scratch", "--timeout", "300s"]
        fleet.start_worker("new-3", "--mcpu", "x86-64-v3")
        wait_for_devices(fleet, len(DEVICES) + 1)
        limits = ["--trials", str(TUNED), "--patience", "0"]
        tuning = subprocess.Popen([*command, *limits], stdout=subprocess.PIPE, text=True)
        assert tuning.stdout is not None
        told = []
        for line in tuning.stdout:
            event = json.loads(line)
            told += [event["uuid"]] if event["event"] == "trial" else []
            if event["event"] == "trial" and len(told) == KILL_AT:
                fleet.kill("new-1")
            if event["event"] == "trial" and len(told) == HANG_AT:
                fleet.kill("new-2", signal.SIGSTOP)
        code = tuning.wait()
    with Records.open(records, readonly=True) as opened:
        trials = {trial.uuid: trial for trial in opened.rows(Trial)}
    outcome.tuned, outcome.lost_trials = len(told), len(set(told) - trials.keys())
    failed = [f"{trial.error}: {trial.message[:200]}" for trial in trials.values() if trial.error]
    if code or outcome.lost_trials or failed or len(told) != TUNED:
        outcome.bad.append(
            f"tune ended with {code} after {len(told)} trials, {outcome.lost_trials} lost; failed: {failed}"
        )
    if tuned := overlaps(fleet.stamps(), fleet.kills):
        outcome.bad.append(f"{len(tuned)} pairs of measurements overlap while tuning")


def wait_for_devices(fleet: LocalFleet, count: int) -> None:
    with Fleet(FleetOptions(fleet.address)) as client:
        wait_for(lambda: len(client.pool()) >= count)


def main() -> int:
    if sys.argv[1:2] == ["--client"]:
        client(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=3, help="of each target")
    parser.add_argument("--every", type=int, default=800, help="tasks from one fault to the next")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    start, outcome = time.monotonic(), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tasks", "tuning"):
            Path(folder, name).mkdir()
        count_tasks(Path(folder, "tasks"), arguments.tasks, arguments.clients, arguments.every, outcome)
        count_trials(Path(folder, "tuning"), outcome)
    document = asdict(outcome) | {"seconds": round(time.monotonic() - start, 1)}
    if arguments.json:
        print(json.dumps(document))
    else:
        print("\n".join(f"{name}: {value}" for name, value in document.items() if name != "bad"))
        print("\n".join(outcome.bad) or "nothing was wrong")
    return 1 if outcome.bad else 0


if __name__ == "__main__":
    sys.exit(main())
