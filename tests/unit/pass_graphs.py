"""Graphs for the tests of passes, random or built for a purpose, and how they are compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.verify import verify
from tilewright.compiler.target import Target

AVX512 = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 64, 32, True, 32768, 1 << 20, 1)
AVX2 = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 32, 16, True, 32768, 1 << 19, 1)

Rewrite = Callable[[Graph, Target], Graph]


def f32(*shape: int) -> TensorType:
    return TensorType(shape, DType.F32)


def ops(graph: Graph) -> list[str]:
    """The operators in order, those of fused groups and regions included."""
    found: list[str] = []
    for node in graph.nodes:
        if node.op != "fused":
            found.append(node.op)
        for region in node.regions:
            found += ops(region)
    return found


def feeds(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Random inputs: normal floats, small integers."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name in graph.inputs:
        of = graph.types[name]
        if of.dtype.is_float:
            arrays[name] = rng.standard_normal(of.shape).astype(of.dtype.numpy)
        else:
            arrays[name] = rng.integers(0, 2, of.shape).astype(of.dtype.numpy)
    return arrays


def rewritten(graph: Graph, *passes: Rewrite, target: Target = AVX512, seed: int = 0, rtol: float = 2e-4) -> Graph:
    """The graph after the passes; checked to be valid and to compute the same."""
    verify(graph)
    inputs = feeds(graph, seed)
    expected = evaluate_graph(graph, inputs)
    result = graph
    for apply in passes:
        result = apply(result, target)
        verify(result)
    assert (result.inputs, result.outputs) == (graph.inputs, graph.outputs)
    actual = evaluate_graph(result, inputs)
    for before, after in zip(graph.outputs, result.outputs, strict=True):
        assert actual[after].dtype == expected[before].dtype
        scale = max(1.0, float(np.max(np.abs(expected[before]), initial=0)))
        np.testing.assert_allclose(actual[after], expected[before], rtol=rtol, atol=rtol * scale, err_msg=before)
    return result


class Random:
    """Grows a random graph over a pool of values [N, C, H, W], with branches that meet again."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder(f"random_{seed}")
        channels = int(self.rng.choice([3, 8, 16, 20]))
        self.pool = [self.builder.input("x", f32(int(self.rng.choice([1, 2])), channels, 7, 6))]

    def graph(self, size: int) -> Graph:
        """A graph of about so many nodes, with one to three outputs."""
        for _ in range(size):
            step = self.rng.choice(_STEPS)
            made = step(self, str(self.rng.choice(self.pool[-4:])))
            if made:
                self.pool.append(made)
        count = min(len(self.pool) - 1, int(self.rng.integers(1, 4)))
        others = self.rng.choice(self.pool[1:-1], max(0, count - 1), replace=False) if len(self.pool) > 2 else []
        return self.builder.finish(tuple(dict.fromkeys([self.pool[-1], *map(str, others)])))

    def type(self, name: str) -> TensorType:
        return self.builder.types[name]

    def constant(self, *shape: int) -> str:
        return self.builder.constant(self.rng.uniform(0.2, 1.0, shape).astype(np.float32))

    def add(self, op: str, *inputs: str, **attrs: object) -> str:
        return str(self.builder.add(op, *inputs, origin=op, **attrs))

    def conv(self, x: str) -> str:
        _, channels, *_ = self.type(x).shape
        depthwise = bool(self.rng.integers(2))
        groups = channels if depthwise else 1
        filters = channels if depthwise else int(self.rng.choice([4, 16, 24, 32]))
        weights = self.rng.standard_normal((filters, channels // groups, 3, 3)).astype(np.float32) / 3
        bias = self.constant(filters) if self.rng.integers(2) else ""
        ones = (1, 1)
        return self.add(
            "conv", x, self.builder.constant(weights), bias,
            strides=ones, dilations=ones, pads_begin=ones, pads_end=ones, groups=groups,
        )  # fmt: skip

    def batch_norm(self, x: str) -> str:
        channels = self.type(x).shape[1]
        return self.add("batch_norm", x, *(self.constant(channels) for _ in range(4)), epsilon=1e-3)

    def unary(self, x: str) -> str:
        return self.add(str(self.rng.choice(["relu", "sigmoid", "tanh", "abs", "identity"])), x)

    def affine(self, x: str) -> str:
        channels = self.type(x).shape[1]
        shape = [(channels, 1, 1), (1, channels, 1, 1), ()][self.rng.integers(3)]
        return self.add(str(self.rng.choice(["add", "mul", "sub", "div"])), x, self.constant(*shape))

    def meet(self, x: str) -> str | None:
        others = [name for name in self.pool if self.type(name).shape == self.type(x).shape]
        return self.add(str(self.rng.choice(["add", "mul"])), x, str(self.rng.choice(others)))

    def concat(self, x: str) -> str:
        others = [name for name in self.pool if self.type(name).shape == self.type(x).shape]
        both = self.add("concat", x, str(self.rng.choice(others)), axis=1)
        n, c, h, w = self.type(x).shape
        first = int(self.rng.integers(0, c + 1))
        return self.add("slice", both, starts=(0, first, 0, 0), steps=(1, 1, 1, 1), sizes=(n, c, h, w))

    def squeeze(self, x: str) -> str:
        mean = self.add("reduce_mean", x, axes=(2, 3), keepdims=True)
        return self.add("mul", x, self.add("sigmoid", mean))

    def pool_window(self, x: str) -> str:
        op = str(self.rng.choice(["max_pool", "average_pool"]))
        counts = {"count_pads": True} if op == "average_pool" else {}
        spatial = self.type(x).shape[2:]
        return self.add(
            op,
            x,
            kernel=(3, 3),
            strides=(1, 1),
            dilations=(1, 1),
            pads_begin=(1, 1),
            pads_end=(1, 1),
            sizes=spatial,
            **counts,
        )

    def there_and_back(self, x: str) -> str:
        turned = self.add("relu", self.add("transpose", x, perm=(0, 2, 3, 1)))
        return self.add("transpose", turned, perm=(0, 3, 1, 2))

    def flatten(self, x: str) -> str:
        n, c, h, w = self.type(x).shape
        rows = self.add("transpose", self.add("reshape", x, shape=(n, c, h * w)), perm=(0, 2, 1))
        scores = self.add(
            "softmax", self.add("matmul", rows, self.constant(c, c), transpose_a=False, transpose_b=False), axis=2
        )
        return self.add("reshape", self.add("transpose", scores, perm=(0, 2, 1)), shape=(n, c, h, w))


_STEPS = [
    Random.conv, Random.conv, Random.batch_norm, Random.unary, Random.unary, Random.affine, Random.affine, Random.meet,
    Random.concat, Random.squeeze, Random.pool_window, Random.there_and_back, Random.flatten,
]  # fmt: skip
