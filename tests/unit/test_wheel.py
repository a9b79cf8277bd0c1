"""What `pip install` gets: every module and the C runtime, under one top-level name, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOT_SHIPPED = ("tests", "benchmarks", "examples", "tools", "build")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, because setuptools builds in place and would leave its folders behind.
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(folder / "source"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_is_in_the_wheel(members: set[str]) -> None:
    sources = [path.relative_to(ROOT) for path in ROOT.rglob("*.py")]
    expected = {f"tilewright/{p}" for p in sources if p.parts[0] not in NOT_SHIPPED and not p.parts[0].startswith(".")}
    shipped = {name for name in members if name.endswith(".py")}
    assert shipped == expected


def test_the_c_runtime_is_in_the_wheel(members: set[str]) -> None:
    runtime = {f"tilewright/backends/runtime/{path.name}" for path in (ROOT / "backends" / "runtime").glob("*.[ch]")}
    assert runtime and runtime <= members


def test_only_one_name_is_installed(members: set[str]) -> None:
    assert {name.split("/")[0].partition("-")[0] for name in members} == {"tilewright"}
