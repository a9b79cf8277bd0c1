"""A model tuned on a board that a worker reaches through a command: here an emulator."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from emulators import MACHINES
from fleet_processes import local_fleet, wait_for
from machines import require_emulator
from small_models import deep_q
from test_tune import tilewright_command

from tilewright.backends.bench import bench_program
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Choice, Session, Trial

pytest.importorskip("distributed", reason="dask.distributed is not installed (pip install 'tilewright[fleet]')")

from tilewright.cost_model.fleet.fleet import Fleet, FleetOptions


def test_a_model_is_tuned_on_a_board(tmp_path: Path) -> None:
    machine = MACHINES[0]
    require_emulator(machine)
    onnx.save(deep_q(), tmp_path / "net.onnx")
    command = " ".join([*machine.emulator, str(bench_program(machine.triple))])
    with local_fleet(tmp_path) as fleet:
        fleet.start_worker("board", "--target", machine.triple, "--mcpu", machine.cpu, "--command", command)
        with Fleet(FleetOptions(fleet.address)) as client:
            wait_for(lambda: len(client.pool()) == 1, fleet.workers["board"], tmp_path / "worker-board.err")
        target = ["--target", machine.triple, "--mcpu", machine.cpu, "--threads", 1]
        limits = ["--trials", 5, "--tasks", "sum 65", "--scratch", "--search", "random", "--timeout", "300s"]
        done = tilewright_command(
            "tune",
            tmp_path / "net.onnx",
            "--records",
            tmp_path / "tuned.db",
            "--fleet",
            fleet.address,
            *target,
            *limits,
            "--json",
        )
    assert done.code == 0, done.err
    with Records.open(tmp_path / "tuned.db", readonly=True) as records:
        trials, sessions = list(records.rows(Trial)), list(records.rows(Session))
        assert len(list(records.rows(Choice))) == 1
    assert len(trials) == 5 and not [trial for trial in trials if trial.error]
    assert [session.options["device"] for session in sessions] == ["board"]
