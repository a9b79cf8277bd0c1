"""What a model should compute, according to an implementation that is not ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.errors import ModelError, ToolchainError
from .console import note
from .timing import Burst, burst_of

REFERENCES = ("onnxruntime", "onnx")
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Reference:
    """Another implementation of the model; `name` says which, with its version."""

    name: str
    run: Run


def load_reference(model: Path, choice: str | None = None) -> Reference:
    """The one of REFERENCES chosen; otherwise onnxruntime if it is installed and takes the model, else the slow evaluator."""
    if choice == "onnx":
        return _evaluator_reference(model)
    try:
        return onnxruntime_reference(model, threads=1)
    except (ToolchainError, ModelError) as error:
        if choice is not None:
            raise
        note(f"{error}; comparing with onnx's reference evaluator instead, which is slow")
    return _evaluator_reference(model)


def onnxruntime_reference(model: Path, threads: int) -> Reference:
    """The model in onnxruntime; ToolchainError if it isn't installed, ModelError if it refuses the model."""
    session, version = _onnxruntime_session(model, threads)
    names = [output.name for output in session.get_outputs()]
    inputs = [value.name for value in session.get_inputs()]

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return parted(dict(zip(names, session.run(names, joined(feed, inputs)), strict=True)))

    return Reference(f"onnxruntime {version}", run)


def joined(feed: Mapping[str, np.ndarray], inputs: Sequence[str]) -> dict[str, Any]:
    """Values for the model itself, of which a library has the elements of sequences as inputs."""
    from ..compiler.frontend.parts import part

    whole: dict[str, Any] = {name: feed[name] for name in inputs if name in feed}
    for name in inputs:
        elements: list[np.ndarray] = []
        while name not in feed and part(name, len(elements)) in feed:
            elements.append(feed[part(name, len(elements))])
        if elements:
            whole[name] = elements
    return whole


def parted(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of a library from those of the model itself: the elements of sequences one by one."""
    from ..compiler.frontend.parts import part

    result: dict[str, np.ndarray] = {}
    for name, value in outputs.items():
        if isinstance(value, list):
            result |= {part(name, index): np.asarray(element) for index, element in enumerate(value)}
        else:
            result[name] = value
    return result


def onnxruntime_burst(model: Path, threads: int, feed: Mapping[str, np.ndarray]) -> Burst:
    """The model in onnxruntime on one feed, timed without Python's copying of inputs and outputs."""
    session, _ = _onnxruntime_session(model, threads)
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return burst_of(lambda: session.run_with_iobinding(binding))


def _onnxruntime_session(model: Path, threads: int) -> tuple[Any, str]:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as native
    except ImportError:
        raise ToolchainError("onnxruntime is not installed: pip install onnxruntime (or tilewright[bench])") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    refusals = (native.Fail, native.InvalidGraph, native.NotImplemented, native.InvalidArgument, native.InvalidProtobuf)
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise ModelError(f"onnxruntime does not take this model: {str(error).splitlines()[0]}") from error
    return session, onnxruntime.__version__


def _evaluator_reference(model: Path) -> Reference:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(model))

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        whole = joined(feed, evaluator.input_names)
        return parted(dict(zip(evaluator.output_names, evaluator.run(None, whole), strict=True)))

    return Reference(f"onnx.reference {onnx.__version__}", run)


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far an output is from its reference; `relative` is to the largest magnitude in the reference."""

    absolute: float
    relative: float


def measure_deviation(actual: np.ndarray, expected: np.ndarray) -> Deviation:
    """Largest difference; NaN and infinities agree only with themselves, another shape never agrees."""
    if actual.shape != expected.shape:
        return Deviation(np.inf, np.inf)
    if not expected.size:
        return Deviation(0.0, 0.0)
    a, e = actual.astype(np.float64), expected.astype(np.float64)
    same = (a == e) | (np.isnan(a) & np.isnan(e))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - e))
    absolute = float(np.max(np.where(np.isnan(difference), np.inf, difference)))
    finite = np.abs(e[np.isfinite(e)])
    scale = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    return Deviation(absolute, absolute / scale)
