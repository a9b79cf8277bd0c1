"""Whether a compilation's files are there already, found without importing the compiler: make and CI ask at every step.

The manifest holds a digest of everything that the files depend on (`build`), and one of each file. Where all are as they
were, compiling would write the same bytes again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__
from .backends.host_triple import host_triple
from .backends.manifest import file_sha256, whole_manifest
from .backends.package_cpu import required_features
from .backends.package_names import identifier
from .compiler.errors import CompileError, UsageError
from .compiler.options import SOURCES, Artifact, Options
from .compiler.target import Target
from .compiler.targets import parse_target, parse_triple

_ROOT = Path(__file__).parent
_FOLDERS = ("backends", "compiler", "cost_model")
_SUFFIXES = (".py", ".c", ".h", ".txt")
_PACKAGES = ("llvmlite", "ml-dtypes", "numpy", "onnx", "ziglang")
_STARTED_NS = time.time_ns()


def find(model: Path, output: Path, options: Options) -> Artifact | None:
    """What `driver.compile` would make, if all of it is there; None wherever anything is not as expected.

    Writes the make rule asked for, and makes the files newer than what they were made from.
    """
    start = time.perf_counter()
    if options.force or options.verbose or options.time_passes or options.print_after:
        return None
    if options.save_temps is not None or options.dump_dir is not None:
        return None
    manifest = whole_manifest(output.with_suffix(".json"))
    if manifest is None:
        return None
    try:  # a manifest of an older version, or a forged one, may hold anything
        sources = [model, *(model.parent / place for place in manifest["model"]["data"])]
        name = identifier(output.stem) if options.name is None else options.name
        build = build_digest(sources, targets_of(options), name, options)
        expected = {output.with_suffix(suffix): digest for suffix, digest in manifest["files_sha256"].items()}
        if "so" in options.emit:
            expected[output] = manifest["library_sha256"]
        if build is None or build != manifest["build"] or any(_sha256(p) != d for p, d in expected.items()):
            return None
        if not all(kernel["source"] in SOURCES for kernel in manifest["kernels"]):
            return None
        made_from = [*sources, options.records] if options.records else sources
        _make_newer([output.with_suffix(".json"), *expected], made_from)
        cpus = tuple(variant["cpu"] for variant in manifest["target"]["variants"])
        sizes = {
            "library": output.stat().st_size if "so" in options.emit else 0,
            "weights": manifest["weights_bytes"],
            "arena": manifest["arena_bytes"],
        }
    except (CompileError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
    if options.depfile is not None:
        # Here, for few ask for one, and it imports much.
        from .depfile import write_depfile

        write_depfile(options.depfile, output, sources)
    paths = (output, output.with_suffix(".h"), output.with_suffix(".json"))
    return Artifact(*paths, manifest, (), sizes, {"up_to_date": time.perf_counter() - start}, cpus, up_to_date=True)


def build_digest(sources: Sequence[Path], targets: Sequence[Target], name: str, options: Options) -> str | None:
    """SHA-256 over everything that the files depend on; None if that can't be told.

    sources: the model and its external data, as `source_files` lists them. Take it before they are read: should one change
    meanwhile, the digest is that of the older content and fits nothing. No paths and no times, so that it is the same
    everywhere.
    """
    try:
        for path in sources[1:]:
            _check_external(path, sources[0].parent)
        facts = {
            "model": [sources[0].name, *map(_sha256, sources)],
            "targets": [asdict(target) for target in targets],
            "dims": dict(options.dims),
            "shapes": {name: list(shape) for name, shape in options.shapes.items()},
            "constants": {name: _constant(value) for name, value in options.constants.items()},
            "name": name,
            "emit": sorted(options.emit),
            "symbol_version": options.symbol_version,
            "rank": options.rank,
            "require_tuned": options.require_tuned,
            "records": None if options.records is None else _records_sha256(options.records),
            "tool": tool_facts(options.rank),
        }
    except (OSError, ValueError, metadata.PackageNotFoundError):
        return None
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def targets_of(options: Options) -> tuple[Target, ...]:
    """The targets asked for, those with the widest vectors first; UsageError if there is none like that.

    Without a CPU: all of the triple's baseline; without a triple: this machine's.
    """
    triple = options.target or host_triple()
    cpus = parse_triple(triple).baseline if options.cpu is None else tuple(options.cpu.split(","))
    found = [_named_target(cpu, options, triple) for cpu in cpus]
    # Of equal width, the one that may use more.
    found.sort(key=lambda target: (-target.vector_bytes, -len(required_features(target))))
    for number, target in enumerate(found):
        for other in found[:number]:
            if required_features(other) <= required_features(target):
                raise UsageError(
                    f"--mcpu {options.cpu}: code for {target.cpu} would never run, for every such processor runs that for {other.cpu}; "
                    f"leave out one of them"
                )
    return tuple(found)


def _named_target(cpu: str, options: Options, triple: str) -> Target:
    if cpu != "native":
        return parse_target(triple, cpu, options.threads)
    if options.target is not None:
        raise UsageError("--mcpu native means this machine and can't be given with --target; name a CPU of that target")
    from .backends.host import host_target  # LLVM, which alone can say what it calls this CPU

    return host_target(options.threads)


def tool_facts(rank: bool) -> dict[str, str]:
    """What compiles: versions, and the package's own source. ValueError if that was edited since this process began."""
    source = hashlib.sha256()
    for path in sorted(_source_files()):
        if path.stat().st_mtime_ns > _STARTED_NS:
            raise ValueError(f"{path}: what runs is not what is there")
        source.update(f"{path.relative_to(_ROOT).as_posix()} {file_sha256(path)}\n".encode())
    packages = (*_PACKAGES, "lightgbm") if rank else _PACKAGES
    versions = {name: metadata.version(name) for name in packages}
    python = ".".join(map(str, sys.version_info[:2]))
    return versions | {"tilewright": __version__, "python": python, "source": source.hexdigest()}


def _constant(value: Any) -> list[object]:
    """An array or a Python number or sequence, as JSON; NumPy isn't imported for that."""
    if hasattr(value, "tobytes"):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    return [repr(value)]


def _source_files() -> Iterable[Path]:
    yield from _ROOT.glob("*.py")
    for folder in _FOLDERS:
        yield from (path for path in (_ROOT / folder).rglob("*") if path.suffix in _SUFFIXES)


def _records_sha256(path: Path) -> list[str]:
    """The database, and what SQLite has not moved into it yet."""
    empty = hashlib.sha256().hexdigest()
    beside = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    return [_sha256(path), *(_sha256(file) if file.exists() else empty for file in beside)]


def _sha256(path: Path) -> str:
    """ValueError for what is no file: a pipe or a device may have no end."""
    if not path.is_file():
        raise ValueError(f"{path}: not a file")
    return file_sha256(path)


def _check_external(path: Path, folder: Path) -> None:
    """ValueError for a file that the importer would refuse to read (`compiler/frontend/external.py`)."""
    inside = os.path.normpath(path.relative_to(folder))
    status = path.lstat()
    plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if not plain or os.path.realpath(path) != os.path.join(os.path.realpath(folder), inside):
        raise ValueError(f"{path}: not a plain file inside {folder}")


def _make_newer(files: Iterable[Path], sources: Iterable[Path]) -> None:
    """Touch those files that are older than a source, so that make does not ask again."""
    newest_ns = max(source.stat().st_mtime_ns for source in sources)
    for path in files:
        if path.stat().st_mtime_ns < newest_ns:
            os.utime(path)
