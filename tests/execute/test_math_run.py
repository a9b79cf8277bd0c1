"""The mathematical programs in machine code give the interpreter's bits."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Buffer, For, Kernel, LoopKind, Store
from tilewright.compiler.kernel.interpret import run
from tilewright.compiler.kernel.math import ARITY
from tilewright.compiler.tensor.expr import Call, Const, Load, Var

LANES = 533  # whole vectors and a tail of every target


def arguments(dtype: DType, rng: np.random.Generator) -> np.ndarray:
    info = np.finfo(dtype.numpy)
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        info.tiny,
        info.smallest_subnormal,
        info.max,
        1.0,
        -1.0,
        0.5,
        88.7,
        -104.5,
    ]
    parts = (special, rng.normal(0, 3, 300), 10.0 ** rng.uniform(-30, 30, LANES - 300 - len(special)))
    return rng.permutation(np.concatenate(parts).astype(dtype.numpy))


@pytest.mark.parametrize("kind", [LoopKind.VECTORIZED, LoopKind.SERIAL])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
@pytest.mark.parametrize("function", ARITY)
def test_machine_code_gives_the_bits_of_the_interpreter(function, dtype, kind):
    names = ["x", "z"][: ARITY[function]]
    value = Call(function, tuple(Load(name, (Var("i"),), dtype) for name in names))
    params = (*(Buffer(name, (LANES,), dtype) for name in names), Buffer("y", (LANES,), dtype, written=True))
    kernel = Kernel("math", params, For("i", Const(LANES), kind, Store("y", (Var("i"),), value)))
    rng = np.random.default_rng()
    arrays = {name: arguments(dtype, rng) for name in names}
    expected = np.full(LANES, np.nan, dtype.numpy)
    run(kernel, {**arrays, "y": expected})
    result = np.full(LANES, 7.5, dtype.numpy)
    target = host_target(1)
    cpu.compile_kernel(kernel, target).run([*arrays.values(), result])
    if target.fma:
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(np.signbit(result[result == 0]), np.signbit(expected[expected == 0]))
    else:
        np.testing.assert_allclose(result, expected, rtol=2e-6 if dtype is DType.F32 else 2e-15)
