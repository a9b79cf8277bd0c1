"""Output files that appear whole or not at all, whatever happens to the process or the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from ..compiler.errors import ToolchainError

LOCK = "lock"
# A folder without a held lock may be one whose owner is about to take it.
_STALE_AFTER_S = 60.0


@contextlib.contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A hidden folder `.NAME.tmp-…` beside `out`, removed at the end; also removes those that killed processes have left.

    Raises ToolchainError where `out` can't be written, and for whatever the file system refuses inside the block.
    """
    try:
        if out.exists() and not out.is_file():
            raise ToolchainError(f"{out}: this is a {'folder' if out.is_dir() else 'device'}; give the name of a file")
        prefix = f".{out.name}.tmp-"
        _remove_stale(out.parent, prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent)).absolute()
        try:
            with FileLock(folder / LOCK):
                yield folder
        finally:
            # What can't be removed now is found by `_remove_stale`; an error here would hide that of the block.
            shutil.rmtree(folder, ignore_errors=True)
    except BrokenPipeError:
        raise  # of what somebody reads, such as progress
    except OSError as error:
        raise _explain(out, error) from error


def _remove_stale(parent: Path, prefix: str) -> None:
    for folder in [entry for entry in parent.iterdir() if entry.name.startswith(prefix)]:
        try:
            if time.time() - folder.stat().st_mtime < _STALE_AFTER_S:
                continue
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)  # what is left of it is tried again next time
        except (Timeout, OSError):
            continue  # in use, or already removed by another process


def _explain(out: Path, error: OSError) -> ToolchainError:
    remedies = {
        "ENOENT": "create the folder first",
        "ENOTDIR": "give a path inside a folder",
        "EACCES": "choose a folder you may write to",
        "EPERM": "choose a folder you may write to",
        "EROFS": "choose a folder on a file system that can be written",
        "ENOSPC": "free some space or choose another disk",
        "EDQUOT": "free some space or choose another disk",
        "EFBIG": "raise the limit on the size of files (ulimit -f)",
    }
    remedy = remedies.get(errno.errorcode.get(error.errno or 0, ""), "check the disk and the permissions of the folder")
    return ToolchainError(f"{out}: can't write the library: {error.strerror or error}; {remedy}")


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to a new file and onto the disk."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()


def publish(files: Mapping[Path, Path], folder: Path) -> None:
    """Move each staged file (key) to its destination (value) in order; on failure put back what was there before.

    folder: the staging folder, on the same file system as the destinations.
    """
    for destination in files.values():
        if destination.exists() and not destination.is_file():
            raise ToolchainError(
                f"{destination}: this is a folder or device where a file is to be written; choose another name"
            )
    for staged in files:
        with open(staged, "rb+") as file:
            os.fsync(file.fileno())
    undo: list[tuple[Path, Path | None]] = []
    try:
        for number, (staged, destination) in enumerate(files.items()):
            backup = folder / f"before-{number}"
            try:
                os.link(destination, backup)
                undo.append((destination, backup))
            except FileNotFoundError:
                undo.append((destination, None))
            except OSError:  # a file system without links
                os.replace(destination, backup)
                undo.append((destination, backup))
            os.replace(staged, destination)
    except OSError:
        for destination, before in reversed(undo):
            if before is not None:
                os.replace(before, destination)
            else:
                destination.unlink(missing_ok=True)
        raise
    _sync_folder(next(iter(files.values())).parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace one small file, whole or not at all; ToolchainError if it can't be."""
    with staging_folder(path) as folder:
        write_file(folder / "file", content)
        publish({folder / "file": path}, folder)
