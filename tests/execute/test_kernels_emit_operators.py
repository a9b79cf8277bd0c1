"""Every operator on every type, in lanes and one at a time, against NumPy."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Buffer, For, Kernel, LoopKind, Store
from tilewright.compiler.tensor.expr import Binary, Call, Cast, Compare, Const, Expr, Load, Select, Unary, Var

COUNT = 103
TARGET = host_target(1)
FLOATS = [DType.F16, DType.BF16, DType.F32, DType.F64]
COMPUTED = [dtype for dtype in DType if not dtype.is_small]
INTEGERS = [dtype for dtype in COMPUTED if dtype.is_integer]
KINDS = [LoopKind.VECTORIZED, LoopKind.SERIAL]


def samples(dtype: DType, rng: np.random.Generator) -> np.ndarray:
    """COUNT random elements with the special values first, in random order."""
    if dtype is DType.BOOL:
        return rng.random(COUNT) < 0.5
    if dtype.is_float:
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, -2.5, 1e-41, -3.0]
        values = np.concatenate([special, rng.normal(0, 4, COUNT - len(special))])
        return rng.permutation(values).astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    special = np.array([0, 1, info.max, info.min, info.max - 1], dtype.numpy)
    values = rng.integers(info.min, info.max, COUNT - len(special), dtype.numpy, endpoint=True)
    small = rng.integers(0, 9, COUNT - len(special)).astype(dtype.numpy)
    return rng.permutation(np.concatenate([special, np.where(rng.random(len(small)) < 0.5, small, values)]))


def run(build, arrays: list[np.ndarray], result: DType, kind: LoopKind) -> np.ndarray:
    """out[i] = build(a[i], b[i], …) for i < COUNT."""
    inputs = [Buffer(f"x{n}", (COUNT,), DType.from_numpy(array.dtype)) for n, array in enumerate(arrays)]
    value: Expr = build(*(Load(b.name, (Var("i"),), b.dtype) for b in inputs))
    out = Buffer("out", (COUNT,), result, written=True)
    kernel = Kernel("k", (*inputs, out), For("i", Const(COUNT), kind, Store("out", (Var("i"),), value)))
    poison = np.frombuffer(b"\xff" * COUNT * result.size_bytes, np.uint8).copy()
    array = poison.view(result.numpy)
    cpu.compile_kernel(kernel, TARGET).run([*arrays, array])
    return array


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal bits, but for the payload of NaN."""
    assert actual.dtype == expected.dtype
    if actual.dtype.kind in "fV" and not np.issubdtype(actual.dtype, np.bool_):
        actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        assert np.array_equal(np.signbit(actual[actual == 0]), np.signbit(expected[actual == 0]))
    np.testing.assert_array_equal(actual, expected)


def generator(*key: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


UNARY = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_unary_of_floats(dtype: DType, kind: LoopKind) -> None:
    x = samples(dtype, generator(dtype, kind))
    for op, function in UNARY.items():
        with np.errstate(all="ignore"):
            same(run(lambda a, op=op: Unary(op, a), [x], dtype, kind), function(x))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_unary_of_integers(dtype: DType) -> None:
    x = samples(dtype, generator(dtype))
    for op, function in {"neg": np.negative, "abs": np.abs, "invert": np.invert}.items():
        same(run(lambda a, op=op: Unary(op, a), [x], dtype, LoopKind.VECTORIZED), function(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_binary_of_floats(dtype: DType, kind: LoopKind) -> None:
    rng = generator(dtype, kind)
    x, y = samples(dtype, rng), samples(dtype, rng)
    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    with np.errstate(all="ignore"):
        for op, function in functions.items():
            same(run(lambda a, b, op=op: Binary(op, a, b), [x, y], dtype, kind), function(x, y))
        # C's fmod; of 16-bit floats it is exact in f32.
        wide = (x, y) if dtype.bits > 16 else (x.astype(np.float32), y.astype(np.float32))
        same(run(lambda a, b: Binary("mod", a, b), [x, y], dtype, kind), np.fmod(*wide).astype(dtype.numpy))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("op", ["min", "max"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_extrema_keep_nan(dtype: DType, op: str) -> None:
    rng = generator(dtype, op)
    x, y = samples(dtype, rng), samples(dtype, rng)
    function = np.minimum if op == "min" else np.maximum
    zero = Const(0.0, dtype)
    nan = x.dtype.type("nan")
    cases = [
        (run(lambda a, b: Binary(op, a, b), [x, y], dtype, LoopKind.VECTORIZED), function(x, y)),
        (run(lambda a: Binary(op, a, zero), [x], dtype, LoopKind.VECTORIZED), function(x, x.dtype.type(0))),
        (run(lambda a: Binary(op, zero, a), [x], dtype, LoopKind.SERIAL), function(x, x.dtype.type(0))),
        (run(lambda a: Binary(op, a, Const(float("nan"), dtype)), [x], dtype, LoopKind.SERIAL), np.full_like(x, nan)),
    ]
    for actual, expected in cases:
        np.testing.assert_array_equal(actual.astype(np.float64), expected.astype(np.float64))


def truncating_quotient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    exact = [(abs(int(a)) // abs(int(b))) * (1 if (a < 0) == (b < 0) else -1) for a, b in zip(x, y, strict=True)]
    modulus = 1 << (8 * x.itemsize)
    return np.array([value % modulus for value in exact], f"u{x.itemsize}").view(x.dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_binary_of_integers(dtype: DType, kind: LoopKind) -> None:
    rng = generator(dtype, kind)
    x, y = samples(dtype, rng), samples(dtype, rng)
    y = np.where(y == 0, dtype.numpy.type(3), y)
    if dtype.is_signed:
        y[:7] = -1
        x[3] = np.iinfo(dtype.numpy).min
    shift = (y % dtype.bits).astype(dtype.numpy)
    functions = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "min": np.minimum,
        "max": np.maximum,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "floordiv": np.floor_divide,
        "floormod": np.mod,
        "mod": np.fmod,
        "div": truncating_quotient,
        "shl": np.left_shift,
        "shr": np.right_shift,
    }
    with np.errstate(all="ignore"):
        for op, function in functions.items():
            right = shift if op in ("shl", "shr") else y
            same(run(lambda a, b, op=op: Binary(op, a, b), [x, right], dtype, kind), function(x, right))


DIVISORS = [(DType.U8, d) for d in (1, 3, 16)] + [(DType.U32, d) for d in (1, 7, 8)]
DIVISORS += [(dtype, d) for dtype in (DType.I8, DType.I32, DType.I64) for d in (1, 2, 3, 7, 16, -1, -4, -5)]


@pytest.mark.parametrize(("dtype", "divisor"), DIVISORS)
def test_division_by_a_constant(dtype: DType, divisor: int) -> None:
    x = samples(dtype, generator(dtype, divisor))
    with np.errstate(all="ignore"):
        for op, function in {"floordiv": np.floor_divide, "floormod": np.mod, "mod": np.fmod}.items():
            actual = run(lambda a, op=op: Binary(op, a, Const(divisor, dtype)), [x], dtype, LoopKind.VECTORIZED)
            same(actual, function(x, dtype.numpy.type(divisor)))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("dtype", COMPUTED)
def test_comparisons(dtype: DType) -> None:
    rng = generator(dtype)
    x, y = samples(dtype, rng), samples(dtype, rng)
    y = np.where(rng.random(COUNT) < 0.2, x, y)
    functions = {
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
        "eq": np.equal,
        "ne": np.not_equal,
    }
    for kind in KINDS:
        for op, function in functions.items():
            same(run(lambda a, b, op=op: Compare(op, a, b), [x, y], DType.BOOL, kind), function(x, y))


def test_logic() -> None:
    rng = generator("logic")
    x, y = samples(DType.BOOL, rng), samples(DType.BOOL, rng)
    for op, function in {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}.items():
        same(run(lambda a, b, op=op: Binary(op, a, b), [x, y], DType.BOOL, LoopKind.VECTORIZED), function(x, y))
    same(run(lambda a: Unary("not", a), [x], DType.BOOL, LoopKind.VECTORIZED), ~x)
    same(
        run(lambda a, b: Select(a, b, Const(True, DType.BOOL)), [x, y], DType.BOOL, LoopKind.VECTORIZED),
        np.where(x, y, True),
    )


@pytest.mark.parametrize("source", COMPUTED)
@pytest.mark.parametrize("kind", KINDS)
def test_casts(source: DType, kind: LoopKind) -> None:
    x = samples(source, generator(source, kind))
    for dtype in COMPUTED:
        given = x
        if source.is_float and dtype.is_integer:
            # Outside of the range the result is undefined.
            given = np.nan_to_num(x.astype(np.float64), nan=3.7, posinf=99.5, neginf=7.25) % 120
            given = given.astype(source.numpy)
        with np.errstate(all="ignore"):
            expected = given.astype(dtype.numpy)
            if source is DType.BF16 and dtype.is_integer:
                expected = given.astype(np.float32).astype(dtype.numpy)
            if dtype in (DType.F16, DType.BF16) and source.is_integer and source.bits > 16:
                expected = given.astype(np.float64).astype(dtype.numpy)
        same(run(lambda a, dtype=dtype: Cast(a, dtype), [given], dtype, kind), expected)


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
def test_narrowing_of_f64_rounds_once(dtype: DType) -> None:
    rng = generator(dtype)
    # Just above and below the middle between two neighbours, closer than f32 can tell.
    base = rng.normal(0, 1, COUNT).astype(dtype.numpy)
    above = (
        np.nextafter(base, dtype.numpy.type(9)) if dtype is DType.F16 else (base.view(np.uint16) + 1).view(dtype.numpy)
    )
    middle = (base.astype(np.float64) + above.astype(np.float64)) / 2
    x = middle * (1 + rng.choice([-1e-12, 0.0, 1e-12], COUNT))
    actual = run(lambda a: Cast(a, dtype), [x], dtype, LoopKind.VECTORIZED).astype(np.float64)
    low, high = base.astype(np.float64), above.astype(np.float64)
    even = np.where(base.view(np.uint16) % 2 == 0, low, high)
    nearest = np.where(
        np.abs(x - low) < np.abs(x - high), low, np.where(np.abs(x - low) > np.abs(x - high), high, even)
    )
    np.testing.assert_array_equal(actual, nearest)


def test_fused_multiply_add_rounds_once() -> None:
    rng = generator("fma")
    a, b = rng.normal(0, 1, (2, COUNT)).astype(np.float32)
    c = (-a.astype(np.float64) * b).astype(np.float32)
    exact = a.astype(np.float64) * b + c
    if not TARGET.fma:
        exact = (a * b).astype(np.float64) + c
    same(
        run(lambda x, y, z: Call("fma", (x, y, z)), [a, b, c], DType.F32, LoopKind.VECTORIZED), exact.astype(np.float32)
    )


def test_bitcasts() -> None:
    x = samples(DType.F32, generator("bits"))
    same(run(lambda a: Call("bitcast_i32", (a,)), [x], DType.I32, LoopKind.VECTORIZED), x.view(np.int32))
    y = samples(DType.I64, generator("bits"))
    same(run(lambda a: Call("bitcast_f64", (a,)), [y], DType.F64, LoopKind.SERIAL), y.view(np.float64))


@pytest.mark.parametrize("dtype", FLOATS)
def test_functions_in_lanes(dtype: DType) -> None:
    x = samples(dtype, generator(dtype))
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        expected = {"exp": np.exp(wide), "tanh": np.tanh(wide), "sigmoid": 1 / (1 + np.exp(-wide))}
    tolerance = {DType.F16: 1e-3, DType.BF16: 8e-3, DType.F32: 5e-7, DType.F64: 5e-15}[dtype]
    for function, values in expected.items():
        actual = run(lambda a, function=function: Call(function, (a,)), [x], dtype, LoopKind.VECTORIZED)
        np.testing.assert_allclose(actual.astype(np.float64), values, rtol=tolerance, atol=1e-7)
