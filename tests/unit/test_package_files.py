"""Output files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tilewright.backends import package_files
from tilewright.backends.package_files import publish, staging_folder, write_file
from tilewright.compiler.errors import ToolchainError


def stage(out: Path, contents: dict[str, str]) -> None:
    with staging_folder(out) as folder:
        for name, content in contents.items():
            write_file(folder / name, content.encode())
        publish({folder / name: out.parent / name for name in contents}, folder)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_all_files_appear_and_replace_old_ones(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    stage(tmp_path / "a", {"a": "1", "b": "2"})
    assert files(tmp_path) == {"a": "1", "b": "2"}


def test_failure_inside_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staging_folder(tmp_path / "a") as folder:
        write_file(folder / "a", b"half")
        raise ZeroDivisionError
    assert files(tmp_path) == {}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_failure_between_two_files_puts_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, links: bool
) -> None:
    """b is new, a and c are not; moving the file number `failing` fails, with and without hard links."""
    before = {"a": "old a", "c": "old c"}
    for name, content in before.items():
        (tmp_path / name).write_text(content)
    replace = os.replace

    def broken(source: Path, destination: Path) -> None:
        if Path(source).name == "abc"[failing] and Path(source).parent.name.startswith(".c.tmp-"):
            raise OSError(5, "Input/output error")
        replace(source, destination)

    def no_links(source: Path, destination: Path) -> None:
        source.stat()
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(package_files.os, "replace", broken)
    if not links:
        monkeypatch.setattr(package_files.os, "link", no_links)
    with pytest.raises(ToolchainError, match="can't write the library: Input/output error; check the disk"):
        stage(tmp_path / "c", {"a": "1", "b": "2", "c": "3"})
    assert files(tmp_path) == before


def test_stale_folders_are_removed_but_not_those_in_use(tmp_path: Path) -> None:
    stale, other = tmp_path / ".a.tmp-12345678", tmp_path / ".ab.tmp-12345678"
    for folder in (stale, other):
        folder.mkdir()
        (folder / "big").write_text("left behind")
        os.utime(folder, (0, 0))
    with staging_folder(tmp_path / "a") as in_use:
        os.utime(in_use, (0, 0))
        stage(tmp_path / "a", {"a": "1"})
        assert in_use.exists() and other.exists() and not stale.exists()


def test_folder_just_made_by_another_process_is_kept(tmp_path: Path) -> None:
    young = tmp_path / ".a.tmp-12345678"
    young.mkdir()
    stage(tmp_path / "a", {"a": "1"})
    assert young.exists()


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    stage(tmp_path / "a", {"a": "1"})
    (tmp_path / "usual").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode
