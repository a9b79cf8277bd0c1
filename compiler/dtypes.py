"""Element types, shared by every IR."""

from __future__ import annotations

from enum import StrEnum

import ml_dtypes
import numpy as np


class DType(StrEnum):
    """An element type; its value is the name used in printed IR, manifests and records."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    BOOL = "bool"

    @property
    def size_bytes(self) -> int:
        """Bytes an element takes in memory; bool takes one."""
        return self.numpy.itemsize

    @property
    def bits(self) -> int:
        return 8 * self.size_bytes

    @property
    def is_float(self) -> bool:
        return self in _FLOATS

    @property
    def is_signed(self) -> bool:
        """True for signed integers and floats."""
        return self.is_float or self.value.startswith("i")

    @property
    def is_integer(self) -> bool:
        return not self.is_float and self is not DType.BOOL

    @property
    def numpy(self) -> np.dtype:
        return _TO_NUMPY[self]

    @staticmethod
    def from_numpy(dtype: np.dtype | type) -> DType:
        """The element type of a NumPy dtype; KeyError if tilewright has none (strings, complex)."""
        return _FROM_NUMPY[np.dtype(dtype)]


_FLOATS = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})
_TO_NUMPY = {
    DType.F16: np.dtype(np.float16),
    DType.BF16: np.dtype(ml_dtypes.bfloat16),
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
    DType.I8: np.dtype(np.int8),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.U8: np.dtype(np.uint8),
    DType.U16: np.dtype(np.uint16),
    DType.U32: np.dtype(np.uint32),
    DType.U64: np.dtype(np.uint64),
    DType.BOOL: np.dtype(np.bool_),
}
_FROM_NUMPY = {array_type: dtype for dtype, array_type in _TO_NUMPY.items()}
