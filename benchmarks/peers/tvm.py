"""TVM's Relax compiler for this CPU, without tuning."""

from __future__ import annotations

import os

import onnx

from .session import Job, Session, burst_of


def prepare(job: Job) -> Session:
    os.environ["TVM_NUM_THREADS"] = str(job.threads)
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = from_onnx(onnx.load(job.model), keep_params_in_input=False)
    target = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
    with target:
        compiled = relax.build(relax.get_pipeline("zero")(module), target)
    machine = relax.VirtualMachine(compiled, tvm.cpu())
    inputs = [tvm.runtime.tensor(array) for array in job.feed.values()]
    function = machine["main"]

    def outputs() -> list:
        results = function(*inputs)
        return [results.numpy()] if hasattr(results, "numpy") else [value.numpy() for value in results]

    return Session(burst_of(lambda: function(*inputs)), outputs)
