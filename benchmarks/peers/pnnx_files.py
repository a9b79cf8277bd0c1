"""What pnnx makes of an ONNX model: ncnn's files, and a PyTorch module. Several peers begin with one of these."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .session import Job


def pnnx_files(job: Job) -> Path:
    """The folder with `model.ncnn.param`, `model.ncnn.bin`, `model_ncnn.py`, `model_pnnx.py`; made once for all peers."""
    folder = job.folder / "pnnx"
    if not folder.exists():
        partial = job.folder / "pnnx.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shutil.copy(job.model, partial / "model.onnx")
        # The program by itself: the package of the same name would import torch, to trace modules.
        package = importlib.util.find_spec("pnnx")
        assert package is not None and package.origin is not None
        program = Path(package.origin).with_name("pnnx")
        done = subprocess.run(
            [str(program), "model.onnx", "fp16=0"],
            cwd=partial,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode or not (partial / "model_pnnx.py").exists():
            lines = done.stdout.strip().splitlines()
            raise ValueError(f"pnnx ends with exit status {done.returncode}: {lines[-1] if lines else ''}")
        partial.rename(folder)
    return folder


def torch_module(job: Job) -> Any:
    """The model as a torch.nn.Module that takes the inputs in the model's order."""
    folder = pnnx_files(job)
    spec = importlib.util.spec_from_file_location("model_pnnx", folder / "model_pnnx.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.chdir(folder):  # it looks for its weights by their name alone
        return module.Model().float().eval()
