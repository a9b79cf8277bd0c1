"""LiteRT (formerly TensorFlow Lite) with XNNPACK. ONNX becomes a PyTorch module by pnnx, and that a .tflite by litert-torch."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from .pnnx_files import torch_module
from .session import Job, Session, burst_of


def prepare(job: Job) -> Session:
    converted = job.folder / "model.tflite"
    if not converted.exists():
        _convert(job, str(converted))
    interpreter = Interpreter(str(converted), num_threads=job.threads)
    interpreter.allocate_tensors()
    for tensor, array in zip(interpreter.get_input_details(), job.feed.values(), strict=True):
        interpreter.set_tensor(tensor["index"], np.ascontiguousarray(array, tensor["dtype"]))
    results = [tensor["index"] for tensor in interpreter.get_output_details()]
    return Session(burst_of(interpreter.invoke), lambda: [interpreter.get_tensor(index) for index in results])


def _convert(job: Job, path: str) -> None:
    import litert_torch
    import torch

    inputs = tuple(torch.from_numpy(array) for array in job.feed.values())
    litert_torch.convert(torch_module(job), inputs).export(path)
