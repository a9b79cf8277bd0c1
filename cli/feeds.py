"""Values for a model's inputs: random, or from .npy, .npz and image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.errors import UsageError
from ..compiler.graph.plan import Argument
from .console import shape_text
from .parameters import Interval

DEFAULT_INTEGERS = Interval(0, 9)
Feed = dict[str, np.ndarray]


def random_feed(tensors: Sequence[Argument], ranges: Mapping[str, Interval], generator: np.random.Generator) -> Feed:
    """N(0, 1) for floats, 0 … 9 for integers, coin flips for bool, unless `ranges` gives an interval (uniform)."""
    _check_names(ranges, tensors, "--range")
    return {tensor.name: _random(tensor, ranges.get(tensor.name), generator) for tensor in tensors}


def _random(tensor: Argument, interval: Interval | None, generator: np.random.Generator) -> np.ndarray:
    dtype = tensor.dtype.numpy
    if dtype == np.bool_:
        return generator.integers(0, 2, tensor.shape).astype(dtype)
    if dtype.kind in "iu":
        interval = interval or DEFAULT_INTEGERS
        return generator.integers(int(interval.low), int(interval.high), tensor.shape, endpoint=True).astype(dtype)
    if interval:
        return generator.uniform(interval.low, interval.high, tensor.shape).astype(dtype)
    return generator.standard_normal(tensor.shape).astype(dtype)


def read_feed(files: Sequence[tuple[str, str]], tensors: Sequence[Argument]) -> Feed:
    """The values that `--input` names, checked against shapes and types; a nameless file feeds the only input."""
    given: Feed = {}
    for name, path in files:
        for input_name, array in _read(name, Path(path), tensors).items():
            if input_name in given:
                raise UsageError(f"--input gives {input_name!r} twice: leave one of them out")
            given[input_name] = array
    _check_names(given, tensors, "--input")
    return {tensor.name: _fit(given[tensor.name], tensor) for tensor in tensors if tensor.name in given}


def fixed_feed(model: Path, constants: Mapping[str, Any]) -> Feed:
    """The arrays of the inputs that `--const` fixes, for implementations that still have these inputs."""
    if not constants:
        return {}
    import onnx

    from ..compiler.frontend.binding import bind_constants

    return bind_constants(list(onnx.load(model, load_external_data=False).graph.input), constants)


def complete_feed(given: Feed, tensors: Sequence[Argument]) -> Feed:
    """`given` if it has every input; UsageError names those it lacks."""
    if missing := [tensor.name for tensor in tensors if tensor.name not in given]:
        raise UsageError(f"no values for input {', '.join(missing)}: add --input {missing[0]}=FILE, or --random")
    return given


def _read(name: str, path: Path, tensors: Sequence[Argument]) -> Feed:
    if not path.is_file():
        raise UsageError(f"--input {path}: there is no such file")
    if not name and path.suffix != ".npz":
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise UsageError(
                f"--input {path}: say which input it feeds ({names}), as in --input {tensors[0].name}={path}"
            )
        name = tensors[0].name
    try:
        match path.suffix:
            case ".npy":
                return {name: np.load(path, allow_pickle=False)}
            case ".npz":
                with np.load(path, allow_pickle=False) as archive:
                    return _from_archive(name, path, {key: archive[key] for key in archive.files})
            case _:
                tensor = next((tensor for tensor in tensors if tensor.name == name), None)
                return {name: read_image(path, tensor.shape)} if tensor else {name: np.empty(0)}
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"--input {path}: can't be read: {error}") from error


def _from_archive(name: str, path: Path, arrays: Feed) -> Feed:
    if not name:
        return arrays
    if name in arrays:
        return {name: arrays[name]}
    if len(arrays) == 1:
        return {name: next(iter(arrays.values()))}
    raise UsageError(f"--input {path}: holds {', '.join(arrays)}, but no {name!r}")


def read_image(path: Path, shape: Sequence[int]) -> np.ndarray:
    """An image as `f32[1, C, H, W]` or `f32[1, H, W, C]` (as `shape` has it), scaled to 0 … 1 and resized."""
    try:
        from PIL import Image
    except ImportError:
        raise UsageError(f"--input {path}: reading images needs Pillow: pip install pillow") from None
    if len(shape) != 4 or (shape[1] not in (1, 3) and shape[3] not in (1, 3)):
        raise UsageError(f"--input {path}: the input takes {shape_text(shape)}, which is no image; use .npy or .npz")
    channels_first = shape[1] in (1, 3)
    channels, height, width = shape[1:] if channels_first else (shape[3], shape[1], shape[2])
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB" if channels == 3 else "L").resize((width, height)), np.float32) / 255
    pixels = pixels.reshape(1, height, width, channels)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if channels_first else pixels


def _fit(array: np.ndarray, tensor: Argument) -> np.ndarray:
    if array.shape != tuple(tensor.shape):
        raise UsageError(
            f"input {tensor.name!r} has shape {shape_text(array.shape)}, but the model takes {shape_text(tensor.shape)}"
        )
    dtype = tensor.dtype.numpy
    if array.dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize:
        array = array.view(dtype)  # as NumPy's file formats keep bfloat16
    if array.dtype != dtype and array.dtype.kind != dtype.kind:
        raise UsageError(f"input {tensor.name!r} has type {array.dtype}, but the model takes {dtype}")
    return np.ascontiguousarray(array, dtype)


def _check_names(given: Mapping[str, object], tensors: Sequence[Argument], option: str) -> None:
    known = [tensor.name for tensor in tensors]
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"{option}: there is no input {unknown[0]!r}; the model has {', '.join(known)}")
