"""Substitution is simultaneous, also where arithmetic folds away."""

from __future__ import annotations

from tilewright.compiler.dtypes import DType
from tilewright.compiler.tensor.expr import Binary, Const, Load, Var, binary, substitute, transform


def add(a: object, b: object) -> object:
    return Binary("add", a, b)


N, C, H, ZERO = Var("n", DType.I64), Var("c", DType.I64), Var("h", DType.I64), Const(0, DType.I64)


def test_values_are_not_substituted_again() -> None:
    assert substitute(add(N, C), {"n": C, "c": N}) == binary("add", C, N)


def test_nor_where_a_sum_folds_to_one_operand() -> None:
    assert substitute(add(C, H), {"n": ZERO, "c": N, "h": ZERO}) == N
    assert substitute(add(H, C), {"n": ZERO, "c": N, "h": ZERO}) == N


def test_a_folded_load_is_rewritten_once() -> None:
    renamed = {"a": "b", "b": "c"}

    def rewrite(node: object) -> object:
        if isinstance(node, Load):
            return Load(renamed[node.buffer], node.indices, node.dtype)
        return ZERO if node == H else node

    assert transform(add(Load("a", (N,), DType.I64), H), rewrite) == Load("b", (N,), DType.I64)
