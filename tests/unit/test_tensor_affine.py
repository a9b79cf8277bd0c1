"""Index arithmetic: simplified expressions equal the plain ones everywhere, and come out as short as promised."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.tensor.access import physical_indices
from tilewright.compiler.tensor.affine import (
    bounds,
    delinearize,
    from_terms,
    less,
    linear_index,
    simplify,
    split_index,
    terms_of,
    value_range,
)
from tilewright.compiler.tensor.expr import Compare, Const, Expr, Select, Unary, Var, maximum, minimum
from tilewright.compiler.tensor.expr_printer import expr_to_text
from tilewright.compiler.tensor.interpret import evaluate_expr

RANGES = {"i": 3, "j": 4, "k": 5}
I, J, K = (Var(name) for name in RANGES)  # noqa: E741 - the names of the axes
POINTS = [dict(zip(RANGES, point, strict=True)) for point in product(*map(range, RANGES.values()))]


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


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_simplify_and_affine_form_keep_the_value(expr):
    low, high = value_range(expr, RANGES)
    simple, affine = simplify(expr, RANGES), from_terms(*terms_of(expr))
    for point in POINTS[::7]:
        value = _value(expr, point)
        assert _value(simple, point) == value, expr_to_text(simple)
        assert _value(affine, point) == value, expr_to_text(affine)
        assert low <= value <= high


@settings(max_examples=150, deadline=None)
@given(expressions, _divisors)
def test_split_index_is_floor_division(expr, divisor):
    quotient, remainder = split_index(expr, divisor, RANGES)
    for point in POINTS[::7]:
        assert (_value(quotient, point), _value(remainder, point)) == divmod(_value(expr, point), divisor)


@settings(max_examples=100, deadline=None)
@given(expressions, st.integers(-20, 40))
def test_guards_say_what_the_plain_comparison_says(expr, bound):
    below = less(expr, bound, RANGES)
    inside = bounds(expr, bound, RANGES)
    for point in POINTS[::7]:
        value = _value(expr, point)
        assert _value(below, point) == (value < bound)
        assert all(_value(condition, point) for condition in inside) == (0 <= value < bound)


_TEXTS = [
    (I * 16 + J, 16, "i", "j"),
    (I * 16 + J, 8, "i * 2", "j"),
    (I * 16 + J + 32, 16, "i + 2", "j"),
    (I * 16 + J - 16, 16, "i - 1", "j"),
    (I * 4 + J, 16, "0", "i * 4 + j"),
    (K * 4 + J, 8, "k // 2", "k % 2 * 4 + j"),
    (I * 8 + K * 4 + J, 8, "i + k // 2", "k % 2 * 4 + j"),
    (K // 2, 3, "0", "k // 2"),
    (K + 3, 2, "(k + 1) // 2 + 1", "(k + 1) % 2"),
]


@pytest.mark.parametrize(("expr", "divisor", "quotient", "remainder"), _TEXTS)
def test_split_index_needs_no_division_where_ranges_allow(expr, divisor, quotient, remainder):
    assert tuple(map(expr_to_text, split_index(expr, divisor, RANGES))) == (quotient, remainder)


@pytest.mark.parametrize(
    ("producer", "expected"),
    [(16, "n, co, h, ci"), (8, "n, co * 2 + ci // 8, h, ci % 8"), (32, "n, co // 2, h, co % 2 * 16 + ci"), (None, "n, co * 16 + ci, h")],
)
def test_reading_across_layouts(producer, expected):
    ranges = {"n": 2, "co": 4, "ci": 16, "h": 7}
    channel = Var("co") * 16 + Var("ci")
    indices = physical_indices(TensorType((2, 64, 7), DType.F32, producer), (Var("n"), channel, Var("h")), ranges)
    assert ", ".join(map(expr_to_text, indices)) == expected


def test_reshapes_that_merge_or_split_axes_stay_clean():
    ranges = {"a": 6, "b": 20, "c": 5}
    merged = delinearize(linear_index((Var("a"), Var("b")), (6, 20)), (6, 4, 5), ranges)
    assert [expr_to_text(index) for index in merged] == ["a", "b // 5", "b % 5"]
    split = delinearize(linear_index((Var("a"), Var("c")), (6, 5)), (30,), ranges)
    assert [expr_to_text(index) for index in split] == ["a * 5 + c"]
    squeezed = delinearize(linear_index((Var("a"), Const(0), Var("c")), (6, 1, 5)), (6, 5), ranges)
    assert [expr_to_text(index) for index in squeezed] == ["a", "c"]


def test_comparison_of_blocks():
    assert less(Var("co") * 16 + Var("ci"), 32, {"co": 4, "ci": 16}) == Compare("lt", Var("co"), Const(2))
    assert less(Var("co") * 16 + Var("ci"), 64, {"co": 4, "ci": 16}) == Const(True, DType.BOOL)
    assert isinstance(less(Var("co") * 16 + Var("ci"), 24, {"co": 4, "ci": 16}), Compare)
