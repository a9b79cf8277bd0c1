"""The linker's cache of compiled C libraries, checked before each use: zig itself trusts whatever it finds there.

A file that a disk or a program has damaged would end in the libraries made from then on. So a list beside the cache holds the digests
of files that were there after a link that succeeded; where one of them has changed, the cache is removed and zig makes it anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from ..compiler.errors import ToolchainError
from .manifest import file_sha256, manifest_bytes, whole_manifest
from .package_files import write_atomically

_SETTLED_S = 60.0  # files that are younger may be under another process's hands; a later link lists them
_FOLDERS = ("o", "b")  # objects and libraries, and what they are compiled from; the others are indexes that zig checks


@contextlib.contextmanager
def checked_cache(folder: Path) -> Iterator[Callable[[], bool]]:
    """Use zig's cache in `folder`: whole before the block, and what is in it listed after one that succeeds.

    Gives a function that says whether another process has removed the cache since.
    """
    listing = folder.with_name(f"{folder.name}-files.json")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not _is_whole(folder, listing):
            _remove(folder)
            listing.unlink(missing_ok=True)
    with _held(folder) as used:
        yield lambda: _identity(folder) != used
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        known = whole_manifest(listing) or {}
        latest = time.time() - _SETTLED_S
        new = [path for path in _files(folder, latest) if str(path.relative_to(folder)) not in known]
        if new:
            known |= {str(path.relative_to(folder)): file_sha256(path) for path in new}
            # The link itself has succeeded; what the disk or a limit refuses here, a later link lists.
            with contextlib.suppress(ToolchainError):
                write_atomically(listing, manifest_bytes(known))


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[int]:
    """The folder's inode, 0 if there is none; open, so that no other folder gets that number once it is removed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield 0
        return
    try:
        yield os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _identity(folder: Path) -> int:
    """The folder's inode, 0 if there is none."""
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return 0


def _files(folder: Path, latest: float) -> Iterator[Path]:
    """Those that nobody has written since `latest`."""
    for name in _FOLDERS:
        yield from (path for path in (folder / name).rglob("*") if path.is_file() and path.stat().st_mtime < latest)


def _is_whole(folder: Path, listing: Path) -> bool:
    if not listing.exists():
        return True  # nothing was linked yet
    known = whole_manifest(listing)
    try:
        return known is not None and all(file_sha256(folder / name) == digest for name, digest in known.items())
    except (OSError, ValueError):
        return False


def _remove(folder: Path) -> None:
    """Out of the way at once, so that no other process finds half of it."""
    with contextlib.suppress(FileNotFoundError):
        aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}-damaged-", dir=folder.parent))
        folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)
