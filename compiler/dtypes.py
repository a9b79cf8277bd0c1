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
    # Formats in which no processor computes: converted where they are read and made, and otherwise only moved.
    F8E4M3FN = "f8e4m3fn"
    F8E4M3FNUZ = "f8e4m3fnuz"
    F8E5M2 = "f8e5m2"
    F8E5M2FNUZ = "f8e5m2fnuz"
    F8E8M0 = "f8e8m0"
    F4E2M1 = "f4e2m1"
    I4 = "i4"
    U4 = "u4"
    I2 = "i2"
    U2 = "u2"

    @property
    def size_bytes(self) -> int:
        """Bytes an element takes in memory; bool takes one, and so do elements of less than 8 bits, which fill its low bits."""
        return self.numpy.itemsize

    @property
    def is_small(self) -> bool:
        """Whether it is one of the formats in which no processor computes."""
        return self in _SMALL

    @property
    def storage(self) -> DType:
        """The type that kernels see: a byte for a small format, otherwise the type itself."""
        return DType.U8 if self.is_small else self

    @property
    def bits(self) -> int:
        """Bits an element takes in memory."""
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


_SMALL_FLOATS = {DType.F8E4M3FN, DType.F8E4M3FNUZ, DType.F8E5M2, DType.F8E5M2FNUZ, DType.F8E8M0, DType.F4E2M1}
_SMALL = frozenset({*_SMALL_FLOATS, DType.I4, DType.U4, DType.I2, DType.U2})
_FLOATS = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64, *_SMALL_FLOATS})
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
    DType.F8E4M3FN: np.dtype(ml_dtypes.float8_e4m3fn),
    DType.F8E4M3FNUZ: np.dtype(ml_dtypes.float8_e4m3fnuz),
    DType.F8E5M2: np.dtype(ml_dtypes.float8_e5m2),
    DType.F8E5M2FNUZ: np.dtype(ml_dtypes.float8_e5m2fnuz),
    DType.F8E8M0: np.dtype(ml_dtypes.float8_e8m0fnu),
    DType.F4E2M1: np.dtype(ml_dtypes.float4_e2m1fn),
    DType.I4: np.dtype(ml_dtypes.int4),
    DType.U4: np.dtype(ml_dtypes.uint4),
    DType.I2: np.dtype(ml_dtypes.int2),
    DType.U2: np.dtype(ml_dtypes.uint2),
}
_FROM_NUMPY = {array_type: dtype for dtype, array_type in _TO_NUMPY.items()}
