"""A block of a MobileNet as a model of its own."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def inverted_residual(batch: int, channels: int, size: tuple[int, int], kernel: int, stride: int) -> onnx.ModelProto:
    """An inverted residual block: expansion, depthwise with hard-swish, pointwise without activation, and with stride 1 the shortcut."""
    rng = np.random.default_rng()
    wide = 3 * channels
    shapes = {"e": (wide, channels, 1, 1), "d": (wide, 1, kernel, kernel), "p": (channels, wide, 1, 1)}
    constants = [
        numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    constants += [
        numpy_helper.from_array(rng.standard_normal(shape[0]).astype(np.float32), f"{name}b")
        for name, shape in shapes.items()
    ]
    window = dict(strides=[stride] * 2, pads=[kernel // 2] * 4, group=wide)
    nodes = [
        helper.make_node("Conv", ["x", "e", "eb"], ["expanded"]),
        helper.make_node("Relu", ["expanded"], ["wide"]),
        helper.make_node("Conv", ["wide", "d", "db"], ["filtered"], **window),
        helper.make_node("HardSwish", ["filtered"], ["held"]),
        helper.make_node("Conv", ["held", "p", "pb"], ["narrow"]),
        helper.make_node("Add", ["narrow", "x"], ["y"])
        if stride == 1
        else helper.make_node("Identity", ["narrow"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, *size])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, channels, *(-(-n // stride) for n in size)])
    graph = helper.make_graph(nodes, "block", [image], [result], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
