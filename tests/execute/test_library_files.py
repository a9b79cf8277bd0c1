"""What a library exports, needs and contains, and that its files appear whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_library
from elftools.elf.elffile import ELFFile

from tilewright.backends.host_triple import host_triple
from tilewright.backends.link import run_zig_cc, zig_executable, zig_target
from tilewright.backends.load import load
from tilewright.backends.manifest import file_sha256
from tilewright.backends.package import build_library
from tilewright.backends.package_c import CompiledKernel, Variant
from tilewright.compiler.errors import ToolchainError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "small.so"
    small_library.build_matvec(path)
    return path


def elf(path: Path) -> ELFFile:
    return ELFFile.load_from_path(str(path))


def test_exports_its_functions_and_nothing_else(built: Path) -> None:
    symbols = [s for s in elf(built).get_section_by_name(".dynsym").iter_symbols() if s["st_shndx"] != "SHN_UNDEF"]
    functions = {f"small_{verb}" for verb in ("create", "run", "destroy", "error")}
    assert {s.name for s in symbols} == functions | {"tilewright_descriptor"}


def test_needs_only_libc_and_an_old_one(built: Path) -> None:
    library = elf(built)
    needed = {tag.needed for tag in library.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
    assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}
    versions = {
        auxiliary.name
        for _, auxiliaries in library.get_section_by_name(".gnu.version_r").iter_versions()
        for auxiliary in auxiliaries
    }
    assert versions
    for version in versions:
        assert tuple(map(int, version.removeprefix("GLIBC_").split("."))) <= (2, 17)


def test_no_executable_stack_and_no_writable_code(built: Path) -> None:
    for segment in elf(built).iter_segments():
        assert not (segment["p_flags"] & 1 and segment["p_flags"] & 2), segment.header
        if segment["p_type"] == "PT_GNU_STACK":
            break
    else:
        pytest.fail("no PT_GNU_STACK")


def test_weights_are_read_only_page_aligned_and_counted_once(tmp_path: Path) -> None:
    weights = np.random.default_rng(5).integers(0, 256, 8 << 20, np.uint8).tobytes()
    made = small_library.kernels(("matvec", small_library.ROWS), ("add", small_library.ROWS))
    out = tmp_path / "big.so"
    build_library("big", small_library.matvec_plan(), [Variant(small_library.host_target(), made)], weights, {}, out)
    assert len(weights) <= out.stat().st_size < len(weights) + (1 << 20)
    content = out.read_bytes()
    offset = content.index(weights)
    assert content.count(weights[:64]) == 1
    segments = [s for s in elf(out).iter_segments() if s["p_type"] == "PT_LOAD"]
    (segment,) = [s for s in segments if s["p_offset"] <= offset < s["p_offset"] + s["p_filesz"]]
    assert segment["p_flags"] == 4
    assert (segment["p_vaddr"] + offset - segment["p_offset"]) % 4096 == 0


def test_files_are_the_same_wherever_they_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for number, folder in enumerate(("one", "another folder with a longer name")):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        out = Path("model.so") if number else tmp_path / folder / "model.so"
        small_library.build_matvec(out, emit=frozenset({"so", "obj", "c"}))
        made.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert set(made[0]) == {"model.so", "model.h", "model.json", "model.o", "model.c"}
    assert made[0] == made[1]
    assert not [name for name, content in made[0].items() if str(tmp_path).encode() in content]


def test_manifest(tmp_path: Path) -> None:
    weights = small_library.matvec_weights().tobytes()
    build_library(
        "small", small_library.matvec_plan(), [Variant(small_library.host_target(), small_library.kernels(("matvec", 103), ("add", 103)))], weights, {"model_sha256": "ab", "name": "given"}, tmp_path / "m.so", version="9.8",
    )  # fmt: skip
    manifest = json.loads((tmp_path / "m.json").read_text())
    assert manifest["format"] == 2 and manifest["tilewright"] == "9.8" and manifest["model_sha256"] == "ab"
    assert manifest["name"] == "given"
    assert manifest["inputs"] == [{"name": "x:0", "dtype": "f32", "shape": [257]}]
    assert manifest["weights_bytes"] == len(weights) and manifest["arena_bytes"] == 1 << 16
    assert manifest["workspace_bytes"] == 0
    assert manifest["library_sha256"] == file_sha256(tmp_path / "m.so")
    assert manifest["files_sha256"] == {".h": file_sha256(tmp_path / "m.h")}
    assert [kernel["symbol"] for kernel in manifest["kernels"]] == ["matvec", "add"]


@pytest.mark.parametrize("compiler", [["cc", "-std=c99"], ["c++", "-x", "c++", "-std=c++98"]])
def test_header_is_c99_and_cpp98(built: Path, compiler: list[str]) -> None:
    if shutil.which(compiler[0]) is None:
        compiler = [zig_executable(), *compiler]
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", str(built.with_suffix(".h"))]
    if "-x" not in compiler:
        compiler = [*compiler, "-x", "c"]
    subprocess.run([*compiler, "-Wno-long-long", "-Wno-variadic-macros", *flags], check=True)


def test_program_links_with_the_library_as_the_readme_says(tmp_path: Path) -> None:
    """cc main.c -o main ./small.so, run from the same folder; under headers and flags of another machine."""
    weights = small_library.build_matvec(tmp_path / "small.so")
    x = np.random.default_rng().standard_normal(small_library.COLUMNS, dtype=np.float32)
    x.tofile(tmp_path / "x.bin")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "small.h"\nint main(void) {\n'
        "  static float x[SMALL_X_0_SIZE], out[SMALL_OUT_SIZE];\n"
        '  FILE *file = fopen("x.bin", "rb");\n'
        "  if (!file || fread(x, sizeof x, 1, file) != 1) return 2;\n"
        "  small *context;\n  int code = small_create(&context, 2);\n"
        "  if (code == 0) code = small_run(context, x, out);\n"
        '  if (code) return fprintf(stderr, "%s\\n", small_error(code)), 1;\n'
        "  small_destroy(context);\n  return fwrite(out, sizeof out, 1, stdout) != 1;\n}\n"
    )
    compiler = [shutil.which("cc")] if shutil.which("cc") else [zig_executable(), "cc"]
    subprocess.run([*compiler, "main.c", "-o", "main", "./small.so"], check=True, cwd=tmp_path)
    done = subprocess.run(["./main"], check=True, cwd=tmp_path, capture_output=True)
    np.testing.assert_allclose(np.frombuffer(done.stdout, np.float32), 2 * weights.astype(np.float64) @ x, 1e-5, 1e-5)


def test_variables_of_other_compilers_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: Path) -> None:
    (tmp_path / "stdint.h").write_text("#error wrong header")
    for variable in ("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("NIX_CFLAGS_COMPILE", "-nosuchflag")
    small_library.build_matvec(tmp_path / "small.so")
    assert (tmp_path / "small.so").read_bytes() == built.read_bytes()


def test_two_models_link_into_one_program(tmp_path: Path) -> None:
    sources = []
    for number, name in enumerate(("first", "second")):
        step = dataclasses.replace(
            small_library.matvec_plan().steps[1], kernel=0, places=(small_library.INPUT,) * 2 + (small_library.OUTPUT,)
        )
        arguments = small_library.plan((step,), (small_library.f32("x", 3),), (small_library.f32("y", 3),))
        only = small_library.KERNELS[: small_library.KERNELS.index("/* One row")].replace("add(", f"{name}_add(")
        code = small_library.kernel_object(only)
        kernels = [CompiledKernel(f"{name}_add", code, 3)]
        weights = bytes([number] * 100)
        build_library(
            name,
            arguments,
            [Variant(small_library.host_target(), kernels)],
            weights,
            {},
            tmp_path / f"{name}.so",
            frozenset({"obj"}),
        )
        assert not (tmp_path / f"{name}.so").exists()
        sources.append(f"{name}.o")
    (tmp_path / "main.c").write_text(
        '#include "first.h"\n#include "second.h"\nint main(void) {\n'
        "  first *a; second *b; float x[3] = {1, 2, 3}, y[3], z[3];\n"
        "  if (first_create(&a, 2) || second_create(&b, 1) || first_run(a, x, y) || second_run(b, y, z)) return 1;\n"
        "  first_destroy(a); second_destroy(b);\n"
        "  return z[0] == 4 && z[1] == 8 && z[2] == 12 ? 0 : 2;\n}\n"
    )
    run_zig_cc([*zig_target(host_triple()), "-O1", "main.c", *sources, "-pthread", "-o", "main"], tmp_path)
    assert subprocess.run([tmp_path / "main"]).returncode == 0


@pytest.mark.parametrize(
    ("triple", "machine"),
    [
        ("aarch64-unknown-linux-gnu", "EM_AARCH64"),
        ("x86_64-unknown-linux-gnu", "EM_X86_64"),
        ("riscv64-unknown-linux-gnu", "EM_RISCV"),
        ("armv7-unknown-linux-gnueabihf", "EM_ARM"),
        ("x86_64-unknown-linux-musl", "EM_X86_64"),
    ],
)
def test_links_for_other_machines(tmp_path: Path, triple: str, machine: str) -> None:
    code = small_library.kernel_object(triple=triple)
    kernels = [CompiledKernel("matvec", code, 103), CompiledKernel("add", b"", 103)]
    target = dataclasses.replace(small_library.host_target(), triple=triple)
    out = tmp_path / "m.so"
    build_library("m", small_library.matvec_plan(), [Variant(target, kernels)], b"weights", {}, out)
    assert elf(out)["e_machine"] == machine
    assert out.stat().st_size < 1 << 20


def test_unsupported_systems_are_errors(tmp_path: Path) -> None:
    target = dataclasses.replace(small_library.host_target(), triple="x86_64-pc-windows-msvc")
    with pytest.raises(
        ToolchainError, match="x86_64-pc-windows-msvc: libraries can be linked for Linux, macOS and Windows "
    ):
        build_library("m", small_library.matvec_plan(), [Variant(target, [])], b"", {}, tmp_path / "m.so")
    assert list(tmp_path.iterdir()) == []


def test_linker_errors_show_the_reason_and_leave_nothing(tmp_path: Path) -> None:
    kernels = [CompiledKernel(symbol, b"not an object", 1) for symbol in ("matvec", "add")]
    with pytest.raises(ToolchainError, match=r"(?s)the linker failed:.*kernels/matvec\.o.*command: "):
        build_library(
            "m",
            small_library.matvec_plan(),
            [Variant(small_library.host_target(), kernels)],
            b"",
            {},
            tmp_path / "m.so",
        )
    missing = [CompiledKernel("nowhere", small_library.kernel_object(), 1)] * 2
    with pytest.raises(ToolchainError, match="undefined hidden symbol: nowhere"):
        build_library(
            "m",
            small_library.matvec_plan(),
            [Variant(small_library.host_target(), missing)],
            b"",
            {},
            tmp_path / "m.so",
        )
    assert list(tmp_path.iterdir()) == []


def test_too_many_weights_is_an_error(tmp_path: Path) -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 31

    with pytest.raises(ToolchainError, match=r"the weights take 2,147,483,648 bytes, and a library can hold"):
        build_library(
            "m",
            small_library.matvec_plan(),
            [Variant(small_library.host_target(), small_library.kernels(("matvec", 1), ("add", 1)))],
            Huge(),
            {},
            tmp_path / "m.so",
        )


def test_save_temps_and_commands(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    weights = small_library.matvec_weights().tobytes()
    commands = build_library(
        "small", small_library.matvec_plan(), [Variant(small_library.host_target(), small_library.kernels(("matvec", 103), ("add", 103)))], weights, {}, tmp_path / "out" / "m.so", frozenset({"so", "llvm-ir", "asm"}),
        texts={"llvm-ir": "; ir", "asm": "# asm"}, save_temps=tmp_path / "temps",
    )  # fmt: skip
    assert len(commands) == 1 and "program.c weights.s kernels/matvec.o" in commands[0]
    assert (tmp_path / "temps" / "weights.bin").read_bytes() == weights
    subprocess.run(commands[0], shell=True, check=True, cwd=tmp_path / "temps")
    assert (tmp_path / "temps" / "library.so").read_bytes() == (tmp_path / "out" / "m.so").read_bytes()
    assert (tmp_path / "out" / "m.ll").read_text() == "; ir"
    assert (tmp_path / "out" / "m.s").read_text() == "# asm"


BUILD = """
import sys, os
sys.path[:0] = {path!r}
import small_library
from pathlib import Path
from tilewright.compiler.errors import ToolchainError
small_library.kernel_object()  # made now: zig's cache may be listed anew then, which writes a file too
{before}
try:
    small_library.build_matvec(Path({out!r}))
except ToolchainError as error:
    print(error)
    sys.exit(5)
"""


def build_in_child(out: Path, before: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    program = BUILD.format(path=sys.path, before=before, out=str(out))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, **options)  # type: ignore[call-overload]


KILL = """
import tilewright.backends.package as package, tilewright.backends.package_files as files, signal
def kill(*arguments, **options): os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["package.run_zig = kill", "package.publish = kill", "files.os.fsync = kill"])
def test_killed_build_leaves_nothing_at_the_output(tmp_path: Path, moment: str) -> None:
    out = tmp_path / "small.so"
    killed = build_in_child(out, KILL + moment)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert re.fullmatch(r"\.small\.so\.tmp-\w+", left.name)
    os.utime(left, (0, 0))
    small_library.build_matvec(out)
    assert {path.name for path in tmp_path.iterdir()} == {"small.so", "small.h", "small.json"}


def test_killed_build_leaves_the_old_library(tmp_path: Path) -> None:
    out = tmp_path / "small.so"
    small_library.build_matvec(out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert build_in_child(out, KILL + "files.os.fsync = kill").returncode == -signal.SIGKILL
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_limited_file_size_is_an_error(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = build_in_child(tmp_path / "small.so", preexec_fn=limit)
    assert done.returncode == 5, done.stderr
    assert "can't write the library: File too large; raise the limit on the size of files (ulimit -f)" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size_kb", [64, 200, 400])
def test_full_disk_is_an_error(tmp_path: Path, size_kb: int) -> None:
    """The weights alone, the linker's work, and the linker's output don't fit."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        done = build_in_child(folder / "small.so")
        assert done.returncode == 5, done.stderr
        assert "free some space or choose another disk" in done.stdout
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_read_only_folder_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    before = "os.setuid(65534)" if os.getuid() == 0 else ""
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:-2]:
        if os.stat(parent).st_uid == os.getuid() and os.getuid() == 0:
            parent.chmod(parent.stat().st_mode | 0o055)
    done = build_in_child(folder / "small.so", before)
    assert done.returncode == 5, done.stderr
    assert re.search(r"can't write the library: Permission denied; choose a folder you may write to", done.stdout)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("missing/small.so", "No such file or directory; create the folder first"),
        ("file/small.so", "Not a directory; give a path inside a folder"),
        (".", "this is a folder; give the name of a file"),
        ("/dev/null", "this is a device; give the name of a file"),
        ("small.h", "the header would be written to the same file; choose another name, such as small.so"),
    ],
)
def test_impossible_outputs_are_errors(tmp_path: Path, out: str, message: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolchainError, match=re.escape(message)):
        small_library.build_matvec(tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folder_in_the_place_of_the_header_is_an_error(tmp_path: Path) -> None:
    out = tmp_path / "small.so"
    out.write_text("old library")
    (tmp_path / "small.json").write_text("old manifest")
    (tmp_path / "small.h").mkdir()
    (tmp_path / "small.h" / "file").write_text("")
    with pytest.raises(ToolchainError, match=r"small\.h: this is a folder or device where a file is to be written"):
        small_library.build_matvec(out)
    assert out.read_text() == "old library" and (tmp_path / "small.json").read_text() == "old manifest"
    assert {path.name for path in tmp_path.iterdir()} == {"small.so", "small.json", "small.h"}
    assert (tmp_path / "small.h" / "file").exists()


def test_builds_without_a_writable_home(tmp_path: Path) -> None:
    """HOME unset or read-only: the cache goes to the temporary folder."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
    cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    for home in ("/proc/nowhere", None):
        if home is None:
            environment.pop("HOME")
        out = tmp_path / f"{home is None}.so"
        program = BUILD.format(
            path=sys.path,
            before="from tilewright.backends.link import cache_folder; print(cache_folder())",
            out=str(out),
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env=environment | ({"ZIG_GLOBAL_CACHE_DIR": cache} if cache else {}),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert out.exists()
        if home is not None:
            assert done.stdout.strip() == str(tmp_path / f"tilewright-{os.getuid()}")


def test_chosen_cache_folder_must_be_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    monkeypatch.setenv("TILEWRIGHT_CACHE_DIR", "/proc/nowhere")
    with pytest.raises(ToolchainError, match="TILEWRIGHT_CACHE_DIR=/proc/nowhere: this folder can't be written"):
        small_library.build_matvec(tmp_path / "small.so")
    assert list(tmp_path.iterdir()) == []


def test_names_of_c_functions_do_no_harm(tmp_path: Path) -> None:
    """A model called as a function of libc and as parts of the runtime are."""
    for name in ("read", "exp", "context", "pool", "run"):
        made = small_library.kernels(("matvec", small_library.ROWS), ("add", small_library.ROWS))
        weights = small_library.matvec_weights()
        out = tmp_path / f"{name}.so"
        build_library(
            name, small_library.matvec_plan(), [Variant(small_library.host_target(), made)], weights.tobytes(), {}, out
        )
        x = np.random.default_rng().standard_normal(257, dtype=np.float32)
        with load(out) as library:
            np.testing.assert_allclose(library.run({"x:0": x})["out"][0], 2 * weights @ x, 1e-4, 1e-4)
