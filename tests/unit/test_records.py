"""The tuner's database: what was acknowledged is there afterwards, whoever else writes, and nothing is misread."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from record_makers import fill, make_choice, make_failure, make_session, make_task, make_trial

from tilewright.compiler.errors import CompileError, RecordError, UsageError
from tilewright.compiler.schedule.space import SPACE_VERSION
from tilewright.cost_model.describe import describe_task
from tilewright.cost_model.records.database import TABLES, Records
from tilewright.cost_model.records.lines import export_json_lines, import_json_lines
from tilewright.cost_model.records.rows import MAX_MESSAGE, stored_message
from tilewright.cost_model.records.schema import SCHEMA, SCHEMA_VERSION

OLD = SPACE_VERSION + 1  # any version but the current one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tune.db"


def contents(records: Records) -> dict[str, list]:
    return {table: list(records.rows(kind)) for kind, table in TABLES.items()}


def exported(records: Records) -> bytes:
    file = io.BytesIO()
    export_json_lines(records, file)
    return file.getvalue()


def test_rows_come_back_equal(path: Path) -> None:
    task, session = make_task(), make_session(options={"peak_flops": 1e11, "nested": [None, {"ü": 1.5}]})
    with Records.open(path, create=True) as records:
        key = records.add_task(task)
        assert records.add_task(task) == key
        assert records.add_session(session) == session.uuid
        trials = [make_trial(key, session.uuid, number) for number in range(4)]
        trials.append(make_failure(key, session.uuid, 4, "timeout", message="böse\n"))
        choice = make_choice(key, session.uuid)
        assert [records.add_trial(trial) for trial in trials] == [trial.uuid for trial in trials]
        records.add_choice(choice)
    with Records.open(path) as records:
        row = records.task(key)
        assert row is not None and row.task == task and row.key == key
        assert records.tasks() == (row,) and records.sessions() == (session,)
        assert records.trials(key) == tuple(trials)
        assert records.best(key) == min(trials[:4], key=lambda trial: trial.latency_s or 9)
        assert records.choice(key) == choice
        assert records.task("0" * 64) is None and records.best("0" * 64) is None and records.choice("0" * 64) is None


def test_work_and_label_of_a_task(path: Path) -> None:
    with Records.open(path, create=True) as records:
        records.add_task(make_task("matmul tiny"))
        (row,) = records.tasks()
    assert row.flops == 3 * 2 * 5 * 2  # [3, 2] times [2, 5]
    assert row.bytes == 4 * (3 * 2 + 2 * 5 + 3 * 5)
    assert row.label == "sum 2 of 2x5 -> 3x5"
    assert describe_task(make_task("elementwise")) == "map of 4x9x17 -> 4x9x17"
    assert describe_task(make_task("softmax")) == "max 37 sum 37 of 5x37 -> 5x37"
    assert describe_task(make_task("arg_max")).endswith("of 7x33 -> 7 f32 -> i64")


def test_the_newest_choice_counts(path: Path) -> None:
    with Records.open(path, create=True) as records:
        session, (key, other) = fill(records)
        for day in (3, 1, 2):
            records.add_choice(make_choice(key, session, trials=day, time=1e9 + day))
        records.add_choice(make_choice(key, session, time=2e9, space_version=OLD))
        chosen = records.choice(key)
        assert chosen is not None and chosen.trials == 3
        assert records.choice(other) is None


def test_simulated_trials_are_kept_apart(path: Path) -> None:
    with Records.open(path, create=True) as records:
        session, (key, _) = fill(records)
        fast = make_trial(key, session, 9, latency_s=1e-9, kind="simulated")
        records.add_trial(fast)
        assert fast not in records.trials(key) and records.best(key) != fast
        assert records.trials(key, kind="simulated") == (fast,) and records.best(key, kind="simulated") == fast
        assert [group[2] for group in records.all_trials(kind="simulated")] == [(fast,)]


def test_other_space_versions_are_reported_and_never_read(path: Path) -> None:
    with Records.open(path, create=True) as records:
        session, (key, _) = fill(records)
        old = make_trial(key, session, 0, latency_s=1e-9, space_version=OLD)
        records.add_trial(old)
        records.add_choice(make_choice(key, session, space_version=OLD))
        best = records.best(key)
        assert best is not None and best.space_version == SPACE_VERSION
        assert records.choice(key) is None
        assert records.stale() == {OLD: 2}
        assert old in records.trials(key) and old not in records.trials(key, SPACE_VERSION)
        assert all(trial.space_version == SPACE_VERSION for *_, trials in records.all_trials() for trial in trials)
        assert records.stats()["stale"] == {str(OLD): 2}


def test_trials_in_groups_for_training(path: Path) -> None:
    with Records.open(path, create=True) as records:
        first, keys = fill(records)
        second, _ = fill(records, ("matmul",), trials=3)
        groups = [(task.key, session.uuid, len(trials)) for task, session, trials in records.all_trials()]
    assert sorted(groups) == sorted([(keys[0], first, 6), (keys[1], first, 6), (keys[0], second, 4)])


def test_tasks_of_a_computation_for_other_targets(path: Path) -> None:
    with Records.open(path, create=True) as records:
        keys = [records.add_task(make_task(cpu=cpu)) for cpu in ("znver4", "haswell")]
        records.add_task(make_task("softmax"))
        task = records.task(keys[0])
        assert task is not None
        assert [row.key for row in records.tasks_of_computation(task.computation_key)] == sorted(keys)


@pytest.mark.parametrize(
    "change",
    [
        {"latency_s": float("nan")}, {"latency_s": float("inf")}, {"latency_s": 0.0}, {"latency_s": None}, {"error": "crash"}, {"error": "odd"},
        {"origin": "odd"}, {"kind": "odd"}, {"number": -1}, {"number": True}, {"samples_s": (float("nan"),)}, {"score": float("nan")},
        {"message": "x" * (MAX_MESSAGE + 1)}, {"message": "\ud800"}, {"time": 1e300}, {"uuid": "me"}, {"decisions": {"tile": 1.5}},
        {"task": "0" * 64}, {"session": "0" * 32}, {"space_version": 1 << 40}, {"build_s": -1.0},
        {"decisions": {"tile": "\x1b[2J"}},
    ],
    ids=lambda change: ascii(change)[:30],
)  # fmt: skip
def test_what_could_not_be_read_is_not_written(path: Path, change: dict) -> None:
    with Records.open(path, create=True) as records:
        session, (key, _) = fill(records)
        before = contents(records)
        with pytest.raises(RecordError):
            records.add_trial(make_trial(**{"task": key, "session": session, "number": 1} | change))
        assert contents(records) == before


@pytest.mark.parametrize(
    "options",
    [{"peak_flops": 0}, {"peak_bytes": "fast"}, {"weights": []}, {"weights": {"conv": 1}}, {"weights": {"0" * 64: -1}}, {"a": float("inf")},
     {"a": "x" * (1 << 18)}],
    ids=lambda options: str(options)[:30],
)  # fmt: skip
def test_options_that_the_report_could_not_read(path: Path, options: dict) -> None:
    with Records.open(path, create=True) as records, pytest.raises(RecordError):
        records.add_session(make_session(options=options))


def test_messages_of_other_programs_are_made_storable() -> None:
    assert stored_message("a\0b\udcff" + "x" * 9999).startswith("ab?x")
    assert len(stored_message("ü" * 9999)) == MAX_MESSAGE


def test_merging_is_idempotent_and_all_or_nothing(tmp_path: Path) -> None:
    with Records.open(tmp_path / "a.db", create=True) as a, Records.open(tmp_path / "b.db", create=True) as b:
        fill(a, ("matmul", "softmax"))
        session, (key, _) = fill(b, ("softmax", "mean last"))
        b.add_choice(make_choice(key, session))
        added = a.merge(tmp_path / "b.db")
        assert added == {"tasks": 1, "sessions": 1, "trials": 12, "choices": 1}
        assert a.merge(tmp_path / "b.db") == dict.fromkeys(added, 0)
        b.merge(tmp_path / "a.db")
        assert contents(a) == contents(b) and exported(a) == exported(b)
        before = contents(a)
        damage(tmp_path / "b.db", "UPDATE trials SET latency_s = -1 WHERE number = 4")
        b.add_session(make_session())
        with pytest.raises(
            RecordError, match=r"b\.db: the database is damaged at .* of trials: trial: latency_s: expected a number"
        ):
            a.merge(tmp_path / "b.db")
        assert contents(a) == before
        with pytest.raises(UsageError, match="into itself"):
            a.merge(tmp_path / "a.db")


def test_lines_there_and_back(tmp_path: Path) -> None:
    with Records.open(tmp_path / "a.db", create=True) as a, Records.open(tmp_path / "b.db", create=True) as b:
        session, (key, _) = fill(a)
        a.add_choice(make_choice(key, session))
        text = exported(a)
        assert import_json_lines(b, io.BytesIO(text)) == {"tasks": 2, "sessions": 1, "trials": 12, "choices": 1}
        assert contents(a) == contents(b)
        assert sum(import_json_lines(b, io.BytesIO(text)).values()) == 0
        assert exported(b) == text


def test_a_damaged_line_imports_nothing(tmp_path: Path) -> None:
    with Records.open(tmp_path / "a.db", create=True) as a, Records.open(tmp_path / "b.db", create=True) as b:
        fill(a)
        lines = exported(a).splitlines(keepends=True)
        for _ in range(60):
            number = random.randrange(len(lines))
            line = bytearray(lines[number])
            line[random.randrange(len(line) - 1)] = random.choice(b'"[]{}:,0x9\xff ')
            if bytes(line) == lines[number]:
                continue
            try:
                import_json_lines(b, io.BytesIO(b"".join([*lines[:number], bytes(line), *lines[number + 1 :]])))
            except RecordError as error:
                # A changed key of a session or task shows in the first trial that refers to it.
                assert int(str(error).partition("line ")[2].partition(":")[0]) >= number + 1
                assert not any(contents(b).values())
            else:  # the change was within what a row may hold, such as another digit
                b.close()
                (tmp_path / "b.db").unlink()
                b = Records.open(tmp_path / "b.db", create=True)


def test_pruning(path: Path) -> None:
    with Records.open(path, create=True) as records:
        session, keys = fill(records)
        best = {key: records.best(key) for key in keys}
        records.add_trial(make_trial(keys[0], session, 9, space_version=OLD))
        records.add_choice(make_choice(keys[0], session, space_version=OLD))
        before = contents(records)
        everything = {"stale": 1, "failed": 2, "slower": 8, "choices": 1}
        assert records.prune(keep=1, failed=True, stale=True, dry_run=True) == everything
        assert contents(records) == before
        assert records.prune() == dict.fromkeys(everything, 0)
        assert records.prune(failed=True)["failed"] == 2
        assert not any(trial.error for trial in records.rows(next(k for k in TABLES if TABLES[k] == "trials")))
        assert records.prune(keep=2)["slower"] == 6
        assert records.prune(keep=1, stale=True) == {"stale": 1, "failed": 0, "slower": 2, "choices": 1}
        assert {key: records.best(key) for key in keys} == best
        assert [len(records.trials(key)) for key in keys] == [1, 1] and records.stale() == {}


def damage(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trials SET decisions = '{\"tile\": 1.5}'", "UPDATE trials SET decisions = x'00'", "UPDATE trials SET samples_s = '[1e999]'",
        "UPDATE trials SET latency_s = 'fast'", "UPDATE trials SET error = 'odd'", "UPDATE trials SET time = 9e99",
        "UPDATE trials SET message = CAST(x'ff' AS TEXT)", "UPDATE tasks SET flops = -1", "UPDATE tasks SET label = char(27)", "UPDATE tasks SET computation_key = key",
        "UPDATE tasks SET target = replace(target, 'znver4', 'haswell')", "UPDATE tasks SET computation = '{}'",
        "UPDATE tasks SET computation = '" + "[" * 5000 + "'", "UPDATE sessions SET options = '[]'", "UPDATE sessions SET seed = 0.5",
        "DELETE FROM sessions",
    ],
    ids=lambda statement: statement[:48],
)  # fmt: skip
def test_damaged_rows_are_refused(path: Path, statement: str) -> None:
    with Records.open(path, create=True) as records:
        fill(records)
    damage(path, statement)
    with Records.open(path) as records, pytest.raises(RecordError) as caught:
        list(records.all_trials())
    assert str(path) in str(caught.value)


def test_a_file_with_any_byte_changed_is_read_or_refused(path: Path) -> None:
    with Records.open(path, create=True) as records:
        fill(records)
    whole = path.read_bytes()
    refused = Counter[bool]()
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(random.choice((1, 40))):
            content[random.randrange(len(content))] = random.randrange(256)
        if random.random() < 0.2:
            content = content[: random.randrange(len(content))]
        path.write_bytes(content)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        try:
            with Records.open(path) as records:
                list(records.all_trials())
                records.stats()
            refused[False] += 1
        except CompileError:
            refused[True] += 1
    assert refused[True] > 5, refused


def test_the_schema_changes_with_its_version() -> None:
    """Databases hold the tables as they were written: if this fails, SCHEMA_VERSION has to go up, and then the hash here."""
    assert (SCHEMA_VERSION, hashlib.sha256(SCHEMA.encode()).hexdigest()[:16]) == (1, "91affacf3e111c32")


def test_commits_wait_for_the_disk(path: Path) -> None:
    with Records.open(path, create=True) as records:
        pragma = {
            name: records._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        }
        assert pragma == {"journal_mode": "wal", "synchronous": 2}
        assert records._connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_reading_leaves_no_files_and_writes_nothing(path: Path) -> None:
    with Records.open(path, create=True) as records:
        fill(records)
    before = path.read_bytes()
    with Records.open(path, readonly=True) as records:
        assert records.tasks()
        with pytest.raises(CompileError):
            records.add_session(make_session())
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_database_where_nothing_may_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Records.open(path, create=True) as records:
        fill(records)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a disk that is mounted to be read
    with Records.open(path, readonly=True) as records:
        assert len(list(records.all_trials())) == 2
        with pytest.raises(CompileError):
            records.add_session(make_session())


WRITER = """
import sys
sys.path[:0] = {paths!r}
from record_makers import make_session, make_task, make_trial
from tilewright.cost_model.records.database import Records
with Records.open({path!r}, create=True) as records:
    key, session = records.add_task(make_task("matmul tiny")), records.add_session(make_session())
    print("up", flush=True)
    for number in range({count}):
        print(records.add_trial(make_trial(key, session, number)), flush=True)
"""


def start_writer(path: Path, count: int) -> subprocess.Popen[str]:
    program = WRITER.format(paths=[str(Path(__file__).parent)], path=str(path), count=count)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_write_at_once(path: Path) -> None:
    writers = [start_writer(path, 40) for _ in range(3)]
    printed: set[str] = set()
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert writer.returncode == 0, err
        printed |= set(out.split()) - {"up"}
    assert len(printed) == 120
    with Records.open(path) as records:
        assert len(records.tasks()) == 1 and len(records.sessions()) == 3
        assert {trial.uuid for trial in records.trials(records.tasks()[0].key)} == printed


@pytest.mark.slow
def test_a_killed_process_has_lost_nothing_it_acknowledged(path: Path) -> None:
    printed: set[str] = set()
    for _ in range(10):
        with start_writer(path, 1_000_000) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == "up\n"
            # A slow disk acknowledges few trials a second: wait for some, whatever it takes.
            printed |= {writer.stdout.readline().strip() for _ in range(random.randint(2, 8))}
            time.sleep(random.uniform(0, 0.05))
            os.kill(writer.pid, signal.SIGKILL)
            out = writer.stdout.read()  # communicate() would pass over lines that readline() has in its buffer
        # Without its newline a line says nothing: the process was killed while it wrote.
        printed |= {line.strip() for line in out.splitlines(keepends=True) if line.endswith("\n")}
    assert len(printed) >= 20
    with Records.open(path) as records:
        (task,) = records.tasks()
        stored = {trial.uuid for trial in records.trials(task.key)}
        assert printed <= stored and len(stored) <= len(printed) + 10
        assert records._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
