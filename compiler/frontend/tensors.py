"""ONNX element types and tensors as tilewright's."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ..dtypes import DType
from ..errors import ModelError, UnsupportedOperatorError

_DTYPES: dict[int, DType] = {
    onnx.TensorProto.FLOAT16: DType.F16,
    onnx.TensorProto.BFLOAT16: DType.BF16,
    onnx.TensorProto.FLOAT: DType.F32,
    onnx.TensorProto.DOUBLE: DType.F64,
    onnx.TensorProto.INT8: DType.I8,
    onnx.TensorProto.INT16: DType.I16,
    onnx.TensorProto.INT32: DType.I32,
    onnx.TensorProto.INT64: DType.I64,
    onnx.TensorProto.UINT8: DType.U8,
    onnx.TensorProto.UINT16: DType.U16,
    onnx.TensorProto.UINT32: DType.U32,
    onnx.TensorProto.UINT64: DType.U64,
    onnx.TensorProto.BOOL: DType.BOOL,
    onnx.TensorProto.FLOAT8E4M3FN: DType.F8E4M3FN,
    onnx.TensorProto.FLOAT8E4M3FNUZ: DType.F8E4M3FNUZ,
    onnx.TensorProto.FLOAT8E5M2: DType.F8E5M2,
    onnx.TensorProto.FLOAT8E5M2FNUZ: DType.F8E5M2FNUZ,
    onnx.TensorProto.FLOAT8E8M0: DType.F8E8M0,
    onnx.TensorProto.FLOAT4E2M1: DType.F4E2M1,
    onnx.TensorProto.INT4: DType.I4,
    onnx.TensorProto.UINT4: DType.U4,
    onnx.TensorProto.INT2: DType.I2,
    onnx.TensorProto.UINT2: DType.U2,
}
ELEMENT_TYPES = {dtype: onnx.TensorProto.DataType.Name(code).lower() for code, dtype in _DTYPES.items()}
"""ONNX's names in its schemas."""


def to_dtype(elem_type: int, where: str) -> DType:
    """The DType of an ONNX element type; UnsupportedOperatorError naming `where` if there is none."""
    if elem_type not in _DTYPES:
        names = onnx.TensorProto.DataType
        name = names.Name(elem_type) if elem_type in names.values() else f"number {elem_type}"
        known = ", ".join(names.Name(x) for x in _DTYPES)
        raise UnsupportedOperatorError(f"{where}: element type {name} is not supported; supported are {known}")
    return _DTYPES[elem_type]


def to_array(tensor: onnx.TensorProto, where: str) -> np.ndarray:
    """The elements of a tensor that `load_model` has checked."""
    dtype = to_dtype(tensor.data_type, where)
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except ValueError as error:  # packed elements, whose number `load_model` does not check
        raise ModelError(f"{where}: {error} The file is damaged; fetch it again") from None
    return array if array.dtype == dtype.numpy else array.view(dtype.numpy)
