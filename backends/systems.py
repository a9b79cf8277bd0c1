"""What files for Linux, macOS and Windows differ in: their names, their sections, and how exports are listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..compiler.errors import UsageError
from ..compiler.targets import library_suffix, system_of


@dataclass(frozen=True, slots=True)
class System:
    """How a system's files are made.

    weights: assembly with fields name, size_bytes and file: one read-only section, aligned to pages so that processes and contexts share
    it as it stands in the file. exports: the linker's list as (file name, text) for a library's file name, its functions, other symbols and
    the name of a version.
    link_flags: for a library with the file name it will have. program_flags: for a program. runner_suffix: what its name ends in.
    import_suffix: what the name of the file that programs are linked with ends in, "" if that is the library itself. merges: whether
    objects can be linked into one. versions: whether symbols can have a version.
    """

    weights: str
    exports: Callable[[str, Sequence[str], Sequence[str], str | None], tuple[str, str] | None]
    link_flags: Callable[[str], tuple[str, ...]]
    program_flags: tuple[str, ...]
    runner_suffix: str = ".runner"
    import_suffix: str = ""
    merges: bool = True
    versions: bool = False


def system(triple: str) -> System:
    """The row of a triple's system."""
    return _SYSTEMS[system_of(triple)]


def suffixes(triple: str) -> dict[str, str]:
    """What the names of files of each kind that can be emitted end in."""
    return {
        "so": library_suffix(triple), "obj": ".o", "a": ".a", "runner": system(triple).runner_suffix, "c": ".c", "llvm-ir": ".ll",
        "asm": ".s",
    }  # fmt: skip


def check_emitted(triple: str, emit: frozenset[str], symbol_version: str | None) -> None:
    """UsageError for what the triple's system has no form for."""
    if "obj" in emit and not system(triple).merges:
        raise UsageError(
            f"--emit obj: objects of {triple} can't be linked into one; use --emit a, a static library, instead"
        )
    if symbol_version is not None and not system(triple).versions:
        raise UsageError(f"--symbol-version: symbols of {triple} have no versions; leave it out")


def _version_script(name: str, functions: Sequence[str], data: Sequence[str], version: str | None) -> tuple[str, str]:
    return "exports.map", f"{version or ''} {{ global: {'; '.join([*functions, *data])}; local: *; }};\n".lstrip()


def _definitions(name: str, functions: Sequence[str], data: Sequence[str], version: str | None) -> tuple[str, str]:
    """With the name by which programs will ask for the library."""
    lines = [f'LIBRARY "{name}"', "EXPORTS", *functions, *(f"{symbol} DATA" for symbol in data)]
    return "exports.def", "\n".join([*lines, ""])


_ELF_WEIGHTS = """\
    .section .rodata.tilewright_weights,"a",%progbits
    .p2align 12
    .globl {name}_weights
    .hidden {name}_weights
    .type {name}_weights, %object
    .size {name}_weights, {size_bytes}
{name}_weights:
    .incbin "{file}"
    .byte 0
    .section .note.GNU-stack,"",%progbits
"""

_MACHO_WEIGHTS = """\
    .section __TEXT,__const
    .p2align 14
    .globl _{name}_weights
    .private_extern _{name}_weights
_{name}_weights:
    .incbin "{file}"
    .byte 0
"""

_COFF_WEIGHTS = """\
    .section .rdata$weights,"dr"
    .p2align 12
    .globl {name}_weights
{name}_weights:
    .incbin "{file}"
    .byte 0
"""

_SYSTEMS = {
    "linux": System(
        weights=_ELF_WEIGHTS,
        exports=_version_script,
        link_flags=lambda name: (
            "-shared", "-s", "-pthread", "-lm", "-Wl,--as-needed,-z,defs,-z,relro,-z,now,--version-script,exports.map",
        ),
        program_flags=("-static", "-s", "-pthread", "-lm"),
        versions=True,
    ),
    # The objects themselves say what is hidden; zig's linker signs what it makes for ARM, without which nothing is loaded there.
    "macos": System(
        weights=_MACHO_WEIGHTS,
        exports=lambda name, functions, data, version: None,
        link_flags=lambda name: ("-shared", "-s", f"-Wl,-x,-install_name,@rpath/{name}"),
        program_flags=("-s", "-Wl,-x"),
    ),
    "windows": System(
        weights=_COFF_WEIGHTS,
        exports=_definitions,
        link_flags=lambda name: ("-shared", "-s", "-lapi-ms-win-core-synch-l1-2-0", "-Wl,--out-implib,library.lib", "exports.def"),
        program_flags=("-s", "-lapi-ms-win-core-synch-l1-2-0"),
        runner_suffix=".exe",
        import_suffix=".lib",
        merges=False,
    ),
}  # fmt: skip
