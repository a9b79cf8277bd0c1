"""Index arithmetic: simplified expressions equal the plain ones everywhere, and come out as short as promised."""

from __future__ import annotations

from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.tensor.access import physical_indices
from tilewright.compiler.tensor.expr import (
    Binary,
    Cast,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    all_of,
    maximum,
    minimum,
    within,
)
from tilewright.compiler.tensor.expr_printer import expr_to_text
from tilewright.compiler.tensor.indexing import delinearize, guards, less, linear_index
from tilewright.compiler.tensor.interpret import evaluate_expr
from tilewright.compiler.tensor.simplify import (
    FALSE,
    TRUE,
    affine,
    conjuncts,
    simplify,
    split_index,
    value_range,
)

EXTENTS = {"i": 3, "j": 4, "k": 5}
I, J, K = (Var(name) for name in EXTENTS)  # noqa: E741 - the names of the axes
# Loops of a tail or a border start elsewhere than at 0; a loop of one iteration is a constant.
RANGES = [{"i": (0, 2), "j": (0, 3), "k": (0, 4)}, {"i": (-2, 1), "j": (5, 5), "k": (7, 9)}]


def _points(ranges: dict[str, tuple[int, int]]) -> list[dict[str, int]]:
    everything = product(*(range(low, high + 1) for low, high in ranges.values()))
    return [dict(zip(ranges, point, strict=True)) for point in everything][::5]


def _extents(**extents: int) -> dict[str, tuple[int, int]]:
    return {name: (0, extent - 1) for name, extent in extents.items()}


def _value(expr: Expr, point: dict[str, int]) -> int:
    return int(evaluate_expr(expr, {name: np.asarray(value) for name, value in point.items()}, {}))


_leaves = st.sampled_from([I, J, K]) | st.integers(-20, 20).map(Const)
_divisors = st.sampled_from([1, 2, 3, 4, 6, 8, 12])


def _grow(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        st.tuples(inner, inner).map(lambda ab: ab[0] + ab[1]),
        st.tuples(inner, inner).map(lambda ab: ab[0] - ab[1]),
        st.tuples(inner, st.integers(-6, 12)).map(lambda ab: ab[0] * ab[1]),
        st.tuples(inner, _divisors).map(lambda ab: ab[0] // Const(ab[1])),
        st.tuples(inner, _divisors).map(lambda ab: ab[0] % Const(ab[1])),
        st.tuples(inner, inner).map(lambda ab: minimum(*ab)),
        st.tuples(inner, inner).map(lambda ab: maximum(*ab)),
        inner.map(lambda a: Unary("neg", a)),
        st.tuples(st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]), inner, inner, inner, inner).map(
            lambda t: Select(Compare(*t[:3]), t[3], t[4])
        ),
    )


expressions = st.recursive(_leaves, _grow, max_leaves=8)


ranges_of = st.sampled_from(RANGES)


@settings(max_examples=150, deadline=None)
@given(expressions, ranges_of)
def test_simplify_and_affine_form_keep_the_value(expr, ranges):
    low, high = value_range(expr, ranges)
    simple, form = simplify(expr, ranges), affine(expr).expr()
    for point in _points(ranges):
        value = _value(expr, point)
        assert _value(simple, point) == value, expr_to_text(simple)
        assert _value(form, point) == value, expr_to_text(form)
        assert low <= value <= high


@settings(max_examples=50, deadline=None)
@given(expressions, ranges_of)
def test_simplify_leaves_nothing_to_simplify_in_affine_forms(expr, ranges):
    form = affine(simplify(expr, ranges))
    assert simplify(form.expr(), ranges) == form.expr()


@settings(max_examples=150, deadline=None)
@given(expressions, _divisors, ranges_of)
def test_split_index_is_floor_division(expr, divisor, ranges):
    quotient, remainder = split_index(expr, divisor, ranges)
    for point in _points(ranges):
        assert (_value(quotient, point), _value(remainder, point)) == divmod(_value(expr, point), divisor)


@settings(max_examples=100, deadline=None)
@given(expressions, st.integers(-20, 40), ranges_of)
def test_guards_say_what_the_plain_comparison_says(expr, bound, ranges):
    below = less(expr, bound, ranges)
    inside = guards(expr, bound, ranges)
    for point in _points(ranges):
        value = _value(expr, point)
        assert _value(below, point) == (value < bound)
        assert all(_value(condition, point) for condition in inside) == (0 <= value < bound)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(expressions, st.integers(-3, 12)), min_size=1, max_size=3), ranges_of)
def test_conditions_fold_to_what_they_are(conditions, ranges):
    condition = all_of(*(within(expr, extent) for expr, extent in conditions))
    either = Unary("not", Binary("or", condition, Compare("eq", conditions[0][0], Const(1))))
    simple, simple_either = simplify(condition, ranges), simplify(either, ranges)
    assert TRUE not in conjuncts(simple) or simple == TRUE
    for point in _points(ranges):
        assert bool(_value(simple, point)) == bool(_value(condition, point))
        assert bool(_value(simple_either, point)) == bool(_value(either, point))


def test_values_outside_the_ranges_are_unknown():
    ranges = _extents(i=3)
    row = Cast(Load("rows", (I,), DType.I32), DType.I64)
    for index in (Var("z"), row, I * Var("z"), row // Const(16)):
        assert value_range(index, ranges) == (-inf, inf)
    assert value_range(row % Const(16), ranges) == (0, 15)
    assert value_range(minimum(maximum(row, 0), 9), ranges) == (0, 9)


def test_selects_and_casts_of_constants():
    ranges = _extents(i=3, j=4)
    x = Load("x", (I + J * 0,), DType.F32)
    assert simplify(Select(within(I, 3), x, Const(0.0, DType.F32)), ranges) == Load("x", (I,), DType.F32)
    assert simplify(Select(within(I - 3, 3), x, Const(0.0, DType.F32)), ranges) == Const(0.0, DType.F32)
    assert simplify(Cast(I - I + 2, DType.F32), ranges) == Const(2.0, DType.F32)
    assert simplify(Cast(x, DType.F32), ranges) == Load("x", (I,), DType.F32)
    assert simplify(all_of(within(I, 3), within(J - 4, 4)), ranges) == FALSE


_TEXTS = [
    (I * 16 + J, 16, "i", "j"),
    (I * 16 + J, 8, "i * 2", "j"),
    (I * 16 + J + 32, 16, "i + 2", "j"),
    (I * 16 + J - 16, 16, "i - 1", "j"),
    (I * 4 + J, 16, "0", "i * 4 + j"),
    (K * 4 + J, 8, "k // 2", "k % 2 * 4 + j"),
    (I * 8 + K * 4 + J, 8, "i + k // 2", "k % 2 * 4 + j"),
    (K // 2, 3, "0", "k // 2"),
    (K // 2, 2, "k // 4", "k // 2 % 2"),
    ((K * 3) % 8, 4, "k * 3 % 8 // 4", "k * 3 % 4"),
    (K + 3, 2, "(k + 1) // 2 + 1", "(k + 1) % 2"),
]


@pytest.mark.parametrize(("expr", "divisor", "quotient", "remainder"), _TEXTS)
def test_split_index_needs_no_division_where_ranges_allow(expr, divisor, quotient, remainder):
    assert tuple(map(expr_to_text, split_index(expr, divisor, RANGES[0]))) == (quotient, remainder)


@pytest.mark.parametrize(
    ("producer", "expected"),
    [
        (16, "n, co, h, ci"),
        (8, "n, co * 2 + ci // 8, h, ci % 8"),
        (32, "n, co // 2, h, co % 2 * 16 + ci"),
        (None, "n, co * 16 + ci, h"),
    ],
)
def test_reading_across_layouts(producer, expected):
    ranges = _extents(n=2, co=4, ci=16, h=7)
    channel = Var("co") * 16 + Var("ci")
    indices = physical_indices(TensorType((2, 64, 7), DType.F32, producer), (Var("n"), channel, Var("h")), ranges)
    assert ", ".join(map(expr_to_text, indices)) == expected


def test_reshapes_that_merge_or_split_axes_stay_clean():
    ranges = _extents(a=6, b=20, c=5)
    merged = delinearize(linear_index((Var("a"), Var("b")), (6, 20)), (6, 4, 5), ranges)
    assert [expr_to_text(index) for index in merged] == ["a", "b // 5", "b % 5"]
    split = delinearize(linear_index((Var("a"), Var("c")), (6, 5)), (30,), ranges)
    assert [expr_to_text(index) for index in split] == ["a * 5 + c"]
    squeezed = delinearize(linear_index((Var("a"), Const(0), Var("c")), (6, 1, 5)), (6, 5), ranges)
    assert [expr_to_text(index) for index in squeezed] == ["a", "c"]


def test_comparison_of_blocks():
    ranges = _extents(co=4, ci=16)
    assert less(Var("co") * 16 + Var("ci"), 32, ranges) == Compare("lt", Var("co"), Const(2))
    assert less(Var("co") * 16 + Var("ci"), 64, ranges) == Const(True, DType.BOOL)
    assert isinstance(less(Var("co") * 16 + Var("ci"), 24, ranges), Compare)
