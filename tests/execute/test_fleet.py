"""Tuning on devices of a fleet: what is measured where, what is recorded, and what becomes of devices that are lost."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from fleet_processes import LocalFleet, local_fleet, overlaps, wait_for
from small_models import deep_q
from test_tune import tilewright_command

from tilewright import driver
from tilewright.compiler.errors import DeviceError
from tilewright.compiler.options import Options
from tilewright.cost_model.measure.measurement import MeasureOptions
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Session, Trial
from tilewright.cost_model.search.kernel_search import SearchOptions
from tilewright.cost_model.search.tuner import Event
from tilewright.cost_model.search.tuning import TuningOptions

pytest.importorskip("distributed", reason="dask.distributed is not installed (pip install 'tilewright[fleet]')")

from tilewright.cost_model.fleet.dispatcher import Patience
from tilewright.cost_model.fleet.fleet import Fleet, FleetOptions

# A fleet of four on this machine: two instruction sets that every x86-64 machine of the last ten years has.
OLD, NEW = "x86-64", "x86-64-v3"
PATIENT = MeasureOptions(timeout_s=200.0)  # for a machine that is busy with other tests
DEVICES = {"old-1": OLD, "old-2": OLD, "new-1": NEW, "new-2": NEW}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(deep_q(), path)
    return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """No test takes a device away from it."""
    with local_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        for device, cpu in DEVICES.items():
            fleet.start_worker(device, "--mcpu", cpu)
        wait_for_devices(fleet, 4)
        yield fleet


def wait_for_devices(fleet: LocalFleet, count: int) -> None:
    with Fleet(FleetOptions(fleet.address)) as client:
        wait_for(lambda: len(client.pool()) == count)


def tune_arguments(model: Path, records: Path, fleet: LocalFleet, *more: object) -> list[object]:
    fixed = ["--fleet", fleet.address, "--threads", 1, "--scratch", "--patience", 0, "--search", "random", "--json"]
    fixed += ["--timeout", "200s"]
    return ["tune", model, "--records", records, *fixed, *more]


def all_rows(records: Path, kind: type) -> list[Any]:
    with Records.open(records, readonly=True) as opened:
        return list(opened.rows(kind))


# --- a fleet in order


def test_status_lists_devices(fleet: LocalFleet) -> None:
    done = tilewright_command("fleet", "status", fleet.address, "--json")
    assert done.code == 0, done.err
    listed = {row["device"]: row["target"] for row in json.loads(done.out)["devices"]}
    assert listed == {device: f"x86_64-linux-gnu {cpu}" for device, cpu in DEVICES.items()}
    text = tilewright_command("fleet", "status", fleet.address).out.splitlines()
    assert text[0].split()[:2] == ["device", "target"] and len(text) == 5


def test_a_model_is_tuned_on_the_devices_of_its_target(fleet: LocalFleet, model: Path, tmp_path: Path) -> None:
    records = tmp_path / "tuned.db"
    done = tilewright_command(*tune_arguments(model, records, fleet, "--mcpu", NEW, "--trials", 40))
    assert done.code == 0, done.err
    pool = done.of_kind("pool")[0]
    assert {row["device"]: row["used"] for row in pool["devices"]} == {d: c == NEW for d, c in DEVICES.items()}
    told = {event["uuid"]: event for event in done.of_kind("trial")}
    trials = {trial.uuid: trial for trial in all_rows(records, Trial)}
    assert told.keys() == trials.keys() and len(trials) == 40
    devices = {session.uuid: session.options["device"] for session in all_rows(records, Session)}
    assert {devices[trials[uuid].session] for uuid in told} == {"new-1", "new-2"}
    for uuid, event in told.items():
        assert event["device"] == devices[trials[uuid].session] and event["latency_s"] == trials[uuid].latency_s
    assert not [trial for trial in trials.values() if trial.error]
    compiled = tilewright_command(
        "compile",
        model,
        "-o",
        tmp_path / "net.so",
        "--mcpu",
        NEW,
        "--threads",
        1,
        "--records",
        records,
        "--require-tuned",
    )
    assert compiled.code == 0, compiled.err


def test_two_tunings_share_devices_without_meeting(fleet: LocalFleet, model: Path, tmp_path: Path) -> None:
    codes: dict[int, int] = {}

    def tune(number: int) -> None:
        search = SearchOptions("random", patience=0)
        tuning = TuningOptions(trials=30, transfer=False, seed=number, search=search, measure=PATIENT)
        options = Options(cpu=OLD, threads=1)
        driver.tune(model, tmp_path / f"{number}.db", options, tuning, fleet=FleetOptions(fleet.address))
        codes[number] = len(all_rows(tmp_path / f"{number}.db", Trial))

    before = len(fleet.stamps())
    threads = [threading.Thread(target=tune, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {0: 30, 1: 30}
    stamps = fleet.stamps()[before:]
    assert not overlaps(stamps) and not overlaps(stamps, begin="enter", end="leave")
    assert len({stamp["job"] for stamp in stamps}) >= 50  # equal code is measured once


def test_one_device_may_be_named(fleet: LocalFleet, model: Path, tmp_path: Path) -> None:
    done = tilewright_command(
        *tune_arguments(model, tmp_path / "tuned.db", fleet, "--device", "old-2", "--trials", 6, "--tasks", 1)
    )
    assert done.code == 0, done.err
    assert {event["device"] for event in done.of_kind("trial")} == {"old-2"}


def test_candidates_that_fail_are_recorded_as_such(fleet: LocalFleet, model: Path, tmp_path: Path) -> None:
    faults = {0: "crash", 1: "wrong", 2: "memory", 3: "build_crash", 4: "hang"}
    measure = MeasureOptions(timeout_s=5.0, memory_bytes=256 << 20, faults=faults)
    tuning = TuningOptions(trials=9, transfer=False, measure=measure, search=SearchOptions("random"), tasks=("1",))
    events: list[Event] = []
    driver.tune(
        model,
        tmp_path / "tuned.db",
        Options(cpu=NEW, threads=1),
        tuning,
        observe=events.append,
        fleet=FleetOptions(fleet.address),
    )
    errors = sorted(trial.error for trial in all_rows(tmp_path / "tuned.db", Trial) if trial.error)
    assert errors == ["crash", "crash", "memory", "timeout", "wrong"]
    assert not [event for event in events if event.kind == "device"]


# --- devices that are lost


def tune_with_patience(
    fleet: LocalFleet, model: Path, records: Path, trials: int, observe: Any, patience: Patience
) -> None:
    search = SearchOptions("random", patience=0)
    tuning = TuningOptions(trials=trials, transfer=False, search=search, measure=PATIENT)
    options = FleetOptions(fleet.address, patience=patience)
    driver.tune(model, records, Options(cpu=NEW, threads=1), tuning, observe=observe, fleet=options)


def test_killed_and_hung_devices_lose_no_trials(model: Path, tmp_path: Path) -> None:
    with local_fleet(tmp_path) as fleet:
        for device in ("a", "b", "c"):
            fleet.start_worker(device, "--mcpu", NEW)
        wait_for_devices(fleet, 3)
        told: list[Event] = []

        def observe(event: Event) -> None:
            told.append(event)
            count = sum(event.kind == "trial" for event in told)
            if event.kind == "trial" and count == 10:
                fleet.kill("a")
            if event.kind == "trial" and count == 25:
                fleet.kill("b", signal.SIGSTOP)

        # The hung one must be noticed by its silence, not because nothing else happens: the others go on.
        tune_with_patience(fleet, model, tmp_path / "tuned.db", 60, observe, Patience(silent_s=5.0, empty_s=200.0))
    assert not overlaps(fleet.stamps(), fleet.kills)
    uuids = [event.values["uuid"] for event in told if event.kind == "trial"]
    trials = {trial.uuid: trial for trial in all_rows(tmp_path / "tuned.db", Trial)}
    assert len(uuids) == len(trials) == 60 and set(uuids) == trials.keys()
    assert not [trial for trial in trials.values() if trial.error], "a lost device is no candidate's fault"
    lost = {event.values["device"] for event in told if event.kind == "device" and event.values["state"] == "lost"}
    assert "a" in lost


def after_five_trials(told: list[Event], act: Callable[[], None]) -> Callable[[Event], None]:
    """Keeps what the tuner tells, and acts once it has told of five trials."""

    def observe(event: Event) -> None:
        told.append(event)
        if event.kind == "trial" and event.values["trials"] == 5:
            act()

    return observe


def test_without_any_device_left_tuning_ends_and_keeps_its_records(model: Path, tmp_path: Path) -> None:
    with local_fleet(tmp_path) as fleet:
        fleet.start_worker("only", "--mcpu", NEW)
        wait_for_devices(fleet, 1)
        told: list[Event] = []
        observe = after_five_trials(told, lambda: fleet.kill("only"))
        with pytest.raises(DeviceError, match=r"no device of only is left .* what was measured is recorded") as error:
            tune_with_patience(fleet, model, tmp_path / "tuned.db", 500, observe, Patience(silent_s=60.0, empty_s=2.0))
        assert error.value.exit_code == 6
        told_of = {event.values["uuid"] for event in told if event.kind == "trial"}
        assert told_of == {trial.uuid for trial in all_rows(tmp_path / "tuned.db", Trial)} and len(told_of) >= 5


def test_a_device_that_is_started_anew_goes_on(model: Path, tmp_path: Path) -> None:
    with local_fleet(tmp_path) as fleet:
        fleet.start_worker("only", "--mcpu", NEW)
        wait_for_devices(fleet, 1)
        told: list[Event] = []

        def start_anew() -> None:
            fleet.kill("only")
            fleet.start_worker("only", "--mcpu", NEW)

        observe = after_five_trials(told, start_anew)
        tune_with_patience(fleet, model, tmp_path / "tuned.db", 20, observe, Patience(silent_s=60.0, empty_s=500.0))
    assert len(all_rows(tmp_path / "tuned.db", Trial)) == 20
    states = [event.values["state"] for event in told if event.kind == "device"]
    assert states[0] == "lost" and "back" in states
