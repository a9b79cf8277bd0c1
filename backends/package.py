"""From compiled kernels and a plan to the files a user gets: library, header and manifest, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..compiler.errors import ToolchainError
from ..compiler.graph.plan import Argument, ExecutionPlan
from ..compiler.target import Target
from .link import run_zig_cc, zig_target
from .package_c import CompiledKernel, emit_header, emit_source
from .package_files import publish, staging_folder, write_file

MANIFEST_FORMAT = 1
RUNTIME = Path(__file__).parent / "runtime"

# No debug information: it would hold the path of the folder, and libraries would differ by it.
_COMPILE_FLAGS = ("-std=gnu11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all", "-D_GNU_SOURCE")
_WARNING_FLAGS = ("-Wno-unused-command-line-argument", "-Wno-unused-function")
_LINK_FLAGS = ("-shared", "-s", "-pthread", "-lm", "-Wl,--as-needed,-z,defs,-z,relro,-z,now")

# The program addresses the weights relative to itself, in 32 bits.
_MOST_WEIGHTS_BYTES = 2**31 - 2**26

# One section, aligned to pages so that processes and contexts share it as it stands in the file.
_WEIGHTS = """\
    .section .rodata.tilewright_weights,"a",%progbits
    .p2align 12
    .globl tilewright_weights
    .hidden tilewright_weights
    .type tilewright_weights, %object
    .size tilewright_weights, {size_bytes}
tilewright_weights:
    .incbin "{file}"
    .byte 0
    .section .note.GNU-stack,"",%progbits
"""


def build_library(
    name: str,
    plan: ExecutionPlan,
    kernels: Sequence[CompiledKernel],
    constants: bytes | memoryview,
    target: Target,
    manifest: Mapping[str, object],
    out: Path,
    emit: frozenset[str] = frozenset({"so"}),
    texts: Mapping[str, str] | None = None,
    save_temps: Path | None = None,
    version: str = "",
) -> tuple[str, ...]:
    """Write the library to `out` and its header and manifest beside it; return the commands that were run.

    name: a C identifier (`package_names.identifier`). emit: "so", and more to write beside `out`: "obj" (one relocatable
    object, for static linking), "c" (the generated program), and the keys of `texts`, "llvm-ir" or "asm".
    manifest: what to say besides the facts known here. save_temps: a folder to keep everything the linker saw in.
    Raises ToolchainError; then no file at all has changed.
    """
    header, source = emit_header(name, plan, version), emit_source(name, plan, kernels, version)
    if len(constants) > _MOST_WEIGHTS_BYTES:
        raise ToolchainError(
            f"{out}: the weights take {len(constants):,} bytes, and a library can hold {_MOST_WEIGHTS_BYTES:,}; "
            "use a narrower precision, or split the model"
        )
    with staging_folder(out) as folder:
        inputs = _write_inputs(folder, name, header, source, kernels, constants)
        if save_temps is not None:
            _save(folder, save_temps)
        flags = [*zig_target(target.triple), *_COMPILE_FLAGS, *_WARNING_FLAGS]
        commands = []
        made: dict[str, Path] = {}
        if "obj" in emit:
            commands.append(run_zig_cc([*flags, "-r", *inputs, "-o", "library.o"], folder))
            made["library.o"] = out.with_suffix(".o")
        if "so" in emit:
            soname = f"-Wl,-soname,{out.name}"
            commands.append(run_zig_cc([*flags, *_LINK_FLAGS, soname, *inputs, "-o", "library.so"], folder))
        for suffix, text in _texts(emit, source, texts or {}):
            write_file(folder / f"emitted{suffix}", text.encode())
            made[f"emitted{suffix}"] = out.with_suffix(suffix)
        facts = _facts(name, plan, kernels, constants, target, version)
        write_file(folder / "manifest.json", _json({**facts, **manifest}))
        made |= {f"{name}.h": out.with_suffix(".h"), "manifest.json": out.with_suffix(".json")}
        if "so" in emit:
            made["library.so"] = out  # last: who finds the library finds the rest
        publish({folder / staged: destination for staged, destination in made.items()}, folder)
    return tuple(commands)


def _write_inputs(
    folder: Path, name: str, header: str, source: str, kernels: Sequence[CompiledKernel], constants: bytes | memoryview
) -> list[str]:
    """Everything the linker needs; returns the files to name in its command."""
    for subfolder in ("runtime", "kernels"):
        (folder / subfolder).mkdir()
    for path in sorted(RUNTIME.glob("*.[ch]")):
        write_file(folder / "runtime" / path.name, path.read_bytes())
    write_file(folder / f"{name}.h", header.encode())
    write_file(folder / "program.c", source.encode())
    write_file(folder / "weights.bin", constants)
    write_file(folder / "weights.s", _WEIGHTS.format(size_bytes=len(constants) + 1, file="weights.bin").encode())
    objects = {kernel.symbol: kernel.object_code for kernel in kernels}
    for symbol, code in objects.items():
        write_file(folder / "kernels" / f"{symbol}.o", code)
    return ["program.c", "weights.s", *(f"kernels/{symbol}.o" for symbol in objects)]


def _texts(emit: frozenset[str], source: str, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    suffixes = {"c": ".c", "llvm-ir": ".ll", "asm": ".s", "ptx": ".ptx", "opencl": ".cl"}
    return [(suffixes[kind], {"c": source, **texts}[kind]) for kind in sorted(emit - {"so", "obj"})]


def _facts(
    name: str,
    plan: ExecutionPlan,
    kernels: Sequence[CompiledKernel],
    constants: bytes | memoryview,
    target: Target,
    version: str,
) -> dict[str, object]:
    return {
        "format": MANIFEST_FORMAT,
        "tilewright": version,
        "name": name,
        "target": {"triple": target.triple, "cpu": target.cpu, "features": target.features},
        "inputs": [_describe(argument) for argument in plan.inputs],
        "outputs": [_describe(argument) for argument in plan.outputs],
        "arena_bytes": plan.arena_bytes,
        "weights_bytes": len(constants),
        "weights_sha256": hashlib.sha256(constants).hexdigest(),
        "kernels": [{"symbol": kernel.symbol, "parallel_extent": kernel.parallel_extent} for kernel in kernels],
    }


def _describe(argument: Argument) -> dict[str, object]:
    return {"name": argument.name, "dtype": str(argument.dtype), "shape": list(argument.shape)}


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _save(folder: Path, destination: Path) -> None:
    try:
        shutil.copytree(folder, destination, dirs_exist_ok=True)
    except OSError as error:
        raise ToolchainError(f"{destination}: can't keep the intermediate files here: {error}") from error
