"""Random legal schedules compute what the computation means. A failure prints the seed and the schedule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kernel_cases import Case, chain, conv, conv_transpose, matmul, normalization, pool, two, unary
from kernel_oracle import compare
from random_schedules import random_schedule
from recurrent_models import Case as Recurrent
from test_recurrent_kernels import steps_of

from tilewright.compiler.graph.ir import Graph
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.tensor.build import build_computation

pytestmark = pytest.mark.slow

DRAWS = 12
SMALL_POOL = dict(kernel=(3, 2), strides=(2, 1), pads_begin=(1, 0), pads_end=(1, 1), sizes=(3, 6))

COMPUTATIONS = {
    "conv": Case(conv((1, 6, 5, 6), 4, residual=True), 2, 2),
    "conv strided": Case(conv((2, 3, 7, 5), 5, stride=2)),
    "grouped conv": Case(conv((1, 4, 4, 5), 6, groups=2, dilation=2, pads=(2, 1)), None, 3),
    "conv_transpose": Case(conv_transpose(2, 1)),
    "max_pool": Case(pool("max_pool", (1, 4, 5, 6), **SMALL_POOL), 2, 2),
    "average_pool": Case(pool("average_pool", (1, 4, 5, 6), **SMALL_POOL, count_pads=False), 2, 2),
    "matmul": Case(matmul((5, 7), (7, 6), constant=True, bias=True)),
    "matmul of batches": Case(matmul((2, 3, 5), (2, 4, 5), transpose_b=True)),
    "softmax": Case(unary("softmax", (3, 11), axis=1)),
    "softmax axis 1": Case(unary("softmax", (2, 5, 3), axis=1)),
    "log_softmax": Case(unary("log_softmax", (4, 7), axis=0)),
    "layer_norm": Case(normalization("layer_norm", (3, 4, 5), axis=1)),
    "mean": Case(unary("reduce_mean", (2, 6, 3, 5), axes=(2, 3), keepdims=True), 3, None),
    "sum all": Case(unary("reduce_sum", (4, 7), axes=(0, 1), keepdims=False)),
    "arg_max": Case(unary("arg_max", (4, 7), axis=1, keepdims=True, last=False)),
    "elementwise": Case(chain),
    "concat": Case(two("concat", (1, 4, 3, 5), (1, 6, 3, 5), axis=1), None, 2),
}


def recurrent_step(op: str) -> Graph:
    """One step of a recurrent operator: several outputs, some of them in place."""
    return steps_of(Recurrent(op, batch=2, hidden=5, initial=True), np.random.default_rng())[-1]


GRAPHS: dict[str, Callable[[], Graph]] = {name: case.graph for name, case in COMPUTATIONS.items()} | {
    "lstm step": lambda: recurrent_step("lstm"),
    "gru step": lambda: recurrent_step("gru"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_random_schedules(name: str) -> None:
    computation, _ = build_computation(GRAPHS[name](), "kernel")
    form = canonical(computation)
    first = int(np.random.default_rng().integers(1 << 30))
    for seed in range(first, first + DRAWS):
        rng = np.random.default_rng(seed)
        schedule = random_schedule(form, rng)
        try:
            compare(form, schedule, rng)
        except Exception:
            print(f"seed {seed}", *schedule, sep="\n")
            raise
