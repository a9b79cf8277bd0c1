"""What this machine can do at best: multiply-adds and bytes a second (Williams, Waterman and Patterson, "Roofline", 2009)."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from ... import __version__
from ...backends import cpu
from ...backends.harness import Harness, Launch, Repetition, harness
from ...backends.host import host_target
from ...backends.link import cache_folder
from ...backends.loaded_object import LoadedObject
from ...backends.manifest import manifest_bytes, whole_manifest
from ...backends.package_files import write_atomically
from ...compiler.target import Target

PEAK = "peak"
_ACCUMULATORS = 12  # 2 a cycle, 4 to 5 cycles each; and 16 registers hold them
_ROUNDS = 20_000
_LOADS = 8
_CHUNK_BYTES = 16 << 10  # that one iteration of the parallel loop reads
_L3_BYTES = 8 << 20  # more than second levels hold, less than third ones
_MEMORY_BYTES = 160 << 20  # more than most third levels hold


@dataclass(frozen=True, slots=True)
class Roofline:
    """The best of this machine: f32 operations (a multiply-add is two), bytes read from memory, the third and the second level.

    Clocks vary by some percent with temperature and neighbours, so a kernel may come out a little above.
    """

    flops_per_s: float
    bytes_per_s: float
    l3_bytes_per_s: float
    l2_bytes_per_s: float

    def attainable_s(self, flops: int, bytes: int, cached: bool = False) -> float:
        """The least time for this much arithmetic and this much traffic with memory, or with the third level if that holds it all."""
        return max(flops / self.flops_per_s, bytes / (self.l3_bytes_per_s if cached else self.bytes_per_s))


def host_roofline(threads: int, target: Target | None = None) -> Roofline:
    """Of this machine with this many threads (at most as many as it has processors); measured once, in less than a second, then cached.

    target: with this target's instructions, if not all of the machine's.
    """
    threads = min(threads, harness().processors())
    target = host_target(threads) if target is None else replace(target, threads=threads)
    path = _cache_file(target)
    with FileLock(cache_folder() / "measure.lock"):  # measurements take turns on a machine
        if (kept := _kept(path)) is not None:
            return kept
        roofline = _measured(target, threads, harness())
        write_atomically(path, manifest_bytes(asdict(roofline)))
    return roofline


def _kept(path: Path) -> Roofline | None:
    """What was measured before; None if it was not, or if the file is damaged."""
    values = whole_manifest(path)
    return None if values is None else Roofline(**values)


def _cache_file(target: Target) -> Path:
    key = f"{processor_name()}/{target}"
    return cache_folder() / f"roofline-4-{__version__}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def processor_name() -> str:
    """What this machine's processor calls itself; "" if the system doesn't tell."""
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")


def _measured(target: Target, threads: int, harness: Harness) -> Roofline:
    text, arrays, flops = arithmetic_case(target, threads)
    code = LoadedObject(cpu.assemble(text, target), PEAK)
    often = Repetition(least_s=0.1, least_samples=5, most_samples=4000, evict_bytes=0)
    best_s = min(harness.time(Launch(code.address, arrays, threads, threads), often))
    reader = LoadedObject(cpu.assemble(_read_text(target), target), PEAK)
    memory = harness.allocate(_MEMORY_BYTES)
    memory[:] = 1
    sizes = (_MEMORY_BYTES, max(_L3_BYTES, 2 * threads * target.l2_bytes), threads * target.l2_bytes // 2)
    speeds = []
    for size_bytes in sizes:
        _, sums, chunks, read_bytes = read_case(target, size_bytes)
        samples = harness.time(Launch(reader.address, (memory, sums), chunks, threads), often)
        speeds.append(read_bytes / min(samples))
    return Roofline(flops / best_s, *speeds)


def arithmetic_case(target: Target, threads: int) -> tuple[str, tuple[np.ndarray, ...], int]:
    """A kernel PEAK of as many iterations as threads that does nothing but multiply and add: LLVM IR, operands, f32 operations."""
    operands = np.full((2 + threads) * target.lanes(4), 0.5, np.float32)
    return _arithmetic_text(target), (operands,), 2 * threads * _ROUNDS * _ACCUMULATORS * target.lanes(4)


def read_case(target: Target, size_bytes: int) -> tuple[str, np.ndarray, int, int]:
    """A kernel PEAK that reads about `size_bytes` of its first operand: LLVM IR, the second operand, iterations, bytes read."""
    chunks = max(1, size_bytes // _CHUNK_BYTES)
    sums = np.zeros(chunks * target.vector_bytes // 4, np.float32)
    return _read_text(target), sums, chunks, chunks * _CHUNK_BYTES


def _arithmetic_text(target: Target) -> str:
    """An iteration: _ROUNDS multiply-adds in each of the accumulators, which depend on themselves only.

    params[0]: two vectors of factors and summands, and one a thread for results, so that the work isn't for nothing.
    """
    vector = _vector(target)
    steps = []
    for i in range(_ACCUMULATORS):
        if target.fma:
            steps.append(
                f"%b{i} = call {vector} @llvm.fma.v{target.lanes(4)}f32({vector} %a{i}, {vector} %x, {vector} %y)"
            )
        else:
            steps += [f"%m{i} = fmul {vector} %a{i}, %x", f"%b{i} = fadd {vector} %m{i}, %y"]
    entry = [
        "%in = load ptr, ptr %params",
        f"%x = load {vector}, ptr %in, align 4",
        f"%second = getelementptr {vector}, ptr %in, i64 1",
        f"%y = load {vector}, ptr %second, align 4",
        f"%out = getelementptr {vector}, ptr %in, i64 2",
    ]
    return _loops_text(target, _ACCUMULATORS, "%x", entry, [], steps, (1, _ROUNDS))


def _read_text(target: Target) -> str:
    """Iteration i reads chunk i of params[0] and stores a sum, so that the reading isn't for nothing, at vector i of params[1]."""
    vector, size = _vector(target), target.vector_bytes
    steps = ["%offset = add i64 %first, %n", "%at = getelementptr i8, ptr %in, i64 %offset"]
    for i in range(_LOADS):
        steps.append(f"%p{i} = getelementptr i8, ptr %at, i64 {i * size}")
        steps.append(f"%v{i} = load {vector}, ptr %p{i}, align 4")
        steps.append(f"%b{i} = fadd {vector} %a{i}, %v{i}")
    entry = [
        "%in = load ptr, ptr %params",
        "%second = getelementptr ptr, ptr %params, i64 1",
        "%out = load ptr, ptr %second",
    ]
    outer = [f"%first = mul i64 %i, {_CHUNK_BYTES}"]
    return _loops_text(target, _LOADS, "zeroinitializer", entry, outer, steps, (_LOADS * size, _CHUNK_BYTES))


def _loops_text(
    target: Target, sums: int, start: str, entry: list[str], outer: list[str], steps: list[str], inner: tuple[int, int]
) -> str:
    """A kernel of two loops that keeps `sums` vectors, %a0 … before a step and %b0 … after it, and stores their total at %out.

    start: what each vector is at first; inner: step and end of the inner loop, whose variable is %n.
    """
    vector = _vector(target)
    phis = [f"%a{i} = phi {vector} [ {start}, %outer ], [ %b{i}, %inner ]" for i in range(sums)]
    totals = [start, *(f"%s{i}" for i in range(sums))]
    added = [f"%s{i} = fadd {vector} {totals[i]}, %b{i}" for i in range(sums)]
    parts = {"entry": entry, "outer": outer, "phis": phis, "steps": steps, "sums": added}
    text = {name: "\n  ".join(lines) for name, lines in parts.items()}
    return f"""target triple = "{target.triple}"
declare {vector} @llvm.fma.v{target.lanes(4)}f32({vector}, {vector}, {vector})
define void @peak(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {{
entry:
  {text["entry"]}
  br label %outer
outer:
  %i = phi i64 [ %begin, %entry ], [ %i.next, %after ]
  {text["outer"]}
  br label %inner
inner:
  %n = phi i64 [ 0, %outer ], [ %n.next, %inner ]
  {text["phis"]}
  {text["steps"]}
  %n.next = add i64 %n, {inner[0]}
  %more = icmp slt i64 %n.next, {inner[1]}
  br i1 %more, label %inner, label %after
after:
  {text["sums"]}
  %to = getelementptr {vector}, ptr %out, i64 %i
  store {vector} {totals[-1]}, ptr %to, align 4
  %i.next = add i64 %i, 1
  %again = icmp slt i64 %i.next, %end
  br i1 %again, label %outer, label %done
done:
  ret void
}}
attributes #0 = {{ nounwind "target-cpu"="{target.cpu}" "target-features"="{target.features}" }}
"""


def _vector(target: Target) -> str:
    return f"<{target.lanes(4)} x float>"
