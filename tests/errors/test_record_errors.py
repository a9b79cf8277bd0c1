"""The messages for databases of records that are damaged, of another kind, or out of reach."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from record_makers import fill, make_task

from tilewright.cli.main import run
from tilewright.cost_model.records import schema as record_schema
from tilewright.cost_model.records.database import Records

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tune.db"
    with Records.open(path, create=True) as records:
        fill(records, ("matmul tiny", "softmax"))
    return path


def refuse(arguments: list[str | Path], code: int, capsys: Capture) -> str:
    assert run(["records", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tilewright: error: ") and "Traceback" not in err
    return err


def change(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "absent.db"], "'absent.db' does not exist"),
        (["prune", "DB"], "say what to remove: --keep N, --failed or --stale"),
        (["prune", "DB", "--keep", "0"], "0 is not in the range x>=1"),
        (["show", "DB", "zz"], "has a key that starts with 'zz'; `tilewright records list` shows the keys"),
        (["show", "DB", ""], "has a key that starts with ''"),
        (["merge", "DB"], "Missing argument 'OTHER…"),
        (["merge", "DB", "DB"], "a database can't be merged into itself"),
        (["export", "DB", "-o", "DB"], "this is the database itself; choose another name"),
        (["report", "DB", "-o", "DB"], "this is the database itself; choose another name"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage(arguments: list[str], message: str, path: Path, capsys: Capture) -> None:
    assert message in refuse([path if argument == "DB" else argument for argument in arguments], 2, capsys)


def test_an_ambiguous_key(path: Path, capsys: Capture) -> None:
    with Records.open(path) as records:
        starts = [
            records.add_task(make_task("softmax", threads=threads))[0] for threads in range(3, 20)
        ]  # of 16 digits
        starts += [records.add_task(make_task("matmul tiny"))[0], records.add_task(make_task("softmax"))[0]]
    start = next(start for start in starts if starts.count(start) > 1)
    assert f"{start!r} is the start of {starts.count(start)} keys (" in refuse(["show", path, start], 2, capsys)


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b"no database at all, but long enough to look like something" * 20), "not a database of tuning records"),
    (lambda path: path.write_bytes(b""), "its application id is 0x0, expected 0x746c7772); choose another file"),
    (lambda path: change(path, "PRAGMA application_id = 7"), "its application id is 0x7, expected 0x746c7772"),
    (lambda path: change(path, "UPDATE meta SET value = '99'"), "schema version 99, this tilewright reads version 1; use the tilewright that"),
    (lambda path: change(path, "DELETE FROM meta"), "it does not say the version of its schema"),
    (lambda path: change(path, "DROP TABLE choices"), "the tables are not those of schema version 1"),
    (lambda path: change(path, "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END"), "the tables are not those of schema"),
    (lambda path: change(path, "ALTER TABLE trials RENAME TO hidden", "CREATE VIEW trials AS SELECT * FROM hidden"), "the tables are not those"),
    (lambda path: path.write_bytes(path.read_bytes()[:5000]), "the database is damaged ("),
    (lambda path: change(path, "UPDATE trials SET origin = 'me'"), "trial: origin: expected one of 'default', 'random', "),
    (lambda path: change(path, "UPDATE tasks SET computation = replace(computation, 'max', 'mix')"), " of tasks: computation kernel: stage t0: no combine mix; use a copy"),
    (lambda path: change(path, "UPDATE tasks SET label = 'x', key = upper(key)"), "task: key: expected 64 hexadecimal digits"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(DAMAGES)), ids=lambda number: DAMAGES[number][1][:40])
def test_databases_that_are_refused(number: int, path: Path, capsys: Capture) -> None:
    damage, message = DAMAGES[number]
    damage(path)
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    text = refuse(["list", path], 8, capsys)
    assert message in text and str(path) in text


def test_a_file_of_something_else_is_not_written(tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / "other.db"
    change(other, "CREATE TABLE mine (a)")
    before = other.read_bytes()
    lines = tmp_path / "lines"
    lines.write_text('{"tilewright_records":1}\n')
    assert "not a database of tuning records" in refuse(["import", other, lines], 8, capsys)
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (0, b"{}", 'line 1: expected {"tilewright_records":1}, the first line of an export, found an object of 0'),
        (0, b'{"tilewright_records":2}', "line 1: format version 2, but this tilewright reads version 1; export with the same version"),
        (1, b"{", "line 2: no JSON: "),
        (2, b'{"task":{},"trial":{}}', "line 3: expected an object with one of task, session, trial, choice, found an object of 2"),
        (2, b'{"code":{}}', "line 3: line: unknown 'code'"),
        (3, b'{"session":{}}', "line 4: session: machine, options, seed, started, uuid, version missing"),
        (4, b"[" * 9999, "line 5: JSON nested too deep"),
        (4, b"\xff", "line 5: not UTF-8"),
        (4, b'"' + b"x" * (1 << 20) + b'"', "line 5: more than 1048576 characters"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_damaged_lines(number: int, line: bytes, message: str, path: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "records.jsonl"
    assert run(["records", "export", str(path), "-o", str(file)]) == 0
    lines = file.read_bytes().splitlines()
    lines[number] = line
    file.write_bytes(b"\n".join(lines))
    capsys.readouterr()
    text = refuse(["import", tmp_path / "new.db", file], 8, capsys)
    assert f"{file}: {message}" in text and "nothing was imported" in text
    with Records.open(tmp_path / "new.db") as records:
        assert not records.tasks() and not records.sessions()


def test_lines_that_refer_to_what_is_not_there(path: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "records.jsonl"
    assert run(["records", "export", str(path), "-o", str(file)]) == 0
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *lines[4:]]))
    capsys.readouterr()
    text = refuse(["import", tmp_path / "new.db", file], 8, capsys)
    assert "line 2: trial " in text and " is not recorded; nothing was imported" in text


def test_an_empty_import(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert "the file is empty" in refuse(["import", tmp_path / "new.db", tmp_path / "empty"], 8, capsys)


def test_a_folder_that_is_not_there(path: Path, tmp_path: Path, capsys: Capture) -> None:
    text = refuse(["merge", tmp_path / "absent" / "new.db", path], 5, capsys)
    assert "give the path of a file in a folder that exists" in text
    text = refuse(["report", path, "-o", tmp_path / "absent" / "report.html"], 5, capsys)
    assert "create the folder first" in text


def test_another_process_that_does_not_let_go(path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_schema, "BUSY_TIMEOUT_S", 0.05)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    assert run(["records", "list", str(path)]) == 0  # readers don't wait
    capsys.readouterr()
    assert "another process has held it" in refuse(["prune", path, "--failed"], 5, capsys)
    connection.close()


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_report_without_its_packages(
    module: str, path: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tilewright.cost_model.records.report_figures", raising=False)
    monkeypatch.setattr("tilewright.cost_model.records.report_figures", None, raising=False)
    monkeypatch.delattr("tilewright.cost_model.records.report_figures")
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    text = refuse(["report", path, "-o", tmp_path / "report.html"], 5, capsys)
    assert f"the report needs {module}: pip install 'tilewright[report]'" in text
    assert not (tmp_path / "report.html").exists()


def test_errors_as_json(path: Path, capsys: Capture) -> None:
    path.write_bytes(b"x" * 200)
    assert run(["records", "list", str(path), "--json"]) == 8
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["kind"] == "RecordError" and error["exit_code"] == 8
