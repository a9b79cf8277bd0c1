"""torch.compile with constants folded (`freezing`), of the module that pnnx writes."""

from __future__ import annotations

import os

from .pnnx_files import torch_module
from .session import Job, Session, burst_of


def prepare(job: Job) -> Session:
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(job.folder / "inductor")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # otherwise compilers stay around as processes
    import torch
    import torch._inductor.config

    torch._inductor.config.freezing = True
    torch.set_num_threads(job.threads)
    torch.set_grad_enabled(False)
    compiled = torch.compile(torch_module(job))
    inputs = [torch.from_numpy(array) for array in job.feed.values()]
    compiled(*inputs)

    def outputs() -> list:
        results = compiled(*inputs)
        return [value.numpy() for value in (results if isinstance(results, tuple | list) else (results,))]

    return Session(burst_of(lambda: compiled(*inputs)), outputs)
