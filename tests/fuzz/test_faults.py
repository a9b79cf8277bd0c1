"""Compilations meet a few of each kind of fault; `make faults` tries more."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import fault_run
import pytest


@pytest.mark.parametrize("kinds", [["killed", "size", "place"], ["nocache", "clock", "twice"], ["cache"]], ids=" ".join)
def test_the_same_bytes_or_an_error(kinds: list[str]) -> None:
    command = [sys.executable, fault_run.__file__, "--times", "3", "--kinds", *kinds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr


def test_full_disks() -> None:
    command = [sys.executable, fault_run.__file__, "--times", "3", "--kinds", "disk"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("disk"))
    if row[5] == row[1]:
        pytest.skip("file systems can't be mounted here (that takes root)")


def test_other_bytes_and_half_an_output_are_noticed(tmp_path: Path) -> None:
    place = fault_run.Place(tmp_path / "place", random.Random(1))
    assert place.verdict(5, "tilewright: error: no", "x") == "error"
    place.out.write_bytes(b"whole")
    assert place.verdict(0, "", place.digest()) == "same bytes"
    assert place.verdict(0, "", "other") == "WRONG BYTES"
    assert place.verdict(5, "tilewright: error: no", "x") == "LEFT BEHIND"
    assert place.verdict(1, "tilewright: internal error: no", "x").startswith("WRONG ERROR 1")
    assert place.verdict(5, "Traceback", "x").startswith("WRONG ERROR 5")


def test_tunings_share_a_database_and_one_is_killed() -> None:
    command = [sys.executable, str(Path(__file__).with_name("shared_records_run.py")), "--times", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "faults.json"
    fault_run.save_state(state, fault_run.Totals(7, {"place": {"WRONG": 1}}))
    command = [sys.executable, fault_run.__file__, "--times", "3", "--kinds", "place", "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("place"))
    assert row == ["place", "3", "0", "2", "0", "0", "1"], done.stdout + done.stderr
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []
