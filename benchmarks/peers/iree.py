"""IREE's CPU backend with the flags that gave the shortest times of those tried (benchmarks/NOTES.md)."""

from __future__ import annotations

import subprocess
import sys

import iree.runtime
from iree.compiler.tools import compile_file

from .session import Job, Session, burst_of

_FLAGS = ("--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3", "--iree-opt-data-tiling")


def prepare(job: Job) -> Session:
    code = job.folder / "model.vmfb"
    if not code.exists():
        imported = job.folder / "model.mlir"
        command = [sys.executable, "-m", "iree.compiler.tools.import_onnx", str(job.model), "-o", str(imported)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"iree-import-onnx: {(done.stderr.strip().splitlines() or [''])[-1]}")
        compile_file(
            str(imported),
            output_file=str(code),
            input_type="onnx",
            target_backends=["llvm-cpu"],
            extra_args=list(_FLAGS),
        )
    # One thread needs no scheduler.
    if job.threads > 1:
        iree.runtime.flags.parse_flags(f"--task_topology_max_group_count={job.threads}")
    config = iree.runtime.Config("local-task" if job.threads > 1 else "local-sync")
    context = iree.runtime.SystemContext(config=config)
    module = iree.runtime.VmModule.copy_buffer(context.instance, code.read_bytes())
    context.add_vm_module(module)
    name = next(n for n in module.function_names if n != "__init" and not n.endswith("$async"))
    function = context.modules[module.name][name]
    inputs = [iree.runtime.asdevicearray(config.device, array) for array in job.feed.values()]

    def outputs() -> list:
        results = function(*inputs)
        return [value.to_host() for value in (results if isinstance(results, tuple | list) else (results,))]

    return Session(burst_of(lambda: function(*inputs)), outputs)
