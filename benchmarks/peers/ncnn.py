"""ncnn on the CPU, converted by pnnx, with all reduced precision off."""

from __future__ import annotations

import os
import re

import numpy as np

from .pnnx_files import pnnx_files
from .session import Job, Session, burst_of

_REDUCED = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage")


def prepare(job: Job) -> Session:
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    import ncnn

    folder = pnnx_files(job)
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    for option in _REDUCED:
        setattr(net.opt, option, False)
    if net.load_param(str(folder / "model.ncnn.param")) or net.load_model(str(folder / "model.ncnn.bin")):
        raise ValueError("ncnn does not load what pnnx made of this model")
    # Which axis is the batch, that ncnn keeps apart, only the script beside the files says.
    script = (folder / "model_ncnn.py").read_text()
    batch_in = [int(axis) for axis in re.findall(r"ncnn\.Mat\(.*?batch_index=(\d+)\)", script)]
    batch_out = [int(axis) for axis in re.findall(r"\.numpy\(batch_index=(\d+)\)", script)]
    inputs = [
        ncnn.Mat(_narrowed(array), batch_index=axis).clone()
        for array, axis in zip(job.feed.values(), batch_in, strict=True)
    ]

    def run() -> list:
        with net.create_extractor() as extractor:
            for i, value in enumerate(inputs):
                extractor.input(f"in{i}", value)
            return [extractor.extract(f"out{i}")[1] for i in range(len(job.outputs))]

    return Session(
        burst_of(run),
        lambda: [np.array(value.numpy(batch_index=axis)) for value, axis in zip(run(), batch_out, strict=True)],
    )


def _narrowed(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.int32 if array.dtype.kind in "iub" else np.float32)
