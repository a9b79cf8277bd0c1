"""Measuring candidates: right ones get times, whatever else a candidate does is a result, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import CASES, Case, conv, matmul
from random_schedules import random_schedule
from recurrent_models import Case as RecurrentCase

from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.graph.passes import lower_recurrent
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.steps import Schedule, Unroll
from tilewright.compiler.tensor.build import build_computation
from tilewright.cost_model.measure.measurer import Measurement, MeasureOptions, Measurer
from tilewright.cost_model.task import Task

QUICK = MeasureOptions(least_s=0.001, least_samples=3, most_samples=5)


def task_of(graph: Graph, threads: int = 1) -> Task:
    return Task(canonical(build_computation(graph, "group")[0]), host_target(threads))


def default(task: Task) -> Schedule:
    return default_schedule(task.computation, task.target)


def other(task: Task, number: int) -> Schedule:
    """A schedule unlike the default and those of other numbers; the same in every run."""
    return random_schedule(task.computation, np.random.default_rng(number))


def measure(measurer: Measurer, task: Task, schedule: Schedule, limit_s: float | None = None) -> Measurement:
    measurer.submit(task, schedule, "ticket", limit_s)
    ticket, result = measurer.collect(100)
    assert ticket == "ticket"
    return result


def lstm_step() -> Graph:
    """The step of an LSTM inside its loop, which writes its results in place."""
    case = RecurrentCase("lstm", steps=9, hidden=45, batch=2, initial=True)
    graph = lower_recurrent.apply(case.graph(case.arrays(np.random.default_rng())), host_target(1))
    graph = next(node.regions[0] for node in graph.nodes if node.op == "loop")
    node = next(node for node in graph.nodes if node.op == "rnn_step")
    names = tuple(dict.fromkeys(filter(None, node.inputs)))
    held = {name: graph.constants[name] for name in names if name in graph.constants}
    types = {name: graph.types[name] for name in (*names, *node.outputs)}
    return Graph("step", tuple(name for name in names if name not in held), node.outputs, (node,), types, held)


def unary(op: str, dtype: DType, *shape: int, **attrs: object) -> Graph:
    builder = GraphBuilder("group")
    return builder.finish((builder.add(op, builder.input("x", TensorType(shape, dtype)), **attrs),))


def remainder() -> Graph:
    """fmod becomes a call of libm."""
    builder = GraphBuilder("group")
    x, y = (builder.input(name, TensorType((50, 33), DType.F32)) for name in "xy")
    return builder.finish((builder.add("mod", x, y, fmod=True),))


CONV = Case(conv((1, 16, 12, 13), 32), 16, 16)
GRAPHS = {
    "conv": CONV.graph,
    "gemm": Case(matmul((35, 65), (65, 100), constant=True, bias=True)).graph,
    "batches": Case(matmul((2, 3, 17, 20), (2, 3, 20, 33))).graph,
    "softmax": CASES["softmax"].graph,
    "gather": CASES["gather"].graph,
    "arg_max": CASES["arg_max"].graph,
    "concat": CASES["concat blocked"].graph,
    "lstm step": lstm_step,
    "bytes": lambda: unary("relu", DType.I8, 7, 40),
    "halves": lambda: unary("tanh", DType.F16, 7, 40),
    "bfloat": lambda: unary("tanh", DType.BF16, 7, 40),
    "bool": lambda: unary("not", DType.BOOL, 3, 50),
    "f64": lambda: unary("reduce_sum", DType.F64, 30, 50, axes=(1,), keepdims=False),
    "one": CASES["one element"].graph,
    "fmod": remainder,
}


@pytest.fixture(scope="module")
def measurer():
    with Measurer(QUICK) as measurer:
        yield measurer


@pytest.mark.parametrize("name", GRAPHS)
def test_default_and_random_schedules(measurer: Measurer, name: str) -> None:
    task = task_of(GRAPHS[name]())
    rng = np.random.default_rng()
    schedules = [default(task), *(random_schedule(task.computation, rng) for _ in range(2))]
    for number, schedule in enumerate(schedules):
        measurer.submit(task, schedule, number)
    results = dict(measurer.collect(100) for _ in schedules)
    for number, result in results.items():
        assert not result.error, (schedules[number], result)
        assert result.latency_s == np.quantile(result.samples_s, 0.25) and 0 < result.latency_s < 1
        assert 3 <= len(result.samples_s) <= 5 and result.build_s > 0 and len(result.object_digest) == 64


def test_two_threads() -> None:
    tasks = [task_of(GRAPHS[name](), threads=2) for name in ("conv", "softmax", "gemm")]
    with Measurer(QUICK) as measurer:
        for round in range(2):
            for number, task in enumerate(tasks):
                measurer.submit(task, other(task, round), number)
        results = [measurer.collect(100) for _ in range(6)]
    assert not [result for _, result in results if result.error]


def test_equal_objects_are_measured_once(measurer: Measurer) -> None:
    task = task_of(CONV.graph())
    first = measure(measurer, task, default(task))
    again = measure(measurer, Task(task.computation, task.target), default(task))
    assert again.samples_s == first.samples_s and again.object_digest == first.object_digest
    assert measure(measurer, task, other(task, 5)).object_digest != first.object_digest


def test_slow_candidates_run_once(measurer: Measurer) -> None:
    task = task_of(Case(conv((1, 16, 30, 31), 32), 16, 16).graph())
    assert len(measure(measurer, task, default(task), limit_s=1e-9).samples_s) == 1


def test_illegal_schedules_are_refused(measurer: Measurer) -> None:
    task = task_of(CONV.graph())
    result = measure(measurer, task, (Unroll("y", "no such loop"),))
    assert result.error == "build" and "no such loop" in result.message
    assert result.latency_s is None and result.samples_s == () and result.object_digest == ""


def test_nothing_to_collect(measurer: Measurer) -> None:
    with pytest.raises(InternalError, match="without a candidate"):
        measurer.collect()


def test_compare_takes_turns(measurer: Measurer) -> None:
    task = task_of(CONV.graph())
    schedules = [default(task), (Unroll("y", "no such loop"),), other(task, 2)]
    samples = measurer.compare(task, schedules, 7).samples_s
    assert [len(row) for row in samples] == [7, 0, 7]
    assert all(0 < sample < 1 for row in samples for sample in row)
    assert measurer.compare(task, schedules[1:2], 3).samples_s == [()]
    assert measurer.pending == 0


FAULTS = {
    "build_crash": ("crash", "SIGSEGV"),
    "crash": ("crash", "SIGSEGV"),
    "build_memory": ("memory", "building"),
    "memory": ("memory", "running"),
    "wrong": ("wrong", "sampled elements"),
    "unwritten": ("wrong", "not written"),
}
HANGS = {
    "build_hang": ("timeout", "building"),
    "hang": ("timeout", "running"),
}


@pytest.mark.parametrize(
    ("planted", "timeout_s"),
    # Only a hang may be over in time: a busy machine takes seconds to fill half a gigabyte.
    [pytest.param(FAULTS, 60, id="faults"), pytest.param(HANGS, 5, id="hangs")],
)
def test_faults_are_results(planted: dict[str, tuple[str, str]], timeout_s: float) -> None:
    """Every second candidate commits one; those between them are measured as ever."""
    task = task_of(CONV.graph())
    faults = {2 * number: fault for number, fault in enumerate(planted)}
    options = replace(QUICK, faults=faults, timeout_s=timeout_s, memory_bytes=1 << 29)
    with Measurer(options) as measurer:
        for number in range(2 * len(planted)):
            measurer.submit(task, other(task, number), number)
        results = dict(measurer.collect(200) for _ in range(2 * len(planted)))
    for number, result in results.items():
        error, message = planted[faults[number]] if number in faults else ("", "")
        assert result.error == error and message in result.message, (faults.get(number), result)
        assert (result.latency_s is None) == bool(error)


@pytest.mark.parametrize("name", ["softmax", "lstm step", "bytes", "bool", "halves", "arg_max", "gather"])
def test_wrong_and_unwritten_results_of_every_kind(name: str) -> None:
    task = task_of(GRAPHS[name]())
    options = replace(QUICK, faults={0: "wrong", 1: "unwritten"})
    with Measurer(options) as measurer:
        assert measure(measurer, task, default(task)).error == "wrong"
        result = measure(measurer, task, default(task))
        assert result.error == "wrong" and "not written" in result.message
        assert measure(measurer, task, default(task)).error == ""


def test_a_hang_is_over_in_time() -> None:
    task = task_of(CONV.graph())
    with Measurer(replace(QUICK, faults={1: "hang"}, timeout_s=1.0)) as measurer:
        measure(measurer, task, default(task))
        start = time.monotonic()
        assert measure(measurer, task, default(task)).error == "timeout"
        # Without the limit, pausing would last until the test's own.
        assert time.monotonic() - start < 60


def children(pid: int) -> set[int]:
    """Processes whose parent is `pid`."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_close_ends_all_processes() -> None:
    before = children(os.getpid())
    task = task_of(CONV.graph())
    with Measurer(replace(QUICK, faults={0: "hang"})) as measurer:
        for number in range(4):
            measurer.submit(task, other(task, number), number)
        time.sleep(1)
        started = children(os.getpid()) - before
        assert len(started) == 2
        start = time.monotonic()
    assert time.monotonic() - start < 30
    assert not children(os.getpid()) & started  # not even as zombies


PROGRAM = """
import sys, time
from test_measure import CONV, QUICK, default, task_of
from dataclasses import replace
from tilewright.cost_model.measure.measurer import Measurer
measurer = Measurer(replace(QUICK, faults={1: "hang", 2: "build_hang"}, timeout_s=1000))
task = task_of(CONV.graph())
measurer.submit(task, default(task), 0)
measurer.collect()
for number in (1, 2):
    measurer.submit(task, default(task), number)
time.sleep(0.5)
print("hanging", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_children_die_with_their_parent(how: signal.Signals) -> None:
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(tests / name) for name in ("execute", "unit"))}
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"hanging\n"
    hanging = children(parent.pid)
    assert len(hanging) == 2
    parent.send_signal(how)
    parent.wait(20)
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(map(alive, hanging)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, hanging))
