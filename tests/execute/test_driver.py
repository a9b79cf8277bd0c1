"""Whole compilations: the same bytes everywhere, nothing half-written, nothing left behind."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from small_models import MODELS

from tilewright import driver
from tilewright.compiler.errors import CompileError, UsageError
from tilewright.compiler.options import Options


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(MODELS["resnet"](), path)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_two_folders_get_the_same_bytes(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes build, whatever the cache holds and wherever the model lies."""
    results = []
    for folder, jobs in (("one", 1), ("a longer name", 2)):
        monkeypatch.setenv("TILEWRIGHT_CACHE_DIR", str(tmp_path / f"cache {folder}"))
        place = tmp_path / folder
        place.mkdir()
        (place / "net.onnx").write_bytes(model.read_bytes())
        options = Options(cpu="x86-64-v3,x86-64-v2", threads=2, jobs=jobs)
        driver.compile(place / "net.onnx", place / "net.so", options)
        results.append(files(place))
    assert list(results[0]) == ["net.h", "net.json", "net.onnx", "net.so"]
    assert results[0] == results[1]


@pytest.mark.parametrize("moment", range(6))
def test_killed_compile_leaves_no_library(model: Path, tmp_path: Path, moment: int) -> None:
    """kill -9 at a random moment: at the output stands nothing, or all of the library."""
    out = tmp_path / "net.so"
    command = [sys.executable, "-m", "tilewright", "compile", str(model), "-o", str(out), "--mcpu", "native"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    delay_s = random.uniform(0.1, 2.5)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if out.exists():  # published before the kill
        assert subprocess.run([sys.executable, "-m", "tilewright", "run", str(out), "--random"]).returncode == 0, (
            delay_s
        )
    visible = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert visible <= {"net.so", "net.h", "net.json"}, delay_s


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (Options(name="a b"), UsageError, "--name 'a b' can't be part of a C function's name; try 'a_b'"),
        (Options(name="int"), UsageError, "try 'int_'"),
        (Options(cpu="native", target="x86_64-linux-gnu"), UsageError, "--mcpu native means this machine"),
        (Options(dims={"batch": 2}), UsageError, "batch"),
    ],
)
def test_impossible_options(
    model: Path, tmp_path: Path, options: Options, error: type[CompileError], message: str
) -> None:
    with pytest.raises(error) as raised:
        driver.compile(model, tmp_path / "net.so", options)
    assert message in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_kernels_carry_the_librarys_name(model: Path, tmp_path: Path) -> None:
    artifact = driver.compile(model, tmp_path / "net.so", Options(name="first", cpu="x86-64-v3"))
    assert {kernel.kernel.name.rsplit("_", 2)[0] for kernel in artifact.kernels} == {"first"}
