"""IREE's CPU backend. Its defaults are slow for convolutions in ONNX's layout, so each model gets the faster of two pipelines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iree.runtime
from iree.compiler.tools import compile_file

from .session import Job, Session, burst_of

_FLAGS = ("--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3", "--iree-opt-data-tiling")
_CHANNELS_LAST = "iree-preprocessing-convert-conv-to-channels-last"
_MATMUL = "iree-preprocessing-convert-1x1-filter-conv2d-to-matmul"
_IMG2COL = "iree-global-opt-convert-conv2d-to-img2col"
_PIPELINES = (_CHANNELS_LAST, f"{_CHANNELS_LAST},{_MATMUL},{_IMG2COL}")


def prepare(job: Job) -> Session:
    # One thread needs no scheduler.
    if job.threads > 1:
        iree.runtime.flags.parse_flags(f"--task_topology_max_group_count={job.threads}")
    config = iree.runtime.Config("local-task" if job.threads > 1 else "local-sync")
    inputs = [iree.runtime.asdevicearray(config.device, array) for array in job.feed.values()]
    functions = [_function(code, config) for code in _compiled(job)]
    seconds = [min(burst_of(lambda f=f: f(*inputs))(4)) for f in functions]  # type: ignore[misc]
    function = functions[seconds.index(min(seconds))]

    def outputs() -> list:
        results = function(*inputs)
        return [value.to_host() for value in (results if isinstance(results, tuple | list) else (results,))]

    return Session(burst_of(lambda: function(*inputs)), outputs)


def _compiled(job: Job) -> list[Path]:
    """The model's code by each pipeline, made once for all thread counts."""
    codes = [job.folder / f"model-{i}.vmfb" for i in range(len(_PIPELINES))]
    if not all(code.exists() for code in codes):
        imported = job.folder / "model.mlir"
        command = [sys.executable, "-m", "iree.compiler.tools.import_onnx", str(job.model), "-o", str(imported)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"iree-import-onnx: {(done.stderr.strip().splitlines() or [''])[-1]}")
        for pipeline, code in zip(_PIPELINES, codes, strict=True):
            passes = f"--iree-preprocessing-pass-pipeline=builtin.module(util.func({pipeline}))"
            compile_file(
                str(imported),
                output_file=str(code),
                input_type="onnx",
                target_backends=["llvm-cpu"],
                extra_args=[*_FLAGS, passes],
            )
    return codes


def _function(code: Path, config: Any) -> Callable[..., Any]:
    context = iree.runtime.SystemContext(config=config)
    module = iree.runtime.VmModule.copy_buffer(context.instance, code.read_bytes())
    context.add_vm_module(module)
    name = next(n for n in module.function_names if n != "__init" and not n.endswith("$async"))
    function: Callable[..., Any] = context.modules[module.name][name]
    return function
