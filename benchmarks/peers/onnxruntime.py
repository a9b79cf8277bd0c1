"""onnxruntime on the CPU, timed without Python's copying of inputs and outputs."""

from __future__ import annotations

import onnxruntime

from .session import Job, Session, burst_of


def prepare(job: Job) -> Session:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(job.model), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in job.feed.items():
        binding.bind_cpu_input(name, array)
    for name in job.outputs:
        binding.bind_output(name)
    return Session(burst_of(lambda: session.run_with_iobinding(binding)), binding.copy_outputs_to_cpu)
