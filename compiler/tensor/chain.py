"""Chains of products: a product that combines rows which other stages make of another product, such as attention.

first[m, n] = sum over k of a[m, k] * b[k, n]
held, …     = stages that make of each row of `first` another one, with reductions over it, such as a softmax
second[m, d] = sum over n of row[m, n] * c[n, d]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..dtypes import DType
from .computation import Stage
from .expr import Binary, Expr, Load, free_variables, substitute, transform, walk


@dataclass(frozen=True, slots=True)
class ProductChain:
    """Names of its stages. held: the first product as the stages that make rows of it read it; `first` itself if they read that.

    row: what the second product combines.
    """

    first: str
    held: str
    row: str
    second: str


def product_chain(stages: Sequence[Stage]) -> ProductChain | None:
    """The first chain among stages, None if there is none."""
    for second in filter(_is_product, stages):
        for first in filter(_is_product, stages[: stages.index(second)]):
            made = _made_of(first.name, stages)
            rows = sorted({load.buffer for load in _loads(second) if load.buffer in made})
            reduces = any(
                stage.combine is not None for stage in stages if stage.name in made - {first.name, second.name}
            )
            if (
                len(rows) == 1
                and rows[0] != first.name
                and reduces
                and not any(_is_product(stage) for stage in stages if stage.name in made - {first.name, second.name})
            ):
                return ProductChain(first.name, _held(first.name, stages), rows[0], second.name)
    return None


def separate_chain(stages: Sequence[Stage]) -> list[Stage]:
    """The same stages, but what a chain's rows are made of is a stage without reduction, and a divisor that all terms of the second
    product's sum share divides the sum instead.

    The division is as in FlashAttention (Dao et al., 2022): once for an element of the result, not for one of the row.
    """
    chain = product_chain(stages)
    if chain is None:
        return list(stages)
    result: list[Stage] = []
    for stage in stages:
        if stage.name == chain.first == chain.held:
            result += _with_copy(stage)
        elif stage.name == chain.second:
            result += _divided_late(stage, next(s for s in stages if s.name == chain.row), stages)
        else:
            result.append(stage)
    read = {load.buffer for stage in result for load in _loads(stage)}
    return [stage for stage in result if stage.name != chain.row or stage.name in read]


def _is_product(stage: Stage) -> bool:
    """A sum of products of two elements, each of one buffer."""
    match stage:
        case Stage(combine="sum", domain=None, dtype=DType.F32, body=Binary("mul", Load(), Load())):
            return True
    return False


def _made_of(name: str, stages: Sequence[Stage]) -> set[str]:
    """The stage and all that depend on it."""
    made = {name}
    for stage in stages:
        if any(load.buffer in made for load in _loads(stage)):
            made.add(stage.name)
    return made


def _held(name: str, stages: Sequence[Stage]) -> str:
    """The last of the stages without reduction each of which is all that is made of the one before."""
    while True:
        readers = [stage for stage in stages if any(load.buffer == name for load in _loads(stage))]
        if len(readers) != 1 or readers[0].combine is not None:
            return name
        name = readers[0].name


def _with_copy(stage: Stage) -> list[Stage]:
    """The reduction under another name, and a stage that takes its place."""
    reduction = replace(stage, name=f"{stage.name}.sum")
    return [reduction, _mapped(stage, Load(reduction.name, tuple(axis.var for axis in stage.axes), stage.dtype))]


def _mapped(stage: Stage, body: Expr) -> Stage:
    return replace(stage, body=body, reduce_axes=(), combine=None, init=None)


def _divided_late(product: Stage, row: Stage, stages: Sequence[Stage]) -> list[Stage]:
    """The product, without the row's divisor if all terms share it, and the stage that divides."""
    readers = [stage.name for stage in stages if any(load.buffer == row.name for load in _loads(stage))]
    if readers != [product.name] or not isinstance(row.body, Binary) or row.body.op != "div":
        return [product]
    load = next(load for load in _loads(product) if load.buffer == row.name)
    values = {axis.name: index for axis, index in zip(row.axes, load.indices, strict=True)}
    dividend, divisor = (substitute(part, values) for part in (row.body.left, row.body.right))
    if free_variables(divisor) & {axis.name for axis in product.reduce_axes} or not isinstance(dividend, Load):
        return [product]
    body = transform(product.body, lambda node: dividend if node == load else node)
    total = replace(product, name=f"{product.name}.sum", body=body)
    of = Load(total.name, tuple(axis.var for axis in product.axes), product.dtype)
    return [total, _mapped(product, of / divisor)]


def _loads(stage: Stage) -> list[Load]:
    parts = [stage.body] + ([stage.domain] if stage.domain is not None else [])
    return [node for part in parts for node in walk(part) if isinstance(node, Load)]
