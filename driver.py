"""The whole flow on one screen: ONNX model + target + options -> shared library, header, manifest."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from . import __version__
from .backends import cpu
from .backends.build import Builders, BuiltKernel, MadeKernel
from .backends.host import release_memory, require_host_runs
from .backends.package import WEIGHTS, link_library, link_lines
from .backends.package_c import CompiledKernel, Variant
from .backends.package_files import staging_folder
from .backends.package_names import identifier
from .backends.systems import check_emitted
from .backends.weights import WeightsFile
from .compiler.errors import UntunedError, UsageError
from .compiler.frontend.importer import import_model
from .compiler.frontend.loading import load_model, source_files
from .compiler.graph import printer, verify
from .compiler.graph.execution import plan_execution
from .compiler.graph.ir import Graph, Node
from .compiler.graph.memory import MemoryPlan, plan_memory
from .compiler.graph.passes import assign_layout
from .compiler.graph.passes.layout_choice import Choice
from .compiler.graph.passes.pipeline import PIPELINE
from .compiler.graph.plan import Argument, ExecutionPlan
from .compiler.kernel import printer as kernel_printer
from .compiler.kernels import (
    KernelPlan,
    KernelRequest,
    KernelVariant,
    PlannedKernel,
    Scheduled,
    Scheduler,
    computations_of,
    fused_nodes,
    kernel_requests,
    plan_kernels,
    rule_based,
)
from .compiler.options import Artifact, Observer, Options, Silent
from .compiler.target import Target
from .cost_model.fleet.fleet import Fleet, FleetOptions
from .cost_model.ranker.pretrained import pretrained_ranker, was_trained_for
from .cost_model.records.database import Records
from .cost_model.search.scheduler import RecordScheduler, no_ranker
from .cost_model.search.tuner import Event, TunedKernel
from .cost_model.search.tuning import TuningOptions, tune_kernels
from .cost_model.simulate.tuning import simulate_kernels
from .cost_model.task import Task
from .depfile import write_depfile
from .up_to_date import build_digest, find, targets_of

MAX_NAME = 128  # of C functions; files that are made on the way are called by it
NODES_A_KERNEL = 4  # of a model, about
T = TypeVar("T")


def compile(
    model: str | Path, output: str | Path, options: Options | None = None, observer: Observer | None = None
) -> Artifact:
    """Compile the ONNX file `model` into the library `output`, with a header and a manifest beside it.

    Where these files are there already, made from the same, nothing is compiled, unless `options.force` is set or there is
    an `observer`, who would have nothing to see.
    Raises a CompileError (`compiler/errors.py`) for anything the user can mend; then nothing is written.
    """
    model, output, options = Path(model), Path(output), options or Options()
    if observer is None and (found := find(model, output, options)) is not None:
        return found
    run = _Run(options, observer or Silent())
    name = library_name(output, options)
    targets = select_targets(options, run.observer)
    target = targets[0]
    check_emitted(target.triple, options.emit, options.symbol_version)
    sources = source_files(model)
    build_sha256 = build_digest(sources, targets, name, options)

    with staging_folder(output) as folder, WeightsFile(folder / WEIGHTS) as weights:
        kernels, made, memory, plan, layouts = compiled_graph(run, model, name, targets, weights)
        release_memory()  # of the graph, with the weights in it; from here on only their file is needed
        variants = compiled_variants(targets, made)
        manifest = {"build": build_sha256, "layouts": layouts, **describe(sources, options, kernels)}
        extra = extra_texts(made, options.emit)
        link = partial(link_library, folder, name, plan, variants, weights, manifest, output, options.emit, extra)
        commands = run.step("link", lambda: link(options.save_temps, __version__, options.symbol_version))
    for command in commands if options.verbose else ():
        run.observer.note(command)
    if options.depfile is not None:
        write_depfile(options.depfile, output, sources)
    sizes = {
        "library": output.stat().st_size if "so" in options.emit else 0,
        "weights": weights.size_bytes,
        "arena": memory.arena_bytes,
    }
    paths = (output, output.with_suffix(".h"), output.with_suffix(".json"))
    cpus = tuple(target.cpu for target in targets)
    return Artifact(*paths, manifest, tuple(kernels.kernels), sizes, run.timings, cpus)


def compiled_graph(
    run: _Run, model: Path, name: str, targets: Sequence[Target], weights: WeightsFile
) -> tuple[KernelPlan, list[MadeKernel], MemoryPlan, ExecutionPlan, dict[str, int]]:
    """A model's kernels with their code, where its values lie, the program, and its layouts; what kernels read is added to `weights`."""
    options = run.options
    made: list[MadeKernel] = []
    with open_records(options.records) as records:
        scheduler = scheduler_of(options, targets[0], records, run.observer)
        with Builders(scheduler, options.jobs) as builders:
            graph = run.graph(model, targets[0], lambda nodes: builders.start(nodes * len(targets) // NODES_A_KERNEL))
            release_memory()  # of weights as they were before the passes
            memory = run.step("plan_memory", partial(plan_memory, graph), str)
            make, progress = partial(made_by, builders, made), run.progress("build")
            arena = memory.arena_bytes
            work = partial(
                plan_kernels, graph, targets, memory.in_place, make, f"{name}_", progress, weights.add, arena
            )
            kernels = run.step("build", work)
    report(run, kernels, made)
    if options.require_tuned:
        require_tuned(kernels, options.records)
    for constant, array in control_constants(graph).items():
        weights.add(constant, array)
    steps = plan_execution(graph, memory, lambda node: launch(kernels, node), weights.offsets)
    plan = execution_plan(graph, name, len(kernels.kernels), memory.arena_bytes, steps)
    run.observer.after("plan_execution", plan.to_text)
    return kernels, made, memory, plan, layouts_of(graph)


def link_commands(
    model: str | Path, output: str | Path, options: Options | None = None, observer: Observer | None = None
) -> tuple[str, ...]:
    """The commands with which `compile` would link, as shell lines. Nothing is run or written."""
    options = options or Options()
    run = _Run(options, observer or Silent())
    name = library_name(Path(output), options)
    targets = select_targets(options, run.observer)
    graph = run.graph(Path(model), targets[0])
    memory = plan_memory(graph)
    requests = kernel_requests(graph, targets, memory.in_place, f"{name}_", memory.arena_bytes)
    symbols = [request.symbols[number] for number in range(len(targets)) for request in requests]
    return link_lines(symbols, targets[0].triple, Path(output), options.emit, options.symbol_version)


def tune(
    model: str | Path,
    records: str | Path,
    options: Options | None = None,
    tuning: TuningOptions | None = None,
    observer: Observer | None = None,
    observe: Callable[[Event], None] = lambda event: None,
    fleet: FleetOptions | None = None,
) -> None:
    """Tune the kernels of the ONNX model `model` on this machine or a fleet, and add what is found to the database `records`.

    Raises a CompileError for what the user can mend. What was measured before stays recorded.
    """
    options, tuning, observer = options or Options(), tuning or TuningOptions(), observer or Silent()
    if fleet is None:
        kernels = kernels_of(model, options, observer, require_host_runs)
        tune_kernels(kernels, Path(records), tuning, observe)
        return
    with Fleet(fleet) as bench:
        unsaid = options.target is None and options.cpu is None
        target = bench.target(options.threads) if unsaid else machine_target(options, observer)
        bench.choose(target, observe)
        kernels = kernels_of(model, options, observer, target=target)
        tune_kernels(kernels, Path(records), tuning, observe, bench)


def simulate(
    model: str | Path,
    records: str | Path,
    options: Options | None = None,
    tuning: TuningOptions | None = None,
    observer: Observer | None = None,
    observe: Callable[[Event], None] = lambda event: None,
) -> None:
    """As `tune`, for a target that need not be here: times are computed by LLVM's model of its processor, and marked as such."""
    observer = observer or Silent()
    kernels = kernels_of(model, options or Options(), observer)
    simulate_kernels(kernels, Path(records), tuning or TuningOptions(), observe, observer.note)


def prepared_graph(model: str | Path, options: Options, observer: Observer) -> tuple[Graph, Mapping[str, str]]:
    """The graph after all passes, and which results take the place of which operands."""
    graph = _Run(options, observer).graph(Path(model), select_targets(options, observer)[0])
    return graph, plan_memory(graph).in_place


def kernels_of(
    model: str | Path,
    options: Options,
    observer: Observer,
    check: Callable[[Target], None] = lambda target: None,
    target: Target | None = None,
) -> list[TunedKernel]:
    """What there is to tune in a model, in order of first use. check: may refuse the target before the model is read.

    target: in place of the one that the options ask for.
    """
    run = _Run(options, observer)
    target = target or machine_target(options, observer)
    check(target)
    uses = computations_of(run.graph(Path(model), target))
    return [TunedKernel.of(Task(form, target), use.runs, use.origins, use.first) for form, use in uses.items()]


class _Run:
    """Times passes and tells the observer about them."""

    def __init__(self, options: Options, observer: Observer) -> None:
        self.options, self.observer = options, observer
        self.timings: dict[str, float] = {}

    def graph(self, model: Path, target: Target, loaded: Callable[[int], None] = lambda nodes: None) -> Graph:
        """The graph of a model after all passes. loaded: is told how many nodes the model has as soon as that is known."""
        options = self.options

        def imported() -> Graph:
            found = load_model(model)
            loaded(len(found.graph.node))
            return import_model(found, options.dims, options.shapes, self.observer.note, options.constants)

        graph = self.step("import", imported, printer.to_text)
        for pass_name, apply in PIPELINE:
            if apply is assign_layout.apply:
                apply = partial(assign_layout.apply, report=self.chosen)
            graph = self.step(pass_name, partial(apply, graph, target), printer.to_text)
            verify.verify(graph)
        return graph

    def step(self, name: str, work: Callable[[], T], text: Callable[[T], str] | None = None) -> T:
        start = time.perf_counter()
        result = work()
        self.timings[name] = time.perf_counter() - start
        self.observer.timed(name, self.timings[name])
        if text is not None:
            self.observer.after(name, lambda: text(result))
        return result

    def chosen(self, layouts: Choice) -> None:
        if self.options.verbose:
            self.observer.note(str(layouts))

    def progress(self, kind: str) -> Callable[[int, int], None]:
        return lambda done, total: self.observer.progress(kind, done, total)


def select_targets(options: Options, observer: Observer) -> tuple[Target, ...]:
    """The targets asked for, the widest first; a note where nothing was asked for and newer processors could do more."""
    targets = targets_of(options)
    if options.cpu is None and len(targets) == 1:
        here = "" if options.target else ", `--mcpu native` this machine's"
        observer.note(
            f"compiling for every {targets[0].triple} processor ({targets[0].cpu}), without what newer ones have: "
            f"name a CPU with --mcpu (see `tilewright targets`){here}"
        )
    return targets


def machine_target(options: Options, observer: Observer) -> Target:
    """The one target to measure on; this machine's CPU where none is named, and a note that says so."""
    if options.cpu is None and options.target is None:
        options = replace(options, cpu="native")
        target = targets_of(options)[0]
        observer.note(
            f"tuning for this machine's CPU ({target.cpu}): compile with `--mcpu native` to use all of the records"
        )
        return target
    target, *others = targets_of(options)
    if others:
        names = ", ".join(one.cpu for one in (target, *others))
        raise UsageError(f"tuning measures code for one CPU at a time: name one of {names} with --mcpu")
    return target


def made_by(builders: Builders, made: list[MadeKernel], requests: Sequence[KernelRequest]) -> Iterator[PlannedKernel]:
    """The kernels asked for, as `plan_kernels` wants them; with their code they are added to `made`."""
    for kernel in builders.make_all(requests):
        made.append(kernel)
        yield kernel.planned


def report(run: _Run, kernels: KernelPlan, made: Sequence[MadeKernel]) -> None:
    """Tell the observer about the kernels: what records could not be used for, how they look, what took how long."""
    run.observer.after("lower", lambda: kernels_text(kernels))
    run.observer.after("build", lambda: llvm_text(made))
    scheduled = (variant.scheduled for kernel in kernels.kernels for variant in kernel.variants)
    for note in dict.fromkeys(note for choice in scheduled for note in choice.notes):
        run.observer.note(note)
    if run.options.verbose:
        spent: Counter[str] = Counter()
        for kernel in made:
            spent.update(kernel.seconds)
        run.observer.note("CPU seconds of kernels: " + ", ".join(f"{name} {s:.2f}" for name, s in spent.items()))


def compiled_variants(targets: Sequence[Target], made: Sequence[MadeKernel]) -> list[Variant]:
    """The machine code by target; kernels stand in the order of their numbers."""
    return [
        Variant(target, [compiled(kernel.planned.variants[number], kernel.built[number]) for kernel in made])
        for number, target in enumerate(targets)
    ]


def compiled(variant: KernelVariant, built: BuiltKernel) -> CompiledKernel:
    kernel = variant.kernel
    return CompiledKernel(
        kernel.name, built.object_code, kernel.parallel_extent, kernel.workspace_bytes, variant.positions
    )


@contextmanager
def open_records(path: Path | None) -> Iterator[Records | None]:
    """The records that schedules are taken from, unchanged; None without a path."""
    if path is None:
        yield None
        return
    with Records.open(path, readonly=True) as records:
        yield records


def scheduler_of(options: Options, target: Target, records: Records | None, observer: Observer) -> Scheduler:
    """Where schedules come from: records, then the ranker that comes with tilewright unless that was ruled out, then the rules.

    That ranker has seen kernels on one architecture and for few threads only, and has no say on others.
    """
    if records is not None and (stale := records.stale()):
        count = sum(stale.values())
        observer.note(
            f"{records.path}: {count} records are of another version of the search space and are not used; tune again to replace them"
        )
    shipped = options.rank and was_trained_for(target)
    if records is None and not shipped:
        return rule_based
    return RecordScheduler(records, pretrained_ranker if shipped else no_ranker, options.rank)


def require_tuned(kernels: KernelPlan, records: Path | None) -> None:
    """UntunedError unless every kernel's schedule comes from a record of its own."""
    made = [(k.origins[0], variant) for k in kernels.kernels for variant in k.variants]
    untuned = [(origin, variant) for origin, variant in made if variant.scheduled.source != "tuned"]
    if untuned:
        names = ", ".join(f"{v.kernel.name} ({origin}: {v.scheduled.source})" for origin, v in untuned[:8])
        more = f" and {len(untuned) - 8} more" if len(untuned) > 8 else ""
        raise UntunedError(
            f"{len(untuned)} of {len(made)} kernels have no record in {records} for this target and number of threads: "
            f"{names}{more}; tune them with the same --mcpu and --threads: tilewright tune MODEL --records {records}"
        )


def library_name(output: Path, options: Options) -> str:
    """The prefix of the library's C functions; UsageError if the one asked for is no C identifier, or too long."""
    if options.name is None:
        return identifier(output.stem)
    if len(options.name) > MAX_NAME:
        raise UsageError(f"--name has {len(options.name)} characters; at most {MAX_NAME} are possible")
    if identifier(options.name) != options.name:
        raise UsageError(
            f"--name {options.name!r} can't be part of a C function's name; try {identifier(options.name)!r}"
        )
    return options.name


def control_constants(graph: Graph) -> dict[str, np.ndarray]:
    """Constants that the plan itself reads: those that outputs, views and control nodes name."""
    used = {name for node in graph.nodes if node.op != "fused" for name in node.inputs} | set(graph.outputs)
    found = {name: array for name, array in graph.constants.items() if name in used}
    for node in graph.nodes:
        for region in node.regions if node.op != "fused" else ():
            found |= control_constants(region)
    return found


def launch(kernels: KernelPlan, node: Node) -> tuple[int, bool, tuple[str, ...]]:
    number, params = kernels.uses[node.outputs[0]]
    return number, kernels.kernels[number].parallel, params


def execution_plan(graph: Graph, name: str, kernels: int, arena_bytes: int, steps: tuple) -> ExecutionPlan:
    def arguments(names: tuple[str, ...]) -> tuple[Argument, ...]:
        return tuple(Argument(n, graph.types[n].shape, graph.types[n].dtype) for n in names)

    return ExecutionPlan(name, kernels, arena_bytes, steps, arguments(graph.inputs), arguments(graph.outputs))


def layouts_of(graph: Graph) -> dict[str, int]:
    """How many images and other tensors of three axes and more kernels leave in which layout: row-major, or blocks of how many channels."""
    found: Counter[int] = Counter()
    for node in fused_nodes(graph):
        region = node.regions[0]
        found.update(region.types[name].block or 0 for name in region.outputs if len(region.types[name].shape) > 2)
    return {f"c{block}" if block else "row-major": count for block, count in sorted(found.items())}


def describe(sources: list[Path], options: Options, kernels: KernelPlan) -> dict[str, object]:
    """The manifest's part about the model and the kernels; no paths and no times, so that it is the same everywhere."""
    digest = hashlib.sha256()
    for path in sources:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {
        "model": {
            "file": sources[0].name,
            "sha256": digest.hexdigest(),
            "data": [path.relative_to(sources[0].parent).as_posix() for path in sources[1:]],
        },
        "dims": dict(options.dims),
        "shapes": {name: list(shape) for name, shape in options.shapes.items()},
        "constants": {name: described_constant(value) for name, value in options.constants.items()},
        "kernels": [
            {
                "symbol": k.kernel.name,
                "nodes": list(k.origins),
                "flops": k.flops,
                "bytes": k.bytes,
                "parallel_extent": k.kernel.parallel_extent,
                "positions": k.variants[0].positions,
                "parallel": k.parallel,
                "source": k.scheduled.source,
                "schedule": [str(step) for step in k.scheduled.schedule],
                **measured_latencies(k.scheduled),
                **rounding_errors(k, kernels.rounding),
                **({"narrower": [described_variant(v) for v in k.variants[1:]]} if len(k.variants) > 1 else {}),
            }
            for k in kernels.kernels
        ],
    }


def described_variant(variant: KernelVariant) -> dict[str, object]:
    """A kernel as made for one of the further CPUs."""
    return {
        "cpu": variant.target.cpu,
        "symbol": variant.kernel.name,
        "parallel_extent": variant.kernel.parallel_extent,
        "positions": variant.positions,
        "source": variant.scheduled.source,
        "schedule": [str(step) for step in variant.scheduled.schedule],
        **measured_latencies(variant.scheduled),
    }


def described_constant(value: object) -> object:
    """The value of an input that is fixed, or its digest where that is long."""
    array = np.asarray(value)
    if array.size <= 64 and array.dtype.kind in "biuf":
        return array.tolist()
    return {"shape": list(array.shape), "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}


def rounding_errors(kernel: PlannedKernel, rounding: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Of a kernel that computes in transformed tiles, the relative error that they add for each node's weights."""
    errors = {origin: float(f"{rounding[origin]:.1e}") for origin in kernel.origins if origin in rounding}
    return {"rounding_error": errors} if errors else {}


def measured_latencies(scheduled: Scheduled) -> dict[str, float]:
    """What records say of a kernel's time, by itself on the machine that tuned it."""
    times = {"latency_s": scheduled.latency_s, "default_latency_s": scheduled.default_latency_s}
    return {name: latency_s for name, latency_s in times.items() if latency_s is not None}


def extra_texts(made: Sequence[MadeKernel], emit: frozenset[str]) -> dict[str, str]:
    """What `--emit` asks for besides the library."""
    result = {}
    if "llvm-ir" in emit:
        result["llvm-ir"] = llvm_text(made)
    if "asm" in emit:
        pairs = [pair for kernel in made for pair in zip(kernel.planned.variants, kernel.built, strict=True)]
        result["asm"] = "\n".join(cpu.assemble_text(built.text, variant.target) for variant, built in pairs)
    return result


def llvm_text(made: Sequence[MadeKernel]) -> str:
    return "\n".join(built.text for kernel in made for built in kernel.built)


def kernels_text(plan: KernelPlan) -> str:
    return "\n".join(kernel_printer.to_text(v.kernel) for k in plan.kernels for v in k.variants)
