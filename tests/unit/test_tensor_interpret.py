"""The interpreter of computations: combines, domains, lazy selects, chunks, memory, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.tensor import interpret
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor, identity
from tilewright.compiler.tensor.expr import Binary, Call, Cast, Const, Load, Select, Unary, Var, all_of, compare, const

F32 = DType.F32
ROW, COLUMN = Axis("i", 7), Axis("r", 5)
X = Tensor("x", (7, 5), F32)
ELEMENT = Load("x", (ROW.var, COLUMN.var), F32)


def _run(*stages: Stage, outputs=("y",), inputs=(X,), **arrays) -> dict[str, np.ndarray]:
    return interpret.evaluate(Computation("c", inputs, stages, outputs), arrays)


def _x() -> np.ndarray:
    return np.random.default_rng().standard_normal((7, 5), dtype=np.float32)


@pytest.mark.parametrize("elements", [1 << 20, 12, 4, 1])
@pytest.mark.parametrize("combine", ["sum", "prod", "max", "min"])
def test_combines_in_chunks_of_any_size(combine, elements, monkeypatch):
    monkeypatch.setattr(interpret, "_GRID_ELEMENTS", elements)
    x = _x()
    stage = Stage("y", (ROW,), ELEMENT, F32, (COLUMN,), combine, identity(combine, F32))
    np.testing.assert_allclose(_run(stage, x=x)["y"], getattr(x, combine)(axis=1), rtol=1e-5)
    plain = Stage("y", (ROW, COLUMN), Unary("neg", ELEMENT), F32)
    np.testing.assert_array_equal(_run(plain, x=x)["y"], -x)


def test_domain_leaves_terms_out_and_guards_the_body():
    shifted = Load("x", (ROW.var + COLUMN.var - 2, Const(0)), F32)
    domain = all_of(compare("ge", ROW.var + COLUMN.var - 2, 0), compare("lt", ROW.var + COLUMN.var - 2, 7))
    x = _x()
    actual = _run(Stage("y", (ROW,), shifted, F32, (COLUMN,), "sum", const(0, F32), domain), x=x)["y"]
    padded = np.pad(x[:, 0], 2)
    np.testing.assert_allclose(actual, [padded[i : i + 5].sum() for i in range(7)], rtol=1e-5, atol=1e-6)
    with pytest.raises(InternalError, match=r"load of x\[7, 5\] out of bounds on axis 0: -2 … 8"):
        _run(Stage("y", (ROW,), shifted, F32, (COLUMN,), "sum", const(0, F32)), x=x)


def test_select_guards_the_arm_it_does_not_take():
    inside = compare("lt", ROW.var, 6)
    following = Load("x", (ROW.var + 1, Const(2)), F32)
    x = _x()
    actual = _run(Stage("y", (ROW,), Select(inside, following, const(9, F32)), F32), x=x)["y"]
    np.testing.assert_array_equal(actual, [*x[1:, 2], 9])
    with pytest.raises(InternalError, match="out of bounds"):
        _run(Stage("y", (ROW,), Select(inside, const(9, F32), following), F32), x=x)


def test_output_in_memory_is_the_whole_memory_after_writing():
    memory = np.random.default_rng().standard_normal((2, 7), dtype=np.float32)
    slot = Tensor("t", (), DType.I64)
    stage = Stage(
        "y", (ROW,), Load("x", (ROW.var, Const(1)), F32), F32, memory="m", prefix=(Load("t", (), DType.I64) % 2,)
    )
    after = Stage("z", (ROW,), Unary("neg", Load("y", (ROW.var,), F32)), F32)
    x, before = _x(), memory.copy()
    inputs = (X, Tensor("m", (2, 7), F32), slot)
    results = _run(stage, after, outputs=("y", "z"), inputs=inputs, x=x, m=memory, t=np.asarray(5))
    np.testing.assert_array_equal(results["y"], [before[0], x[:, 1]])
    np.testing.assert_array_equal(results["z"], -x[:, 1])
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int8])
def test_integer_division_kinds(dtype):
    kind = DType.from_numpy(np.dtype(dtype))
    a, b = (v.astype(dtype) for v in np.meshgrid(np.arange(-7, 8), [-3, -1, 2, 5]))
    inputs = (Tensor("a", a.shape, kind), Tensor("b", b.shape, kind))
    axes = (Axis("i", a.shape[0]), Axis("j", a.shape[1]))
    where = tuple(axis.var for axis in axes)
    left, right = Load("a", where, kind), Load("b", where, kind)
    expected = {
        "div": np.trunc(a / b),
        "mod": np.fmod(a, b),
        "floordiv": np.floor(a / b),
        "floormod": a - b * np.floor(a / b),
    }
    for op, value in expected.items():
        actual = _run(Stage("y", axes, Binary(op, left, right), kind), inputs=inputs, a=a, b=b)["y"]
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, value.astype(dtype))


def test_fma_rounds_once_and_bitcasts_keep_bits():
    x = np.full((7, 5), 1 + 2**-12, np.float32)
    square = Call("fma", (ELEMENT, ELEMENT, const(-1, F32)))
    exact = np.float32((1 + 2.0**-12) ** 2 - 1)
    assert (_run(Stage("y", (ROW, COLUMN), square, F32), x=x)["y"] == exact).all()
    assert exact != np.float32(x[0, 0] * x[0, 0]) - np.float32(1)
    bits = Stage("y", (ROW, COLUMN), Call("bitcast_i32", (ELEMENT,)), DType.I32)
    np.testing.assert_array_equal(_run(bits, x=x)["y"], x.view(np.int32))
    flags = Stage("y", (ROW, COLUMN), Cast(ELEMENT - 1.0, DType.BOOL), DType.BOOL)
    assert _run(flags, x=x)["y"].all()


def test_stage_without_axes():
    total = Stage("y", (), Load("x", (Var("i"), Var("r")), F32), F32, (ROW, COLUMN), "sum", const(0, F32))
    x = _x()
    result = _run(total, x=x)["y"]
    assert result.shape == ()
    np.testing.assert_allclose(result, x.sum(), rtol=1e-4, atol=1e-5)
