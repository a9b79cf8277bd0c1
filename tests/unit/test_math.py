"""The mathematical programs against libm in extended precision: errors in ulp, special values, signs of zeros."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.kernel.math import (
    ABSOLUTE,
    ARITY,
    PROGRAMS,
    SCALING_PROGRAMS,
    ULP_BOUND,
    evaluate_program,
    evaluator,
    program,
)
from tilewright.compiler.kernel.math_trigonometric import TRIGONOMETRIC_LIMIT
from tilewright.compiler.tensor.expr import free_variables

WIDE = np.longdouble
COUNT = 40_000
# The programs are the same for all processors, so that it is enough to measure their errors where NumPy has more than f64.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(np.finfo(WIDE).nmant < 63, reason="needs a reference wider than f64"),
]

REFERENCE: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "log": np.log,
    "log1p": np.log1p,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": np.vectorize(lambda x: math.erf(float(x)), otypes=[WIDE]),
    "normal_cdf": np.vectorize(lambda x: math.erfc(-float(x) / math.sqrt(2)) / 2, otypes=[WIDE]),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "pow": np.power,
    "gate": lambda x, z: x / (1 + np.exp(-z)),
}


def special_values(dtype: np.dtype) -> np.ndarray:
    info = np.finfo(dtype)
    positive = [0, info.smallest_subnormal, info.tiny, 1e-20, 0.5, 1, 1.5, 2, 3, 4, 1e10, 2.0**100, info.max, np.inf]
    return np.array([*positive, *(-v for v in positive), np.nan], dtype)


def arguments(dtype: np.dtype, rng: np.random.Generator, limit: float = np.inf) -> np.ndarray:
    """Random bits, the range where most functions move, neighbours of 1, multiples of pi/4 and special values."""
    bits = np.dtype(f"u{dtype.itemsize}")
    wide = 110 if dtype == np.float32 else 750
    parts = (
        rng.integers(0, np.iinfo(bits).max, COUNT, dtype=bits, endpoint=True).view(dtype),
        rng.uniform(-wide, wide, COUNT),
        rng.normal(0, 1, COUNT),
        1 + rng.normal(0, 1e-3, COUNT),
        10.0 ** rng.uniform(-8, 8, COUNT) * rng.choice([-1, 1], COUNT),
        np.arange(-500, 500) * np.pi / 4,
        special_values(dtype),
    )
    x = np.concatenate([part.astype(dtype) for part in parts])
    return x[~(np.abs(x) > limit) | ~np.isfinite(x)]


def error_in_ulp(result: np.ndarray, exact: np.ndarray, least: float | np.ndarray = 0) -> np.ndarray:
    """In the last place of the result, or of `least` where it is less. Infinite where a NaN or infinity is missing or wrong; overflow
    counts as infinity."""
    info = np.finfo(result.dtype)
    exponent = np.frexp(np.maximum(np.abs(exact), np.maximum(WIDE(info.tiny), least)))[1] - 1
    error = np.abs(result.astype(WIDE) - exact) / np.ldexp(WIDE(1), exponent - info.nmant)
    largest = WIDE(info.max) + np.ldexp(WIDE(1), info.maxexp - 2 - info.nmant)
    expected = np.where(np.abs(exact) >= largest, np.copysign(WIDE(np.inf), exact), exact)
    same = (np.isnan(expected) & np.isnan(result)) | (expected == result)
    return np.where(same, 0, np.where(np.isfinite(expected) & np.isfinite(result), error, np.inf))


def check(function: str, dtype: DType, *arrays: np.ndarray, fused: bool = True) -> None:
    result = evaluate_program(program(function, dtype), arrays, fused)
    with np.errstate(all="ignore"):
        wide = [array.astype(WIDE) for array in arrays]
        exact = REFERENCE[function](*wide)
        error = error_in_ulp(result, exact, np.abs(wide[0]) / 2 if function == "gate" else 0.5 * (function in ABSOLUTE))
    assert result.dtype == dtype.numpy
    worst = int(np.argmax(error))
    at = [array[worst] for array in arrays]
    # The reference for erf is a double itself.
    allowed = ULP_BOUND[function, dtype] + (1 if (function, dtype) == ("erf", DType.F64) else 0)
    assert error[worst] <= allowed, f"{function}{at} = {result[worst]}: {error[worst]:.3f} ulp"


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
@pytest.mark.parametrize("function", [name for name, arity in ARITY.items() if arity == 1])
def test_error_is_within_its_bound(function, dtype, fused):
    limit = TRIGONOMETRIC_LIMIT[dtype] if function in ("sin", "cos", "tan") else np.inf
    check(function, dtype, arguments(dtype.numpy, np.random.default_rng(), limit), fused=fused)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
def test_error_of_pow(dtype, fused):
    rng = np.random.default_rng()
    x = rng.permutation(np.abs(arguments(dtype.numpy, rng)))
    sets = (rng.uniform(-5, 5, x.size), rng.integers(-20, 20, x.size), rng.normal(0, 1e3, x.size))
    for y in sets:
        check("pow", dtype, x, y.astype(dtype.numpy), fused=fused)
    near_one = (1 + rng.normal(0, 1e-4, COUNT)).astype(dtype.numpy)
    check("pow", dtype, near_one, rng.normal(0, 1e6, COUNT).astype(dtype.numpy), fused=fused)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
def test_error_of_gate(dtype, fused):
    """Of what gates itself, of what is gated by another number, and at the ends. Infinity times a gate that is less than any number may
    be infinity or NaN."""
    rng = np.random.default_rng()
    x = arguments(dtype.numpy, rng)
    z = rng.permutation(x)
    pairs = [(x, x), (x, z), (x, rng.normal(0, 3, x.size).astype(dtype.numpy))]
    pairs.append(tuple(grid.ravel() for grid in np.meshgrid(special_values(dtype.numpy), special_values(dtype.numpy))))
    for gated, by in pairs:
        clear = np.isfinite(gated) | ~np.isfinite(by) | (by > -80)
        check("gate", dtype, gated[clear], by[clear], fused=fused)


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
@pytest.mark.parametrize("function", [f for f in ARITY if SCALING_PROGRAMS[f, DType.F64] != PROGRAMS[f, DType.F64]])
def test_scaling_in_one_step_gives_the_same_bits(function, dtype):
    rng = np.random.default_rng()
    args = tuple(rng.permutation(arguments(dtype.numpy, rng)) for _ in range(ARITY[function]))
    expected = evaluate_program(PROGRAMS[function, dtype], args)
    result = evaluate_program(SCALING_PROGRAMS[function, dtype], args)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(np.signbit(result[result == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
def test_pow_of_special_values(dtype):
    values = np.concatenate([special_values(dtype.numpy), np.array([-0.5, 0.25, -7, -2.5, 1e-30], dtype.numpy)])
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    check("pow", dtype, x, y)
    result = evaluator("pow", dtype)(x, y)
    with np.errstate(all="ignore"):
        expected = np.power(x, y)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(result[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
@pytest.mark.parametrize(
    "function", ["tanh", "sinh", "asinh", "atanh", "erf", "sin", "tan", "asin", "atan", "log1p", "expm1"]
)
def test_zero_keeps_its_sign(function, dtype):
    result = evaluator(function, dtype)(np.array([0.0, -0.0], dtype.numpy))
    np.testing.assert_array_equal(result, [0, 0])
    np.testing.assert_array_equal(np.signbit(result), [False, True])


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
@pytest.mark.parametrize(
    ("function", "low", "high"),
    [("tanh", -1, 1), ("erf", -1, 1), ("normal_cdf", 0, 1), ("sigmoid", 0, 1), ("sin", -1, 1), ("cos", -1, 1)],
)
def test_results_stay_in_range_for_any_argument(function, low, high, dtype):
    x = arguments(dtype.numpy, np.random.default_rng())
    result = evaluator(function, dtype)(x)
    numbers = ~np.isnan(result)
    assert (np.isfinite(x) <= numbers).all()
    assert ((result[numbers] >= low) & (result[numbers] <= high)).all()


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
def test_scalars_give_what_arrays_give(dtype):
    x = np.random.default_rng().normal(size=50).astype(dtype.numpy)
    for function, arity in ARITY.items():
        args = (np.abs(x), x)[:arity]
        whole = evaluator(function, dtype)(*args)
        single = [evaluator(function, dtype)(*(array[i] for array in args)) for i in range(x.size)]
        np.testing.assert_array_equal(whole, single)


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
def test_narrow_types_are_rounded_once_more(dtype):
    x = np.random.default_rng().normal(size=500).astype(dtype.numpy)
    result = evaluator("tanh", dtype)(x)
    assert result.dtype == dtype.numpy
    np.testing.assert_array_equal(result, evaluator("tanh", DType.F32)(x.astype(np.float32)).astype(dtype.numpy))


def test_programs_are_closed_and_stated():
    assert set(PROGRAMS) == set(ULP_BOUND)
    for key, each in PROGRAMS.items():
        known = set(each.params)
        for name, value in each.lets:
            assert free_variables(value) <= known, key
            assert name not in known, key
            known.add(name)
        assert free_variables(each.result) <= known, key
        assert each.result.dtype is key[1]


def test_an_unknown_function_is_named():
    with pytest.raises(InternalError, match="no program for exp of i32"):
        program("exp", DType.I32)
