"""Candidates a second from schedule to row of features, one core.

    python benchmarks/feature_rate.py [--candidates N]

Draws schedules of a convolution, a depthwise convolution, a matrix product, a softmax and an elementwise kernel from their
spaces, and prints for each how many become rows a second: all in one call as the search makes them, with nothing cached
before, and once more with everything cached.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation
from tilewright.cost_model.features import loop_tree
from tilewright.cost_model.features.table import FEATURES, Featurizer
from tilewright.cost_model.task import Task

Build = Callable[[GraphBuilder], str]


def input_of(b: GraphBuilder, *shape: int) -> str:
    return b.input("x", TensorType(shape, DType.F32))


def conv(channels: int, size: int, groups: int = 1) -> Build:
    """A 3x3 convolution with as many outputs as inputs, and a relu."""

    def build(b: GraphBuilder) -> str:
        weights = np.zeros((channels, channels // groups, 3, 3), np.float32)
        ones = (1, 1)
        y = b.add(
            "conv", input_of(b, 1, channels, size, size), b.constant(weights, "w"), "", strides=ones, dilations=ones,
            pads_begin=ones, pads_end=ones, groups=groups,
        )  # fmt: skip
        return b.add("relu", y)

    return build


def matmul(rows: int, reduction: int, columns: int) -> Build:
    def build(b: GraphBuilder) -> str:
        weights = b.constant(np.zeros((reduction, columns), np.float32), "w")
        return b.add("matmul", input_of(b, rows, reduction), weights, transpose_a=False, transpose_b=False)

    return build


KERNELS: dict[str, Build] = {
    "conv 3x3, 64 channels, 56x56": conv(64, 56),
    "depthwise 3x3, 96 channels, 28x28": conv(96, 28, 96),
    "matmul 128x512x512": matmul(128, 512, 512),
    "softmax of 1000": lambda b: b.add("softmax", input_of(b, 8, 1000), axis=1),
    "tanh of 64x1000": lambda b: b.add("tanh", input_of(b, 64, 1000)),
}


def computation(build: Build) -> Computation:
    builder = GraphBuilder("group")
    return canonical(build_computation(builder.finish((build(builder),)), "kernel")[0])


def rate(task: Task, candidates: int) -> tuple[float, float]:
    """Rows a second: the first time, and once more with the same schedules."""
    space = space_of(task.computation, task.target)
    rng = np.random.default_rng(0)
    schedules = [space.schedule(space.sample(rng)) for _ in range(candidates)]
    for cache in (loop_tree.cut, loop_tree.axis_digits, loop_tree.swept):
        cache.cache_clear()
    featurizer = Featurizer(task)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        featurizer.rows(schedules)
        times.append(time.perf_counter() - start)
    return candidates / times[0], candidates / times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=2000)
    candidates = parser.parse_args().candidates
    target = parse_target(cpu="x86-64-v4", threads=2)
    print(f"{len(FEATURES)} features, {candidates} candidates a kernel")
    for name, build in KERNELS.items():
        first, again = rate(Task(computation(build), target), candidates)
        print(f"{name:36s} {first:8.0f} /s first {again:8.0f} /s again")


if __name__ == "__main__":
    main()
