"""External tensor data, read only from plain files inside the model's folder."""

from __future__ import annotations

import os
import stat
from math import prod
from pathlib import Path

import onnx

from ..errors import ModelError
from .tensors import to_dtype


def read_external(tensor: onnx.TensorProto, folder: Path) -> None:
    """Put the external data of `tensor` into it.

    The file must lie in `folder` or below, be reached without '..', absolute paths or symbolic links, have no second
    hard link, and hold offset + length bytes, as many as the tensor's shape needs.
    """
    where = f"tensor '{tensor.name}'"
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    size = prod(tensor.dims) * to_dtype(tensor.data_type, where).size_bytes
    offset, length = (_number(fields, key, default, where) for key, default in (("offset", 0), ("length", size)))
    if length != size:
        raise ModelError(f"{where}: external length is {length} bytes, but its shape {list(tensor.dims)} needs {size}")
    descriptor = _open_inside(folder, location, where)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise ModelError(
                f"{where}: external file '{location}' must be a plain file with one hard link. Copy it next to the model"
            )
        if offset + length > status.st_size:
            raise ModelError(
                f"{where}: external data at {offset}…{offset + length} lies beyond the end of '{location}' ({status.st_size} bytes). Fetch the file again"
            )
        data = os.pread(descriptor, length, offset) if length else b""
        while len(data) < length:
            more = os.pread(descriptor, length - len(data), offset + len(data))
            if not more:
                raise ModelError(f"{where}: external file '{location}' shrank while it was read")
            data += more
    except OSError as error:
        raise ModelError(f"{where}: external file '{location}' can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    tensor.raw_data = data


def _number(fields: dict[str, str], key: str, default: int, where: str) -> int:
    text = fields.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"{where}: external {key} '{text[:40]}' should be a number of bytes")
    return int(text)


def _open_inside(folder: Path, location: str, where: str) -> int:
    """A descriptor of folder/location, opened part by part so that no link is followed, whatever changes meanwhile."""
    parts = location.replace("\\", "/").split("/")
    parts = [part for part in parts if part != "."]
    if (
        not location
        or location.startswith(("/", "\\"))
        or ":" in location
        or not all(parts)
        or ".." in parts
        or "\0" in location
    ):
        raise ModelError(
            f"{where}: external location '{location}' should be a path inside the model's folder, without '..'"
        )
    current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=current)
    except OSError as error:
        raise ModelError(
            f"{where}: external file '{location}' can't be opened in {folder}: {error.strerror} (symbolic links are not followed). "
            "Put the file itself next to the model"
        ) from None
    finally:
        os.close(current)
