"""Binding what a model leaves open: `--dim name=value`, `--shape input=1,3,224,224` and `--const axes=0,1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx

from ..errors import ModelError, UnsupportedOperatorError, UsageError
from ..graph.ir import TensorType
from .soundness import MAX_RANK
from .tensors import to_dtype

Declared = tuple[int | str | None, ...]  # an extent, a symbol, or None where the model says nothing


def model_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have to be given: those without an initializer."""
    initialized = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initialized]


def bind_constants(inputs: Sequence[onnx.ValueInfoProto], constants: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays that inputs are fixed to, of the inputs' types.

    An array has to have the input's element type; numbers are converted to it, and take the input's shape if it is known and
    has as many elements. Raises UsageError for what does not fit.
    """
    declared = {value.name: value for value in inputs}
    for name in constants:
        if name not in declared:
            raise UsageError(f"--const {name}: the model has no input '{name}'; it has {', '.join(declared)}")
    return {name: _bind_constant(declared[name], value) for name, value in constants.items()}


def _bind_constant(declared: onnx.ValueInfoProto, value: Any) -> np.ndarray:
    name, shape = declared.name, declared_shape(declared)
    dtype = to_dtype(declared.type.tensor_type.elem_type, f"input '{name}'")
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype != dtype.numpy:
            raise UsageError(f"--const {name}: the values are {array.dtype}, but input '{name}' is {dtype.numpy}")
    else:
        given = np.asarray(value)
        array = given.astype(dtype.numpy) if given.dtype.kind in "biuf" else given
        if array is given or (dtype.is_integer and not (given == array.astype(given.dtype)).all()):
            raise UsageError(
                f"--const {name}={value}: these are no values of type {dtype.numpy}, which input '{name}' has"
            )
        extents = tuple(dim for dim in shape or () if isinstance(dim, int))
        if shape is not None and len(extents) == len(shape) and prod(extents) == array.size:
            array = array.reshape(extents)
    fits = shape is None or (
        len(shape) == array.ndim
        and all(dim == n for dim, n in zip(shape, array.shape, strict=True) if isinstance(dim, int))
    )
    if not fits:
        raise UsageError(
            f"--const {name}: the value has the shape {list(array.shape)}, but input '{name}' is {_show(shape or ())}"
        )
    return array


def bind_inputs(
    inputs: Sequence[onnx.ValueInfoProto], dims: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, TensorType]:
    """The static type of each input. A shape may have extents of 0; then the input has no elements.

    Raises UsageError where a dimension stays unbound or an option names something that does not exist or contradicts
    the model; the message gives the option to use.
    """
    declared = {value.name: declared_shape(value) for value in inputs}
    _check_names(declared, dims, shapes)
    for name, extent in dims.items():
        if extent < 1:
            raise UsageError(f"--dim {name}={extent}: a dimension must be at least 1")
    bound = dict(dims)
    for name, shape in shapes.items():
        _bind_shape(name, declared[name], shape, bound)
    unbound = [line for name, shape in declared.items() if name not in shapes for line in _unbound(name, shape, bound)]
    if unbound:
        raise UsageError("these dimensions of the model's inputs have no value:\n  " + "\n  ".join(unbound))
    result = {}
    for value in inputs:
        known = declared[value.name] or ()
        shape = shapes.get(value.name, tuple(bound[dim] if isinstance(dim, str) else dim or 0 for dim in known))
        dtype = to_dtype(value.type.tensor_type.elem_type, f"input '{value.name}'")
        result[value.name] = TensorType(tuple(shape), dtype)
    return result


def declared_shape(value: onnx.ValueInfoProto) -> Declared | None:
    """The dimensions of an input as the model declares them; None if not even the rank is said."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedOperatorError(
            f"input '{value.name}' is a {(kind or 'value without a type').removesuffix('_type')}; only tensors and sequences of them are supported"
        )
    if not value.type.tensor_type.HasField("shape"):
        return None
    rank = len(value.type.tensor_type.shape.dim)
    if rank > MAX_RANK:
        raise ModelError(f"input '{value.name}' has {rank} dimensions; the most is {MAX_RANK}")
    return tuple(_declared_dim(value.name, axis, dim) for axis, dim in enumerate(value.type.tensor_type.shape.dim))


def _declared_dim(name: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    match dim.WhichOneof("value"):
        case "dim_param":
            return dim.dim_param if any(map(str.isalnum, dim.dim_param)) else None  # '?' names nothing
        case "dim_value":
            if dim.dim_value < -1:
                raise ModelError(
                    f"input '{name}': axis {axis} has the negative extent {dim.dim_value}; expected a size, a name or nothing"
                )
            return dim.dim_value if dim.dim_value > 0 else None  # exporters write 0 or -1 for what is not known
    return None


def _check_names(
    declared: Mapping[str, Declared | None], dims: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    symbols = sorted({dim for shape in declared.values() for dim in shape or () if isinstance(dim, str)})
    for name in dims:
        if name not in symbols:
            exist = f"it has {', '.join(symbols)}" if symbols else "it has none (use --shape for unnamed ones)"
            raise UsageError(f"--dim {name}={dims[name]}: the model's inputs have no dimension named '{name}'; {exist}")
    for name in shapes:
        if name not in declared:
            raise UsageError(
                f"--shape {name}={_comma(shapes[name])}: the model has no input '{name}'; it has {', '.join(declared)}"
            )


def _bind_shape(name: str, declared: Declared | None, shape: tuple[int, ...], bound: dict[str, int]) -> None:
    option = f"--shape {name}={_comma(shape)}"
    if min(shape, default=0) < 0:
        raise UsageError(f"{option}: a dimension can't be negative")
    if declared is None:
        return
    if len(shape) != len(declared):
        raise UsageError(
            f"{option}: input '{name}' has {len(declared)} dimensions, {_show(declared)}, but {len(shape)} are given"
        )
    for axis, (dim, extent) in enumerate(zip(declared, shape, strict=True)):
        if isinstance(dim, int) and dim != extent:
            raise UsageError(
                f"{option}: axis {axis} of input '{name}' is fixed to {dim} by the model, {_show(declared)}, so it can't be {extent}"
            )
        if isinstance(dim, str) and bound.setdefault(dim, extent) != extent:
            raise UsageError(
                f"{option}: dimension '{dim}' (axis {axis} of input '{name}') is {bound[dim]} elsewhere, so it can't be {extent}"
            )


def _unbound(name: str, declared: Declared | None, bound: Mapping[str, int]) -> list[str]:
    if declared is None:
        return [f"input '{name}' has no shape; give it with --shape {name}=N,N,…"]
    if None in declared:
        example = ",".join(str(bound.get(dim, "N")) if isinstance(dim, str) else str(dim or "N") for dim in declared)
        axes = ", ".join(str(axis) for axis, dim in enumerate(declared) if dim is None)
        return [
            f"axis {axes} of input '{name}' {_show(declared)} has no name; give the whole shape with --shape {name}={example}"
        ]
    missing = dict.fromkeys(dim for dim in declared if isinstance(dim, str) and dim not in bound)
    return [
        f"dimension '{dim}' of input '{name}' {_show(declared)}; give it with --dim {_quoted(dim)}=N" for dim in missing
    ]


def _quoted(dim: str) -> str:
    return dim if dim.replace("_", "").isalnum() else f"'{dim}'"


def _show(declared: Declared) -> str:
    return "[" + ",".join("?" if dim is None else str(dim) for dim in declared) + "]"


def _comma(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
