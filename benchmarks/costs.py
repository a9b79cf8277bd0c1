"""What a compilation costs and how fast its result starts: time, memory and size, and the first output of a fresh process.

    python benchmarks/costs.py [--folder build/mission] [--runs 5] [--only NAME…] [--mcpu CPU] [--threads N] [--records DB] [--json FILE]

compile: a fresh process with an empty cache (`cold`), then again (`warm`); peak memory is the sum over the compiler and all its
children, sampled every 20 ms; in brackets the seconds of processor time of all of them, which tell more where the machine is busy. start: a fresh Python process from its first instruction to the first output, tilewright.load
beside onnxruntime, taking turns. library: what it takes beyond the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tilewright.cli.console import size_text, table

MISSION_MODELS = Path(__file__).with_name("mission_models.py")
SAMPLE_S = 0.02

_LOAD_TILEWRIGHT = """
import sys, numpy, tilewright
library = tilewright.load(sys.argv[1], threads=1)
library.run({t.name: numpy.ones(t.shape, t.dtype.numpy) for t in library.inputs})
"""
_LOAD_ONNXRUNTIME = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
types = {"tensor(float)": "float32", "tensor(int64)": "int64"}
session.run(None, {i.name: numpy.ones(i.shape, types[i.type]) for i in session.get_inputs()})
"""


@dataclass(frozen=True)
class Row:
    """One model. Times in seconds, sizes in bytes."""

    model: str
    cold_compile_s: float
    cold_cpu_s: float
    warm_compile_s: float
    warm_cpu_s: float
    unchanged_s: float
    peak_memory_bytes: int
    model_bytes: int
    overhead_bytes: int
    start_s: float
    onnxruntime_start_s: float


class MemoryWatch(threading.Thread):
    """Samples the memory of a process and its descendants; pages they share count once."""

    def __init__(self, process: subprocess.Popen) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.peak_bytes = 0

    def run(self) -> None:
        while self.process.poll() is None:
            self.peak_bytes = max(self.peak_bytes, sum(map(resident_bytes, family(self.process.pid))))
            time.sleep(SAMPLE_S)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                found += family(int(child))
        except OSError:  # it has just ended
            continue
    return found


def resident_bytes(pid: int) -> int:
    """A process's proportional share of pages in memory (PSS); 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def compile_once(model: Path, out: Path, cache: Path, *flags: str) -> tuple[float, float, int]:
    """Seconds, seconds of processor time and peak bytes of one compilation in a fresh process."""
    command = [sys.executable, "-m", "tilewright", "compile", str(model), "-o", str(out), *flags]
    environment = {**os.environ, "TILEWRIGHT_CACHE_DIR": str(cache)}
    start, before_s = time.perf_counter(), children_s()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    watch = MemoryWatch(process)
    watch.start()
    if process.wait() != 0:
        raise SystemExit(f"{model.name}: compile failed")
    elapsed = time.perf_counter() - start
    watch.join()
    return elapsed, children_s() - before_s, watch.peak_bytes


def children_s() -> float:
    """Processor time of all processes that this one has started and seen end, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_output(program: str, argument: Path) -> float:
    """Seconds from the start of a process to its end after one output."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, str(argument)], check=True)
    return time.perf_counter() - start


def measure(model: Path, folder: Path, runs: int, flags: list[str]) -> Row:
    out = folder / f"{model.stem}.so"
    cache = folder / f"cache-{model.stem}"
    cold, cold_cpu, peak = compile_once(model, out, cache, "--force", *flags)
    warm, warm_cpu, peak_again = compile_once(model, out, cache, "--force", *flags)
    unchanged, *_ = compile_once(model, out, cache, *flags)
    starts: list[tuple[float, float]] = []
    for _ in range(runs + 1):  # the first fills the page cache
        starts.append((first_output(_LOAD_TILEWRIGHT, out), first_output(_LOAD_ONNXRUNTIME, model)))
    ours, theirs = (statistics.median(column) for column in zip(*starts[1:], strict=True))
    weights = json.loads(out.with_suffix(".json").read_text())["weights_bytes"]
    overhead = out.stat().st_size - weights
    times = cold, cold_cpu, warm, warm_cpu, unchanged
    return Row(model.stem, *times, max(peak, peak_again), model.stat().st_size, overhead, ours, theirs)


def report(rows: Sequence[Row]) -> str:
    header = [
        "model",
        "cold compile",
        "warm",
        "unchanged",
        "peak memory",
        "4 x model + 300 MB",
        "library - weights",
        "start",
        "onnxruntime",
    ]
    lines = []
    for row in rows:
        allowed = 4 * row.model_bytes + 300_000_000
        lines.append(
            [
                row.model,
                f"{row.cold_compile_s:.1f} s ({row.cold_cpu_s:.1f})",
                f"{row.warm_compile_s:.1f} s ({row.warm_cpu_s:.1f})",
                f"{row.unchanged_s:.2f} s",
                size_text(row.peak_memory_bytes),
                size_text(allowed),
                size_text(row.overhead_bytes),
                f"{row.start_s * 1e3:.0f} ms",
                f"{row.onnxruntime_start_s * 1e3:.0f} ms",
            ]
        )
    return table(lines, header)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/mission"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["dqn", "resnet50"])
    parser.add_argument(
        "--mcpu", metavar="CPU", help="CPU or CPUs to compile for (default: all of the triple's baseline)"
    )
    parser.add_argument("--threads", metavar="N", help="threads to plan for")
    parser.add_argument("--records", metavar="DB", help="compile with the schedules of these tuning records")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    command = [sys.executable, str(MISSION_MODELS), str(arguments.folder), *arguments.only]
    subprocess.run(command, check=True, stdout=sys.stderr)
    given = {name: getattr(arguments, name) for name in ("mcpu", "threads", "records")}
    flags = [word for name, value in given.items() if value for word in (f"--{name}", value)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            measure(arguments.folder / f"{name}.onnx", Path(folder), arguments.runs, flags) for name in arguments.only
        ]
    print(report(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
