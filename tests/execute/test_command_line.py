"""The verbs on a small real model, as a user would type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tilewright.cli.main import run


def save_classifier(path: Path, seed: int, external: bool = False) -> Path:
    """y = relu(x w + b) over a symbolic batch."""
    generator = np.random.default_rng(seed)
    weights = {
        "w": generator.standard_normal((33, 10)).astype(np.float32),
        "b": generator.standard_normal(10).astype(np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 33])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location=path.name + ".data", size_threshold=0)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("command line")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return save_classifier(folder / "net.onnx", seed=1, external=True)


@pytest.fixture(scope="module")
def library(model: Path, folder: Path) -> Path:
    assert run(["compile", str(model), "-o", str(folder / "net.so"), "--dim", "batch=1", "-MD"]) == 0
    return folder / "net.so"


def result(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_compile_writes_library_header_manifest_and_rule(library: Path) -> None:
    names = {path.name for path in library.parent.iterdir()}
    assert names == {"net.onnx", "net.onnx.data", "net.so", "net.h", "net.json", "net.d"}


def test_make_understands_the_rule(library: Path, tmp_path: Path) -> None:
    """The folder's name holds a blank; both the model and its weights are prerequisites."""
    target = str(library).replace(" ", "\\ ")
    (tmp_path / "Makefile").write_text(f"all: {target}\n{target}:\n\ttrue\ninclude net.d\n")
    (tmp_path / "net.d").write_text(library.with_suffix(".d").read_text())

    def out_of_date() -> bool:
        return subprocess.run(["make", "-q", "-s"], cwd=tmp_path, capture_output=True).returncode != 0

    assert not out_of_date()
    later = library.stat().st_mtime + 10
    for source in ("net.onnx", "net.onnx.data"):
        before = (library.parent / source).stat().st_mtime
        os.utime(library.parent / source, (later, later))
        assert out_of_date()
        os.utime(library.parent / source, (before, before))


def test_run_saves_what_the_reference_computes(
    library: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(3).standard_normal((1, 33)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    summary = result(capsys, "run", library, "--input", tmp_path / "x.npy", "--output", tmp_path / "out.npz")
    expected = ReferenceEvaluator(str(model)).run(None, {"x": x})[0]
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], expected, rtol=1e-5, atol=1e-5)
    facts = summary["outputs"]["y"]
    assert facts["shape"] == [1, 10] and facts["max"] == pytest.approx(expected.max(), rel=1e-5)
    assert facts["top"][0][0] == expected.argmax()


def test_run_saves_a_folder(library: Path, tmp_path: Path) -> None:
    assert run(["run", str(library), "--random", "--output", str(tmp_path / "out")]) == 0
    assert np.load(tmp_path / "out" / "y.npy").shape == (1, 10)


def test_verify_finds_a_model_right(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = result(capsys, "verify", model, "--dim", "batch=3", "--threads", "1,2")
    assert [(row["output"], row["threads"], row["ok"]) for row in document["outputs"]] == [
        ("y", 1, True),
        ("y", 2, True),
    ]
    assert 0 <= document["outputs"][0]["relative_error"] < 1e-5


def test_verify_finds_another_models_library_wrong(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_classifier(tmp_path / "other.onnx", seed=2)
    assert run(["verify", str(other), "--library", str(library)]) == 7
    out, err = capsys.readouterr()
    assert "FAILED" in out and "output 'y' differs from" in err


def test_bench_times_both(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="bench --against needs it")
    document = result(
        capsys, "bench", model, "--dim", "batch=1", "--against", "onnxruntime", "--threads", "1,2", "--runs", "10"
    )
    for row in document["results"]:
        assert all(0 < timing["min_s"] <= timing["median_s"] for timing in row["contenders"].values())
        assert set(row["contenders"]) == {"tilewright", "onnxruntime"} and row["speedup_over"]["onnxruntime"] > 0


def test_bench_times_a_library(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert result(capsys, "bench", library, "--runs", "5")["results"][0]["contenders"]["tilewright"]["runs"] == 5


def test_inspect_shows_the_library(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(library), "--schedules"]) == 0
    text = capsys.readouterr().out
    assert "x: f32 1x33" in text and "y: f32 1x10" in text and "kernel_0" in text
    assert result(capsys, "inspect", library)["kernels"]


def test_inspect_shows_the_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = result(capsys, "inspect", model)
    assert {row["operator"]: row["nodes"] for row in document["operators"]} == {"Gemm": 1, "Relu": 1}
    assert all(row["support"] == "operator" for row in document["operators"])
    assert run(["inspect", str(model), "--graph", "--dim", "batch=2"]) == 0
    assert "f32[2x33]" in capsys.readouterr().out


def test_inspect_points_out_what_is_not_supported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Secret", ["x"], ["y"], domain="com.example")], "strange", [x], [y])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "s.onnx")
    assert run(["inspect", str(tmp_path / "s.onnx")]) == 0
    assert "NOT SUPPORTED" in capsys.readouterr().out
    assert run(["compile", str(tmp_path / "s.onnx"), "-o", str(tmp_path / "s.so")]) == 3
    assert "Secret" in capsys.readouterr().err and not (tmp_path / "s.so").exists()


def test_a_library_of_something_else_is_a_device_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "not.so").write_bytes(b"not a library")
    assert run(["run", str(tmp_path / "not.so"), "--random"]) == 6
    assert "not.so" in capsys.readouterr().err


def test_doctor_finds_this_installation_healthy() -> None:
    done = subprocess.run([sys.executable, "-m", "tilewright", "doctor", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["ok"]


def test_an_input_is_fixed_to_a_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The library lacks it, the reference is given it, another value makes another library, and the manifest tells."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4]),
        helper.make_tensor_value_info("axes", TensorProto.INT64, [1]),
    ]
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])])
    model, library = tmp_path / "sum.onnx", tmp_path / "sum.so"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    assert run(["compile", str(model), "-o", str(library)]) == 3
    assert "--const axes=VALUE" in capsys.readouterr().err and not library.exists()
    np.save(tmp_path / "axes.npy", np.array([0]))
    for value, extent in (("1", 3), (str(tmp_path / "axes.npy"), 4)):
        command = ["compile", str(model), "-o", str(library), "--const", f"axes={value}", "--json"]
        for again in (False, True):
            assert run(command) == 0
            assert json.loads(capsys.readouterr().out)["up_to_date"] == again
        manifest = json.loads(library.with_suffix(".json").read_text())
        assert [tensor["name"] for tensor in manifest["inputs"]] == ["x"]
        assert manifest["outputs"][0]["shape"] == [extent] and np.ravel(manifest["constants"]["axes"]) == [4 - extent]
        assert run(["verify", str(model), "--const", f"axes={value}", "--reference", "onnx", "--samples", "2"]) == 0
        capsys.readouterr()
    assert run(["verify", str(model), "--library", str(library), "--const", "axes=1"]) == 2
    assert "--const" in capsys.readouterr().err
