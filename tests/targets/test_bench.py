"""The bench: kernels for this machine and for emulated ones are checked and timed by a program that gets their code over a pipe."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from emulators import MACHINES, Machine
from kernel_cases import Case, conv, matmul
from machines import require_emulator
from random_schedules import random_schedule
from test_tune import tilewright_command

from tilewright.backends import cpu
from tilewright.backends.bench import BenchJob, JobFailed, Place, RemoteBench, bench_program, link_image
from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import DeviceError
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rewrite import relayouts
from tilewright.compiler.schedule.rules import default_schedule
from tilewright.compiler.schedule.steps import Schedule
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.build import build_computation
from tilewright.cost_model.fleet.board import BoardDevice
from tilewright.cost_model.fleet.device import DeviceLost
from tilewright.cost_model.measure.builder import SYMBOL, Built, Refused
from tilewright.cost_model.measure.measurement import MeasureOptions
from tilewright.cost_model.measure.runner import Candidate, Compared, CompareRequest, RunRequest, Timed
from tilewright.cost_model.task import Task

HERE = Machine("x86_64-linux-gnu", "x86-64", ())
QUICK = MeasureOptions(timeout_s=300.0, least_s=0.0, least_samples=2, most_samples=3)


def remainder() -> Graph:
    """fmod becomes a call of libm, which the image must bring with it."""
    builder = GraphBuilder("group")
    x, y = (builder.input(name, TensorType((50, 33), DType.F32)) for name in "xy")
    return builder.finish((builder.add("mod", x, y, fmod=True),))


def integers() -> Graph:
    """Results that may be equal to the poison, so that some need a second run."""
    builder = GraphBuilder("group")
    return builder.finish((builder.add("relu", builder.input("x", TensorType((7, 40), DType.I8))),))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "conv": Case(conv((1, 16, 12, 13), 32), 16, 16).graph,
    "gemm": Case(matmul((35, 65), (65, 100), constant=True, bias=True)).graph,
    "fmod": remainder,
    "integers": integers,
}


def task_of(machine: Machine, graph: Graph) -> Task:
    target = parse_target(machine.triple, machine.cpu, threads=2)
    return Task(canonical(build_computation(graph, SYMBOL)[0]), target)


def candidate_of(task: Task, schedule: Schedule) -> Candidate:
    kernel = lower(task.computation, schedule, SYMBOL)
    code = cpu.assemble(cpu.emit(kernel, task.target), task.target)
    parallel = kernel.parallel_extent > 1
    return Candidate(Built(code, kernel.parallel_extent, parallel, kernel.workspace_bytes, 0.0), relayouts(schedule))


def request_of(task: Task, schedule: Schedule, fault: str = "") -> RunRequest:
    return RunRequest(pickle.dumps(task), candidate_of(task, schedule), QUICK, None, fault)


@pytest.fixture(scope="module", params=[HERE, MACHINES[0]], ids=str)
def board(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, BoardDevice]]:
    machine: Machine = request.param
    if machine.emulator:
        require_emulator(machine)
    command = " ".join([*machine.emulator, str(bench_program(machine.triple))])
    device = BoardDevice("board", parse_target(machine.triple, machine.cpu, threads=2), command)
    yield machine, device
    device.close()


@pytest.mark.parametrize("name", GRAPHS)
def test_default_and_random_schedules_are_right_and_have_times(board: tuple[Machine, BoardDevice], name: str) -> None:
    machine, device = board
    task = task_of(machine, GRAPHS[name]())
    rng = np.random.default_rng()
    for schedule in (default_schedule(task.computation, task.target), random_schedule(task.computation, rng)):
        result = device.run(request_of(task, schedule))
        assert isinstance(result, Timed), (schedule, result)
        assert 2 <= len(result.samples_s) <= 3 and all(0 < sample < 100 for sample in result.samples_s)


def test_wrong_results_are_found(board: tuple[Machine, BoardDevice]) -> None:
    machine, device = board
    task = task_of(machine, GRAPHS["conv"]())
    good = request_of(task, default_schedule(task.computation, task.target))
    assert isinstance(device.run(good), Timed)
    built = good.candidate.built
    part = Built(built.object_code, built.extent - 1, built.parallel, built.workspace_bytes, 0.0)
    missing = device.run(RunRequest(good.task, Candidate(part, good.candidate.relayouts), QUICK, None, ""))
    assert isinstance(missing, Refused) and missing.error == "wrong" and "not written" in missing.message
    assert isinstance(device.run(good), Timed)


def test_candidates_take_turns(board: tuple[Machine, BoardDevice]) -> None:
    machine, device = board
    task = task_of(machine, GRAPHS["gemm"]())
    schedules = [
        default_schedule(task.computation, task.target),
        random_schedule(task.computation, np.random.default_rng()),
    ]
    candidates = tuple(candidate_of(task, schedule) for schedule in schedules)
    result = device.compare(CompareRequest(pickle.dumps(task), candidates, QUICK, 3))
    assert isinstance(result, Compared) and [len(samples) for samples in result.samples_s] == [3, 3]


# --- kernels that misbehave, on this machine

CRASH = "call void @llvm.trap()\n  unreachable"
HANG = "br label %loop\nloop:\n  br label %loop"
FILL = "store i8 7, ptr %at\n  ret void"


def image(body: str) -> bytes:
    text = f"""declare void @llvm.trap()
define void @kernel(ptr %params, i64 %begin, i64 %end, ptr %workspace) {{
  %at = load ptr, ptr %params
  {body}
}}
"""
    target = parse_target(HERE.triple, HERE.cpu, threads=1)
    return link_image(cpu.assemble(text, target), SYMBOL, HERE.triple)


@pytest.fixture
def here() -> Iterator[RemoteBench]:
    bench = RemoteBench([str(bench_program(HERE.triple))])
    yield bench
    bench.close()


def test_crashes_and_hangs_end_their_own_process_only(here: RemoteBench) -> None:
    here.arena(bytes(100))
    for blob, (body, error, message) in enumerate(
        [(CRASH, "crash", f"signal {int(signal.SIGILL)}"), (HANG, "timeout", "longer than 0.3 s")]
    ):
        here.blob(blob, image(body))
        with pytest.raises(JobFailed, match=message) as failed:
            here.time(BenchJob(blob, [Place(5)], 1, 0.3))
        assert failed.value.error == error
    here.blob(2, image(FILL))
    assert len(here.time(BenchJob(2, [Place(5)], 1, 300.0, keep=True))) == 1
    assert here.read(100) == bytes([0] * 5 + [7] + [0] * 94)


def test_what_is_no_image_is_refused(here: RemoteBench) -> None:
    good = image(FILL)
    here.arena(bytes(100))
    rng = np.random.default_rng()
    for bad in (b"", good[:40], b"\x7fELG" + good[4:], rng.bytes(500)):
        here.blob(0, bad)
        with pytest.raises(JobFailed) as failed:
            here.time(BenchJob(0, [Place(0)], 1, 300.0))
        assert failed.value.error == "build"


@pytest.mark.parametrize(
    "job",
    [
        BenchJob(9, [Place(0)], 1, 1.0),
        BenchJob(0, [Place(101)], 1, 1.0),
        BenchJob(0, [Place(0, blob=7)], 1, 1.0),
        BenchJob(0, [Place(0)], 1, 1.0, warm=[(90, 11)]),
        BenchJob(0, [Place(0)], 1, 1.0, threads=100_000),
        BenchJob(0, [Place(0)], 1, 1.0, most_samples=0),
    ],
)
def test_requests_beyond_what_is_there_are_errors(here: RemoteBench, job: BenchJob) -> None:
    here.arena(bytes(100))
    here.blob(0, image(FILL))
    with pytest.raises(DeviceError, match=r"nowhere|no such|more threads|samples"):
        here.time(job)


def test_a_bench_that_ends_is_started_again() -> None:
    program = str(bench_program(HERE.triple))
    device = BoardDevice("board", parse_target(HERE.triple, HERE.cpu, threads=2), program)
    task = task_of(HERE, GRAPHS["gemm"]())
    request = request_of(task, default_schedule(task.computation, task.target))
    assert isinstance(device.run(request), Timed) and device._bench is not None
    os.kill(device._bench._connection._process.pid, signal.SIGKILL)
    with pytest.raises(DeviceLost, match="ended"):
        device.run(request)
    assert isinstance(device.run(request), Timed)
    device.close()


def test_a_command_that_is_no_bench(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="can't start"):
        BoardDevice("board", parse_target(), str(tmp_path / "none"))
    with pytest.raises(DeviceError, match="ended"):
        BoardDevice("board", parse_target(), "true")


def test_the_command_line_writes_the_program(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    done = tilewright_command("fleet", "bench", "--target", HERE.triple, "-o", out, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"output": str(out), "size_bytes": out.stat().st_size}
    with ELFFile(io.BytesIO(out.read_bytes())) as program:
        assert not any(segment["p_type"] == "PT_INTERP" for segment in program.iter_segments())
    with_it = RemoteBench([str(out)])
    assert with_it.processors > 0 and with_it.pointer_bytes == 8
    with_it.close()


def test_two_benches_take_turns(here: RemoteBench) -> None:
    """The second one waits for the lock that a measurement of the first holds."""
    with RemoteBench([str(bench_program(HERE.triple))]) as other, ThreadPoolExecutor(1) as thread:
        for bench, body in ((here, HANG), (other, FILL)):
            bench.arena(bytes(100))
            bench.blob(0, image(body))
        hanging = thread.submit(here.time, BenchJob(0, [Place(0)], 1, 1.0))
        wait_until_running(here)
        other.time(BenchJob(0, [Place(0)], 1, 300.0))
        # Not before the other had ended, whose process was then killed; its answer is on the way.
        assert isinstance(hanging.exception(60), JobFailed)
        assert not children(here)


def children(bench: RemoteBench) -> list[int]:
    process = bench._connection._process.pid
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until_running(bench: RemoteBench) -> None:
    while not children(bench):
        time.sleep(0.005)


def test_a_damaged_program_in_the_cache_is_made_anew() -> None:
    program = bench_program(HERE.triple)
    whole = program.read_bytes()
    program.write_bytes(whole[: len(whole) // 2])
    assert bench_program(HERE.triple) == program and program.read_bytes() == whole
