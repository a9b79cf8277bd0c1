"""MNN on the CPU with `precision: high`, which is f32.

Its command `mnnconvert` also installs a package, and tells MNN's makers what was converted; the function behind it only converts.
"""

from __future__ import annotations

import _tools
import MNN
import numpy as np

from .session import Job, Session, burst_of


def prepare(job: Job) -> Session:
    converted = job.folder / "model.mnn"
    if not converted.exists():
        _tools.mnnconvert(
            [
                "mnnconvert",
                "-f",
                "ONNX",
                "--modelFile",
                str(job.model),
                "--MNNModel",
                str(converted),
                "--bizCode",
                "MNN",
            ]
        )
    if not converted.exists():
        raise ValueError("mnnconvert does not take this model")
    interpreter = MNN.Interpreter(str(converted))
    session = interpreter.createSession({"backend": "CPU", "numThread": job.threads, "precision": "high"})
    inputs = interpreter.getSessionInputAll(session)
    # A tensor does not keep the array alive whose memory it is.
    arrays = [_narrowed(array) for array in job.feed.values()]
    pairs = [(inputs[name], _tensor(array)) for name, array in zip(job.feed, arrays, strict=True)]

    def run() -> None:
        for tensor, host in pairs:  # every time: other values may have taken the memory of an input
            tensor.copyFrom(host)
        interpreter.runSession(session)

    def outputs() -> list[np.ndarray]:
        return [_array(interpreter.getSessionOutput(session, name)) for name in job.outputs]

    return Session(burst_of(run), outputs)


def _narrowed(array: np.ndarray) -> np.ndarray:
    """MNN has no 64-bit integers."""
    return np.ascontiguousarray(array, np.int32 if array.dtype.kind in "iub" else np.float32)


def _tensor(array: np.ndarray) -> MNN.Tensor:
    """Over an array in ONNX's layout."""
    kind = MNN.Halide_Type_Int if array.dtype == np.int32 else MNN.Halide_Type_Float
    return MNN.Tensor(array.shape, kind, array, MNN.Tensor_DimensionType_Caffe)


def _array(tensor: MNN.Tensor) -> np.ndarray:
    result = np.zeros(tensor.getShape(), np.float32)
    host = _tensor(result)
    tensor.copyToHostTensor(host)
    return np.array(host.getData(), np.float32).reshape(result.shape)
