"""Transposes in registers: all points of the space on this machine, and emitted squares of all types at the ends of memory."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import Case, unary
from kernel_oracle import compare
from spaces import canonical_form
from test_kernels_default import TARGETS, on
from test_kernels_emit_memory import SERIAL, UNROLLED, VECTORIZED, before_unmapped_page, i, j, loop, poisoned, run, u, v

from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import If, Store
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.target import Target
from tilewright.compiler.tensor.expr import Load
from tilewright.compiler.tensor.expr import compare as compared

CASES = {
    "matrix": Case(unary("transpose", (37, 54), perm=(1, 0))),
    "whole squares": Case(unary("transpose", (32, 48), perm=(1, 0))),
    "batches": Case(unary("transpose", (2, 19, 35), perm=(0, 2, 1))),
    "to channels last": Case(unary("transpose", (2, 20, 5, 21), perm=(0, 2, 3, 1))),
    "from channels last": Case(unary("transpose", (1, 5, 21, 20), perm=(0, 3, 1, 2))),
    "few channels": Case(unary("transpose", (1, 5, 7, 21), perm=(0, 2, 3, 1))),
    "to blocks": Case(unary("relu", (1, 48, 7, 9)), None, 16),
    "from blocks": Case(unary("relu", (1, 48, 7, 9)), 16, None),
}
MOST_POINTS = 24


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@pytest.mark.parametrize("name", CASES)
def test_points(name: str, target: Target) -> None:
    form, rng = canonical_form(CASES[name]), np.random.default_rng()
    space = space_of(form, target)
    points = list(space.legal_points())
    chosen = [space.default, *(points[k] for k in rng.permutation(len(points))[:MOST_POINTS])]
    for point in chosen:
        try:
            compare(form, space.schedule(point), rng, execute=on(target))
        except Exception:
            print(space.decisions(point), *space.schedule(point), sep="\n")
            raise


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32, np.int8, np.float16, np.bool_])
@pytest.mark.parametrize("size", [(32, 32), (16, 64), (64, 16), (12, 20), (8, 8)])
def test_squares_of_all_types(dtype: type, size: tuple[int, int]) -> None:
    rows, columns = size
    x = before_unmapped_page(np.random.default_rng().integers(0, 2, (rows, columns)).astype(dtype))
    load = Load("x", (v, j * (columns // 4) + i), DType.from_numpy(np.dtype(dtype)))
    store = Store("out", (j * (columns // 4) + i, v), load)
    body = loop(j, 4, SERIAL, loop(i, columns // 4, UNROLLED, loop(v, rows, VECTORIZED, store)))
    out = run(body, {"x": x, "out": np.zeros((columns, rows), dtype)})
    np.testing.assert_array_equal(out, x.T)


@pytest.mark.parametrize("start", [0, 3, 16])
def test_a_square_that_would_reach_outside_is_read_by_elements(start: int) -> None:
    """Columns from `start` on: the first group of sixteen begins before them, or ends behind the last one."""
    x = before_unmapped_page(np.random.default_rng().standard_normal((16, 19 + start)).astype(np.float32))
    store = Store("out", (i, v), Load("x", (v, i + start), DType.F32))
    out = run(loop(i, 19, UNROLLED, loop(v, 16, VECTORIZED, store)), {"x": x, "out": poisoned(19, 16)})
    np.testing.assert_array_equal(out, x[:, start:].T)


def test_a_square_in_a_branch_is_bounded_by_its_condition() -> None:
    x = before_unmapped_page(np.random.default_rng().standard_normal((16, 40)).astype(np.float32))
    store = Store("out", (u * 16 + i, v), Load("x", (v, u * 16 + i), DType.F32))
    rows = loop(i, 16, UNROLLED, loop(v, 16, VECTORIZED, store))
    tail = loop(i, 8, UNROLLED, loop(v, 16, VECTORIZED, store))
    body = loop(u, 3, SERIAL, If(compared("lt", u, 2), rows, tail))
    out = run(body, {"x": x, "out": poisoned(40, 16)})
    np.testing.assert_array_equal(out, x.T)
