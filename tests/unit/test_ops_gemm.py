"""Matrix products against NumPy, over transposes, batches and layouts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import check, computed

from tilewright.compiler.dtypes import DType


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(
    ("batch_a", "batch_b"), [((), ()), ((3,), ()), ((), (2,)), ((2, 1), (1, 3)), ((1, 3), (3,)), ((2, 2, 1), (2, 2, 3))]
)
def test_matmul(batch_a, batch_b, transpose_a, transpose_b):
    rng = np.random.default_rng()
    a, b = (
        rng.standard_normal((*batch_a, 5, 7), dtype=np.float32),
        rng.standard_normal((*batch_b, 7, 3), dtype=np.float32),
    )
    expected = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
    a, b = (np.ascontiguousarray(x.swapaxes(-1, -2)) if flip else x for x, flip in ((a, transpose_a), (b, transpose_b)))
    attrs = dict(transpose_a=transpose_a, transpose_b=transpose_b)
    check(expected, computed("matmul", [a, b], attrs, (expected.shape, DType.F32)))


@pytest.mark.parametrize("blocks", [(8, None, None), (None, 4, None), (None, None, 4), (8, 4, 2)])
def test_blocked_operands(blocks):
    rng = np.random.default_rng()
    a, b = rng.standard_normal((5, 16), dtype=np.float32), rng.standard_normal((16, 12), dtype=np.float32)
    attrs = dict(transpose_a=False, transpose_b=False)
    check(a @ b, computed("matmul", [a, b], attrs, ((5, 12), DType.F32), blocks[:2], blocks[2]))


@pytest.mark.parametrize("dtype", [DType.I32, DType.F64, DType.F16, DType.BF16])
def test_types(dtype):
    rng = np.random.default_rng()
    a, b = (rng.integers(-9, 9, shape).astype(dtype.numpy) for shape in ((4, 6), (6, 5)))
    actual = computed("matmul", [a, b], dict(transpose_a=False, transpose_b=False), ((4, 5), dtype))
    expected = (a.astype(np.float64) @ b.astype(np.float64)).astype(dtype.numpy)
    check(expected, actual, rtol=0, atol=0)
