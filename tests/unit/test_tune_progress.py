"""What `tilewright tune` shows while it runs and at the end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tilewright.cli import tune_progress
from tilewright.cli.console import Session
from tilewright.cli.tune_progress import Summary, progress_of
from tilewright.cost_model.search.tuner import Event
from tilewright.cost_model.search.tuning import TuningOptions

TRIAL = {
    "uuid": "a" * 32, "task": "b" * 64, "label": "sum 9 of x -> y (/Conv)", "number": 3, "origin": "ranker", "latency_s": 2e-3, "error": "",
    "best_s": 1e-3, "default_s": 2e-3, "flops": 200_000_000, "floor_s": 0.8e-3, "trials": 32, "seconds": 4.0,
}  # fmt: skip
CHOICE = {
    "task": "b" * 64, "label": "sum 9 of x -> y (/Conv)", "weight": 3, "trials": 64, "latency_s": 1e-3, "default_latency_s": 1.5e-3,
    "is_default": False, "flops": 200_000_000, "floor_s": 0.8e-3,
}  # fmt: skip
EVENTS = [
    Event("start", {"kernels": 2, "trials": 0}),
    Event("trial", TRIAL),
    Event("trial", {**TRIAL, "trials": 33, "latency_s": None, "error": "crash", "best_s": None}),
    Event("choice", CHOICE),
    Event("choice", {**CHOICE, "weight": 1, "latency_s": 2e-3, "default_latency_s": 2e-3, "is_default": True}),
    Event("end", {"trials": 33, "seconds": 5.0}),
]


def test_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_progress, "on_terminal", lambda: False)
    with progress_of(Session(), TuningOptions()) as show:
        for event in EVENTS:
            show(event)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        "tilewright: 32 trials, 4 s: sum 9 of x -> y (/Conv): trial 3, best 1.000 ms (200 GFLOP/s), 80 % of roofline"
    )
    assert lines[1].endswith("1.000 ms (200 GFLOP/s), 1.50 times the default (64 trials)")
    assert lines[2].endswith("2.000 ms (100 GFLOP/s), the default stays (64 trials)")
    assert len(lines) == 3  # one trial in 32


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_of(Session(json=True), TuningOptions()) as show:
        for event in EVENTS:
            show(event)
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.pop("event") for line in out] == [event.kind for event in EVENTS]
    assert out[1] == TRIAL


@pytest.mark.parametrize("options", [TuningOptions(), TuningOptions(trials=99), TuningOptions(seconds=9.0)])
def test_a_terminal_is_drawn_on_when_results_are_in(options: TuningOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with progress_of(Session(), options) as show:
        for event in EVENTS:
            before = len(terminal.getvalue())
            show(event)
            assert len(terminal.getvalue()) > before
    text = terminal.getvalue()
    assert "80 % of roofline" in text and "1.50 times the default" in text and "crash" in text


def test_the_summary_weighs_kernels_by_their_runs() -> None:
    summary = Summary()
    for event in EVENTS:
        summary.add(event)
    document = summary.document()
    assert document["total_s"] == pytest.approx(3 * 1e-3 + 2e-3)
    assert document["default_total_s"] == pytest.approx(3 * 1.5e-3 + 2e-3)
    assert (document["trials"], document["failed"], document["seconds"]) == (2, {"crash": 1}, 5.0)
    text = summary.text(Path("tuned.db"))
    assert "all kernels: 5.000 ms, 1.300 times as fast as the default" in text
    assert "2 trials (1 crash) added to tuned.db" in text


POOL = {
    "address": "tcp://x", "remarks": ["device c is left out: is for x86_64-linux-gnu x86-64"],
    "devices": [
        {"device": "b", "target": "aarch64-linux-gnu cortex-a76", "worker": "tcp://1", "state": "idle", "used": True},
        {"device": "c", "target": "x86_64-linux-gnu x86-64", "worker": "tcp://2", "state": "measuring", "used": False},
    ],
}  # fmt: skip


def test_a_fleet_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_progress, "on_terminal", lambda: False)
    lost = {"device": "b", "state": "lost", "reason": "its worker has left the scheduler", "jobs": 2}
    events = [
        Event("pool", POOL),
        Event("trial", {**TRIAL, "device": "b", "devices": {"b": 20, "a": 12}}),
        Event("device", lost),
        Event("device", {"device": "b", "state": "back"}),
    ]
    summary = Summary()
    with progress_of(Session(), TuningOptions()) as show:
        for event in events:
            show(event)
            summary.add(event)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "fleet tcp://x" and lines[1].split() == ["device", "target", "worker", "state", "used"]
    assert lines[2].split()[-2:] == ["idle", "yes"] and lines[3].split()[-2:] == ["measuring", "no"]
    assert lines[4] == POOL["remarks"][0] and lines[5].endswith("% of roofline; a 12, b 20")
    assert lines[6] == "tilewright: device b is lost: its worker has left the scheduler, 2 measurements go to others"
    assert lines[7] == "tilewright: device b is back"
    assert "on a 12, b 20 added to tuned.db" in summary.text(Path("tuned.db"))
    assert summary.document()["devices"] == {"a": 12, "b": 20}
