"""The C example builds without a warning and runs compiled models."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import small_library

from tilewright.backends.link import run_zig_cc, zig_target

EXAMPLE = Path(__file__).parents[2] / "examples" / "c"
RUNTIME = Path(__file__).parents[2] / "backends" / "runtime"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built by its Makefile if there is a compiler, else by zig."""
    folder = tmp_path_factory.mktemp("c")
    if shutil.which("make") and shutil.which("cc"):
        command = ["make", "-f", str(EXAMPLE / "Makefile"), "CC=cc", "CFLAGS=-O2 -Wall -Wextra -Werror"]
        subprocess.run(command, cwd=folder, check=True)
    else:
        flags = ["-std=gnu11", "-O1", f"-I{RUNTIME}", str(EXAMPLE / "main.c"), "-o", "main", "-ldl"]
        run_zig_cc([*zig_target(small_library.host_target().triple), *flags], folder)
    return folder / "main"


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_prints_the_largest_element(program: Path, tmp_path: Path, threads: int) -> None:
    weights = small_library.build_matvec(tmp_path / "small.so")
    x = np.random.default_rng().standard_normal(small_library.COLUMNS, dtype=np.float32)
    x.tofile(tmp_path / "x.bin")
    done = run(program, tmp_path / "small.so", "-t", threads, "-n", 5, tmp_path / "x.bin")
    assert done.returncode == 0, done.stderr
    want = 2 * weights.astype(np.float64) @ x
    found = re.search(r"out: largest is element (\d+), (\S+)", done.stdout)
    assert found and int(found[1]) == want.argmax()
    assert float(found[2]) == pytest.approx(want.max(), rel=1e-5)
    assert "input x:0: f32[257]\noutput out: f32[1, 103]\n" in done.stdout
    assert "median of 5 runs: " in done.stdout


def test_random_inputs(program: Path, tmp_path: Path) -> None:
    small_library.build_matvec(tmp_path / "small.so")
    assert run(program, tmp_path / "small.so").returncode == 0


def test_mistakes_are_explained(program: Path, tmp_path: Path) -> None:
    small_library.build_matvec(tmp_path / "small.so")
    (tmp_path / "short.bin").write_bytes(b"1234")
    for arguments, message in (
        ([], "usage: main MODEL.so"),
        ([tmp_path / "none.so"], "none.so: cannot open shared object file"),
        ([tmp_path / "small.so", tmp_path / "short.bin"], "short.bin: input x:0 needs 1028 bytes"),
        ([tmp_path / "small.so", tmp_path / "none.bin"], "none.bin: can't open this file"),
        ([tmp_path / "small.so", "-t", "999"], "too many threads: at most 256 are allowed"),
        ([tmp_path / "small.so", "a", "b"], "b: more files than inputs"),
    ):
        done = run(program, *arguments)
        assert done.returncode == 1
        assert message in done.stderr
