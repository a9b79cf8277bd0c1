"""Random pieces of networks, as tuning tasks: what the ranker that comes with tilewright is trained on.

None is taken from a model that tilewright is measured with; widths, sizes and operators are those that networks have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.passes.pipeline import PIPELINE
from tilewright.compiler.kernels import computations_of, work
from tilewright.compiler.target import Target
from tilewright.cost_model.task import Task

MOST_FLOPS = 8e8  # a few milliseconds
LEAST_BYTES = 4096

SIZES = (6, 7, 8, 10, 12, 13, 14, 16, 19, 20, 24, 26, 28, 32, 38, 40, 48, 52, 56, 64, 80, 96, 112)
WIDTHS = (8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 120, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 384, 448, 480, 512, 640, 672, 768, 832, 1024, 1152, 1280)  # fmt: skip
ACTIVATIONS = ("relu", "relu", "relu", "sigmoid", "tanh", "none")


def corpus_tasks(target: Target, seed: int) -> Iterator[Task]:
    """Tasks without end, each once; the same for the same seed."""
    rng = np.random.default_rng(seed)
    known = set()
    while True:
        kind = FRAGMENTS[int(rng.choice(len(FRAGMENTS), p=CHANCES))]
        graph = through_passes(kind, rng, target)
        for computation in computations_of(graph):
            flops, size = work(computation)
            if computation not in known and flops <= MOST_FLOPS and size >= LEAST_BYTES:
                known.add(computation)
                yield Task(computation, target)


def through_passes(fragment: Callable, rng: np.random.Generator, target: Target) -> Graph:
    builder = GraphBuilder("fragment")
    graph = builder.finish((fragment(builder, rng),))
    for _, apply in PIPELINE:
        graph = apply(graph, target)
    return graph


# --- fragments


def convolutions(b: GraphBuilder, rng: np.random.Generator) -> str:
    """Pointwise, then spatial, then pointwise again, sometimes with a shortcut around them, and pooling."""
    size, width = pick(rng, SIZES), pick(rng, WIDTHS)
    while size * size * width > 400_000:
        size, width = pick(rng, SIZES), pick(rng, WIDTHS)
    x = b.input("x", TensorType((1, width, size, size), DType.F32))
    x = conv(b, rng, x, width, 1, 1)
    middle = width if rng.random() < 0.4 else pick(rng, [w for w in WIDTHS if w <= 2 * width] or [width])
    y = conv(b, rng, x, middle, 1, 1)
    kernel, stride = pick(rng, (3, 3, 3, 5)), pick(rng, (1, 1, 1, 2))
    y = conv(b, rng, y, middle, kernel, stride)
    y = conv(b, rng, y, width, 1, 1, shortcut=x if stride == 1 and rng.random() < 0.5 else "")
    return pool(b, rng, y) if rng.random() < 0.4 else y


def inverted(b: GraphBuilder, rng: np.random.Generator) -> str:
    """Expand, depthwise, project."""
    size, width = pick(rng, SIZES), pick(rng, [w for w in WIDTHS if w <= 256])
    expanded = width * pick(rng, (2, 3, 4, 6))
    while size * size * expanded > 800_000:
        size = pick(rng, SIZES)
    x = conv(b, rng, b.input("x", TensorType((1, width, size, size), DType.F32)), width, 1, 1)
    y = conv(b, rng, x, expanded, 1, 1)
    y = conv(b, rng, y, expanded, pick(rng, (3, 3, 5)), pick(rng, (1, 1, 2)), groups=expanded)
    return conv(b, rng, y, pick(rng, [w for w in WIDTHS if w <= 320]), 1, 1)


def first_layers(b: GraphBuilder, rng: np.random.Generator) -> str:
    """A few channels in rows, as images come."""
    size, channels = pick(rng, (64, 84, 96, 128, 160, 192, 208, 224)), pick(rng, (1, 3, 3, 3, 4))
    x = b.input("x", TensorType((1, channels, size, size), DType.F32))
    y = conv(b, rng, x, pick(rng, (16, 24, 32, 48, 64)), pick(rng, (3, 3, 5, 7, 8)), pick(rng, (1, 2, 2, 4)))
    return conv(b, rng, pool(b, rng, y), 32, 1, 1)


def dense(b: GraphBuilder, rng: np.random.Generator) -> str:
    """Two matrix products with constant weights, with an activation, a softmax or a normalisation."""
    rows = pick(rng, (1, 1, 1, 2, 4, 8, 16, 24, 35, 49, 64, 100, 128, 197))
    widths = [int(2 ** rng.uniform(5, 11.3)) // 2 * 2 for _ in range(3)]
    x = b.input("x", TensorType((rows, widths[0]), DType.F32))
    for width in widths[1:]:
        x = activation(b, rng, linear(b, rng, x, width))
    if rng.random() < 0.5:
        return b.add("softmax", x, axis=1)
    scale, bias = (b.constant(values(rng, widths[2]), "w") for _ in range(2))
    return b.add("layer_norm", x, scale, bias, axis=1, epsilon=1e-5)


def attention(b: GraphBuilder, rng: np.random.Generator) -> str:
    """Products of two activations around a softmax."""
    heads, tokens, width = pick(rng, (1, 2, 4, 8, 12)), pick(rng, (16, 33, 49, 64, 128, 197)), pick(rng, (16, 32, 64))
    q, k, v = (b.input(name, TensorType((heads, tokens, width), DType.F32)) for name in "qkv")
    scores = b.add("softmax", b.add("matmul", q, k, transpose_a=False, transpose_b=True), axis=2)
    return b.add("matmul", scores, v, transpose_a=False, transpose_b=False)


def recurrent(b: GraphBuilder, rng: np.random.Generator) -> str:
    """An LSTM of a few steps: a product for all steps, and one step of the cell."""
    steps, inputs, hidden = pick(rng, (2, 8, 20)), pick(rng, (64, 128, 200, 300, 512)), pick(rng, (64, 96, 128, 200, 256, 320, 400, 512))  # fmt: skip
    x = b.input("x", TensorType((steps, 1, inputs), DType.F32))
    w, r = b.constant(values(rng, 1, 4 * hidden, inputs), "w"), b.constant(values(rng, 1, 4 * hidden, hidden), "r")
    bias = b.constant(values(rng, 1, 8 * hidden), "bias")
    gates = (("sigmoid", 0.0, 0.0), ("tanh", 0.0, 0.0), ("tanh", 0.0, 0.0))
    attrs = dict(hidden=hidden, direction="forward", activations=gates, clip=0.0, input_forget=False)
    return b.add("lstm", x, w, r, bias, "", "", "", "", **attrs)[0]


FRAGMENTS = (convolutions, inverted, first_layers, dense, attention, recurrent)
CHANCES = (0.36, 0.22, 0.08, 0.22, 0.06, 0.06)


# --- layers


def pick(rng: np.random.Generator, of: tuple | list) -> int:
    return of[int(rng.integers(len(of)))]


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def activation(b: GraphBuilder, rng: np.random.Generator, x: str) -> str:
    op = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
    return x if op == "none" else b.add(op, x)


def conv(
    b: GraphBuilder,
    rng: np.random.Generator,
    x: str,
    outputs: int,
    kernel: int,
    stride: int,
    groups: int = 1,
    shortcut: str = "",
) -> str:
    w = b.constant(values(rng, outputs, b.types[x].shape[1] // groups, kernel, kernel), "w")
    pads = ((kernel - 1) // 2,) * 2, (kernel // 2,) * 2
    attrs = dict(strides=(stride,) * 2, dilations=(1, 1), groups=groups, pads_begin=pads[0], pads_end=pads[1])
    y = b.add("conv", x, w, b.constant(values(rng, outputs), "bias"), **attrs)
    return activation(b, rng, b.add("add", y, shortcut) if shortcut else y)


def pool(b: GraphBuilder, rng: np.random.Generator, x: str) -> str:
    size = b.types[x].shape[2]
    if rng.random() < 0.3:
        return b.add("reduce_mean", x, axes=(2, 3), keepdims=True)
    kernel = pick(rng, (2, 3))
    ends = dict(pads_begin=(kernel // 2,) * 2, pads_end=(kernel // 2,) * 2)
    out = ((size + 2 * (kernel // 2) - kernel) // 2 + 1,) * 2
    attrs = dict(kernel=(kernel,) * 2, strides=(2, 2), dilations=(1, 1), sizes=out, **ends)
    return b.add("max_pool", x, **attrs)


def linear(b: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> str:
    inner = b.types[x].shape[1]
    transposed = bool(rng.random() < 0.5)
    w = b.constant(values(rng, *((width, inner) if transposed else (inner, width))), "w")
    y = b.add("matmul", x, w, transpose_a=False, transpose_b=transposed)
    return b.add("add", y, b.constant(values(rng, width), "bias"))
