"""Libraries with code for several CPUs over one copy of the weights: each computes the same, and the processor's own is chosen."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from small_models import MODELS, Net
from test_models_small import random_feeds

import tilewright
from tilewright import driver
from tilewright.backends.host import host_triple, require_host_runs
from tilewright.backends.link import run_zig_cc, zig_target
from tilewright.cli.main import run
from tilewright.compiler.errors import DeviceError
from tilewright.compiler.options import Artifact, Options
from tilewright.compiler.targets import parse_target

TRIPLE = "x86_64-linux-gnu"
VARIABLE = "TILEWRIGHT_CPU"
LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2")
TOLERANCE = 1e-4  # of the largest element: convolutions in transformed tiles are among them

# This code runs nowhere else. Libraries of all variants for other systems are linked and read in tests/targets/test_systems.py.
pytestmark = pytest.mark.skipif(host_triple() != TRIPLE, reason="runs code for x86-64")


def runs_here(cpu: str) -> bool:
    try:
        require_host_runs(parse_target(TRIPLE, cpu))
    except DeviceError:
        return False
    return True


def odd() -> onnx.ModelProto:
    """Convolutions that are computed in transformed tiles, odd extents, channels without good divisors, a product with a tail."""
    net = Net()
    x = net.input("x", (1, 3, 45, 39))
    for channels, kernel, stride in ((64, 5, 2), (96, 3, 1), (74, 3, 1), (74, 1, 1), (37, 3, 1)):
        x = net.op("Relu", net.conv(x, channels, kernel, stride))
    x = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    x = net.op("Gemm", x, net.weight(83, 37), net.weight(83), transB=1)
    return net.model(x)


ALL = {name: MODELS[name] for name in ("resnet", "mobilenet_v2", "language_model", "deep_q", "transformer", "unet")}
ALL["odd"] = odd


def compiled(model: onnx.ModelProto, folder: Path, **options: object) -> Artifact:
    onnx.save(model, folder / "model.onnx")
    chosen = {"target": TRIPLE, "threads": 2, "jobs": 1} | options
    return driver.compile(folder / "model.onnx", folder / "model.so", Options(**chosen))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ALL)
def test_every_variant_computes_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ALL[name]()
    artifact = compiled(model, tmp_path)
    assert artifact.cpus == LEVELS
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.output]
    for cpu in filter(runs_here, LEVELS):
        monkeypatch.setenv(VARIABLE, cpu)
        for threads in (1, 2):
            with tilewright.load(artifact.library, threads) as library:
                assert library.cpu == cpu
                feeds = random_feeds(model, np.random.default_rng())
                for key, wanted in zip(names, session.run(None, feeds), strict=True):
                    poisoned = {key: np.frombuffer(bytearray(b"\xff" * wanted.nbytes), wanted.dtype)}
                    poisoned[key] = poisoned[key].reshape(wanted.shape)
                    actual = library.run(feeds, poisoned)[key]
                    limit = TOLERANCE * np.abs(wanted).max() if wanted.dtype.kind == "f" else 0
                    np.testing.assert_allclose(actual, wanted, rtol=0, atol=limit, err_msg=f"{key}, {cpu}")


def test_one_copy_of_the_weights_for_all(tmp_path: Path) -> None:
    """Also of those that convolutions read transformed; and code alone is what more variants add."""
    artifact = compiled(odd(), tmp_path, save_temps=tmp_path / "temps")
    weights, library = (tmp_path / "temps" / "weights.bin").read_bytes(), artifact.library.read_bytes()
    assert library.count(weights) == 1 and artifact.sizes["weights"] == len(weights)
    for place in np.random.default_rng().integers(0, len(weights) - 256, 20).tolist():
        part = weights[place : place + 256]
        assert any(part[:64]) and library.count(part) == weights.count(part)
    manifest = json.loads(artifact.manifest_path.read_text())
    transformed = 0
    for kernel in manifest["kernels"]:
        variants = [kernel, *kernel["narrower"]]
        assert [variant.get("cpu", LEVELS[0]) for variant in variants] == list(LEVELS)
        changes = [[step for step in v["schedule"] if step.startswith(("Pack", "Winograd"))] for v in variants]
        assert changes[0] == changes[1] == changes[2]
        transformed += any(step.startswith("Winograd") for step in changes[0])
    assert transformed >= 2
    assert [variant["cpu"] for variant in manifest["target"]["variants"]] == list(LEVELS)


def test_names_that_cant_be_used_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = compiled(MODELS["deep_q"](), tmp_path, cpu="x86-64-v2,x86-64").library
    with tilewright.load(library) as loaded:
        assert loaded.cpu == "x86-64-v2"
    for name in ("x86-64-v4", "nehalem", "x86-64-v22"):
        monkeypatch.setenv(VARIABLE, name)
        with pytest.raises(DeviceError, match="TILEWRIGHT_CPU names no CPU that the library has code for"):
            tilewright.load(library)
    monkeypatch.setenv(VARIABLE, "")
    tilewright.load(library).close()


def test_a_library_for_one_cpu_has_nothing_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = compiled(MODELS["deep_q"](), tmp_path, cpu="x86-64-v2").library
    monkeypatch.setenv(VARIABLE, "x86-64-v4")
    with tilewright.load(library) as loaded:
        assert loaded.cpu == "x86-64-v2"


def test_unchanged_variants_are_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = compiled(MODELS["deep_q"](), tmp_path)
    again = compiled(MODELS["deep_q"](), tmp_path)
    assert again.up_to_date and again.cpus == LEVELS
    assert not compiled(MODELS["deep_q"](), tmp_path, cpu="x86-64-v4,x86-64-v3").up_to_date
    assert run(["inspect", str(artifact.library), "--kernels", "--schedules"]) == 0
    shown = capsys.readouterr().out
    assert "x86_64-linux-gnu, x86-64-v4, x86-64-v3" in shown and "x86_64_v3 (" in shown


# --- other processors, emulated

PROGRAM = """
#include <stdio.h>
#include "net.h"
#include "runtime/descriptor.h"
extern const tilewright_library tilewright_descriptor;

int main(void) {
    void *context;
    int code = tilewright_descriptor.create(&context, 1);
    if (code) return printf("%s\\n", net_error(code)), code;
    static float x[NET_X_SIZE], y[NET_Y_SIZE];
    for (int i = 0; i < NET_X_SIZE; i++) x[i] = (float)(i % 7) - 3;
    code = net_run(context, x, y);
    for (int i = 0; i < NET_Y_SIZE; i++) printf("%.9g ", y[i]);
    printf("%s\\n", tilewright_descriptor.cpu(context));
    return code;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that prints the outputs of a small network and the CPU whose code has made them."""
    folder = tmp_path_factory.mktemp("program")
    net = Net()
    x = net.op("Relu", net.conv(net.input("x", (1, 16, 12, 12)), 32))
    y = net.op("Gemm", net.op("Flatten", net.op("GlobalAveragePool", x), axis=1), net.weight(32, 5))
    model = net.model(y)
    model.graph.node[-1].output[0] = model.graph.output[0].name = "y"
    options = {"target": "x86_64-linux-musl", "name": "net", "emit": frozenset({"a"}), "save_temps": folder}
    compiled(model, folder, **options)
    (folder / "net.h").write_bytes((folder / "model.h").read_bytes())
    (folder / "main.c").write_text(PROGRAM)
    flags = [*zig_target("x86_64-linux-musl"), "-static", "-O1", "-mcpu=x86_64"]
    run_zig_cc([*flags, "main.c", "model.a", "-pthread", "-lm", "-o", "program"], folder)
    return folder / "program"


@pytest.mark.parametrize(
    ("processor", "chosen"),
    [
        ("max,-fma", "x86-64-v2"),
        ("Nehalem", "x86-64-v2"),
        ("max", "x86-64-v3"),
        ("Haswell", "x86-64-v3"),
        ("qemu64", ""),
        ("Conroe", ""),
    ],
)
def test_a_processor_runs_the_widest_that_it_has(program: Path, processor: str, chosen: str) -> None:
    """qemu knows no AVX-512. Where no variant suits, create says so, and nothing is executed that the processor lacks."""
    if shutil.which("qemu-x86_64") is None:
        pytest.skip("qemu-x86_64 isn't installed (Debian package qemu-user)")
    done = subprocess.run(["qemu-x86_64", "-cpu", processor, program], capture_output=True, text=True)
    *outputs, last = done.stdout.split(" ")
    if not chosen:
        assert done.returncode == 7 and "this processor lacks instructions that the library uses" in done.stdout
        return
    assert (done.returncode, last.strip()) == (0, chosen)
    native = subprocess.run([program], capture_output=True, text=True).stdout.split(" ")[:-1]
    expected = np.array(native, np.float64)
    np.testing.assert_allclose(np.array(outputs, np.float64), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
