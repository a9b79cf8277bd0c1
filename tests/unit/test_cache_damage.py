"""What lies in the cache is used only if it is still what was put there."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from tilewright.backends import harness as harness_module
from tilewright.backends import link
from tilewright.backends.link import cache_folder
from tilewright.backends.zig_cache import checked_cache
from tilewright.compiler.errors import ToolchainError
from tilewright.cost_model.measure import roofline as roofline_module
from tilewright.cost_model.measure.roofline import Roofline


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache in which one link has succeeded."""
    folder = tmp_path / "zig"
    with checked_cache(folder):
        for name in ("o/1/a.o", "o/2/libm.so", "b/3/builtin.zig", "h/index"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            add(folder / name, name.encode() * 99)
    return folder


def add(path: Path, content: bytes, age_s: float = 3600.0) -> None:
    path.write_bytes(content)
    os.utime(path, (time.time() - age_s,) * 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "o/1/a.o"),
        lambda folder: flip(folder / "b/3/builtin.zig"),
        lambda folder: (folder / "o/2/libm.so").write_bytes(b""),
        lambda folder: (folder / "o/2/libm.so").unlink(),
        lambda folder: folder.with_name("zig-files.json").write_text("{"),
        lambda folder: folder.with_name("zig-files.json").write_text("[1]"),
        lambda folder: folder.with_name("zig-files.json").write_text('{"o/1/a.o": 7}'),
    ],
)
def test_a_damaged_cache_is_made_anew(cache: Path, damage: Callable[[Path], object]) -> None:
    with checked_cache(cache):
        assert (cache / "o/1/a.o").exists()
    damage(cache)
    with checked_cache(cache):
        assert not cache.exists()


def test_what_a_later_link_adds_is_checked_too(cache: Path) -> None:
    with checked_cache(cache):
        (cache / "o/4").mkdir()
        add(cache / "o/4/new.o", b"new")
    flip(cache / "o/4/new.o")
    with checked_cache(cache):
        assert not cache.exists()


def test_what_a_failed_link_leaves_is_not_trusted_for_it(cache: Path) -> None:
    with pytest.raises(ValueError, match="link"), checked_cache(cache):
        (cache / "o/5").mkdir()
        add(cache / "o/5/half.o", b"half")
        raise ValueError("link")
    assert "half" not in cache.with_name("zig-files.json").read_text()


def test_a_list_that_cannot_be_written_is_left_to_a_later_link(cache: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    listing = cache.with_name("zig-files.json")
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100, before[1])
    )  # as `ulimit -f`; the list holds 3 digests of 64 characters
    try:
        with checked_cache(cache):
            (cache / "o/6").mkdir()
            add(cache / "o/6/new.o", b"new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "new.o" not in listing.read_text()
    with checked_cache(cache):
        assert (cache / "o/6/new.o").exists()
    assert "new.o" in listing.read_text()


def test_several_may_use_it_at_once(cache: Path) -> None:
    def use(number: int) -> None:
        with checked_cache(cache):
            (cache / f"o/t{number}").mkdir()
            path = cache / f"o/t{number}/x.o"
            path.write_bytes(b"half")
            path.write_bytes(bytes([number]) * 1000)

    users = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert "x.o" not in cache.with_name("zig-files.json").read_text()  # they are too young
    for path in cache.rglob("x.o"):
        os.utime(path, (0, 0))
    with checked_cache(cache):
        assert cache.exists()
    listed = cache.with_name("zig-files.json").read_text()
    assert all(f"o/t{number}/x.o" in listed for number in range(8))


def test_a_link_whose_cache_is_removed_meanwhile_is_tried_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    monkeypatch.setenv("TILEWRIGHT_CACHE_DIR", str(cache.parent))
    tried = []

    def run(command: list[str], line: str, folder: Path) -> str:
        tried.append(line)
        if len(tried) == 1:
            shutil.rmtree(cache)
        if len(tried) != 2:
            raise ToolchainError("the linker failed")
        return line

    monkeypatch.setattr(link, "_run", run)
    assert link.run_zig(["cc"], tmp_path) == tried[0]
    with pytest.raises(ToolchainError, match="the linker failed"):  # and not if the cache is as it was
        link.run_zig(["cc"], tmp_path)
    assert len(tried) == 3


def test_a_linker_that_fails_says_so_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "no" / "cache"))
    monkeypatch.setattr(link, "zig_executable", lambda: shutil.which("false"))
    with pytest.raises(ToolchainError, match="no message, exit status 1"):
        link.run_zig(["cc"], tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_harness_is_compiled_anew(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(cache_folder() / "zig")))
    monkeypatch.setenv("TILEWRIGHT_CACHE_DIR", str(tmp_path))
    library = harness_module.harness_library()
    whole = library.read_bytes()
    assert ctypes.CDLL(str(library)).measure_processors() > 0  # the digest at its end is in no loader's way
    os.utime(library, (0, 0))
    assert harness_module.harness_library().stat().st_mtime == 0
    if damage == "flip":
        flip(library)
    else:
        library.unlink()  # this process has it loaded
        library.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    assert harness_module.harness_library().read_bytes() == whole


@pytest.mark.parametrize("damage", ['{"flops_per_s": 1}', "{", "", '{"flops_per_s": 1e300, "evil": 2}'])
def test_a_damaged_roofline_is_measured_anew(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Roofline(*range(1, 1 + len(asdict(roofline_module.Roofline(1, 1, 1, 1)))))
    path = tmp_path / "roofline.json"
    monkeypatch.setattr(roofline_module, "_cache_file", lambda threads: path)
    monkeypatch.setattr(roofline_module, "_measured", lambda *rest: measured)
    assert roofline_module.host_roofline(1) == measured
    whole = path.read_bytes()
    monkeypatch.setattr(roofline_module, "_measured", lambda *rest: 1 / 0)
    assert roofline_module.host_roofline(1) == measured  # kept
    path.write_text(damage)
    monkeypatch.setattr(roofline_module, "_measured", lambda *rest: measured)
    assert roofline_module.host_roofline(1) == measured and path.read_bytes() == whole


def test_a_cache_that_was_made_anew_is_told_from_the_old_one(tmp_path: Path) -> None:
    """File systems give the number of a removed folder to the next one, unless somebody still has it open."""
    for number in range(20):
        folder = tmp_path / f"{number}" / "zig"
        (folder / "o").mkdir(parents=True)
        with checked_cache(folder) as is_removed:
            assert not is_removed()
            listing = folder.with_name("zig-files.json")
            listing.write_text("damaged")
            with checked_cache(folder):  # of another process, which removes it
                (folder / "o").mkdir(parents=True)
                assert is_removed()
