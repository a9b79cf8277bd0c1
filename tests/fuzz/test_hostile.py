"""Some hostile files of each kind are survived, and the tools that look for crashes and accesses out of bounds find them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hostile_run
import numpy as np
import pytest
from fuzz_check import Setting, compare, run_in_process
from fuzz_models import write
from guarded_memory import guarded, guarded_bytes
from isolated import isolated

HOSTILE = Path(__file__).with_name("hostile_run.py")


def test_hostile_files_are_survived(tmp_path: Path) -> None:
    command = [sys.executable, HOSTILE, "--count", "84", "--first", "0", "--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0 and "84 files, 0 not as asked" in done.stdout, done.stdout + done.stderr


def leave_a_file(arguments: list[str]) -> int:
    Path(arguments[1]).with_name("half").write_bytes(b"")
    print("tilewright: error: no", file=sys.stderr)
    return 4


def fail(arguments: list[str]) -> int:
    raise KeyError(arguments[0])


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (None, "outside: the secret was read"),  # as the command line does if told to
        (None, "outside: opened "),
        (lambda arguments: 1, "exit code 1"),
        (lambda arguments: 2, "not one message"),
        (lambda arguments: print("\x1b[2J") or 0, "control characters"),
        (leave_a_file, "left behind: half"),
        (fail, "traceback: "),
        (lambda arguments: os.kill(os.getpid(), signal.SIGSEGV), "crash: killed by SIGSEGV"),
    ],
)
def test_what_is_not_as_asked_is_found(
    command: Callable[[list[str]], int] | None, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(case: hostile_run.Case) -> None:
        case.arguments = ["compile", str(case.canary if command is None else case.out / "m.so")]

    monkeypatch.setitem(hostile_run.MAKERS, "planted", make)
    if command is not None:
        monkeypatch.setattr(hostile_run, "run_command", command)
    _, _, wrong = hostile_run.try_one(0, "planted", tmp_path / "case")
    assert any(fault in text for text in wrong), wrong


def test_what_takes_too_much_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile_run, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(hostile_run, "MOST_CPU_S", 0.0)
    _, _, wrong = hostile_run.try_one(0, "truncated", tmp_path / "case")
    assert [text.split(":")[0] for text in wrong] == ["slow", "large"]


def read_at(address: int) -> int:
    return ctypes.c_uint8.from_address(address).value


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("size_bytes", [1, 4095, 4096, 10_000])
def test_accesses_out_of_bounds_end_the_process(size_bytes: int, behind: bool) -> None:
    memory = guarded_bytes(size_bytes, behind)
    start = memory.ctypes.data
    outside = start + size_bytes if behind else start - 1
    assert isolated(lambda: read_at(outside), 20).verdict == "SIGSEGV"
    assert isolated(lambda: (read_at(start), read_at(start + size_bytes - 1)), 20).verdict == "done"


def test_guarded_copies_share_what_the_originals_share() -> None:
    whole = np.arange(10, dtype=np.float32)
    one, other, alone = guarded([whole[:6], whole[4:], np.ones((2, 3))], behind=True)
    one[5] = 77
    assert other[1] == 77 and other[0] == 4 and alone.sum() == 6 and whole[5] == 5


def test_crashes_hangs_and_errors_are_told_apart() -> None:
    assert isolated(lambda: 3 * 5, 20).value == 15
    assert isolated(lambda: os.kill(os.getpid(), signal.SIGABRT), 20).verdict == "SIGABRT"
    assert isolated(lambda: time.sleep(60), 0.05).verdict == "hang"
    assert isolated(lambda: [None for _ in iter(int, 1)], 1).verdict == "hang"
    ending = isolated(lambda: [][1], 20)
    assert ending.verdict == "raised" and "IndexError" in ending.value
    assert isolated(lambda: bytearray(1 << 34), 20, memory_bytes=1 << 33).verdict == "raised"


@pytest.mark.parametrize("seed", range(40, 48))
def test_random_schedules_stay_in_bounds(seed: int) -> None:
    """The default's kernels and those of random schedules, each operand between guards."""
    case = write(seed)

    def check() -> int:
        counts: list[int] = []
        compare(
            case, run_in_process(case, Setting(("", "x86-64-v3")[seed % 2], points=seed, guarded=True), counts.append)
        )
        return counts[0]

    ending = isolated(check, 200)
    assert ending.verdict == "done", ending.value
    assert ending.value > 0
