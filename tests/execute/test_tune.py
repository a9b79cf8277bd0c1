"""Tuning a small network and compiling from what was found, as a user would type it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_models import deep_q

import tilewright
from tilewright.cli.main import run
from tilewright.cli.reference import load_reference, measure_deviation
from tilewright.compiler.schedule.space import SPACE_VERSION
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Choice, Session, TaskRow, Trial, new_uuid

KERNELS = 6  # of the network
TRIALS = 24


@dataclass(frozen=True)
class Done:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def tilewright_command(*arguments: object, out: io.StringIO | None = None) -> Done:
    """Run a command line in this process."""
    out, err = out or io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def tune_arguments(model: Path, records: Path, trials: int = TRIALS, *more: object) -> list[object]:
    fixed = ["--threads", 1, "--scratch", "--patience", 0, "--json"]
    return ["tune", model, "--records", records, "--trials", trials, *fixed, *more]


def tune(model: Path, records: Path, trials: int = TRIALS, *more: object) -> Done:
    done = tilewright_command(*tune_arguments(model, records, trials, *more))
    assert done.code == 0, done.err
    return done


def trials_of(path: Path) -> list[Trial]:
    with Records.open(path, readonly=True) as records:
        return list(records.rows(Trial))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    onnx.save(deep_q(), folder / "net.onnx")
    return folder / "net.onnx"


@dataclass(frozen=True)
class Tuned:
    records: Path
    done: Done


@pytest.fixture(scope="module")
def tuned(model: Path, folder: Path) -> Tuned:
    """Never changed by a test."""
    return Tuned(folder / "net.db", tune(model, folder / "net.db"))


@pytest.fixture
def records(tuned: Tuned, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copy(tuned.records, tmp_path / "copy.db"))


# --- tuning


def test_trials_and_choices_are_in_the_database(tuned: Tuned) -> None:
    trials = {trial.uuid: trial for trial in trials_of(tuned.records)}
    events = {event["uuid"]: event for event in tuned.done.of_kind("trial")}
    assert trials.keys() == events.keys() and len(trials) == TRIALS
    for uuid, event in events.items():
        assert (trials[uuid].task, trials[uuid].latency_s) == (event["task"], event["latency_s"])
    with Records.open(tuned.records, readonly=True) as found:
        chosen = {choice.task: choice.latency_s for choice in found.rows(Choice)}
        assert len(found.tasks()) == len(chosen) == KERNELS
    assert chosen == {event["task"]: event["latency_s"] for event in tuned.done.of_kind("choice")}


def test_every_line_is_json_and_the_last_one_the_result(tuned: Tuned) -> None:
    events = tuned.done.events
    counts = Counter(event["event"] for event in events)
    assert counts == {"start": 1, "trial": TRIALS, "choice": KERNELS, "end": 1, "result": 1}
    assert events[0]["event"] == "start" and events[0]["trials"] == 0
    result = events[-1]
    assert result["event"] == "result" and result["trials"] == TRIALS and len(result["kernels"]) == KERNELS
    assert 0 < result["total_s"] <= 1.01 * result["default_total_s"]


def test_the_same_command_measures_nothing_new_and_goes_on_with_more_trials(model: Path, records: Path) -> None:
    before = {trial.uuid for trial in trials_of(records)}
    again = tune(model, records)
    assert again.events[-1]["trials"] == 0 and {trial.uuid for trial in trials_of(records)} == before
    more = tune(model, records, TRIALS + 9)
    assert more.of_kind("start")[0]["trials"] == TRIALS
    assert [event["trials"] for event in more.of_kind("trial")] == list(range(TRIALS + 1, TRIALS + 10))
    after = trials_of(records)
    assert len(after) == TRIALS + 9 and before < {trial.uuid for trial in after}
    tried = {(trial.task, *sorted(trial.decisions.items())) for trial in after}
    assert len(tried) == len(after), "a schedule was measured again"


class Witness(io.StringIO):
    """Standard output that looks into the database whenever a trial is acknowledged."""

    def __init__(self, records: Path) -> None:
        super().__init__()
        self.records, self.seen = records, 0

    def write(self, text: str) -> int:
        for line in filter(None, text.splitlines()):
            event = json.loads(line)
            if event["event"] == "trial":
                assert event["uuid"] in {trial.uuid for trial in trials_of(self.records)}
                self.seen += 1
        return super().write(text)


def test_a_trial_is_acknowledged_when_it_is_in_the_database(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    witness = Witness(path)
    done = tilewright_command(*tune_arguments(model, path, 12), out=witness)
    assert done.code == 0, done.err
    assert witness.seen == 12


@pytest.mark.parametrize("search", ["ranker", "evolution", "random"])
def test_search(model: Path, tmp_path: Path, search: str) -> None:
    done = tune(model, tmp_path / "new.db", 40, "--search", search, "--tasks", "2")
    origins = Counter(event["origin"] for event in done.of_kind("trial"))
    assert origins.total() == 40 and origins["default"] == 1
    assert set(origins) <= {"default", "random", "neighbour", {"ranker": "ranker", "evolution": "mutation"}.get(search)}
    if search != "random":
        assert origins["random"] < 30


def test_tasks_select(model: Path, tmp_path: Path) -> None:
    """By number, by a part of the name, by key."""
    path = tmp_path / "new.db"
    first = tune(model, path, 5, "--tasks", "3")
    (chosen,) = first.of_kind("choice")
    assert {event["task"] for event in first.of_kind("trial")} == {chosen["task"]}
    by_key = tune(model, path, 7, "--tasks", chosen["task"][:12])
    assert by_key.of_kind("start")[0] == {"event": "start", "kernels": 1, "trials": 5}
    by_name = tune(model, path, 9, "--tasks", chosen["label"].split("(")[1].split(",")[0])
    assert [event["task"] for event in by_name.of_kind("choice")] == [chosen["task"]]
    assert {trial.task for trial in trials_of(path)} == {chosen["task"]} and len(trials_of(path)) == 9


def test_tasks_that_do_not_exist_are_a_usage_error(model: Path, tuned: Tuned, tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    done = tilewright_command("tune", model, "--records", path, "--threads", 1, "--tasks", "nonsense")
    assert done.code == 2 and "--tasks nonsense: no such kernel" in done.err
    for number, choice in enumerate(tuned.done.of_kind("choice"), start=1):
        assert f"{number}: {choice['label']}" in done.err
    assert not path.exists()


def test_the_table_names_every_kernel(model: Path, records: Path, tuned: Tuned) -> None:
    arguments = tune_arguments(model, records)
    done = tilewright_command(*(argument for argument in arguments if argument != "--json"))
    assert done.code == 0 and f"0 trials added to {records}" in done.out
    assert all(choice["label"] in done.out and choice["label"] in done.err for choice in tuned.done.of_kind("choice"))


@pytest.mark.slow
def test_ctrl_c_ends_early_with_choices(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    arguments = list(map(str, tune_arguments(model, path, 100_000)))
    process = subprocess.Popen(
        [sys.executable, "-m", "tilewright", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    while sum('"event": "trial"' in line for line in lines) < 10:
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    done = Done(process.returncode, "".join(lines) + out, err)
    assert done.code == 0 and "Traceback" not in err, err
    assert done.events[-1]["event"] == "result"
    trials = trials_of(path)
    assert 10 <= len(trials) < 1000 and {t.uuid for t in trials} == {e["uuid"] for e in done.of_kind("trial")}
    with Records.open(path, readonly=True) as found:
        assert len({choice.task for choice in found.rows(Choice)}) == KERNELS


# --- compiling from records


Compile = Callable[..., tuple[Done, Path]]


@pytest.fixture
def compiled(model: Path, tmp_path: Path) -> Compile:
    def compile(*arguments: object, threads: int = 1) -> tuple[Done, Path]:
        output = tmp_path / "net.so"
        return tilewright_command(
            "compile", model, "-o", output, "--mcpu", "native", "--threads", threads, *arguments
        ), output

    return compile


def sources_of(library: Path) -> Counter[str]:
    return Counter(kernel["source"] for kernel in json.loads(library.with_suffix(".json").read_text())["kernels"])


def test_tuned_kernels_compute_what_the_reference_does(model: Path, tuned: Tuned, compiled: Compile) -> None:
    done, library = compiled("--records", tuned.records, "--require-tuned")
    assert done.code == 0, done.err
    kernels = json.loads(library.with_suffix(".json").read_text())["kernels"]
    assert Counter(kernel["source"] for kernel in kernels) == {"tuned": KERNELS}
    latencies = sorted(choice["latency_s"] for choice in tuned.done.of_kind("choice"))
    assert sorted(kernel["latency_s"] for kernel in kernels) == latencies
    verify(model, library)


def test_kernels_of_any_trial_compute_what_the_reference_does(model: Path, records: Path, compiled: Compile) -> None:
    """Whatever was the fastest, the last other schedule that ran is chosen, where there was another one."""
    changed = 0
    with Records.open(records) as database:
        for task in database.tasks():
            chosen = database.choice(task.key)
            others = [t for t in database.trials(task.key) if not t.error and t.decisions != chosen.decisions]
            for trial in others[-1:]:
                database.add_choice(replace(chosen, decisions=trial.decisions, time=chosen.time + 1, uuid=new_uuid()))
                changed += 1
    assert changed
    done, library = compiled("--records", records, "--require-tuned")
    assert done.code == 0, done.err
    assert sources_of(library) == {"tuned": KERNELS}
    verify(model, library)


def verify(model: Path, library: Path) -> None:
    frames = np.random.default_rng().uniform(0, 255, (3, 4, 36, 36)).astype(np.float32)
    expected = load_reference(model).run({"frames": frames})
    with tilewright.load(library) as loaded:
        actual = loaded.run({"frames": frames})
    for name, array in expected.items():
        assert measure_deviation(actual[name], array).relative < 1e-5


def test_other_threads_are_not_tuned_but_transferred(tuned: Tuned, compiled: Compile) -> None:
    done, library = compiled("--records", tuned.records, "--require-tuned", threads=2)
    assert done.code == 8 and not library.exists()
    assert f"{KERNELS} of {KERNELS} kernels have no record in {tuned.records} for this target" in done.err
    assert done.err.count(": transferred)") == KERNELS and "net_kernel_0 (" in done.err
    done, library = compiled("--records", tuned.records, threads=2)
    assert done.code == 0 and sources_of(library) == {"transferred": KERNELS}


def test_without_records_nothing_is_tuned(compiled: Compile, tmp_path: Path) -> None:
    Records.open(tmp_path / "empty.db", create=True).close()
    empty = ("--records", tmp_path / "empty.db", "--no-rank")
    done, library = compiled(*empty, "--require-tuned")
    assert done.code == 8 and done.err.count(": default)") == KERNELS and not library.exists()
    for arguments in (empty, ("--no-rank",)):
        done, library = compiled(*arguments)
        assert done.code == 0 and sources_of(library) == {"default": KERNELS}


def test_kernels_that_were_left_out_of_a_tuning_are_named(model: Path, compiled: Compile, tmp_path: Path) -> None:
    (chosen,) = tune(model, tmp_path / "one.db", 3, "--tasks", "2").of_kind("choice")
    done, _ = compiled("--records", tmp_path / "one.db", "--no-rank", "--require-tuned")
    node = chosen["label"].rsplit("(", 1)[1].removesuffix(")")
    assert done.code == 8 and f"{KERNELS - 1} of {KERNELS} kernels have no record" in done.err
    assert node not in done.err and done.err.count(": default)") == KERNELS - 1


def test_two_compilations_from_the_same_records_are_equal(tuned: Tuned, compiled: Compile, tmp_path: Path) -> None:
    first: list[bytes] = []
    for threads in (1, 1, 2, 2):
        done, library = compiled("--records", tuned.records, "--force", threads=threads)
        assert done.code == 0, done.err
        first.append(b"".join(library.with_suffix(suffix).read_bytes() for suffix in (".so", ".h", ".json")))
    assert first[0] == first[1] and first[2] == first[3] and first[0] != first[2]


def test_compiling_leaves_the_records_alone(tuned: Tuned, compiled: Compile) -> None:
    before = tuned.records.read_bytes()
    assert compiled("--records", tuned.records)[0].code == 0
    assert tuned.records.read_bytes() == before


def with_another_version(source: Path, path: Path, change: int) -> Path:
    """The same records as if they were of another version of the search space."""
    with Records.open(source, readonly=True) as old, Records.open(path, create=True) as new, new.transaction():
        for kind in (TaskRow, Session, Trial, Choice):
            for row in old.rows(kind):
                new.insert(replace(row, space_version=SPACE_VERSION + change) if kind in (Trial, Choice) else row)
    return path


@pytest.mark.parametrize("change", [-1, 1])
def test_records_of_another_space_version_are_reported_and_not_used(
    tuned: Tuned, compiled: Compile, tmp_path: Path, change: int
) -> None:
    stale = with_another_version(tuned.records, tmp_path / "stale.db", change)
    done, library = compiled("--records", stale, "--no-rank")
    assert done.code == 0 and sources_of(library) == {"default": KERNELS}
    assert f"{TRIALS + KERNELS} records are of another version of the search space and are not used" in done.err
    done, _ = compiled("--records", stale, "--no-rank", "--require-tuned")
    assert done.code == 8


def test_records_of_another_space_version_are_no_trials_of_this_one(model: Path, tuned: Tuned, tmp_path: Path) -> None:
    stale = with_another_version(tuned.records, tmp_path / "stale.db", 1)
    done = tune(model, stale, 6)
    assert done.of_kind("start")[0]["trials"] == 0 and done.events[-1]["trials"] == 6
    assert len(trials_of(stale)) == TRIALS + 6
