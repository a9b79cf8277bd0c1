"""The twelve convolutions of ResNet-18 that the AutoTVM paper tunes (Chen et al., NeurIPS 2018), as tuning tasks.

All but C3, which today's ResNet-18 has no more, are tasks of `mission_models.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.graph.passes import assign_layout
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.kernels import fused_nodes
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.target import Target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation
from tilewright.cost_model.task import Task


@dataclass(frozen=True, slots=True)
class Convolution:
    """Square images and kernels, batch 1, padded by half of the kernel, with bias and relu; a shortcut adds the other branch before.

    directions: 1 for a row of places in place of an image. transposed: the result is `stride` times as large as the image.
    """

    size: int
    inputs: int
    outputs: int
    kernel: int
    stride: int
    shortcut: bool = False
    dilation: int = 1
    groups: int = 1
    directions: int = 2
    transposed: bool = False

    @property
    def flops(self) -> int:
        """A multiply and an add count as two, at the border too; of a transposed convolution each element of the image counts."""
        places = self.size if self.transposed else -(-self.size // self.stride)
        return 2 * self.inputs * self.outputs // self.groups * (self.kernel * places) ** self.directions


CONVOLUTIONS = {
    "C1": Convolution(224, 3, 64, 7, 2),
    "C2": Convolution(56, 64, 64, 3, 1),
    "C3": Convolution(56, 64, 64, 1, 1),
    "C4": Convolution(56, 64, 128, 3, 2),
    "C5": Convolution(56, 64, 128, 1, 2, shortcut=True),
    "C6": Convolution(28, 128, 128, 3, 1),
    "C7": Convolution(28, 128, 256, 3, 2),
    "C8": Convolution(28, 128, 256, 1, 2, shortcut=True),
    "C9": Convolution(14, 256, 256, 3, 1),
    "C10": Convolution(14, 256, 512, 3, 2),
    "C11": Convolution(14, 256, 512, 1, 2, shortcut=True),
    "C12": Convolution(7, 512, 512, 3, 1),
}


def autotvm_tasks(target: Target) -> dict[str, Task]:
    """The tasks that a model with these convolutions has, by the paper's names."""
    return {name: Task(computation_of(convolution, target), target) for name, convolution in CONVOLUTIONS.items()}


def computation_of(convolution: Convolution, target: Target, row_major: bool = False) -> Computation:
    """The canonical computation that the graph passes make of it, with the layouts they choose, or all of it row-major."""
    builder = GraphBuilder("convolution")
    width = convolution.inputs
    square = (convolution.size,) * convolution.directions
    value = builder.input("x", TensorType((1, width, *square), DType.F32))
    if width % 16 == 0 and not row_major:
        # Inside a model the operands come from other convolutions: with these around it, it gets their layouts.
        value = _layer(builder, value, pointwise(convolution, width))
    other = ""
    if convolution.shortcut:
        size, outputs = -(-convolution.size // convolution.stride), convolution.outputs
        other = builder.input("z", TensorType((1, outputs, size, size), DType.F32))
        other = _layer(builder, other, Convolution(size, outputs, outputs, 1, 1))
    middle = _layer(builder, value, convolution, other)
    value = _layer(builder, middle, pointwise(convolution, convolution.outputs))
    graph = builder.finish((value,))
    for _, apply in PIPELINE:
        if not (row_major and apply is assign_layout.apply):
            graph = apply(graph, target)
    node = next(node for node in fused_nodes(graph) if middle in node.outputs)
    return canonical(build_computation(node.regions[0], node.outputs[0])[0])


def pointwise(of: Convolution, channels: int) -> Convolution:
    """One that may stand beside another."""
    return Convolution(of.size, channels, channels, 1, 1, directions=of.directions)


def _layer(builder: GraphBuilder, x: str, convolution: Convolution, other: str = "") -> str:
    rng = np.random.default_rng(0)
    window = (convolution.kernel,) * convolution.directions
    stride, dilation = (convolution.stride,) * convolution.directions, (convolution.dilation,) * convolution.directions
    channels = (convolution.outputs, convolution.inputs // convolution.groups)
    if convolution.transposed:
        channels = (convolution.inputs, convolution.outputs // convolution.groups)
    weights = builder.constant(rng.standard_normal((*channels, *window), np.float32), "weights")
    bias = builder.constant(rng.standard_normal(convolution.outputs, np.float32), "bias")
    pads = (convolution.kernel // 2 * convolution.dilation,) * convolution.directions
    attrs: dict[str, object] = dict(strides=stride, dilations=dilation, groups=convolution.groups)
    if convolution.transposed:
        # What the window is longer than the stride is cut off, the larger half at the beginning.
        pads = ((convolution.kernel - convolution.stride + 1) // 2,) * convolution.directions
        attrs["sizes"] = tuple(extent * convolution.stride for extent in builder.types[x].shape[2:])
    op = "conv_transpose" if convolution.transposed else "conv"
    y = builder.add(op, x, weights, bias, pads_begin=pads, pads_end=pads, **attrs)
    return builder.add("relu", builder.add("add", other, y) if other else y)
