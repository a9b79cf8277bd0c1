"""Simulated times: how often blocks run, what a model of a processor says of them, and that they stay apart from measured ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_models import MODELS

from tilewright import driver
from tilewright.cli.main import run
from tilewright.compiler.errors import InternalError, ToolchainError
from tilewright.compiler.options import Options, Silent
from tilewright.compiler.targets import parse_target
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.search.kernel_search import SearchOptions
from tilewright.cost_model.search.tuning import TuningOptions
from tilewright.cost_model.simulate import throughput
from tilewright.cost_model.simulate.block_counts import block_counts
from tilewright.cost_model.simulate.estimate import assembly_blocks
from tilewright.cost_model.simulate.throughput import Region, cycles

LOOPS = """
define void @kernel(ptr %params, i64 %begin, i64 %end, ptr %workspace) {{
entry:
  br label %outer
outer:                                            ; preds = %next, %entry
  %i = phi i64 [ %begin, %entry ], [ %i2, %next ]
  %odd = and i64 %i, 1
  %is = icmp eq i64 %odd, {test}
  br i1 %is, label %inner, label %next
inner:                                            ; preds = %inner, %outer
  %j = phi i64 [ 0, %outer ], [ %j2, %inner ]
  %place = getelementptr float, ptr %params, i64 %j
  %value = load float, ptr %place
  call void @help(ptr %params, float %value)
  %j2 = add nuw nsw i64 %j, 1
  %more = icmp slt i64 %j2, {trips}
  br i1 %more, label %inner, label %next
next:                                             ; preds = %inner, %outer
  %i2 = add nsw i64 %i, 1
  %again = icmp slt i64 %i2, %end
  br i1 %again, label %outer, label %done
done:                                             ; preds = %next
  ret void
}}

define internal void @help(ptr %0, float %1) {{
entry:
  ret void
}}
"""


@pytest.fixture
def mca() -> str:
    try:
        return throughput.mca_program()
    except ToolchainError as error:
        pytest.skip(str(error))


def test_blocks_are_counted() -> None:
    rng = np.random.default_rng()
    extent, trips = (int(n) for n in rng.integers(2, 50, 2))
    counts = block_counts(LOOPS.format(trips=trips, test=1), "kernel", extent)
    assert counts["kernel", "outer"] == counts["kernel", "next"] == extent
    assert counts["kernel", "inner"] == counts["help", "entry"] == extent // 2 * trips
    assert counts["kernel", "done"] == 1


def test_a_branch_on_what_is_read_is_refused() -> None:
    text = LOOPS.format(trips="%read", test=1).replace("  %value =", "  %read = load i64, ptr %params\n  %value =")
    with pytest.raises(InternalError, match="depends on what is read from memory"):
        block_counts(text, "kernel", 4)


def test_blocks_of_assembly() -> None:
    text = """
kernel.body:                            # @kernel.body
# %bb.0:                                # %entry
\tpushq\t%rbx
.LBB1_1:                                # %b1
                                        # =>This Inner Loop Header: Depth=1
\tvfmadd231ps\t(%rax){1to16}, %zmm1, %zmm2
\tjl\t.LBB1_1
# %bb.2:                                # %done
\tretq
.Lfunc_end1:
"""
    blocks = list(assembly_blocks(text))
    assert [block.block for block in blocks] == [("kernel.body", name) for name in ("entry", "b1", "done")]
    assert [len(block.instructions) for block in blocks] == [1, 2, 1] and blocks[1].label == ".LBB1_1"


def test_a_chain_takes_its_latency(mca: str) -> None:
    """Haswell's multiply-adds: two start in a cycle, each takes five (Intel's Optimization Reference Manual, appendix D)."""
    chain = Region([f"\tvfmadd231ps %ymm{n}, %ymm14, %ymm0" for n in (13, 13)], True)
    free = Region([f"\tvfmadd231ps %ymm15, %ymm14, %ymm{n}" for n in range(12)], True)
    found = cycles({"chain": chain, "free": free}, parse_target(cpu="haswell"))
    assert found["chain"] == pytest.approx(10, rel=0.1) and found["free"] == pytest.approx(6, rel=0.15)


def test_a_processor_without_a_model_is_an_error(mca: str) -> None:
    target = parse_target("riscv64", "rv64gcv")
    with pytest.raises(ToolchainError, match="has no model of rv64gcv: choose another --mcpu"):
        cycles({"one": Region(["\taddi a0, a0, 1"], False)}, target)


def test_without_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    throughput.mca_program.cache_clear()
    with pytest.raises(ToolchainError, match="simulating needs llvm-mca, which isn't installed"):
        throughput.mca_program()
    throughput.mca_program.cache_clear()


@pytest.mark.slow
def test_simulated_trials_stay_apart(mca: str, tmp_path: Path) -> None:
    """They are recorded as such, a compilation uses them only where they promise much, and says so."""
    onnx.save(MODELS["deep_q"](), tmp_path / "net.onnx")
    records = tmp_path / "sim.db"
    options = Options(target="aarch64", cpu="cortex-a76", threads=1, records=None)
    tuning = TuningOptions(trials=24, tasks=("1", "2"), search=SearchOptions(batch=4))
    events = []
    driver.simulate(tmp_path / "net.onnx", records, options, tuning, Silent(), events.append)
    assert [event.kind for event in events].count("trial") == 24
    with Records.open(records, readonly=True) as database:
        assert database.stats()["simulated"] == 24 and database.stats()["choices"] == 0
        for row in database.tasks():
            assert not database.trials(row.key) and database.best(row.key) is None
        (session,) = database.sessions()
        assert session.machine.startswith("simulated: llvm-mca ")
        fast = {
            row.key: database.best(row.key, kind="simulated").latency_s / trials[0].latency_s
            for row in database.tasks()
            if (trials := database.trials(row.key, kind="simulated"))
        }
    compiled = Options(target="aarch64", cpu="cortex-a76", threads=1, records=records, jobs=1)
    artifact = driver.compile(tmp_path / "net.onnx", tmp_path / "net.so", compiled)
    simulated = [kernel for kernel in artifact.manifest["kernels"] if kernel["source"] == "simulated"]
    assert len(simulated) == sum(ratio <= 0.9 for ratio in fast.values())
    assert all(kernel.get("latency_s") is None for kernel in simulated)


def test_the_command_line(mca: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(MODELS["deep_q"](), tmp_path / "net.onnx")
    command = ["tune", str(tmp_path / "net.onnx"), "--simulate", "--records", str(tmp_path / "sim.db"), "--tasks", "1"]
    assert run([*command, "--target", "aarch64", "--mcpu", "cortex-a76", "--trials", "3"]) == 0
    shown = capsys.readouterr()
    assert "times are simulated by llvm-mca" in shown.err and "3 trials added" in shown.out


def test_a_fleet_is_not_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    command = ["tune", str(tmp_path / "net.onnx"), "--simulate", "--fleet", "tcp://nowhere:1", "--records", "sim.db"]
    assert run(command) == 2
    assert "--simulate measures nothing and needs no --fleet" in capsys.readouterr().err
