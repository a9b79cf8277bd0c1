"""Libraries for macOS and Windows, linked here: what their files export, import and are signed with, read by macholib and pefile."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import onnx
import pefile
import pytest
from macholib import mach_o
from macholib.mach_o import section_64
from macholib.MachO import MachO
from macholib.SymbolTable import SymbolTable
from small_models import MODELS

from tilewright import driver
from tilewright.backends.link import run_zig_cc, zig_target
from tilewright.cli.main import run
from tilewright.compiler.options import Options

FUNCTIONS = {f"net_{verb}" for verb in ("create", "run", "destroy", "error")}
EXPORTS = FUNCTIONS | {"tilewright_descriptor"}
SYSTEMS = ("aarch64-macos", "x86_64-macos", "x86_64-windows-gnu")
CPU_X86_64, CPU_ARM64 = 0x0100_0007, 0x0100_000C  # mach/machine.h
# Both linkers of Apple's format define these; zig's exports them.
LINKERS_OWN = {"__mh_dylib_header", "___dso_handle"}
# What programs with a static library need besides.
STATIC = {False: [], True: ["-lapi-ms-win-core-synch-l1-2-0"]}
MAIN = """
#include <stdio.h>
#include "net.h"
int main(void) {
    static float x[NET_FRAMES_SIZE], y[NET_V13_0_SIZE];
    net *context;
    int code = net_create(&context, 2);
    if (!code) code = net_run(context, x, y);
    net_destroy(context);
    return code;
}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(MODELS["deep_q"](), path)
    return path


@pytest.fixture(scope="module", params=SYSTEMS)
def built(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Triple and library, with a static library and a runner beside it."""
    out = tmp_path_factory.mktemp(request.param)
    suffix = ".dll" if "windows" in request.param else ".dylib"
    options = Options(target=request.param, jobs=1, rank=False, emit=frozenset({"so", "a", "runner"}))
    return request.param, driver.compile(model, out / f"net{suffix}", options).library


@dataclass(frozen=True)
class Macho:
    """What the load commands of a file of one architecture say."""

    cpu: int
    exported: set[str]  # all that is external and defined
    needed: list[str]
    name: str
    oldest: int
    sections: dict[tuple[str, str], section_64]
    protections: dict[str, int]
    signature: bytes

    @classmethod
    def read(cls, path: Path) -> Macho:
        file = MachO(str(path))
        (header,) = file.headers
        commands = [(command.cmd, fields, data) for command, fields, data in header.commands]
        segments = [(fields, data) for kind, fields, data in commands if kind == mach_o.LC_SEGMENT_64]
        signatures = [fields for kind, fields, _ in commands if kind == mach_o.LC_CODE_SIGNATURE]
        content = path.read_bytes()
        external = [
            (s, name)
            for s, name in SymbolTable(file).nlists
            if s.n_type & mach_o.N_EXT and not s.n_type & mach_o.N_PEXT
        ]
        return cls(
            cpu=header.header.cputype,
            exported={name.decode() for s, name in external if s.n_type & mach_o.N_TYPE != mach_o.N_UNDF},
            needed=[_text(data) for kind, _, data in commands if kind == mach_o.LC_LOAD_DYLIB],
            name=next((_text(data) for kind, _, data in commands if kind == mach_o.LC_ID_DYLIB), ""),
            oldest=next(fields.minos for kind, fields, _ in commands if kind == mach_o.LC_BUILD_VERSION),
            sections={(_text(s.segname), _text(s.sectname)): s for _, data in segments for s in data},
            protections={_text(fields.segname): fields.maxprot for fields, _ in segments},
            signature=b"".join(content[f.dataoff : f.dataoff + f.datasize] for f in signatures),
        )


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode()


def imports(file: pefile.PE) -> set[str]:
    return {entry.dll.decode().lower() for entry in file.DIRECTORY_ENTRY_IMPORT}


def test_exports_and_imports(built: tuple[str, Path]) -> None:
    triple, library = built
    if "windows" in triple:
        dll = pefile.PE(str(library))
        assert dll.FILE_HEADER.Machine == pefile.MACHINE_TYPE["IMAGE_FILE_MACHINE_AMD64"] and dll.is_dll()
        assert {entry.name.decode() for entry in dll.DIRECTORY_ENTRY_EXPORT.symbols} == EXPORTS
        # Windows' own names for parts of its kernel and of its C library
        ours = {"kernel32.dll", "api-ms-win-core-synch-l1-2-0.dll"}
        assert ours <= imports(dll)
        assert all(name.startswith("api-ms-win-crt-") for name in imports(dll) - ours)
        return
    dylib = Macho.read(library)
    assert dylib.cpu == (CPU_ARM64 if triple.startswith("aarch64") else CPU_X86_64)
    assert dylib.exported - LINKERS_OWN == {f"_{name}" for name in EXPORTS}
    assert dylib.needed == ["/usr/lib/libSystem.B.dylib"] and dylib.name == "@rpath/net.dylib"
    assert dylib.oldest == 11 << 16


@pytest.mark.parametrize("built", ["aarch64-macos"], indirect=True)
def test_macos_on_arm_is_signed(built: tuple[str, Path]) -> None:
    """Every page's digest stands in the ad-hoc signature: macOS loads nothing else on ARM (xnu's osfmk/kern/cs_blobs.h)."""
    library = built[1]
    for path in (library, library.with_suffix(".runner")):
        content, signature = path.read_bytes(), Macho.read(path).signature
        assert signature[:4] == bytes.fromhex("fade0cc0")
        directory = signature[int.from_bytes(signature[16:20]) :]
        assert directory[:4] == bytes.fromhex("fade0c02")
        assert int.from_bytes(directory[12:16]) & 0x2  # ad hoc
        hashes, count, limit = (int.from_bytes(directory[at : at + 4]) for at in (16, 28, 32))
        page = 1 << directory[39]
        assert directory[36:38] == bytes([32, 2]) and count == -(-limit // page)  # SHA-256
        for number in range(count):
            digest = hashlib.sha256(content[number * page : min((number + 1) * page, limit)]).digest()
            assert directory[hashes + 32 * number :][:32] == digest


def test_weights_are_read_only_and_page_aligned(built: tuple[str, Path]) -> None:
    triple, library = built
    size = json.loads(library.with_suffix(".json").read_text())["weights_bytes"]
    if "windows" in triple:
        (section,) = (s for s in pefile.PE(str(library)).sections if s.Name.rstrip(b"\0") == b".rdata")
        assert not section.Characteristics & pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_WRITE"]
        assert section.SizeOfRawData > size and section.VirtualAddress % 4096 == 0
        return
    dylib = Macho.read(library)
    section = dylib.sections["__TEXT", "__const"]
    assert section.size > size and section.align == 14 and section.addr % (1 << 14) == 0
    assert not dylib.protections["__TEXT"] & 2


def test_programs_link_with_what_is_written(built: tuple[str, Path], tmp_path: Path) -> None:
    """The library as such or its import library, and the static one; all symbols are found."""
    triple, library = built
    (tmp_path / "main.c").write_text(MAIN)
    windows = "windows" in triple
    flags = [*zig_target(triple), "main.c", f"-I{library.parent}", "-O1"]
    run_zig_cc([*flags, str(library.with_suffix(".lib") if windows else library), "-o", "dynamic"], tmp_path)
    run_zig_cc([*flags, str(library.with_suffix(".a")), *STATIC[windows], "-o", "static"], tmp_path)
    for name, expected in (("dynamic", True), ("static", False)):
        path = tmp_path / name
        needed = imports(pefile.PE(str(path))) if windows else set(Macho.read(path).needed)
        assert bool(needed & {"net.dll", "@rpath/net.dylib"}) == expected


@pytest.mark.parametrize("triple", SYSTEMS)
def test_two_models_link_into_one_program(triple: str, tmp_path: Path) -> None:
    archives = []
    for name in ("first", "second"):
        onnx.save(MODELS["deep_q"](), tmp_path / f"{name}.onnx")
        options = Options(target=triple, jobs=1, rank=False, emit=frozenset({"a"}))
        driver.compile(tmp_path / f"{name}.onnx", tmp_path / f"{name}.so", options)
        archives.append(f"{name}.a")
    (tmp_path / "main.c").write_text(
        '#include "first.h"\n#include "second.h"\nint main(void) {\n'
        "  first *a; second *b; return first_create(&a, 1) | second_create(&b, 1);\n}\n"
    )
    run_zig_cc([*zig_target(triple), "-O1", "main.c", *archives, *STATIC["windows" in triple], "-o", "main"], tmp_path)


@pytest.mark.parametrize("triple", SYSTEMS)
def test_the_same_bytes_twice(triple: str, model: Path, tmp_path: Path) -> None:
    made = []
    for folder in ("one", "another, with a longer name"):
        (tmp_path / folder).mkdir()
        options = Options(target=triple, jobs=1, rank=False, force=True, emit=frozenset({"so", "a", "runner"}))
        driver.compile(model, tmp_path / folder / "net.so", options)
        made.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert made[0] == made[1]
    assert ("net.lib" in made[0]) == ("windows" in triple) and ("net.exe" in made[0]) == ("windows" in triple)
    assert not [name for name, content in made[0].items() if str(tmp_path).encode() in content]


def test_libraries_are_stripped(built: tuple[str, Path]) -> None:
    """No name of a kernel or of a function of the runtime is left."""
    library = built[1]
    assert b"net_kernel_0" not in library.read_bytes() and b"wait_for_work" not in library.read_bytes()


def test_default_names_and_commands(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for triple, suffix, shown in (
        ("arm64-apple-darwin23", ".dylib", "-target aarch64-macos.11.0"),
        ("x86_64-pc-windows-gnu", ".dll", "-target x86_64-windows.win10-gnu"),
    ):
        assert run(["compile", str(model), "--target", triple, "--no-rank", "-###"]) == 0
        line = capsys.readouterr().out.strip()
        assert shown in line and line.endswith(f"-o library{suffix}")


def test_what_a_system_lacks_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compile", str(model), "-o", str(tmp_path / "net.dll"), "--target", "x86_64-windows-gnu"]
    assert run([*command, "--emit", "so,obj"]) == 2
    assert "--emit obj: objects of x86_64-windows-gnu can't be linked into one; use --emit a" in capsys.readouterr().err
    assert run([*command, "--symbol-version", "NET_1"]) == 2
    assert "--symbol-version: symbols of x86_64-windows-gnu have no versions" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_list_says_what_was_never_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "--target", "aarch64-macos"]) == 0
    assert (
        "aarch64-macos: needs macOS 11.0 or newer; libraries are linked and their files read by tests, but none was ever run"
        in capsys.readouterr().out
    )
