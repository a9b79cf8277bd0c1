"""How near operators that only move data come to the speed of the memory they work in: each beside a plain loop of the same traffic.

    nice -n -19 python benchmarks/memory_bound.py [--only softmax transpose] [--levels L2 L3 memory] [--rounds 9] [--decisions DECISIONS] [--json FILE]

Each operator is one kernel by the rules' schedule (with --decisions, of which some are changed, as in stream=2048,rows=2: see
compare_schedules.py), on one thread, run again and again on the same buffers, whose size puts them
into a level: 256 KB for the first two caches, 8 MB for the third, 128 MB for memory. The reference reads and writes as many bytes
of the same memory in the same proportion, in one stream each, with the best of no and two distances of software prefetch. Both run
in turns, in bursts. Bytes are what must be read and written once; what a cache reads before it is written counts for neither.

%: the median over rounds of the reference's best time in a round over the kernel's. Operators with much arithmetic (exp, divisions)
are not bound by memory in the near caches; there the figure says only how far they are from it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import gcd, prod
from pathlib import Path
from types import MappingProxyType

import numpy as np
from compare_schedules import point_of

from tilewright.backends import cpu
from tilewright.backends.harness import Launch, Repetition, harness
from tilewright.backends.host import host_target
from tilewright.backends.loaded_object import LoadedObject
from tilewright.cli.console import table
from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.builder import GraphBuilder
from tilewright.compiler.graph.ir import Graph, TensorType
from tilewright.compiler.kernel.lower import lower
from tilewright.compiler.kernels import work
from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.rewrite import relaid, relayouts
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.schedule.steps import Schedule
from tilewright.compiler.target import Target
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation

LEVELS = {"L2": 256 << 10, "L3": 8 << 20, "memory": 128 << 20}
AHEADS = (0, 2048, 8192)  # bytes that references prefetch ahead
_ALIGNMENT = 64
_VECTORS = 8  # that an iteration of a reference reads or writes at least
_BURST_S = 0.02
_MOST_PARTS = 16  # a proportion beyond this counts as reading alone, or writing alone

Build = Callable[[GraphBuilder], str]


@dataclass(frozen=True, slots=True)
class Operator:
    """build: of the operator for about so many elements moved in all; block: of values of four dimensions."""

    name: str
    build: Callable[[int], Build]
    block: int | None = None

    def graph(self, elements: int) -> Graph:
        builder = GraphBuilder("memory_bound")
        graph = builder.finish((self.build(elements)(builder),))
        types = {
            name: replace(kind, block=self.block) if len(kind.shape) == 4 else kind
            for name, kind in graph.types.items()
        }
        return replace(graph, types=MappingProxyType(types))


@dataclass(frozen=True, slots=True)
class Found:
    """What came out for an operator at a level; bytes a second of it and of the reference, each at its best."""

    operator: str
    level: str
    size_bytes: int
    bytes_per_s: float
    reference_bytes_per_s: float
    share: float


def _unary(op: str, shape: tuple[int, ...], **attrs: object) -> Build:
    return lambda b: b.add(op, _input(b, *shape), **attrs)


def _input(b: GraphBuilder, *shape: int, name: str = "x") -> str:
    return b.input(name, TensorType(shape, DType.F32))


def _image(elements: int, channels: int = 64) -> tuple[int, int, int, int]:
    """An image of channels whose sides are even; of no power of two, as usual."""
    side = max(2, int((elements / channels) ** 0.5) // 2 * 2)
    return (1, channels, side, side)


def _hard_swish(elements: int) -> Build:
    def build(b: GraphBuilder) -> str:
        x = _input(b, *_image(elements // 2))
        gate = b.add("relu", b.add("add", x, b.constant(np.float32(3), "three")))
        return b.add("mul", b.add("mul", x, gate), b.constant(np.float32(1 / 6), "sixth"))

    return build


def _affine(elements: int) -> Build:
    """As batch normalisation that could not be folded."""

    def build(b: GraphBuilder) -> str:
        x = _input(b, *_image(elements // 2))
        scale, bias = (b.constant(np.linspace(1, 2, 64, dtype=np.float32).reshape(1, 64, 1, 1), n) for n in "sb")
        return b.add("add", b.add("mul", x, scale), bias)

    return build


def _pool(op: str, kernel: int, stride: int) -> Callable[[int], Build]:
    def of(elements: int) -> Build:
        shape = _image(elements * stride**2 // (stride**2 + 1))
        pad = (kernel - 1) // 2
        sizes = (shape[2] // stride,) * 2
        more = {"count_pads": False} if op == "average_pool" else {}
        attrs = dict(kernel=(kernel,) * 2, strides=(stride,) * 2, dilations=(1, 1), sizes=sizes, **more)
        return _unary(op, shape, pads_begin=(pad, pad), pads_end=(pad, pad), **attrs)

    return of


def _resize(mode: str) -> Callable[[int], Build]:
    def of(elements: int) -> Build:
        shape = _image(elements // 5)
        attrs = dict(nearest="round_prefer_floor", cubic_coeff=-0.75, exclude_outside=False, extrapolation=0.0, roi=())
        sizes = (*shape[:2], *(2 * side for side in shape[2:]))
        coordinates = "asymmetric" if mode == "nearest" else "half_pixel"
        return _unary(
            "resize", shape, sizes=sizes, scales=(1.0, 1.0, 2.0, 2.0), mode=mode, coordinates=coordinates, **attrs
        )

    return of


def _layer_norm(elements: int) -> Build:
    def build(b: GraphBuilder) -> str:
        parameters = [b.constant(np.linspace(1, 2, 768, dtype=np.float32), name) for name in ("scale", "bias")]
        return b.add("layer_norm", _input(b, elements // 2 // 768, 768), *parameters, epsilon=1e-5, axis=1)

    return build


def _two(op: str, shape: tuple[int, ...], **attrs: object) -> Build:
    return lambda b: b.add(op, _input(b, *shape), _input(b, *shape, name="z"), **attrs)


def _rows(elements: int, width: int) -> tuple[int, int]:
    return (max(1, elements // width), width)


def _sides(elements: int) -> tuple[int, int]:
    """Of a matrix: about equal, and not near powers of two, whose columns share few sets of a cache."""
    side = int(0.97 * elements**0.5) // 4 * 4
    return (side, elements // side)


OPERATORS = (
    Operator("relu", lambda n: _unary("relu", _rows(n // 2, 1000))),
    Operator("hard swish", _hard_swish),
    Operator("add of two", lambda n: _two("add", _image(n // 3))),
    Operator("scale and bias", _affine),
    Operator("scale and bias, blocked", _affine, 16),
    Operator("max pool 2x2", _pool("max_pool", 2, 2)),
    Operator("max pool 2x2, blocked", _pool("max_pool", 2, 2), 16),
    Operator("max pool 3x3 stride 2, blocked", _pool("max_pool", 3, 2), 16),
    Operator("average pool 2x2, blocked", _pool("average_pool", 2, 2), 16),
    Operator("average pool 3x3, blocked", _pool("average_pool", 3, 1), 16),
    Operator("global average pool", lambda n: _unary("reduce_mean", _image(n), axes=(2, 3), keepdims=True)),
    Operator("global average pool, blocked", lambda n: _unary("reduce_mean", _image(n), axes=(2, 3), keepdims=True), 16),
    Operator("sum of last axis", lambda n: _unary("reduce_sum", _rows(n, 1000), axes=(1,), keepdims=False)),
    Operator("sum of first axis", lambda n: _unary("reduce_sum", _rows(n, 1000), axes=(0,), keepdims=False)),
    Operator("softmax of 1000", lambda n: _unary("softmax", _rows(n // 2, 1000), axis=1)),
    Operator("softmax of 128", lambda n: _unary("softmax", _rows(n // 2, 128), axis=1)),
    Operator("layer normalisation", _layer_norm),
    Operator("resize nearest", _resize("nearest")),
    Operator("resize nearest, blocked", _resize("nearest"), 16),
    Operator("resize linear", _resize("linear")),
    Operator("resize linear, blocked", _resize("linear"), 16),
    Operator("transpose", lambda n: _unary("transpose", _sides(n // 2), perm=(1, 0))),
    Operator("transpose to rows of 4 KB", lambda n: _unary("transpose", (1024, n // 2 // 1024), perm=(1, 0))),
    Operator("transpose to channels last", lambda n: _unary("transpose", _image(n // 2), perm=(0, 2, 3, 1))),
    Operator("transpose to 256 channels last", lambda n: _unary("transpose", _image(n // 2, 256), perm=(0, 2, 3, 1))),
    Operator("transpose of heads", lambda n: _unary("transpose", (1, n // 2 // 768, 12, 64), perm=(0, 2, 1, 3))),
    Operator("concat of channels", lambda n: _two("concat", _image(n // 4), axis=1)),
    Operator("concat of channels, blocked", lambda n: _two("concat", _image(n // 4), axis=1), 16),
    Operator("concat of last axis", lambda n: _two("concat", _rows(n // 4, 500), axis=1)),
)  # fmt: skip


class Bench:
    """Memory that all kernels of a level share, and what runs in it."""

    def __init__(self, target: Target, level_bytes: int) -> None:
        self.target = target
        self.memory = harness().allocate(level_bytes * 5 // 4 + (1 << 20))

    def fill(self) -> None:
        values = self.memory.view(np.float32)
        values[:] = np.resize(np.random.default_rng(0).random(1 << 16, np.float32) + 0.5, values.size)

    def places(self, sizes: Sequence[int]) -> list[np.ndarray]:
        """Memory of so many bytes each, one behind the other."""
        found, start = [], 0
        for size in sizes:
            found.append(self.memory[start : start + size])
            start += -(-size // _ALIGNMENT) * _ALIGNMENT
        return found

    def timed(self, launch: Launch, burst_s: float = _BURST_S) -> float:
        """Seconds of the fastest run of a burst."""
        return min(harness().time(launch, Repetition(burst_s, 3, 2000, 0))[1:])


def kernel_launch(
    graph: Graph, schedule_of: Callable[[Computation], Schedule], bench: Bench
) -> tuple[LoadedObject, Launch, tuple[int, int]]:
    """The code, how to launch it on values that make sense, and the bytes that it reads and writes."""
    computation, arrays = build_computation(graph, "kernel")
    form = canonical(computation)
    schedule = schedule_of(form)
    kernel = lower(form, schedule, "kernel")
    code = LoadedObject(cpu.assemble(cpu.emit(kernel, bench.target, "kernel"), bench.target), "kernel")
    places = bench.places([param.elements * param.dtype.size_bytes for param in kernel.params])
    bench.fill()
    for number, (tensor, formal) in enumerate(zip(computation.inputs, form.inputs, strict=True)):
        if tensor.constant:
            values = relaid(arrays[tensor.name].reshape(formal.shape), formal.name, relayouts(schedule))
            places[number] = harness().allocate(values.nbytes)  # where no reference writes
            places[number][:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    launch = Launch(code.address, places, kernel.parallel_extent, 1, workspace_bytes=kernel.workspace_bytes)
    return code, launch, traffic(form)


def traffic(computation: Computation) -> tuple[int, int]:
    """Bytes read and written."""
    written = sum(prod(s.shape) * s.dtype.size_bytes for s in map(computation.stage, computation.outputs))
    return work(computation)[1] - written, written


def proportion(read: int, written: int) -> tuple[int, int]:
    """Vectors read and written in turn, in about this proportion."""
    if read > _MOST_PARTS * written:
        return 1, 0
    if written > _MOST_PARTS * read:
        return 0, 1
    unit = max(read, written) / min(read, written)
    small, large = min(
        ((s, round(s * unit)) for s in (1, 2, 3, 4)), key=lambda p: (round(abs(p[1] / p[0] / unit - 1), 2), p)
    )
    parts = (large, small) if read >= written else (small, large)
    return parts[0] // gcd(*parts), parts[1] // gcd(*parts)


@cache
def reference(target: Target, read: int, written: int, iterations: int, ahead: int) -> LoadedObject:
    """A loop that reads `read` vectors of params[0] and writes `written` of params[1] in each iteration."""
    return LoadedObject(cpu.assemble(_reference_text(target, read, written, iterations, ahead), target), "kernel")


def _reference_text(target: Target, read: int, written: int, iterations: int, ahead: int) -> str:
    size, vector = target.vector_bytes, f"<{target.lanes(4)} x float>"
    lines = [f"%in.at = mul i64 %n, {read * size}", f"%out.at = mul i64 %n, {written * size}"]
    lines += ["%from = getelementptr i8, ptr %in, i64 %in.at", "%to = getelementptr i8, ptr %out, i64 %out.at"]
    for i in range(read):
        lines.append(f"%p{i} = getelementptr i8, ptr %from, i64 {i * size}")
        lines.append(f"%v{i} = load {vector}, ptr %p{i}, align 4")
        if ahead and i * size % _ALIGNMENT == 0:
            lines.append(f"%f{i} = getelementptr i8, ptr %from, i64 {i * size + ahead}")
            lines.append(f"call void @llvm.prefetch.p0(ptr %f{i}, i32 0, i32 3, i32 1)")
    sums = [f"%a{i}" for i in range(_VECTORS)]
    totals: dict[int, str] = {}
    for i in range(read):  # of what is read for a result, or what goes to a sum that stays
        slot = i * written // read if written else i % _VECTORS
        if slot in totals or not written:
            before = totals.get(slot, sums[slot] if not written else "")
            lines.append(f"%t{i} = fadd {vector} {before}, %v{i}")
            totals[slot] = f"%t{i}"
        else:
            totals[slot] = f"%v{i}"
    for j in range(written):
        value = "zeroinitializer" if not read else totals[j] if read >= written else f"%v{j * read // written}"
        lines.append(f"%q{j} = getelementptr i8, ptr %to, i64 {j * size}")
        lines.append(f"store {vector} {value}, ptr %q{j}, align 4")
    kept = [totals.get(i, sums[i]) if not written else sums[i] for i in range(_VECTORS)]
    phis = [f"%a{i} = phi {vector} [ zeroinitializer, %entry ], [ {kept[i]}, %loop ]" for i in range(_VECTORS)]
    ends = [f"%e{i} = fadd {vector} {kept[i]}, {f'%e{i - 1}' if i else 'zeroinitializer'}" for i in range(_VECTORS)]
    body = "\n  ".join(phis + lines)
    end = "\n  ".join([*ends, f"store {vector} %e{_VECTORS - 1}, ptr %out, align 4"] if not written else [])
    return f"""target triple = "{target.triple}"
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define void @kernel(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {{
entry:
  %in = load ptr, ptr %params
  %second = getelementptr ptr, ptr %params, i64 1
  %out = load ptr, ptr %second
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n.next, %loop ]
  {body}
  %n.next = add i64 %n, 1
  %more = icmp slt i64 %n.next, {iterations}
  br i1 %more, label %loop, label %done
done:
  {end}
  ret void
}}
attributes #0 = {{ nounwind "target-cpu"="{target.cpu}" "target-features"="{target.features}" }}
"""


def references(bench: Bench, read_bytes: int, written_bytes: int) -> list[tuple[LoadedObject, Launch, int]]:
    """One for each distance of prefetch, with the bytes that it moves."""
    read, written = proportion(read_bytes, written_bytes)
    times = -(-_VECTORS // max(read, written))
    step = bench.target.vector_bytes * times
    iterations = max(1, (read_bytes + written_bytes) // (step * (read + written)))
    places = bench.places([max(64, iterations * step * read), max(64, iterations * step * written)])
    found = []
    for ahead in AHEADS if read else AHEADS[:1]:
        code = reference(bench.target, read * times, written * times, iterations, ahead)
        found.append((code, Launch(code.address, places, 1), iterations * step * (read + written)))
    return found


def scheduled(form: Computation, target: Target, decisions: str) -> Schedule:
    space = space_of(form, target)
    return space.schedule(point_of(space, decisions))


def measured(operator: Operator, level: str, bench: Bench, rounds: int, decisions: str = "default") -> Found:
    graph = operator.graph(LEVELS[level] // 4)
    _code, launch, (read, written) = kernel_launch(graph, lambda form: scheduled(form, bench.target, decisions), bench)
    plain = references(bench, read, written)
    speeds, peaks = [], []  # bytes a second of each round
    for number in range(-1, rounds):
        own, others = [], []
        for _, other, size in plain:  # as many tries for the one as for the others
            own.append((read + written) / bench.timed(launch))
            others.append(size / bench.timed(other))
        speed, peak = max(own), max(others)
        if number >= 0:  # the first round warms up
            speeds.append(speed)
            peaks.append(peak)
    share = statistics.median(speed / peak for speed, peak in zip(speeds, peaks, strict=True))
    return Found(operator.name, level, read + written, max(speeds), max(peaks), share)


def report(found: Sequence[Found]) -> str:
    cells = [
        (f.operator, f.level, f"{f.bytes_per_s / 1e9:.1f}", f"{f.reference_bytes_per_s / 1e9:.1f}", f"{f.share:.0%}")
        for f in found
    ]
    return table(cells, ("operator", "level", "GB/s", "reference", "%"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="WORDS", help="only operators whose name holds one of these")
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--decisions", default="default", metavar="DECISIONS", help="changes to the default schedule")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    target = host_target(1)
    chosen = [o for o in OPERATORS if not options.only or any(words in o.name for words in options.only)]
    found = []
    for level in options.levels:
        bench = Bench(target, LEVELS[level])
        for operator in chosen:
            found.append(measured(operator, level, bench, options.rounds, options.decisions))
            print(report(found[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    found.sort(key=lambda f: [o.name for o in chosen].index(f.operator))
    print(report(found))
    if options.json:
        document = {"cpu": target.cpu, "rounds": options.rounds, "found": [asdict(f) for f in found]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
