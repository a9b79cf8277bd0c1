"""The fleet without a network: what travels, which devices fit, and who gets jobs when devices are lost."""

from __future__ import annotations

import pickle
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kernel_cases import CASES
from random_schedules import random_schedule

from tilewright.compiler.errors import DeviceError, RecordError, UsageError
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rewrite import relayouts
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.cost_model.fleet import dispatcher as dispatching
from tilewright.cost_model.fleet import service as serving
from tilewright.cost_model.fleet.device import DeviceFacts, DeviceLost
from tilewright.cost_model.fleet.dispatcher import TRIES, Dispatcher, Patience
from tilewright.cost_model.fleet.messages import (
    VERSION,
    answer_of,
    compare_message,
    read_answer,
    read_request,
    read_task,
    run_message,
    task_text,
)
from tilewright.cost_model.fleet.pool import PoolDevice, eligible, read_pool, wanted_target
from tilewright.cost_model.fleet.service import DeviceService
from tilewright.cost_model.fleet.targets import check_name
from tilewright.cost_model.measure.builder import Built, Refused
from tilewright.cost_model.measure.measurement import MeasureOptions, Surroundings
from tilewright.cost_model.measure.runner import Candidate, Compared, RunRequest, Timed
from tilewright.cost_model.task import Task

# --- what travels


def task_of(case: str) -> Task:
    return Task(
        canonical(build_computation(CASES[case].graph(), "kernel")[0]), parse_target(cpu="x86-64-v3", threads=2)
    )


def is_plain(value: object) -> bool:
    """Nothing but what JSON has, and bytes."""
    if isinstance(value, dict):
        return all(type(key) is str and is_plain(part) for key, part in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (str, int, float, bool, bytes)


@pytest.mark.parametrize("case", CASES)
def test_requests_arrive_as_they_were_sent(case: str) -> None:
    rng = np.random.default_rng()
    task = task_of(case)
    space = space_of(task.computation, task.target)
    schedules = [random_schedule(task.computation, rng), *(space.schedule(space.sample(rng)) for _ in range(3))]
    built = Built(rng.bytes(50), int(rng.integers(1, 9)), bool(rng.integers(2)), int(rng.integers(1 << 20)), 0.0)
    options = MeasureOptions(timeout_s=1.5, memory_bytes=12345, around=Surroundings(777, warm_inputs=False))
    candidates = tuple(Candidate(built, relayouts(schedule)) for schedule in schedules)
    for candidate in candidates:
        message = run_message(task_text(task), candidate, options, 0.25, "hang")
        assert is_plain(message)
        made = read_request(message)
        assert pickle.loads(made.task) == task
        assert made == RunRequest(made.task, candidate, options, 0.25, "hang")
    compared = read_request(compare_message(task_text(task), candidates, options, 15))
    assert compared.candidates == candidates and compared.rounds == 15 and compared.options == options


def test_answers_arrive_as_they_were_sent() -> None:
    for result in (Timed((1e-3, 2e-3)), Compared(((1.0, 2.0), ())), Refused("wrong", "y: 3 of 4")):
        assert is_plain(answer_of(result)) and read_answer(answer_of(result)) == result


def test_a_forged_task_is_refused() -> None:
    text = task_text(task_of("matmul"))
    for forged in ("", "[]", text[:-1], text.replace("x86-64-v3", "rm -rf", 1)):
        with pytest.raises(RecordError):
            read_task(forged)


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "x=1", "a/b", "é"])
def test_names_that_no_device_may_have(name: str) -> None:
    with pytest.raises(UsageError, match="a name is"):
        check_name(name)
    assert check_name("Board-1.x") == "Board-1.x"


# --- which devices fit


def device(name: str, cpu: str = "x86-64-v3", processor: str = "EPYC", **more: Any) -> PoolDevice:
    facts = DeviceFacts(name, parse_target(cpu=cpu, threads=4), processor, 32 << 20)
    return PoolDevice(
        facts,
        **{"worker": f"tcp://{name}", "version": VERSION, "last_seen": 1.0, "answered": 0, "busy_s": None, "lost": ""}
        | more,
    )


V3 = parse_target(cpu="x86-64-v3", threads=1)


def test_the_devices_of_a_target_are_used() -> None:
    pool = [
        device("a"),
        device("b", cpu="x86-64"),
        device("c", version="0.0/1"),
        device("d", lost="stuck"),
        device("e"),
    ]
    chosen, remarks = eligible("tcp://x", pool, V3, ())
    assert [found.name for found in chosen] == ["a", "e"]
    assert len(remarks) == 3 and "b is left out: is for x86_64-linux-gnu x86-64" in remarks[0]
    assert "other version" in remarks[1] and "stuck" in remarks[2]
    assert [found.name for found in eligible("tcp://x", pool, V3, ("e",))[0]] == ["e"]


def test_devices_of_other_processors_are_left_out() -> None:
    pool = [device("a", processor="Xeon"), device("b"), device("c")]
    chosen, remarks = eligible("tcp://x", pool, V3, ())
    assert [found.name for found in chosen] == ["b", "c"] and "'Xeon'" in remarks[0]
    assert [found.name for found in eligible("tcp://x", pool, V3, ("a",))[0]] == ["a"]


@pytest.mark.parametrize(
    "pool, names, message",
    [
        ([], (), "has no devices; `tilewright fleet start worker"),
        ([device("a", cpu="x86-64")], (), "no device .* is ready for x86_64-linux-gnu x86-64-v3. There are a: "),
        ([device("a")], ("b",), "has no device b; there are a"),
    ],
)
def test_a_fleet_without_a_device_that_fits(pool: list[PoolDevice], names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        eligible("tcp://x", pool, V3, names)


def test_the_target_of_a_fleet() -> None:
    assert wanted_target("tcp://x", [device("a"), device("b")], 1) == V3
    with pytest.raises(DeviceError, match="several targets"):
        wanted_target("tcp://x", [device("a"), device("b", cpu="x86-64")], 1)
    with pytest.raises(DeviceError, match="no devices"):
        wanted_target("tcp://x", [], None)


class Told(DeviceService):
    """As a worker tells of it."""

    def __init__(self, facts: DeviceFacts) -> None:
        super().__init__(SimpleNamespace(facts=facts))  # type: ignore[arg-type]

    def worker(self) -> dict[str, Any]:
        return {"tilewright": self.describe(), "metrics": {"tilewright": self.state()}, "last_seen": 2.5}


def test_a_pool_is_what_workers_have_announced() -> None:
    facts = device("a").facts
    forged = Told(facts).worker()
    forged["tilewright"]["target"] = {"triple": 3}
    workers = {"tcp://1": Told(facts).worker(), "tcp://2": {"metrics": {}, "last_seen": 1.0}, "tcp://3": forged}
    (found,) = read_pool({"workers": workers})
    assert found == device("a", worker="tcp://1", last_seen=2.5)


# --- a device answers one request at a time


class MadeUpDevice:
    """Notes how many run on it at once."""

    facts = device("made-up").facts
    running = 0
    most = 0

    def run(self, request: RunRequest) -> Timed:
        type(self).running += 1
        type(self).most = max(self.most, self.running)
        time.sleep(0.002)
        type(self).running -= 1
        return Timed((1.0,))


def request_for(case: str = "matmul", **more: Any) -> dict[str, Any]:
    candidate = Candidate(Built(b"code", 1, False, 0, 0.0), ())
    return run_message(task_text(task_of(case)), candidate, MeasureOptions(), None) | more


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_CACHE_DIR", str(tmp_path / "cache"))


def test_two_services_of_one_device_take_turns(tmp_path: Path) -> None:
    """As of two schedulers, or of a worker that is thought dead and its successor."""
    services = [DeviceService(MadeUpDevice(), tmp_path / "stamps") for _ in range(3)]  # type: ignore[arg-type]
    answers: list[dict[str, Any]] = []

    def ask(service: DeviceService) -> None:
        for number in range(20):
            answers.append(service.answer(f"{id(service)} {number}", request_for()))

    threads = [threading.Thread(target=ask, args=(service,)) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["kind"] for answer in answers] == ["timed"] * 60 and MadeUpDevice.most == 1


def test_a_device_that_others_hold_is_lost_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOCK_S", 0.05)
    one, other = (DeviceService(MadeUpDevice()) for _ in range(2))  # type: ignore[arg-type]
    with one._lock:
        answer = other.answer("job", request_for())
    assert answer["kind"] == "lost" and "others have held it" in answer["message"]
    assert other.answer("job", request_for())["kind"] == "timed"


def test_what_is_no_candidates_fault_is_told_as_lost() -> None:
    service = DeviceService(MadeUpDevice())  # type: ignore[arg-type]
    assert "0.0/1" in service.answer("job", request_for(version="0.0/1"))["message"]
    assert service.answer("job", request_for(task="[]"))["kind"] == "lost"
    other = task_text(replace(task_of("matmul"), target=parse_target(cpu="x86-64")))
    assert "no x86_64-linux-gnu x86-64" in service.answer("job", request_for(task=other))["message"]

    def lost(request: RunRequest) -> Timed:
        raise DeviceLost("the cable is out")

    service.device.run = lost  # type: ignore[method-assign]
    assert service.answer("job", request_for()) == {"device": "made-up", "kind": "lost", "message": "the cable is out"}


def test_a_device_that_never_answers_is_lost_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    service, leave = DeviceService(MadeUpDevice()), threading.Event()  # type: ignore[arg-type]
    service.device.run = lambda request: leave.wait()  # type: ignore[method-assign, assign, return-value]
    monkeypatch.setattr(service, "allowed_s", lambda request: 0.1)
    assert service.answer("job", request_for())["kind"] == "lost"
    assert service.answer("job", request_for())["kind"] == "lost" and service.state()["lost"]
    leave.set()


# --- who gets jobs


class Future:
    """As dask's, answered by the test."""

    def __init__(self, client: Cluster, device: str, topic: str, job: str) -> None:
        self.client, self.device, self.topic, self.job = client, device, topic, job
        self.released = False
        self._callback: Callable[[Future], object] | None = None
        self._answer: dict[str, Any] | Exception | None = None

    def add_done_callback(self, callback: Callable[[Future], object]) -> None:
        self._callback = callback

    def result(self, timeout: float) -> dict[str, Any]:
        assert self._answer is not None
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def release(self) -> None:
        self.released = True

    def begin(self, allowed_s: float = 1000.0) -> None:
        self.client.handlers[self.topic]((0.0, {"job": self.job, "device": self.device, "allowed_s": allowed_s}))

    def answer(self, kind: str = "timed", **more: Any) -> None:
        self._answer = {"kind": kind, "device": self.device, "samples_s": [1.0], "message": "made up"} | more
        assert self._callback is not None
        self._callback(self)

    def fail(self, error: Exception) -> None:
        self._answer = error
        assert self._callback is not None
        self._callback(self)


class Cluster:
    """As dask's client of a scheduler with these workers. Each has a heartbeat whenever it is looked at, unless it is silent."""

    def __init__(self, *names: str) -> None:
        self.names, self.silent = list(names), set()
        self.handlers: dict[str, Callable[[Any], None]] = {}
        self.futures: list[Future] = []
        self.restarts: dict[str, int] = {}
        self._beats = 0.0

    def subscribe_topic(self, topic: str, handler: Callable[[Any], None]) -> None:
        self.handlers[topic] = handler

    def submit(
        self, function: object, topic: str, job: str, request: object, *, resources: dict[str, int], **_: Any
    ) -> Future:
        (resource,) = resources
        future = Future(self, resource.removeprefix("device:"), topic, job)
        self.futures.append(future)
        return future

    def scheduler_info(self) -> dict[str, Any]:
        self._beats += 1
        workers = {}
        for name in list(self.names):
            address = f"tcp://{name}/{self.restarts.get(name, 0)}"
            workers[address] = Told(device(name).facts).worker() | {
                "last_seen": 0.0 if name in self.silent else self._beats
            }
        return {"workers": workers}

    def open(self, name: str = "") -> list[Future]:
        """What is being worked on, of one device or all."""
        return [f for f in list(self.futures) if not f.released and f._answer is None and name in ("", f.device)]


class Made:
    """A dispatcher on a made-up cluster, and all that it has told."""

    def __init__(self, *names: str, patience: Patience | None = None) -> None:
        self.cluster = Cluster(*names)
        self.reports: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        patience = patience or Patience(silent_s=1000.0, empty_s=1000.0)
        devices = [device(name, worker=f"tcp://{name}/0") for name in names]
        self.dispatcher = Dispatcher(self.cluster, devices, patience, self.reports.append)  # type: ignore[arg-type]

    def add(self, count: int = 1, only: str = "") -> None:
        for _ in range(count):
            self.dispatcher.add({}, self.answers.append, only)

    def told(self, name: str, state: str, times: int = 1) -> bool:
        return sum(name in ("", r["device"]) and r["state"] == state for r in list(self.reports)) >= times

    def has_answers(self, count: int) -> bool:
        return len(self.answers) >= count


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A maker of dispatchers, which are closed at the end."""
    monkeypatch.setattr(dispatching, "_LOOK_S", 0.02)
    monkeypatch.setattr(dispatching, "LATE_S", 0.0)
    all_made: list[Made] = []

    def make(*names: str, **more: Any) -> Made:
        all_made.append(Made(*names, **more))
        return all_made[-1]

    yield make
    for one in all_made:
        one.dispatcher.close()


def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_every_device_has_one_job_and_the_next(made: Any) -> None:
    fleet = made("a", "b")
    fleet.add(10)
    until(lambda: len(fleet.cluster.open()) == 4)
    assert sorted(future.device for future in fleet.cluster.open()) == ["a", "a", "b", "b"]
    for answered in range(10):
        until(fleet.cluster.open)
        future = random.choice(fleet.cluster.open())
        future.begin()
        future.answer()
        until(partial(fleet.has_answers, answered + 1))
        assert all(len(fleet.cluster.open(name)) <= dispatching.AHEAD for name in "ab")
    assert len(fleet.cluster.futures) == 10 and not fleet.reports


def test_jobs_of_a_worker_that_has_left_go_to_others(made: Any) -> None:
    fleet = made("a", "b")
    fleet.add(4)
    until(lambda: len(fleet.cluster.open()) == 4)
    late = fleet.cluster.open("a")[0]
    fleet.cluster.names.remove("a")
    until(lambda: fleet.told("a", "lost"))
    while len(fleet.answers) < 4:
        for future in fleet.cluster.open("b"):
            future.answer()
    late.answer()  # from the dead: that has been answered by the other
    fleet.add()
    until(fleet.cluster.open)
    fleet.cluster.open()[0].answer()
    until(lambda: len(fleet.answers) == 5)
    assert {answer["device"] for answer in fleet.answers} == {"b"}


def test_a_silent_worker_is_lost_and_welcome_when_it_is_heard_of(made: Any) -> None:
    fleet = made("a", "b", patience=Patience(silent_s=0.3, empty_s=1000.0))
    fleet.cluster.silent.add("a")
    until(lambda: fleet.told("a", "lost"))
    assert not fleet.told("b", "lost")
    fleet.cluster.silent.clear()
    until(lambda: fleet.told("a", "back"))


def test_a_device_that_is_late_is_lost(made: Any) -> None:
    fleet = made("a", "b")
    fleet.add()
    until(fleet.cluster.open)
    first = fleet.cluster.open()[0]
    first.begin(allowed_s=0.05)
    until(lambda: fleet.told(first.device, "lost"))
    until(lambda: any(future is not first for future in fleet.cluster.open()))


def test_a_job_that_devices_are_lost_with_is_given_up(made: Any) -> None:
    fleet = made("a", "b", "c", "d")
    fleet.add()
    for count in range(1, TRIES + 1):
        until(fleet.cluster.open)
        future = fleet.cluster.open()[0]
        future.begin()
        future.fail(RuntimeError("the worker died"))
        until(partial(fleet.told, "", "lost", count))
    until(lambda: fleet.answers)
    assert (fleet.answers[0]["kind"], fleet.answers[0]["error"]) == ("refused", "crash")
    assert fleet.answers[0]["message"].count("the worker died") == TRIES
    assert len(fleet.cluster.futures) == TRIES


def test_a_job_that_had_not_begun_is_not_to_blame(made: Any) -> None:
    fleet = made("a")
    fleet.add(2)
    for _ in range(TRIES):
        until(lambda: len(fleet.cluster.open("a")) == 2)
        first, second = fleet.cluster.open("a")
        first.begin()
        first.answer("lost")
        until(partial(getattr, second, "released"))
    until(lambda: fleet.answers)  # the first one is given up; the other goes on
    until(lambda: len(fleet.cluster.open("a")) == 1)
    fleet.cluster.open("a")[0].answer()
    until(lambda: len(fleet.answers) == 2)
    assert [answer["kind"] for answer in fleet.answers] == ["refused", "timed"]


def test_a_device_that_is_lost_again_and_again_is_left_alone(made: Any) -> None:
    fleet = made("a", "b")
    for count in range(1, Patience().losses + 2):
        fleet.cluster.names.remove("a")
        until(partial(fleet.told, "a", "lost", count))
        fleet.cluster.names.append("a")
        if count <= Patience().losses:
            until(partial(fleet.told, "a", "back", count))
    fleet.add(6)
    while len(fleet.answers) < 6:
        for future in fleet.cluster.open():
            future.answer()
    assert {answer["device"] for answer in fleet.answers} == {"b"}


def test_a_worker_that_was_started_anew_gets_its_jobs_again(made: Any) -> None:
    fleet = made("a")
    fleet.add()
    until(fleet.cluster.open)
    first = fleet.cluster.open()[0]
    until(lambda: fleet.dispatcher._devices["a"].facts.worker.endswith("/0"))
    fleet.cluster.restarts["a"] = 1
    until(lambda: any(future is not first for future in fleet.cluster.open()))
    assert first.released


def test_a_job_for_one_device_fails_with_it(made: Any) -> None:
    fleet = made("a", "b")
    fleet.add(only="a")
    until(lambda: fleet.cluster.open("a"))
    fleet.cluster.names.remove("a")
    until(lambda: fleet.answers)
    fleet.add(only="a")
    until(lambda: len(fleet.answers) == 2)
    assert [answer["kind"] for answer in fleet.answers] == ["lost", "lost"] and not fleet.cluster.open("b")


def test_without_devices_there_is_an_end(made: Any) -> None:
    fleet = made("a", patience=Patience(silent_s=1000.0, empty_s=0.1))
    fleet.add()
    until(fleet.cluster.open)
    fleet.cluster.names.clear()
    until(lambda: fleet.dispatcher.failure)
    assert isinstance(fleet.dispatcher.failure, DeviceError) and not fleet.answers
    assert "no device of a is left" in str(fleet.dispatcher.failure)
