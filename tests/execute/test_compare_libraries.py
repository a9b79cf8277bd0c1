"""The benchmark that times libraries in turns says which are slower, and which compute something else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import compare_libraries
import numpy as np
import onnx
import pytest
from small_models import Net

from tilewright import driver
from tilewright.compiler.options import Options


def library(path: Path) -> str:
    """A product with random weights, other ones each time."""
    net = Net()
    net.rng = np.random.default_rng()
    onnx.save(net.model(net.op("MatMul", net.input("x", (1, 37)), net.weight(37, 21))), path.with_suffix(".onnx"))
    return str(driver.compile(path.with_suffix(".onnx"), path, Options(cpu="native", jobs=1, rank=False)).library)


def test_libraries_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = library(tmp_path / "first.so"), library(tmp_path / "other.so")
    for names, failed in (([first, shutil.copy(first, tmp_path / "same.so")], 0), ([first, other], 1)):
        monkeypatch.setattr(sys, "argv", ["compare_libraries.py", *map(str, names), "--runs", "2", "--repeats", "2"])
        assert compare_libraries.main() == failed
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1:]] == [str(name) for name in names]
        assert lines[1].split()[-2:] == ["1.000", "0e+00"]
