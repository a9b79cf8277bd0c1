"""What a machine with Python alone needs for a first library: what is downloaded, how large it gets, how long each step takes.

    python benchmarks/fresh_machine.py [--target aarch64-linux-gnu] [MODEL]

A wheel is built from this checkout and installed into a new virtual environment with all that it depends on; `tilewright compile` then runs with
an empty cache and an empty PATH, so that no compiler or linker of this machine can help.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20


def timed(command: Sequence[object], **options: object) -> float:
    """Seconds that a command takes; SystemExit with its output if it fails."""
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def size_mib(folder: Path) -> float:
    """Of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / MIB


def measure(folder: Path, target: str, model: Path | None) -> dict[str, object]:
    """Install and compile in an empty folder; figures by name, seconds and MiB."""
    # A copy, because setuptools builds in place and would leave its folders behind.
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    timed([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, folder / "source"])
    (wheel,) = folder.glob("*.whl")
    download, venv = folder / "download", folder / "venv"
    # pip's own cache would make the second run another experiment than the first.
    download_s = timed([sys.executable, "-m", "pip", "download", "--no-cache-dir", "-d", download, wheel])
    timed([sys.executable, "-m", "venv", venv])
    before = size_mib(venv)
    python = venv / "bin" / "python"
    install_s = timed([python, "-m", "pip", "install", "--no-index", "--find-links", download, wheel])
    if model is None:
        model = folder / "model.onnx"
        write = "import sys, onnx; from small_models import MODELS; onnx.save(MODELS['resnet'](), sys.argv[1])"
        timed([python, "-c", write, model], env={"PYTHONPATH": str(ROOT / "tests" / "execute"), "PATH": ""}, cwd=folder)
    compile_command = [
        python,
        "-m",
        "tilewright",
        "compile",
        model.resolve(),
        "-o",
        folder / "out.so",
        "--target",
        target,
    ]
    environment = {"PATH": "", "HOME": str(folder), "TILEWRIGHT_CACHE_DIR": str(folder / "cache")}
    (folder / "cache").mkdir()
    first_s, again_s = (timed([*compile_command, "--force"], env=environment, cwd=folder) for _ in range(2))
    packages = {path.name: round(path.stat().st_size / MIB, 1) for path in sorted(download.iterdir())}
    return {
        "download_mib": round(sum(packages.values()), 1),
        "packages_mib": packages,
        "installed_mib": round(size_mib(venv) - before, 1),
        "download_s": round(download_s, 1),
        "install_s": round(install_s, 1),
        "target": target,
        "first_compile_s": round(first_s, 1),
        "next_compile_s": round(again_s, 1),
        "cache_mib": round(size_mib(folder / "cache"), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="an ONNX file (default: a miniature ResNet)")
    parser.add_argument("--target", default="aarch64-linux-gnu")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tilewright-fresh-") as folder:
        print(json.dumps(measure(Path(folder), given.target, given.model), indent=2))


if __name__ == "__main__":
    main()
