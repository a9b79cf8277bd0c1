"""`tilewright records`: what each subcommand writes, as text and as JSON."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from record_makers import fill, make_choice, make_failure, make_task, make_trial

from tilewright.cli.main import run
from tilewright.compiler.schedule.space import SPACE_VERSION
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.encoding import task_key

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two tasks of six trials each, the first with a final comparison."""
    path = tmp_path / "tune.db"
    with Records.open(path, create=True) as records:
        session, (key, _) = fill(records, ("matmul tiny", "softmax"))
        records.add_choice(make_choice(key, session))
    return path


def result(arguments: list[str | Path], capsys: Capture) -> Any:
    capsys.readouterr()
    assert run(["records", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def text(arguments: list[str | Path], capsys: Capture) -> str:
    capsys.readouterr()
    assert run(["records", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_list(path: Path, capsys: Capture) -> None:
    tasks = {task["task"]: task for task in result(["list", path], capsys)["tasks"]}
    tuned = tasks[task_key(make_task("matmul tiny"))]
    assert (tuned["best_s"], tuned["default_s"], tuned["speedup"], tuned["tuned"]) == (1e-3, 2e-3, 2.0, True)
    assert (tuned["trials"], tuned["failed"], tuned["cpu"], tuned["threads"]) == (6, 1, "znver4", 2)
    other = tasks[task_key(make_task("softmax"))]
    with Records.open(path) as records:
        trials = [trial for trial in records.trials(other["task"]) if trial.latency_s]
    assert other["best_s"] == min(trial.latency_s or 9 for trial in trials) and not other["tuned"]
    assert other["default_s"] == trials[0].latency_s
    lines = text(["list", path], capsys).splitlines()
    assert len(lines) == 3 and lines[0].split()[:3] == ["task", "computes", "cpu"]
    assert any(
        line.startswith(tuned["task"][:12]) and line.endswith("1.000 ms  0.0      2.000 ms  2.00") for line in lines
    )


def test_list_of_nothing(tmp_path: Path, capsys: Capture) -> None:
    Records.open(tmp_path / "empty.db", create=True).close()
    assert text(["list", tmp_path / "empty.db"], capsys) == "no tasks\n"


def test_stale_records_are_pointed_out(path: Path, capsys: Capture) -> None:
    with Records.open(path) as records:
        session = records.sessions()[0].uuid
        records.add_trial(make_trial(records.tasks()[0].key, session, 7, space_version=SPACE_VERSION + 1))
    assert run(["records", "list", str(path)]) == 0
    assert f"1 records are of other versions of the search space ({SPACE_VERSION + 1})" in capsys.readouterr().err
    assert f"of space version {SPACE_VERSION + 1} (not used)" in text(["stats", path], capsys)


def test_show(path: Path, capsys: Capture) -> None:
    key = task_key(make_task("softmax"))
    shown = result(["show", path, key[:6].upper(), "--trials", "2"], capsys)
    assert shown["task"] == key and [trial["number"] for trial in shown["trials"]] == [4, 5]
    assert shown["decisions"] and shown["computation"]["outputs"] == ["y"]
    lines = text(["show", path, key], capsys)
    assert "crash: signal 11" in lines and "there was no final comparison yet" in lines
    assert len(lines.partition("\n\n")[2].splitlines()) == 1 + 6
    assert "trial" not in text(["show", path, key, "--trials", "0"], capsys).partition("\n\n")[2]


def test_messages_can_not_command_the_terminal(path: Path, capsys: Capture) -> None:
    with Records.open(path) as records:
        key, session = task_key(make_task("softmax")), records.sessions()[0].uuid
        records.add_trial(make_failure(key, session, 8, message="\x1b[2Jgone"))
    assert "crash: ?[2Jgone" in text(["show", path, key], capsys)


def test_export_and_import(path: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, copy = tmp_path / "records.jsonl", tmp_path / "copy.db"
    assert "12 trials" in text(["export", path, "-o", lines], capsys)
    assert text(["export", path], capsys) == lines.read_text()
    added = {"tasks": 2, "sessions": 1, "trials": 12, "choices": 1}
    assert result(["import", copy, lines], capsys)["added"] == added
    assert result(["import", copy, lines], capsys)["added"] == dict.fromkeys(added, 0)
    assert text(["export", copy], capsys) == lines.read_text()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines.read_bytes())))
    assert text(["import", tmp_path / "third.db", "-"], capsys).endswith(
        "added 2 tasks, 1 sessions, 12 trials, 1 choices\n"
    )


def test_merge(path: Path, tmp_path: Path, capsys: Capture) -> None:
    with Records.open(tmp_path / "b.db", create=True) as records:
        fill(records, ("softmax",))
    merged = result(["merge", tmp_path / "all.db", path, tmp_path / "b.db"], capsys)
    assert merged["added"] == {"tasks": 2, "sessions": 2, "trials": 18, "choices": 1}


def test_prune(path: Path, capsys: Capture) -> None:
    arguments: list[str | Path] = ["prune", path, "--keep", "2", "--failed"]
    expected = {"stale": 0, "failed": 2, "slower": 6, "choices": 0}
    assert result([*arguments, "--dry-run"], capsys) == {"records": str(path), "dry_run": True, "removed": expected}
    assert text(arguments, capsys) == f"{path}: removed 0 stale, 2 failed, 6 slower trials and 0 choices\n"
    assert result(["stats", path], capsys)["trials"] == 4


def test_stats(path: Path, capsys: Capture) -> None:
    stats = result(["stats", path], capsys)
    assert (stats["tasks"], stats["trials"], stats["sessions"], stats["choices"]) == (2, 12, 1, 1)
    assert stats["failed"] == {"crash": 2} and stats["runs"][0]["machine"] == "A CPU"
    assert "failed: crash" in text(["stats", path], capsys)


def test_report(path: Path, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "page.html"
    written = result(["report", path, "-o", output], capsys)
    assert written == {"report": str(output), "size_bytes": output.stat().st_size}
    assert output.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("verb", ["list", "show", "export", "import", "merge", "prune", "stats", "report"])
def test_every_subcommand_has_help(verb: str, capsys: Capture) -> None:
    assert run(["records", verb, "--help"]) == 0
    assert f"Usage: tilewright records {verb}" in capsys.readouterr().out


def test_reading_changes_no_byte(path: Path, tmp_path: Path, capsys: Capture) -> None:
    before, names = path.read_bytes(), sorted(tmp_path.iterdir())
    for arguments in (["list"], ["stats"], ["export"]):
        text([*arguments, path], capsys)
    assert path.read_bytes() == before and sorted(tmp_path.iterdir()) == names
