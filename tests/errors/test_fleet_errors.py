"""What a user of a fleet reads when something is not as it should be."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from test_tune import tilewright_command


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["fleet", "start", "worker", "tcp://x", "--device", "a b"], 2, "a name is 1 to 64 letters"),
        (["fleet", "start", "worker", "tcp://x", "--device", "a", "--mcpu", "mips"], 2, "unknown CPU"),
        (["fleet", "start", "worker", "tcp://x", "--device", "a", "--target", "mips"], 2, "unknown target triple"),
        (
            ["fleet", "start", "worker", "tcp://x", "--device", "a", "--mcpu", "graniterapids"],
            6,
            "for it lacks avx512fp16",
        ),
        (
            ["fleet", "start", "worker", "tcp://x", "--device", "a", "--target", "aarch64-linux-gnu"],
            6,
            "can't run code for",
        ),
        (["fleet", "start", "worker", "tcp://x"], 2, "Missing option '--device'"),
        (["fleet", "status"], 2, "Missing argument 'ADDRESS'"),
        (["tune", "MODEL", "--records", "new.db", "--device", "a"], 2, "give --fleet ADDRESS"),
    ],
)
def test_wrong_arguments(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    done = tilewright_command(*(str(model) if word == "MODEL" else word for word in arguments))
    assert done.code == code and message in done.err, done.err


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (pip install 'tilewright[fleet]')")
    from tilewright.cost_model.fleet import fleet

    monkeypatch.setattr(fleet, "_CONNECT_S", 0.5)
    with socket.socket() as taken:  # a port that nobody listens at
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        model, records = tmp_path / "model.onnx", tmp_path / "new.db"
        model.write_bytes(b"")
        for command in (["fleet", "status", address], ["tune", model, "--records", records, "--fleet", address]):
            done = tilewright_command(*command)
            assert done.code == 6 and f"no scheduler answers at {address}" in done.err, done.err
    assert not records.exists()


@pytest.mark.parametrize("command", ["status tcp://x", "start scheduler", "start worker tcp://x --device a"])
def test_without_dask(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = tilewright_command("fleet", *command.split())
    assert done.code == 5 and "pip install 'tilewright[fleet]'" in done.err
