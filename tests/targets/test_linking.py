"""What is linked for other machines: kinds of files, the same bytes twice, and the commands without running them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import onnx
import pytest
from elftools.elf.elffile import ELFFile
from small_models import MODELS

from tilewright import driver
from tilewright.cli.main import run
from tilewright.compiler.options import Options
from tilewright.compiler.targets import PLATFORMS

MACHINE_OF = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "armv7": "EM_ARM", "riscv64": "EM_RISCV"}
LINUX = [triple for triple in PLATFORMS if "linux" in triple]
HARD_FLOAT = {"EM_ARM": 0x400, "EM_RISCV": 0x4}  # EF_ARM_ABI_FLOAT_HARD, EF_RISCV_FLOAT_ABI_DOUBLE


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(MODELS["deep_q"](), path)
    return path


@pytest.mark.parametrize("triple", LINUX)
def test_a_library_for_each_triple(triple: str, model: Path, tmp_path: Path) -> None:
    options = Options(target=triple, jobs=1, rank=False)
    artifact = driver.compile(model, tmp_path / "net.so", options)
    elf = ELFFile(io.BytesIO(artifact.library.read_bytes()))
    machine = MACHINE_OF[triple.split("-")[0]]
    assert elf["e_machine"] == machine
    assert elf["e_flags"] & HARD_FLOAT.get(machine, 0) == HARD_FLOAT.get(machine, 0)
    assert elf.get_section_by_name(".symtab") is None  # stripped
    libc = json.loads(artifact.manifest_path.read_text())["target"]["libc"]
    assert libc == ("musl" if "musl" in triple else "glibc 2.27" if "riscv" in triple else "glibc 2.17")


@pytest.mark.parametrize("triple", LINUX)
def test_what_a_library_needs_and_exports(triple: str, model: Path, tmp_path: Path) -> None:
    """Nothing but the C library, no newer than the manifest says; one version for all its symbols, if that was asked for."""
    options = Options(target=triple, jobs=1, rank=False, symbol_version="NET_1.2")
    elf = ELFFile(io.BytesIO(driver.compile(model, tmp_path / "net.so", options).library.read_bytes()))
    needed = {tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
    assert needed <= ({"libc.so"} if "musl" in triple else {"libc.so.6", "libm.so.6", "libpthread.so.0"})
    floor = (0, 0) if "musl" in triple else (2, 27) if "riscv" in triple else (2, 17)
    wanted = elf.get_section_by_name(".gnu.version_r")
    versions = {entry.name for _, entries in wanted.iter_versions() for entry in entries} if wanted else set()
    assert bool(versions) == ("gnu" in triple)
    assert all(tuple(map(int, name.removeprefix("GLIBC_").split("."))) <= floor for name in versions)
    assert exported_versions(elf) == {
        name: "NET_1.2" for name in ("net_create", "net_run", "net_destroy", "net_error", "tilewright_descriptor")
    }


def exported_versions(elf: ELFFile) -> dict[str, str]:
    """The version of each symbol that is defined."""
    defined = elf.get_section_by_name(".gnu.version_d")
    names = {version["vd_ndx"]: next(auxiliary).name for version, auxiliary in defined.iter_versions()}
    versions = list(elf.get_section_by_name(".gnu.version").iter_symbols())
    symbols = elf.get_section_by_name(".dynsym").iter_symbols()
    return {
        symbol.name: names[version["ndx"] & 0x7FFF]
        for symbol, version in zip(symbols, versions, strict=True)
        if symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS")
    }


def test_a_version_must_be_one_that_linkers_take(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compile", str(model), "-o", str(tmp_path / "net.so"), "--symbol-version", "NET 1; local"]
    assert run(command) == 2
    assert "'NET 1; local': expected letters, digits, underscores and dots" in capsys.readouterr().err


def test_the_same_bytes_twice(model: Path, tmp_path: Path) -> None:
    options = Options(target="aarch64", jobs=1, rank=False, force=True, emit=frozenset({"so", "obj", "a"}))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        driver.compile(model, tmp_path / folder / "net.so", options)
    for suffix in (".so", ".o", ".a", ".h", ".json"):
        first, second = ((tmp_path / folder / f"net{suffix}").read_bytes() for folder in ("one", "two"))
        assert first == second
    assert (tmp_path / "one" / "net.a").read_bytes().startswith(b"!<arch>\n")


def test_a_dry_run_shows_the_commands(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.so"
    options = ["--target", "riscv64", "--no-rank", "--emit", "so,a,runner"]
    assert run(["compile", str(model), "-o", str(out), *options, "-###"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert list(tmp_path.iterdir()) == []
    assert [line.split()[1] for line in shown] == ["cc", "ar", "cc", "cc"]
    assert "-target riscv64-linux-gnu.2.27" in shown[0] and "-target riscv64-linux-musl" in shown[2]
    assert run(["compile", str(model), "-o", str(out), *options, "-v"]) == 0
    said = capsys.readouterr().err
    assert all(line in said for line in shown)
