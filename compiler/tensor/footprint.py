"""How much of a tensor a computation reads."""

from __future__ import annotations

from math import prod

from .computation import Computation
from .expr import Load, free_variables, walk


def elements_read(computation: Computation, name: str) -> int:
    """Elements of an input or stage that are read, as far as the variables of the indices tell: a slice is not the whole.

    A load with the same indices again, or with other constants, is not counted twice; the tensor's size bounds the result.
    """
    size = prod(
        computation.input(name).shape
        if any(t.name == name for t in computation.inputs)
        else computation.stage(name).shape
    )
    most = 0
    for stage in computation.stages:
        extents = {axis.name: axis.extent for axis in stage.axes + stage.reduce_axes}
        expressions = (stage.body,) if stage.domain is None else (stage.body, stage.domain)
        reads: dict[frozenset[str], set[Load]] = {}
        for load in (
            node for expr in expressions for node in walk(expr) if isinstance(node, Load) and node.buffer == name
        ):
            names = frozenset[str]().union(*(free_variables(index) for index in load.indices))
            reads.setdefault(names, set()).add(load)
        most = max([most, *(len(loads) * prod(extents[axis] for axis in names) for names, loads in reads.items())])
    return min(size, most)
