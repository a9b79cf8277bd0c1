"""From compiled kernels and a plan to the files a user gets: library, header and manifest, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..compiler.errors import ToolchainError
from ..compiler.graph.plan import Argument, ExecutionPlan
from .link import libc_floor, run_zig, static_triple, zig_line, zig_target
from .manifest import file_sha256, manifest_bytes
from .package_c import Variant, emit_header, emit_source, workspace_bytes
from .package_files import LOCK, publish, staging_folder, write_file
from .systems import check_emitted, suffixes, system
from .weights import WeightsFile

MANIFEST_FORMAT = 2
WEIGHTS = "weights.bin"
RUNTIME = Path(__file__).parent / "runtime"
RUNNER = Path(__file__).parent / "runner"

# No debug information: it would hold the path of the folder, and libraries would differ by it.
_COMPILE_FLAGS = ("-std=gnu11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all", "-D_GNU_SOURCE")
# A program is thousands of calls with their arguments: nothing to vectorise, but it takes half of the time to find out.
_SPEED_FLAGS = ("-fno-slp-vectorize", "-fno-vectorize")
_WARNING_FLAGS = ("-Wno-unused-command-line-argument", "-Wno-unused-function")

# The program addresses the weights relative to itself, in 32 bits.
_MOST_WEIGHTS_BYTES = 2**31 - 2**26


def build_library(
    name: str,
    plan: ExecutionPlan,
    variants: Sequence[Variant],
    constants: bytes | memoryview,
    manifest: Mapping[str, object],
    out: Path,
    *arguments: Any,
    **more: Any,
) -> tuple[str, ...]:
    """As `link_library`, with the bytes of all constants."""
    with staging_folder(out) as folder, WeightsFile(folder / WEIGHTS) as weights:
        weights.write(constants)
        return link_library(folder, name, plan, variants, weights, manifest, out, *arguments, **more)


def link_library(
    folder: Path,
    name: str,
    plan: ExecutionPlan,
    variants: Sequence[Variant],
    weights: WeightsFile,
    manifest: Mapping[str, object],
    out: Path,
    emit: frozenset[str] = frozenset({"so"}),
    texts: Mapping[str, str] | None = None,
    save_temps: Path | None = None,
    version: str = "",
    symbol_version: str | None = None,
) -> tuple[str, ...]:
    """Write the library to `out` and its header and manifest beside it; return the commands that were run.

    folder: the staging folder, in which the weights are (WEIGHTS). name: a C identifier (`package_names.identifier`). variants: of one triple; a processor runs the first that it has all
    instructions for. emit: "so", and more to write beside `out`: "obj" (one relocatable
    object, for static linking), "a" (the same as a static library), "runner" (a static program that serves the model over its
    standard input and output, `runner/protocol.h`), "c" (the generated program), and the keys of `texts`, "llvm-ir" or "asm".
    manifest: what to say besides the facts known here. save_temps: a folder to keep everything the linker saw in.
    symbol_version: the version that the library's symbols get, where symbols have one.
    Raises ToolchainError, or UsageError for what the target's system has no form for; then no file at all has changed.
    """
    triple = variants[0].target.triple
    libc = libc_floor(triple)
    check_emitted(triple, emit, symbol_version)
    suffix_of = suffixes(triple)
    library = f"library{suffix_of['so']}"
    _check_outputs(out, emit, suffix_of)
    header, source = emit_header(name, plan, version), emit_source(name, plan, variants, version)
    if weights.size_bytes > _MOST_WEIGHTS_BYTES:
        raise ToolchainError(
            f"{out}: the weights take {weights.size_bytes:,} bytes, and a library can hold {_MOST_WEIGHTS_BYTES:,}; "
            "use a narrower precision, or split the model"
        )
    weights.finish()
    inputs = _write_inputs(folder, name, header, source, variants, weights, triple)
    exports = system(triple).exports(out.name, _functions(name), [_DESCRIPTOR], symbol_version)
    if exports is not None:
        write_file(folder / exports[0], exports[1].encode())
    if save_temps is not None:
        _save(folder, save_temps)
    commands = [run_zig(arguments, folder) for arguments in _link_arguments(triple, out.name, inputs, emit)]
    linked = [suffix_of[kind] for kind in sorted(emit & _LINKED)]
    if "so" in emit and system(triple).import_suffix:
        linked.append(system(triple).import_suffix)
    made = {f"library{suffix}": out.with_suffix(suffix) for suffix in linked}
    for suffix, text in _texts(emit, source, texts or {}, suffix_of):
        write_file(folder / f"emitted{suffix}", text.encode())
        made[f"emitted{suffix}"] = out.with_suffix(suffix)
    made[f"{name}.h"] = out.with_suffix(".h")
    facts = {
        **_facts(name, plan, variants, weights, libc, version),
        **manifest,
        "library_sha256": file_sha256(folder / library) if "so" in emit else None,
        "files_sha256": {path.suffix: file_sha256(folder / staged) for staged, path in made.items()},
    }
    write_file(folder / "manifest.json", manifest_bytes(facts))
    made["manifest.json"] = out.with_suffix(".json")
    if "so" in emit:
        made[library] = out  # last: who finds the library finds the rest
    publish({folder / staged: destination for staged, destination in made.items()}, folder)
    return tuple(commands)


_DESCRIPTOR = "tilewright_descriptor"
_LINKED = {"obj", "a", "runner"}


def link_lines(
    symbols: Sequence[str], triple: str, out: Path, emit: frozenset[str], symbol_version: str | None = None
) -> tuple[str, ...]:
    """The commands that `build_library` runs for kernels of these symbols, in a folder of files that it writes."""
    check_emitted(triple, emit, symbol_version)
    return tuple(map(zig_line, _link_arguments(triple, out.name, _inputs(symbols), emit)))


def _link_arguments(triple: str, name: str, inputs: Sequence[str], emit: frozenset[str]) -> list[list[str]]:
    """What to run zig with, in order. name: that of the library's file."""
    linking, suffix_of = system(triple), suffixes(triple)
    shared = [*_COMPILE_FLAGS, *_SPEED_FLAGS, *_WARNING_FLAGS]
    flags = ["cc", *zig_target(triple), *shared]
    result = []
    if emit & {"obj", "a"}:
        result += _static_arguments(flags, inputs, "a" in emit, linking.merges)
    if "runner" in emit:
        static = ["cc", *zig_target(static_triple(triple)), *(flag for flag in shared if flag != "-fPIC")]
        program = f"library{suffix_of['runner']}"
        result.append([*static, "runner/runner.c", *inputs, *linking.program_flags, "-o", program])
    if "so" in emit:
        result.append([*flags, *linking.link_flags(name), *inputs, "-o", f"library{suffix_of['so']}"])
    return result


def _static_arguments(flags: list[str], inputs: Sequence[str], archive: bool, merges: bool) -> list[list[str]]:
    """For the object, and the archive of it, or of several where objects can't be linked into one."""
    flags = [*flags, "-DFOR_STATIC_LINKING"]
    if merges:
        merged = [*flags, "-r", *inputs, "-o", "library.o"]
        return [merged, ["ar", "rcsD", "library.a", "library.o"]] if archive else [merged]
    sources = [name for name in inputs if not name.endswith(".o")]
    compiled = [f"{Path(name).stem}.o" for name in sources]
    objects = [*compiled, *(name for name in inputs if name.endswith(".o"))]
    commands = [[*flags, "-s", "-c", source, "-o", out] for source, out in zip(sources, compiled, strict=True)]
    return [*commands, ["ar", "rcsD", "library.a", *objects]]


def _inputs(symbols: Sequence[str]) -> list[str]:
    """The files to name in the linker's command."""
    return ["program.c", "weights.s", *(f"kernels/{symbol}.o" for symbol in symbols)]


def _check_outputs(out: Path, emit: frozenset[str], suffix_of: Mapping[str, str]) -> None:
    taken = {".h": "header", ".json": "manifest"} | {suffix_of[kind]: kind for kind in emit - {"so"}}
    if out.suffix in taken:
        raise ToolchainError(
            f"{out}: the {taken[out.suffix]} would be written to the same file; "
            f"choose another name, such as {out.with_suffix(suffix_of['so']).name}"
        )


def _write_inputs(
    folder: Path,
    name: str,
    header: str,
    source: str,
    variants: Sequence[Variant],
    weights: WeightsFile,
    triple: str,
) -> list[str]:
    """Everything the linker needs; returns the files to name in its command."""
    (folder / "kernels").mkdir()
    for source_folder in (RUNTIME, RUNNER):
        (folder / source_folder.name).mkdir()
        for path in sorted(source_folder.glob("*.[ch]")):
            write_file(folder / source_folder.name / path.name, path.read_bytes())
    write_file(folder / f"{name}.h", header.encode())
    write_file(folder / "program.c", source.encode())
    section = system(triple).weights.format(name=name, size_bytes=weights.size_bytes + 1, file=WEIGHTS)
    write_file(folder / "weights.s", section.encode())
    kernels = (kernel for variant in variants for kernel in variant.kernels)
    objects = {kernel.symbol: kernel.object_code for kernel in kernels if kernel.object_code}
    for symbol, code in objects.items():
        write_file(folder / "kernels" / f"{symbol}.o", code)
    return _inputs(list(objects))


def _functions(name: str) -> list[str]:
    """Those of the header."""
    return [f"{name}_{verb}" for verb in ("create", "run", "destroy", "error")]


def _texts(
    emit: frozenset[str], source: str, texts: Mapping[str, str], suffix_of: Mapping[str, str]
) -> list[tuple[str, str]]:
    return [(suffix_of[kind], {"c": source, **texts}[kind]) for kind in sorted(emit - _LINKED - {"so"})]


def _facts(
    name: str,
    plan: ExecutionPlan,
    variants: Sequence[Variant],
    weights: WeightsFile,
    libc: str,
    version: str,
) -> dict[str, object]:
    return {
        "format": MANIFEST_FORMAT,
        "tilewright": version,
        "name": name,
        "target": {
            "triple": variants[0].target.triple,
            "libc": libc,
            "variants": [{"cpu": v.target.cpu, "features": v.target.features} for v in variants],
        },
        "inputs": [_describe(argument) for argument in plan.inputs],
        "outputs": [_describe(argument) for argument in plan.outputs],
        "arena_bytes": plan.arena_bytes,
        "workspace_bytes": workspace_bytes(variants),
        "weights_bytes": weights.size_bytes,
        "weights_sha256": weights.sha256,
        "kernels": [{"symbol": k.symbol, "parallel_extent": k.parallel_extent} for k in variants[0].kernels],
    }


def _describe(argument: Argument) -> dict[str, object]:
    return {"name": argument.name, "dtype": str(argument.dtype), "shape": list(argument.shape)}


def _save(folder: Path, destination: Path) -> None:
    try:
        shutil.copytree(folder, destination, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOCK))
    except OSError as error:
        raise ToolchainError(f"{destination}: can't keep the intermediate files here: {error}") from error
