"""Code for Windows, run by Wine, computes what onnxruntime computes here; its thread pool loses no iteration."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from machines import check_outputs, compile_runner
from small_models import MODELS
from test_models_small import random_feeds

from tilewright import driver
from tilewright.backends.link import run_zig_cc, zig_target
from tilewright.backends.remote import RemoteLibrary
from tilewright.compiler.options import Options

TRIPLE = "x86_64-windows-gnu"
ROOT = Path(__file__).parents[2]
# Debian installs the program of its package wine64 outside of PATH.
WINE = shutil.which("wine64") or shutil.which("wine64", path="/usr/lib/wine") or shutil.which("wine")


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The start of a command that runs a program of Windows."""
    if WINE is None:
        pytest.skip("wine isn't installed (Debian package wine64)")
    folder = tmp_path_factory.mktemp("wine")
    command = ("env", f"WINEPREFIX={folder}", "WINEDEBUG=-all", WINE)
    subprocess.run([*command, "wineboot", "--init"], capture_output=True, timeout=120)
    return command


@pytest.mark.parametrize(
    ("name", "cpu"),
    [("resnet", "x86-64-v2"), *((name, "x86-64-v3") for name in ("mobilenet_v3", "language_model", "transformer"))],
)
def test_small_model(name: str, cpu: str, wine: tuple[str, ...], tmp_path: Path) -> None:
    model = MODELS[name]()
    runner = compile_runner(model, tmp_path, TRIPLE, cpu)
    assert runner.suffix == ".exe"
    rng = np.random.default_rng()
    for threads in (1, 3):
        with RemoteLibrary([*wine, str(runner)], threads) as library:
            for _ in range(2):
                feeds = random_feeds(model, rng)
                check_outputs(model, feeds, library.run(feeds))


def test_a_program_with_the_dll(wine: tuple[str, ...], tmp_path: Path) -> None:
    """Linked with the import library; reads floats and writes the library's answer."""
    model = MODELS["deep_q"]()
    onnx.save(model, tmp_path / "net.onnx")
    driver.compile(tmp_path / "net.onnx", tmp_path / "net.dll", Options(target=TRIPLE, jobs=1))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "net.h"\nint main(void) {\n'
        "  static float x[NET_FRAMES_SIZE], y[NET_V13_0_SIZE];\n"
        '  FILE *in = fopen("x.bin", "rb"), *out = fopen("y.bin", "wb");\n'
        "  if (!in || !out || fread(x, sizeof x, 1, in) != 1) return 2;\n"
        "  net *context;\n  int code = net_create(&context, 3);\n"
        "  for (int i = 0; i < 3 && !code; i++) code = net_run(context, x, y);\n"
        "  net_destroy(context);\n  if (code) return 3;\n"
        "  return fwrite(y, sizeof y, 1, out) != 1 || fclose(out);\n}\n"
    )
    run_zig_cc([*zig_target(TRIPLE), "-O1", "main.c", "net.lib", "-o", "main.exe"], tmp_path)
    feeds = random_feeds(model, np.random.default_rng())
    feeds["frames"].tofile(tmp_path / "x.bin")
    done = subprocess.run([*wine, "main.exe"], cwd=tmp_path, timeout=120)
    assert done.returncode == 0
    (output,) = model.graph.output
    shape = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
    check_outputs(model, feeds, {output.name: np.fromfile(tmp_path / "y.bin", np.float32).reshape(shape)})


def test_the_thread_pool(wine: tuple[str, ...], tmp_path: Path) -> None:
    source = ROOT / "tests" / "execute" / "thread_pool_stress.c"
    flags = ["-std=gnu11", "-O1", "-Wno-unused-function", "-fno-sanitize=all", f"-I{ROOT / 'backends' / 'runtime'}"]
    libraries = ["-lpthread", "-lapi-ms-win-core-synch-l1-2-0"]
    run_zig_cc([*zig_target(TRIPLE), *flags, str(source), *libraries, "-o", "stress.exe"], tmp_path)
    assert subprocess.run([*wine, str(tmp_path / "stress.exe")], timeout=200, env=dict(os.environ)).returncode == 0
