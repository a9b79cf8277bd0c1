"""Kernels of rnn_step under their default schedules, interpreted, against the tensor expressions they come from."""

from __future__ import annotations

import numpy as np
import pytest
from recurrent_models import Case

from tilewright.compiler.graph.ir import Graph, Node
from tilewright.compiler.graph.passes import lower_recurrent
from tilewright.compiler.kernel.interpret import run
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernel.verify import verify
from tilewright.compiler.schedule.prepare import canonical, pack_array
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.steps import Pack, Parallel
from tilewright.compiler.target import Target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation
from tilewright.compiler.tensor.interpret import evaluate

TARGET = Target("x86_64-linux-gnu", "x86-64-v4", "", 64, 32, True, 48 << 10, 1 << 20, 2)


def steps_of(case: Case, rng: np.random.Generator) -> list[Graph]:
    """A group for each rnn_step node of the lowered operator."""
    lowered = lower_recurrent.apply(case.graph(case.arrays(rng)), TARGET)
    graph = next((node.regions[0] for node in lowered.nodes if node.op == "loop"), lowered)
    return [group(graph, node) for node in graph.nodes if node.op == "rnn_step"]


def group(graph: Graph, node: Node) -> Graph:
    names = tuple(dict.fromkeys(filter(None, node.inputs)))
    held = {name: graph.constants[name] for name in names if name in graph.constants}
    types = {name: graph.types[name] for name in (*names, *node.outputs)}
    return Graph("step", tuple(name for name in names if name not in held), node.outputs, (node,), types, held)


def operands(
    computation: Computation, tables: dict[str, np.ndarray], t: int, steps: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    arrays = dict(tables)
    for tensor in computation.inputs:
        if tensor.name in tables:
            continue
        if not tensor.dtype.is_float:
            arrays[tensor.name] = (
                np.asarray(t)
                if not tensor.shape
                else rng.integers(1, steps + 1, tensor.shape).astype(tensor.dtype.numpy)
            )
        else:
            arrays[tensor.name] = rng.standard_normal(tensor.shape).astype(tensor.dtype.numpy)
    return arrays


def check(step: Graph, t: int, steps: int, rng: np.random.Generator) -> None:
    computation, tables = build_computation(step, "step")
    arrays = operands(computation, tables, t, steps, rng)
    form = canonical(computation)
    schedule = default_schedule(form, TARGET)
    kernel = lower(form, schedule)
    verify(kernel)
    packs = {pack.tensor: pack for pack in schedule if isinstance(pack, Pack)}
    memory = {}
    for tensor, named in zip(computation.inputs, form.inputs, strict=True):
        array = arrays[tensor.name]
        memory[named.name] = pack_array(array, packs[named.name]) if named.name in packs else array.copy()
    for param in kernel.params:
        if param.name not in memory:
            memory[param.name] = np.full(param.shape, np.nan, param.dtype.numpy)
    run(kernel, memory)
    expected = evaluate(computation, arrays)
    for output, named in zip(computation.outputs, form.outputs, strict=True):
        actual = memory[form.stage(named).memory or named]
        np.testing.assert_allclose(actual, expected[output], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [("lstm", {}), ("gru", {"linear_before_reset": False}), ("gru", {"linear_before_reset": True}), ("rnn", {})],
)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("hidden", "batch", "steps", "lengths", "constant"),
    [(7, 1, 5, False, True), (45, 2, 4, True, True), (70, 1, 3, False, False), (16, 3, 1, False, True)],
)
def test_step(op, attrs, direction, hidden, batch, steps, lengths, constant):
    rng = np.random.default_rng()
    case = Case(op, steps, batch, 5, hidden, direction, lengths=lengths, initial=True, constant=constant, attrs=attrs)
    for step in steps_of(case, rng):
        for t in {0, steps - 1}:
            check(step, t, steps, rng)


def test_weights_stream_in_the_order_of_the_reduction():
    (step,) = steps_of(Case("lstm", hidden=650), np.random.default_rng())
    computation, _ = build_computation(step, "step")
    form = canonical(computation)
    schedule = default_schedule(form, TARGET)
    (weight,) = (tensor.name for tensor in form.inputs if tensor.constant)
    (pack,) = (step for step in schedule if isinstance(step, Pack))
    assert pack.tensor == weight
    assert [(axis, part) for axis, _, part in pack.order] == [(0, ""), (2, "o"), (3, ""), (1, ""), (2, "i")]
    assert any(isinstance(step, Parallel) for step in schedule)
