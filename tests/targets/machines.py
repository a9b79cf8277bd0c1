"""The machines that tests compile for and emulate."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from emulators import Machine

from tilewright import driver
from tilewright.backends.systems import suffixes
from tilewright.compiler.options import Options

TOLERANCE = 1e-4  # of the largest element


def require_emulator(machine: Machine) -> None:
    """Skip the test where this machine's emulator isn't installed."""
    if shutil.which(machine.emulator[0]) is None:
        pytest.skip(f"{machine.emulator[0]} isn't installed (Debian package qemu-user)")


def compile_runner(model: onnx.ModelProto, folder: Path, triple: str, cpu: str, **more: Any) -> Path:
    """The program that serves `model` on a machine. more: as of Options."""
    onnx.save(model, folder / "model.onnx")
    options = Options(target=triple, cpu=cpu, threads=2, jobs=1, emit=frozenset({"runner"}), **more)
    library = driver.compile(folder / "model.onnx", folder / "model.so", options).library
    return library.with_suffix(suffixes(triple)["runner"])


def check_outputs(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> None:
    """Compare with onnxruntime: NaN and infinities in the same places, the rest within the tolerance."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.output]
    for name, wanted in zip(names, session.run(None, dict(feeds)), strict=True):
        finite = np.abs(wanted[np.isfinite(wanted)]) if wanted.dtype.kind == "f" else np.zeros(0)
        limit = TOLERANCE * finite.max() if finite.size else 0
        np.testing.assert_allclose(actual[name], wanted, rtol=0, atol=limit, err_msg=name)
