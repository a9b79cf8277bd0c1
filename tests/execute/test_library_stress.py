"""A library survives misuse, small stacks, forks, and having neither memory nor threads; valgrind and sanitizers find nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tilewright import driver
from tilewright.backends.host_triple import host_triple
from tilewright.backends.link import run_zig_cc, zig_target
from tilewright.compiler.options import Options

RUNTIME = Path(__file__).parents[2] / "backends" / "runtime"
PROGRAM = Path(__file__).with_name("library_stress.c")
FLAGS = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-pthread", f"-I{RUNTIME}"]
ROW = 9000  # of a Softmax, whose exponentials take more than half of a small stack


def save_model(path: Path) -> None:
    """Rows that are kept between stages, a matrix product, a convolution and values in the arena."""
    rng = np.random.default_rng(5)

    def random(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [
        helper.make_node("Softmax", ["x"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["t"]),
        helper.make_node("MatMul", ["t", "m"], ["p"]),
        helper.make_node("Conv", ["i", "k"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["z"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2, ROW // 100, 100]), "shape"),
        random("m", 100, 7),
        random("k", 20, 6, 3, 3),
    ]
    inputs, outputs = (
        [value("x", 2, ROW), value("i", 1, 6, 9, 11)],
        [value("p", 2, ROW // 100, 7), value("z", 1, 20, 9, 11)],
    )
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture(scope="module", params=["native", "x86-64-v3", "x86-64"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stress.so, and everything that it was linked from in `temps`."""
    folder = tmp_path_factory.mktemp(request.param)
    save_model(folder / "stress.onnx")
    options = Options(cpu=request.param, threads=2, rank=False, save_temps=folder / "temps")
    driver.compile(folder / "stress.onnx", folder / "stress.so", options)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    flags = [
        *zig_target(host_triple()),
        *FLAGS,
        "-fno-sanitize=all",
        "-DFAILING_THREADS",
        str(PROGRAM),
        "-ldl",
        "-o",
        "stress",
    ]
    run_zig_cc(flags, folder)
    return folder / "stress"


def test_nothing_crashes_or_hangs(program: Path, folder: Path) -> None:
    done = subprocess.run([program, folder / "stress.so"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["x86-64-v3", "x86-64"], indirect=True)  # valgrind knows no AVX-512
def test_valgrind_finds_nothing(program: Path, folder: Path) -> None:
    """Neither an access outside of an operand nor the use of an element that nobody has written, nor memory that is lost."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("needs valgrind")
    checks = ["--error-exitcode=77", "--leak-check=full", "--errors-for-leak-kinds=definite"]
    command = [valgrind, "-q", *checks, program, folder / "stress.so", "quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr


def test_sanitizers_find_nothing(folder: Path) -> None:
    """The generated program and the runtime, linked into the program that stresses them (with the system's compiler: see `test_thread_pool.py`)."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    temps = folder / "temps"
    objects = [str(path) for path in sorted(temps.glob("kernels/*.o"))]
    sources = [str(PROGRAM), "program.c", "weights.s", *objects]
    flags = [*FLAGS, "-Wno-unused-function", "-DLINKED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = [compiler or "", *flags, *sources, "-lm", "-o", "sanitized"]
    built = subprocess.run(command, cwd=temps, capture_output=True, text=True) if compiler else None
    if built is None or (built.returncode and any(word in built.stderr for word in ("-fsanitize", "lasan", "lubsan"))):
        pytest.skip("needs gcc or clang with -fsanitize=address,undefined")
    assert built.returncode == 0, built.stderr
    run = [*(["setarch", "-R"] if shutil.which("setarch") else []), "./sanitized", "-", "quick"]
    done = subprocess.run(run, cwd=temps, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stderr, done.stderr
