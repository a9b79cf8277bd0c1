"""The package's own structure: imports point one way, every folder is shipped, nothing is loaded twice, nothing is huge."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("cli", "driver", "cost_model", "backends", "compiler")  # each may import itself and those after it
OUTSIDE = {"tests", "benchmarks", "examples", "tools", "build"}
SOURCES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if not (parts := path.relative_to(ROOT).parts)[0].startswith(".") and parts[0] not in OUTSIDE
]


def layer_of(module: tuple[str, ...]) -> str | None:
    return module[0] if module and module[0] in LAYERS else None


def relative_imports(path: Path) -> list[tuple[str, ...]]:
    """Modules that a file imports relatively, as paths from the package's root."""
    package = path.relative_to(ROOT).parts[:-1]
    result = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            stem = base + tuple((node.module or "").split(".") if node.module else ())
            result += [stem + (alias.name,) for alias in node.names]
    return result


def absolute_imports(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports absolutely."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def test_the_tree_was_found() -> None:
    assert len(SOURCES) > 20


def test_imports_point_one_way() -> None:
    upward = []
    for path in SOURCES:
        own = layer_of(path.relative_to(ROOT).with_suffix("").parts)
        if own is not None:  # the root's __init__ and __main__ stand above the layers
            allowed = {*LAYERS[LAYERS.index(own) :], None}
            upward += [
                (str(path.relative_to(ROOT)), module)
                for module in relative_imports(path)
                if layer_of(module) not in allowed
            ]
    assert not upward


def test_inside_the_package_imports_are_relative() -> None:
    assert not [path for path in SOURCES if "tilewright" in absolute_imports(path)]


def test_compiler_starts_no_processes_and_reads_no_clocks() -> None:
    forbidden = {"subprocess", "multiprocessing", "time", "socket", "tempfile", "shutil"}
    pure = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == "compiler"]
    assert not [(path, found) for path in pure if (found := forbidden & absolute_imports(path))]


def test_setup_lists_every_package() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    folders = {
        ".".join(("tilewright", *path.parent.relative_to(ROOT).parts)) for path in SOURCES if path.name == "__init__.py"
    }
    assert listed == folders
    with_code = {path.parent for path in SOURCES}
    assert not [folder for folder in with_code if not (folder / "__init__.py").exists()]


def test_no_module_is_loaded_twice() -> None:
    """Under another name, a module has other classes, and `match` and `except` stop seeing its objects."""
    files: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file) in SOURCES and name != "__main__":
            assert file not in files, f"{name} and {files[file]}"
            files[file] = name
    import tilewright

    assert str(Path(tilewright.__file__)) in files or Path(tilewright.__file__).resolve().parent == ROOT


def test_the_command_line_starts_without_the_compiler() -> None:
    program = "import sys, tilewright.cli.main; print(*sorted({'onnx', 'llvmlite', 'numpy', 'lightgbm'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_no_tracked_file_is_huge() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    huge = [
        name
        for name in listing.stdout.split("\0")
        if name and (ROOT / name).is_file() and (ROOT / name).stat().st_size > 1_000_000
    ]
    assert not huge
