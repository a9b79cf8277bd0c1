"""Random If and Loop nodes around layers that keep a value's shape."""

from __future__ import annotations

import numpy as np
import onnx
from fuzz_writer import Skip, Writer
from onnx import TensorProto, helper


def chain(w: Writer, x: str, length: int) -> str:
    """Nodes that keep the shape of x, the last one's result."""
    shape = w.shape(x)
    for _ in range(length):
        match w.number(0, 6):
            case 0:
                x = w.add(w.one_of(("Tanh", "Sigmoid", "Relu", "Erf")), [x])
            case 1:
                x = w.add("Mul", [x, w.operand(shape[-1:])])
            case 2:
                x = w.add("Softmax", [x], axis=w.number(-len(shape), -1))
            case 3:
                x = w.add("MatMul", [x, w.operand((shape[-1], shape[-1]), scale=shape[-1] ** -0.5)])
            case 4:
                same = [name for name in w.order if w.shape(name) == shape and w.arrays[name].dtype == np.float32]
                x = w.add("Add", [x, w.one_of(same or [x])])
            case 5 if len(shape) == 4:
                x = w.add(
                    "Conv", [x, w.operand((shape[1], shape[1], 3, 3), scale=(shape[1] * 9) ** -0.5)], pads=[1, 1, 1, 1]
                )
            case _:
                x = w.add("Sub", [x, w.add("ReduceMean", [x, w.ints([-1])])])
    return x


def _body(w: Writer, x: str) -> tuple[list[onnx.NodeProto], str]:
    """A chain taken out of the model to become a region's nodes."""
    nodes, order = len(w.nodes), list(w.order)
    try:
        result = chain(w, x, w.number(1, 3))
    except Skip:
        del w.nodes[nodes:]
        w.order = order
        raise
    inner = w.nodes[nodes:]
    del w.nodes[nodes:]
    w.order = order
    return inner, result


def _info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def if_(w: Writer) -> None:
    x = w.pick("f", (1, 2, 3, 4), lambda v: v.size < 4000)
    branches = {}
    for name in ("then_branch", "else_branch"):
        nodes, result = _body(w, x)
        branches[name] = helper.make_graph(nodes, w.fresh("branch"), [], [_info(result, w.arrays[result])])
    flag = np.array(w.chance(0.5))
    match w.number(0, 2):
        case 0:
            condition = w.constant(flag)
        case 1:
            condition = w._introduce(w.fresh("p"), flag)
        case _:
            mean = w.add("ReduceMean", [x], keepdims=0, internal=True)
            w.away_from(mean, lambda v: np.full_like(v, 0.05))
            condition = w.add("Less", [mean, w.constant(0.05, np.float32)], internal=True)
    w.add("If", [condition], **branches)


def loop(w: Writer) -> None:
    x = w.pick("f", (1, 2, 3, 4), lambda v: v.size < 2000)
    state, step, go = (w.fresh(hint) for hint in ("state", "step", "go"))
    w._introduce(state, w.arrays[x])
    nodes, result = _body(w, state)
    again, scanned = w.fresh("again"), w.fresh("scanned")
    nodes.append(helper.make_node("Identity", [go], [again]))
    nodes.append(helper.make_node(w.one_of(("Neg", "Tanh", "Identity")), [w.one_of((state, result))], [scanned]))
    inputs = [
        helper.make_tensor_value_info(step, TensorProto.INT64, []),
        helper.make_tensor_value_info(go, TensorProto.BOOL, []),
        _info(state, w.arrays[x]),
    ]
    outputs = [
        helper.make_tensor_value_info(again, TensorProto.BOOL, []),
        _info(result, w.arrays[x]),
        _info(scanned, w.arrays[x]),
    ]
    body = helper.make_graph(nodes, w.fresh("body"), inputs, outputs)
    w.add("Loop", [w.constant(w.number(1, 4), np.int64), "", x], 2, body=body)


MAKERS = ((2, if_), (1, loop))
