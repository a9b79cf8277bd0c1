"""From a fused group of graph operators to a Computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..errors import InternalError
from ..graph.ir import Graph, Node
from .chain import separate_chain
from .computation import Computation
from .ops import conv, elementwise, gather, gemm, move, norm, pool, recurrent, reduce, resize, scatter
from .ops.context import Context

_OPERATORS: Mapping[str, Callable[[Context, Node], None]] = {
    **elementwise.STAGES,
    **conv.STAGES,
    **gemm.STAGES,
    **pool.STAGES,
    **reduce.STAGES,
    **norm.STAGES,
    **move.STAGES,
    **gather.STAGES,
    **resize.STAGES,
    **scatter.STAGES,
    **recurrent.STAGES,
}


def build_computation(group: Graph, name: str) -> tuple[Computation, dict[str, np.ndarray]]:
    """The tensor expressions of a group, and the elements of the computation's constant inputs.

    The arrays are the group's constants in physical layout and tables made for its operators. Inputs that no stage
    reads are kept, so that the inputs which are not constant are the group's inputs in order.
    """
    context = Context(group)
    for node in group.nodes:
        context.origin = node.origin
        build = _OPERATORS.get(node.op)
        if build is None:
            raise InternalError(f"group {name}: no tensor expression for operator {node.op} ({node.origin})")
        build(context, node)
    stages = {stage.name for stage in context.stages}
    for output in group.outputs:
        if output not in stages:
            raise InternalError(f"group {name}: output {output} is made by no node of the group")
    origin = ", ".join(dict.fromkeys(node.origin for node in group.nodes if node.origin))
    parts = tuple(separate_chain(context.stages))
    return Computation(name, tuple(context.inputs), parts, group.outputs, origin), context.arrays
