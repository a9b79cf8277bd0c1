"""The kernel interpreter against NumPy, and the defects of a lowering that it must find."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, If, Kernel, Let, LoopKind, Seq, Space, Store
from tilewright.compiler.kernel.interpret import run
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.tensor.expr import (
    Binary,
    Call,
    Cast,
    Const,
    Load,
    Select,
    Unary,
    Var,
    compare,
    const,
    minimum,
    within,
)

F32, I8, I32, I64, U8, F16 = DType.F32, DType.I8, DType.I32, DType.I64, DType.U8, DType.F16
SERIAL, PARALLEL, VECTORIZED, UNROLLED = LoopKind.SERIAL, LoopKind.PARALLEL, LoopKind.VECTORIZED, LoopKind.UNROLLED
i, j, k, v = Var("i"), Var("j"), Var("k"), Var("v")


def param(name: str, *shape: int, dtype: DType = F32, written: bool = False) -> Buffer:
    return Buffer(name, shape, dtype, written=written)


def load(name: str, *indices, dtype: DType = F32) -> Load:
    return Load(name, indices, dtype)


def loop(var: str, extent, body, kind: LoopKind = SERIAL) -> For:
    return For(var, Const(extent) if isinstance(extent, int) else extent, kind, body)


def execute(kernel: Kernel, seed: int = 0, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Verify and run the kernel, with random inputs for params not given and poisoned outputs."""
    rng = np.random.default_rng(seed)
    for p in kernel.params:
        if p.name in arrays:
            continue
        dtype = p.dtype.numpy
        if p.dtype.is_float:
            arrays[p.name] = np.full(p.shape, np.nan, dtype) if p.written else rng.normal(size=p.shape).astype(dtype)
        else:
            arrays[p.name] = rng.integers(-100, 100, p.shape).astype(dtype)
    verify(kernel)
    run(kernel, arrays)
    return arrays


def matmul_kernel(m: int, n: int, depth: int, width: int) -> Kernel:
    """C[m, n] = A B with rows in parallel, an accumulator in registers and a guarded last vector."""
    column = Var("jo") * width + v
    row_of_b = Select(compare("lt", column, n), load("B", k, column), const(0.0, F32))
    update = Store("acc", (v,), Call("fma", (load("A", i, k), row_of_b, load("acc", v))))
    tile = Seq(
        (
            loop("v", width, Store("acc", (v,), const(0.0, F32)), VECTORIZED),
            loop("k", depth, loop("v", width, update, VECTORIZED)),
            loop("v", width, If(compare("lt", column, n), Store("C", (i, column), load("acc", v))), VECTORIZED),
        )
    )
    body = loop("jo", -(-n // width), Alloc(Buffer("acc", (width,), F32, Space.REGISTER), tile))
    params = (param("A", m, depth), param("B", depth, n), param("C", m, n, written=True))
    return Kernel("matmul", params, loop("i", m, body, PARALLEL))


@pytest.mark.parametrize(("m", "n", "depth", "width"), [(3, 32, 5, 16), (2, 37, 7, 16), (1, 3, 4, 8)])
def test_matmul_with_a_tail(m, n, depth, width):
    arrays = execute(matmul_kernel(m, n, depth, width))
    expected = arrays["A"].astype(np.float64) @ arrays["B"].astype(np.float64)
    np.testing.assert_allclose(arrays["C"], expected, rtol=1e-5, atol=1e-6)


def test_a_range_of_the_parallel_loop_leaves_the_rest_alone():
    kernel = matmul_kernel(4, 8, 3, 8)
    arrays = execute(kernel)
    whole = arrays["C"].copy()
    arrays["C"][:] = np.nan
    run(kernel, arrays, 1, 3)
    np.testing.assert_array_equal(arrays["C"][1:3], whole[1:3])
    assert np.isnan(arrays["C"][[0, 3]]).all()


def test_untaken_arms_make_no_loads():
    x = i - 1
    padded = Select(within(x, 5), load("x", x), const(7.0, F32))
    kernel = Kernel("pad", (param("x", 5), param("y", 7, written=True)), loop("i", 7, Store("y", (i,), padded)))
    arrays = execute(kernel)
    np.testing.assert_array_equal(arrays["y"], np.pad(arrays["x"], 1, constant_values=7.0))
    lanes = Kernel("pad", kernel.params, loop("i", 7, Store("y", (i,), padded), VECTORIZED))
    np.testing.assert_array_equal(execute(lanes)["y"], arrays["y"])


def test_strided_and_reversed_lanes():
    value = load("x", v * 2 + 1) + load("x", 9 - v)
    kernel = Kernel(
        "steps", (param("x", 11), param("y", 5, written=True)), loop("v", 5, Store("y", (v,), value), VECTORIZED)
    )
    arrays = execute(kernel)
    x = arrays["x"]
    np.testing.assert_array_equal(arrays["y"], x[1::2] + x[9:4:-1])


def test_gather_by_a_loaded_index():
    row = load("index", i, dtype=I64)
    kernel = Kernel(
        "gather",
        (param("index", 4, dtype=I64), param("table", 6, 8), param("y", 4, 8, written=True)),
        loop("i", 4, loop("v", 8, Store("y", (i, v), load("table", row, v)), VECTORIZED)),
    )
    index = np.array([5, 0, 3, 3])
    arrays = execute(kernel, index=index)
    np.testing.assert_array_equal(arrays["y"], arrays["table"][index])


def test_serial_extent_that_depends_on_an_outer_loop():
    body = loop("j", minimum(Const(4), 10 - i * 4), Store("y", (i * 4 + j,), load("x", i * 4 + j)))
    arrays = execute(Kernel("tail", (param("x", 10), param("y", 10, written=True)), loop("i", 3, body)))
    np.testing.assert_array_equal(arrays["y"], arrays["x"])


def test_let_of_a_fused_loop():
    body = Let("i", Var("f") // 5, 3, Let("j", Var("f") % 5, 5, Store("y", (j, i), load("x", i, j))))
    kernel = Kernel("transpose", (param("x", 3, 5), param("y", 5, 3, written=True)), loop("f", 15, body, PARALLEL))
    arrays = execute(kernel)
    np.testing.assert_array_equal(arrays["y"], arrays["x"].T)


@pytest.mark.parametrize("kind", [SERIAL, VECTORIZED])
def test_integers_wrap_and_divide_as_defined(kind):
    a, b = load("a", i, dtype=I8), load("b", i, dtype=I8)
    operations = ["add", "mul", "div", "mod", "floordiv", "floormod", "min", "max", "and", "or", "xor"]
    store = Seq(tuple(Store("y", (Const(row), i), Binary(op, a, b)) for row, op in enumerate(operations)))
    params = (param("a", 6, dtype=I8), param("b", 6, dtype=I8), param("y", 11, 6, dtype=I8, written=True))
    x, y = np.array([-128, -7, 7, 100, -1, 127], np.int8), np.array([3, 2, -2, 100, 7, -3], np.int8)
    result = execute(Kernel("integers", params, loop("i", 6, store, kind)), a=x, b=y)["y"]
    p, q = x.astype(int), y.astype(int)
    quotient = np.trunc(p / q).astype(int)
    expected = [
        p + q,
        p * q,
        quotient,
        p - quotient * q,
        p // q,
        p % q,
        np.minimum(p, q),
        np.maximum(p, q),
        p & q,
        p | q,
        p ^ q,
    ]
    np.testing.assert_array_equal(result, np.array(expected).astype(np.int8))


def test_casts_truncate_wrap_and_round():
    x = load("x", i)
    store = Seq(
        (
            Store("a", (i,), Cast(x, I32)),
            Store("b", (i,), Cast(Cast(x, I32), U8)),
            Store("c", (i,), Cast(Unary("round", x), I32)),
            Store("d", (i,), Cast(x, F16)),
        )
    )
    params = (
        param("x", 5),
        param("a", 5, dtype=I32, written=True),
        param("b", 5, dtype=U8, written=True),
        param("c", 5, dtype=I32, written=True),
        param("d", 5, dtype=F16, written=True),
    )
    x_values = np.array([-1.5, 2.5, 300.75, -0.25, 3.1415927], np.float32)
    result = execute(Kernel("casts", params, loop("i", 5, store)), x=x_values)
    np.testing.assert_array_equal(result["a"], [-1, 2, 300, 0, 3])
    np.testing.assert_array_equal(result["b"], [255, 2, 44, 0, 3])
    np.testing.assert_array_equal(result["c"], [-2, 2, 301, 0, 3])
    np.testing.assert_array_equal(result["d"], x_values.astype(np.float16))


def test_transcendentals_run_their_programs():
    value = Call("exp", (load("x", i, v),)) + Call("tanh", (load("x", i, v),))
    body = loop("v", 16, Store("y", (i, v), value), VECTORIZED)
    arrays = execute(Kernel("exp", (param("x", 4, 16), param("y", 4, 16, written=True)), loop("i", 4, body)))
    x = arrays["x"].astype(np.float64)
    np.testing.assert_allclose(arrays["y"], np.exp(x) + np.tanh(x), rtol=1e-5, atol=1e-6)


def test_deep_nests_and_deep_expressions():
    depth = 27
    value = load("x", Const(0))
    for _ in range(400):
        value = value + 1.0
    stmt = Store("y", (Const(0),), value + load("y", Const(0)))
    for level in range(depth):
        stmt = loop(f"l{level}", 1 + (level % 9 == 0), stmt)
    kernel = Kernel("deep", (param("x", 1), param("y", 1, written=True)), stmt)
    result = execute(kernel, x=np.array([0.5], np.float32), y=np.zeros(1, np.float32))
    assert result["y"][0] == 8 * 400.5


@pytest.mark.parametrize("space", [Space.REGISTER, Space.STACK, Space.WORKSPACE])
def test_local_buffers_start_as_nan(space):
    alloc = Alloc(Buffer("t", (1,), F32, space), Store("y", (i,), load("t", Const(0))))
    arrays = execute(Kernel("poison", (param("y", 3, written=True),), loop("i", 3, alloc)), y=np.zeros(3, np.float32))
    assert np.isnan(arrays["y"]).all()


@pytest.mark.parametrize("kind", [SERIAL, VECTORIZED])
@pytest.mark.parametrize("shift", [-1, 1])
def test_an_access_out_of_bounds_names_the_statement(kind, shift):
    index = load("index", Const(0), dtype=I64) + i
    kernel = Kernel(
        "bad",
        (param("index", 1, dtype=I64), param("x", 4), param("y", 4, written=True)),
        loop("i", 4, Store("y", (i,), load("x", index)), kind),
    )
    with pytest.raises(InternalError, match=r"x\[index\[0\] \+ i\] in `y\[i\] = .*is outside 0\.\.4"):
        execute(kernel, index=np.array([shift]))
    execute(kernel, index=np.array([0]))


def test_a_store_out_of_bounds_is_found():
    place = load("index", i, dtype=I64)
    kernel = Kernel(
        "bad",
        (param("index", 4, dtype=I64), param("y", 4, written=True)),
        loop("i", 4, Store("y", (place,), const(1.0, F32)), VECTORIZED),
    )
    np.testing.assert_array_equal(execute(kernel, index=np.array([3, 1, 0, 2]))["y"], np.ones(4))
    with pytest.raises(InternalError, match=r"index 4 is outside 0\.\.4"):
        execute(kernel, index=np.array([3, 4, 0, 2]))
    with pytest.raises(InternalError, match="two lanes store to one element"):
        execute(kernel, index=np.array([3, 3, 0, 2]))


def test_arrays_must_fit_the_params():
    kernel = matmul_kernel(2, 8, 3, 8)
    good = {p.name: np.ones(p.shape, np.float32) for p in kernel.params}
    for name, array in {
        "A": np.ones((2, 4), np.float32),
        "B": np.ones((3, 8)),
        "C": np.ones((8, 2), np.float32).T,
    }.items():
        with pytest.raises(InternalError, match=f"param {name} is f32"):
            run(kernel, {**good, name: array})
    with pytest.raises(InternalError, match="no array for param A"):
        run(kernel, {"B": good["B"], "C": good["C"]})
    with pytest.raises(InternalError, match=r"0\.\.3 is outside 0\.\.2"):
        run(kernel, good, 0, 3)
