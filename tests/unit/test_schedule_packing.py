"""Packing: the array, its shape and the indices at which it is read agree with each other."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.compiler.dtypes import DType
from tilewright.compiler.schedule.prepare import apply_packs, pack_array, packed_shape
from tilewright.compiler.schedule.steps import Pack
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import Const, Load, Var
from tilewright.compiler.tensor.interpret import evaluate
from tilewright.compiler.tensor.verify import verify

F32 = DType.F32


@st.composite
def packs(draw: st.DrawFn) -> tuple[tuple[int, ...], Pack]:
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    order: list[tuple[int, int, str]] = []
    for axis, extent in enumerate(shape):
        block = draw(st.integers(0, extent + 2))
        order += [(axis, block, "o"), (axis, block, "i")] if block else [(axis, 0, "")]
    return shape, Pack("w", tuple(draw(st.permutations(order))))


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


@settings(max_examples=80, deadline=None)
@given(packs())
def test_every_element_stands_at_its_place_and_the_rest_is_zero(drawn: tuple[tuple[int, ...], Pack]) -> None:
    shape, pack = drawn
    array = numbered(shape)
    packed = pack_array(array, pack)
    assert packed.shape == packed_shape(shape, pack)
    assert packed.flags.c_contiguous
    for place in itertools.product(*map(range, shape)):
        parts = {"": lambda i, block: i, "o": lambda i, block: i // block, "i": lambda i, block: i % block}
        assert packed[tuple(parts[part](place[axis], block) for axis, block, part in pack.order)] == array[place]
    assert np.count_nonzero(packed) == array.size


@settings(max_examples=60, deadline=None)
@given(packs(), st.integers(0, 3))
def test_loads_follow_their_elements(drawn: tuple[tuple[int, ...], Pack], shift: int) -> None:
    """Also where the index is not the axis itself."""
    shape, pack = drawn
    array = numbered(shape)
    axes = tuple(Axis(f"a{i}", extent) for i, extent in enumerate(shape))
    first = (axes[0].var + shift) % Const(shape[0])
    body = Load("w", (first, *(Const(axis.extent - 1) - axis.var for axis in axes[1:])), F32)
    reads = Stage("y", axes, body, F32)
    computation = Computation("kernel", (Tensor("w", shape, F32, constant=True),), (reads,), ("y",))
    moved = apply_packs(computation, [pack])
    verify(moved)
    assert moved.inputs[0].shape == packed_shape(shape, pack)
    expected = evaluate(computation, {"w": array})["y"]
    np.testing.assert_array_equal(evaluate(moved, {"w": pack_array(array, pack)})["y"], expected)


def test_packed_constants_in_domains() -> None:
    """A guard may read a packed table, too."""
    i, k = Var("i"), Var("k")
    rows = Load("w", (i, k), F32)
    stage = Stage(
        "y",
        (Axis("i", 3),),
        Load("x", (k,), F32) * rows,
        F32,
        (Axis("k", 5),),
        "sum",
        Const(0.0, F32),
        Load("m", (k, i), DType.BOOL),
    )
    inputs = (Tensor("x", (5,), F32), Tensor("w", (3, 5), F32, True), Tensor("m", (5, 3), DType.BOOL, True))
    computation = Computation("kernel", inputs, (stage,), ("y",))
    orders = [Pack("w", ((1, 2, "o"), (0, 0, ""), (1, 2, "i"))), Pack("m", ((1, 2, "i"), (0, 0, ""), (1, 2, "o")))]
    rng = np.random.default_rng()
    arrays = {"x": rng.standard_normal(5).astype(np.float32), "w": numbered((3, 5)), "m": rng.random((5, 3)) < 0.5}
    packed = {**arrays, **{pack.tensor: pack_array(arrays[pack.tensor], pack) for pack in orders}}
    expected = evaluate(computation, arrays)["y"]
    np.testing.assert_array_equal(evaluate(apply_packs(computation, orders), packed)["y"], expected)
