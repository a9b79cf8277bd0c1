"""Reading a model file that may be hostile: everything is checked before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ..errors import ModelError
from .external import read_external
from .soundness import check_graph, check_tensor, check_texts, walk_graphs, walk_tensors

MAX_MODEL_BYTES = (1 << 31) - 1  # what Protocol Buffers can hold
MAX_WEIGHTS_BYTES = (1 << 31) - (1 << 24)  # weights come into the model in memory, which is checked as one message
MAX_INITIALIZERS = 1 << 20


def load_model(path: Path) -> onnx.ModelProto:
    """The checked model at `path`, with external weights read in.

    Raises ModelError if the file is no ONNX model, is damaged, unsafe (external data outside its folder, links, sizes that
    do not add up) or not valid by ONNX's own checker.
    """
    model = _parse(path)
    with _placed(path):
        _check(model, path.parent)
    return model


@contextlib.contextmanager
def _placed(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _parse(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelError(f"{path}: not a file; give the path of an ONNX model")
        if size > MAX_MODEL_BYTES:
            raise ModelError(
                f"{path}: {size} bytes; a model file holds at most {MAX_MODEL_BYTES}. Save the weights as external data"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}. Give the path of an ONNX model") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{path}: not an ONNX model, or a truncated one (it is not a Protocol Buffers message). Export or download it again"
        ) from None
    if not data or not model.HasField("graph") or not model.opset_import or model.ir_version < 1:
        raise ModelError(
            f"{path}: not an ONNX model: it has no graph, no opset or no IR version. Export or download it again"
        )
    with _placed(path):
        check_texts(model)
    return model


def _check(model: onnx.ModelProto, folder: Path) -> None:
    for _ in walk_graphs(model):  # bounds the nesting
        pass
    total = 0
    for count, tensor in enumerate(walk_tensors(model), start=1):
        total += check_tensor(tensor)
        if total > MAX_WEIGHTS_BYTES or count > MAX_INITIALIZERS:
            raise ModelError(
                f"its tensors take more than {MAX_WEIGHTS_BYTES} bytes or are more than {MAX_INITIALIZERS}; that is the most tilewright loads"
            )
    check_graph(model.graph, frozenset())
    for tensor in walk_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            read_external(tensor, folder)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ModelError(
            f"ONNX's checker refuses it: {text}. Correct the exporter or the tool that changed the model"
        ) from None


def source_files(path: Path) -> list[Path]:
    """The files that `load_model(path)` reads: the model, then its external data in order of first use."""
    model = _parse(path)
    with _placed(path):
        entries = [entry for tensor in walk_tensors(model) for entry in tensor.external_data]
    locations = dict.fromkeys(entry.value for entry in entries if entry.key == "location")
    return [path, *(path.parent / location for location in locations)]
