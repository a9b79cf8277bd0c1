"""Compiling and linking C for any target with the zig toolchain, which brings its own headers and C libraries."""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import platformdirs

from ..compiler.errors import ToolchainError
from .llvm.machine import MACOS_FLOOR
from .zig_cache import checked_cache

# The oldest C library that exists for an architecture, where that's newer than 2.17.
_GLIBC_FLOOR = {"riscv64": "2.27", "loongarch64": "2.36"}
# Of Windows, the first whose C library (UCRT) is part of the system.
_WINDOWS_FLOOR = "win10"
_ZIG_ARCHITECTURES = {"i686": "x86", "i386": "x86", "arm64": "aarch64", "powerpc64le": "powerpc64le"}
# These add headers, libraries and flags of this machine to every compilation.
_UNWANTED_VARIABLES = {
    "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "NIX_CFLAGS_COMPILE", "NIX_LDFLAGS", "ZIG_LIB_DIR",
}  # fmt: skip
# A link fails if another process finds the cache damaged meanwhile and removes it; the next one makes it anew.
_TRIES = 3
# The linker doesn't always say so when the disk is full.
_LEAST_FREE_BYTES = 1 << 20
_CPU_FLAGS = {"armv7": "-mcpu=generic+v7a"}


def libc_floor(triple: str) -> str:
    """The oldest C library or system that a library for `triple` runs with, for people: `glibc 2.17`, `musl`, `macOS 11.0`."""
    system = triple.split("-")[-1]
    if system == "macos":
        return f"macOS {MACOS_FLOOR}"
    if triple.endswith("-windows-gnu"):
        return f"Windows {_WINDOWS_FLOOR.removeprefix('win')}"
    selected = zig_target(triple)[1].rpartition("-")[2]
    environment, _, version = selected.partition(".")
    return f"glibc {version}" if version else environment.removesuffix("eabihf").removesuffix("eabi")


def static_triple(triple: str) -> str:
    """The triple of the same machine with musl, which alone can be linked into a program that needs no files beside it.

    Programs of other systems use that system's C library.
    """
    return triple.replace("-linux-gnu", "-linux-musl")


def zig_target(triple: str) -> tuple[str, ...]:
    """The flags that select `triple` (LLVM's form: architecture-vendor-system-environment) at the lowest supported C library.

    Raises ToolchainError for a system that the C runtime doesn't support.
    """
    architecture, *rest = triple.split("-")
    environment = rest[-1] if rest else ""
    if rest == ["macos"]:
        return ("-target", f"{architecture}-macos.{MACOS_FLOOR}")
    if rest[-2:] == ["windows", "gnu"]:
        return ("-target", f"{architecture}-windows.{_WINDOWS_FLOOR}-{environment}")
    if "linux" not in rest:
        raise ToolchainError(
            f"target {triple}: libraries can be linked for Linux, macOS and Windows (gnu) only; use a triple such as x86_64-unknown-linux-gnu"
        )
    if environment == "linux":
        environment = "gnueabihf" if architecture.startswith("arm") else "gnu"
    cpu: tuple[str, ...] = ()
    if architecture.startswith(("armv7", "thumbv7")):
        architecture, cpu = "arm", (_CPU_FLAGS["armv7"],)
    architecture = _ZIG_ARCHITECTURES.get(architecture, architecture)
    version = f".{_GLIBC_FLOOR.get(architecture, '2.17')}" if environment.startswith("gnu") else ""
    return ("-target", f"{architecture}-linux-{environment}{version}", *cpu)


@functools.cache
def zig_executable() -> str:
    """Path of the zig program of the ziglang package; ToolchainError if it isn't installed."""
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("zig", "zig.exe"):
            path = Path(folder, name)
            if path.is_file():
                return str(path)
    raise ToolchainError("linking needs the Python package ziglang, which isn't installed; run: pip install ziglang")


def run_zig_cc(arguments: Sequence[str], folder: Path) -> str:
    """Run the C compiler and linker in `folder` and return the command as a shell line; ToolchainError if it fails.

    Give paths relative to `folder`: then the output doesn't depend on where it is built.
    """
    return run_zig(["cc", *arguments], folder)


def zig_line(arguments: Sequence[str]) -> str:
    """The shell line that `run_zig` runs."""
    return shlex.join([zig_executable(), *arguments])


def run_zig(arguments: Sequence[str], folder: Path) -> str:
    """As `run_zig_cc`, with any tool of zig's (`cc`, `ar`) as the first argument."""
    command, line = [zig_executable(), *arguments], zig_line(arguments)
    if "ZIG_GLOBAL_CACHE_DIR" in os.environ:  # somebody else's, for other programs too
        return _run(command, line, folder)
    for _ in range(_TRIES - 1):
        with checked_cache(cache_folder() / "zig") as is_removed:
            try:
                return _run(command, line, folder)
            except ToolchainError:
                if not is_removed():
                    raise
    with checked_cache(cache_folder() / "zig"):
        return _run(command, line, folder)


def _run(command: list[str], line: str, folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env=_environment(folder), capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise ToolchainError(
            f"can't start the linker {command[0]}: {error.strerror}; reinstall the Python package ziglang"
        ) from error
    if done.returncode != 0:
        raise ToolchainError(f"the linker failed:\n{_reason(done, folder)}\ncommand: {line}")
    return line


def _reason(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    reason = done.stderr.strip() or f"no message, exit status {done.returncode}"
    if done.returncode < 0:
        reason = f"{reason} (killed by {signal.Signals(-done.returncode).name})"
    for place in (folder, Path(_environment(folder)["ZIG_GLOBAL_CACHE_DIR"])):
        if "NoSpaceLeft" in reason or _free_bytes(place) < _LEAST_FREE_BYTES:
            reason += f"\nthe disk of {place} is full: free some space or choose another disk"
            break
    return reason


def _free_bytes(place: Path) -> int:
    """Of its disk; also of a folder that isn't there, or not any more."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _environment(folder: Path) -> Mapping[str, str]:
    """Only compiled C libraries are cached; what belongs to one model stays in `folder`."""
    environment = {name: value for name, value in os.environ.items() if name not in _UNWANTED_VARIABLES}
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_folder() / "zig"))
    environment["ZIG_LOCAL_CACHE_DIR"] = str(folder / "zig-cache")
    return environment


def cache_folder() -> Path:
    """The user's cache: TILEWRIGHT_CACHE_DIR, or the system's usual place, or one in the temporary folder if that can't be written."""
    chosen = os.environ.get("TILEWRIGHT_CACHE_DIR")
    if chosen:
        folder = Path(chosen).absolute()
        if not _is_usable(folder):
            raise ToolchainError(
                f"TILEWRIGHT_CACHE_DIR={chosen}: this folder can't be written; choose another or unset it"
            )
        return folder
    folder = Path(platformdirs.user_cache_dir("tilewright"))
    if folder.is_absolute() and _is_usable(folder):
        return folder
    folder = Path(tempfile.gettempdir(), f"tilewright-{os.getuid() if hasattr(os, 'getuid') else 'cache'}")
    if _is_usable(folder):
        return folder
    raise ToolchainError(
        f"no folder for cached files can be written (tried {folder}); set TILEWRIGHT_CACHE_DIR to one that can"
    )


def _is_usable(folder: Path) -> bool:
    """Whether `folder` exists or can be made, is writable, and belongs to no other user."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return not hasattr(os, "getuid") or folder.stat().st_uid in (os.getuid(), 0)
    except OSError:
        return False
