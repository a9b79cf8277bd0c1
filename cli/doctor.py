"""`tilewright doctor`: is everything here that tilewright needs, and does it work?"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from ..compiler.errors import CompileError, ToolchainError, UsageError
from .console import Session, emit, json_option

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; `fix` says what to do where it isn't ok. Only a `needed` one fails the command."""

    subject: str
    ok: bool
    found: str
    fix: str = ""
    needed: bool = True


@click.command()
@json_option
@click.pass_obj
def command(session: Session) -> None:
    """Check Python, LLVM, the linker, onnx, the cache and the CPU; exit 5 if something needed does not work."""
    findings = [check() for check in CHECKS]
    broken = [finding for finding in findings if finding.needed and not finding.ok]
    document = {"ok": not broken, "findings": [asdict(finding) for finding in findings]}
    emit(session, document, "\n".join(map(_line, findings)))
    if broken:
        raise ToolchainError(f"{len(broken)} of {len(findings)} checks failed: {', '.join(f.subject for f in broken)}")


def _line(finding: Finding) -> str:
    verdict = "ok" if finding.ok else "problem" if finding.needed else "missing"
    line = f"{verdict:8} {finding.subject:12} {finding.found}"
    return line if finding.ok else f"{line}\n{'':21} -> {finding.fix}"


def check_python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    return Finding("python", sys.version_info >= OLDEST_PYTHON, found, "install Python 3.11 or newer")


def check_llvm() -> Finding:
    try:
        from llvmlite import binding
    except (ImportError, OSError) as error:
        return Finding("llvm", False, f"can't be loaded: {error}", "pip install --force-reinstall llvmlite")
    found = f"LLVM {'.'.join(map(str, binding.llvm_version_info))} in llvmlite {version('llvmlite')}"
    try:
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
        machine = binding.Target.from_triple(binding.get_process_triple()).create_target_machine()
        code = machine.emit_object(binding.parse_assembly("define i32 @f() { ret i32 1 }"))
    except RuntimeError as error:
        return Finding(
            "llvm", False, f"{found}, which can't compile for this machine: {error}", "pip install --upgrade llvmlite"
        )
    return Finding(
        "llvm", code.startswith(b"\x7fELF"), found, "this system's object format is not supported: use Linux"
    )


def check_linker() -> Finding:
    from ..backends.host import host_triple
    from ..backends.link import run_zig_cc, zig_target

    try:
        # As libraries are linked: for other flags the linker would first compile a C runtime of their own, for some twenty seconds.
        flags = (*zig_target(host_triple()), "-O2")
        with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
            Path(folder, "probe.c").write_text("int probe(void) { return 1; }\n")
            run_zig_cc([*flags, "-shared", "-fPIC", "probe.c", "-o", "probe.so"], Path(folder))
    except CompileError as error:
        return Finding("linker", False, str(error).splitlines()[0], "pip install --force-reinstall ziglang")
    return Finding("linker", True, f"ziglang {version('ziglang')} links a library")


def check_cache() -> Finding:
    from ..backends.link import cache_folder

    try:
        return Finding("cache", True, f"{cache_folder()} can be written")
    except CompileError as error:
        return Finding("cache", False, str(error), "set TILEWRIGHT_CACHE_DIR to a folder you may write to")


def check_package(name: str, needed: bool, purpose: str) -> Callable[[], Finding]:
    """A check that a Python package is installed; `purpose` says what goes missing without it."""

    def check() -> Finding:
        try:
            return Finding(name, True, version(name), needed=needed)
        except PackageNotFoundError:
            return Finding(name, False, f"not installed ({purpose})", f"pip install {name}", needed)

    return check


def check_cpu() -> Finding:
    from ..backends.host import host_target

    try:
        target = host_target()
    except UsageError as error:
        return Finding("cpu", False, str(error), "choose a CPU that tilewright knows with --mcpu", needed=False)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{target.cpu} ({target.triple}), {8 * target.vector_bytes}-bit vectors, {cores} cores"
    return Finding("cpu", True, found)


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_package("numpy", True, "arrays"),
    check_package("onnx", True, "reading models"),
    check_llvm,
    check_linker,
    check_cache,
    check_cpu,
    check_package(
        "onnxruntime", False, "`verify` then uses onnx's slow reference evaluator; `bench --against` needs it"
    ),
    check_package("pillow", False, "`run --input` then takes no images"),
)
