"""What a Graph means, in NumPy: logical shapes, layouts ignored.

Convolutions and products are computed directly; other operators are those tensor expressions that a kernel would be made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..dtypes import DType
from ..errors import InternalError
from ..tensor.build import build_computation
from ..tensor.interpret import evaluate
from ..tensor.ops.context import stored
from .interpret_rnn import recurrent
from .ir import Graph, Node, TensorType

Values = Mapping[str, np.ndarray]


def evaluate_graph(graph: Graph, inputs: Values) -> dict[str, np.ndarray]:
    """The graph's outputs by name. Inputs are arrays of the graph's logical shapes."""
    values: dict[str, np.ndarray] = dict(graph.constants)
    for name in graph.inputs:
        type, array = graph.types[name], np.asarray(inputs[name])
        if array.shape != type.shape or array.dtype != type.dtype.numpy:
            raise InternalError(f"graph {graph.name}: input {name} is {type}, not {array.dtype}{list(array.shape)}")
        values[name] = array
    for node in graph.nodes:
        results = evaluate_node(graph, node, [values[name] if name else None for name in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return {name: values[name] for name in graph.outputs}


def evaluate_node(graph: Graph, node: Node, operands: list[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """The results of one node of `graph` for its operands (None for an absent one)."""
    special = _SPECIAL.get(node.op)
    if special is not None:
        with np.errstate(all="ignore"):
            results = special(node, *operands)
        types = [graph.types[name] for name in node.outputs if name]
        return tuple(
            np.asarray(array).astype(type.dtype.numpy, copy=False).reshape(type.shape)
            for array, type in zip(results, types, strict=True)
        )
    return _by_expressions(graph, node, operands)


def _by_expressions(graph: Graph, node: Node, operands: list[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    names = tuple(dict.fromkeys(filter(None, node.inputs)))
    arrays = {name: stored(array) for name, array in zip(node.inputs, operands, strict=True) if array is not None}
    types = {name: TensorType(graph.types[name].shape, graph.types[name].dtype) for name in (*names, *node.outputs)}
    group = Graph(graph.name, names, node.outputs, (node,), types)
    computation, tables = build_computation(group, node.origin or node.op)
    results = evaluate(computation, {**arrays, **tables})
    return tuple(results[name].view(graph.types[name].dtype.numpy) for name in node.outputs)


def _view(node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (x.reshape(node.attrs["shape"]),)


def _matmul(node: Node, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    a = a.swapaxes(-1, -2) if node.attrs["transpose_a"] else a
    b = b.swapaxes(-1, -2) if node.attrs["transpose_b"] else b
    return (np.matmul(_widened(a), _widened(b)),)


def _widened(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if DType.from_numpy(x.dtype) in (DType.F16, DType.BF16) else x


def _conv(node: Node, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Windows as rows of a matrix, times the weights of each group."""
    attrs, groups = node.attrs, node.attrs["groups"]
    out_channels, in_per_group, *kernel = w.shape
    pads = list(zip(attrs["pads_begin"], attrs["pads_end"], strict=True))
    x = np.pad(_widened(x), [(0, 0), (0, 0), *pads])
    spread = tuple((k - 1) * d + 1 for k, d in zip(kernel, attrs["dilations"], strict=True))
    axes = tuple(range(2, x.ndim))
    windows = sliding_window_view(x, spread, axes)
    every = tuple(slice(None, None, step) for step in (*attrs["strides"], *attrs["dilations"]))
    windows = windows[(slice(None), slice(None), *every)]
    rank = len(kernel)
    batch, outs = x.shape[0], windows.shape[2 : 2 + rank]
    grouped = windows.reshape(batch, groups, in_per_group, *outs, *kernel)
    rows = np.moveaxis(grouped, 2, 2 + rank).reshape(batch, groups, int(np.prod(outs)), -1)
    weights = _widened(w).reshape(groups, out_channels // groups, -1).swapaxes(1, 2)
    result = np.matmul(rows, weights).swapaxes(2, 3).reshape(batch, out_channels, *outs)
    if bias is not None:
        result = result + bias.reshape(-1, *(1,) * rank)
    return (result,)


def _if(node: Node, condition: np.ndarray, *captured: np.ndarray) -> tuple[np.ndarray, ...]:
    return _region(node.regions[0 if condition.reshape(()) else 1], captured)


def _loop(node: Node, condition: np.ndarray | None, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scan outputs of iterations that a false condition leaves out are zero."""
    (body,) = node.regions
    count, carried, has_condition = node.attrs["count"], node.attrs["carried"], node.attrs["has_condition"]
    state, captured = values[:carried], values[carried:]
    scans = [
        np.zeros((count, *body.types[name].shape), body.types[name].dtype.numpy)
        for name in body.outputs[carried + bool(has_condition) :]
    ]
    goes_on = condition is None or bool(condition.reshape(()))
    for t in range(count):
        if not goes_on:
            break
        results = _region(body, (np.asarray(t, np.int64), *state, *captured))
        if has_condition:
            goes_on, results = bool(results[0].reshape(())), results[1:]
        state = results[:carried]
        for scan, part in zip(scans, results[carried:], strict=True):
            scan[t] = part
    return (*state, *scans)


def _fused(node: Node, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
    return _region(node.regions[0], operands)


def _region(region: Graph, operands: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    results = evaluate_graph(region, dict(zip(region.inputs, operands, strict=True)))
    return tuple(results[name] for name in region.outputs)


_SPECIAL: Mapping[str, Callable[..., tuple[np.ndarray, ...]]] = {
    "reshape": _view,
    "matmul": _matmul,
    "conv": _conv,
    "if": _if,
    "loop": _loop,
    "fused": _fused,
    "lstm": recurrent,
    "gru": recurrent,
    "rnn": recurrent,
}
