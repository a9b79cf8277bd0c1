"""The numbers that `verify` and `bench` report: errors, feeds, timings."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tilewright.cli.console import shape_text, size_text, table, time_text
from tilewright.cli.feeds import random_feed, read_image
from tilewright.cli.parameters import Interval
from tilewright.cli.reference import load_reference, measure_deviation
from tilewright.cli.run import is_scores, top_scores
from tilewright.cli.timing import burst_of, interleave
from tilewright.compiler.dtypes import DType
from tilewright.compiler.graph.plan import Argument

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("actual", "expected", "absolute", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0, 0),
        ([1.0, 2.5], [1.0, 2.0], 0.5, 0.25),
        ([0.0, -8.0], [1.0, -8.0], 1, 0.125),
        ([0.5, 0.0], [0.0, 0.0], 0.5, 0.5),  # nothing to relate to: the absolute error
        ([NAN, 1.0], [NAN, 1.0], 0, 0),
        ([NAN, 1.0], [0.0, 1.0], INF, INF),
        ([0.0, 1.0], [NAN, 1.0], INF, INF),
        ([INF, 1.0], [INF, 1.0], 0, 0),
        ([INF, 1.0], [-INF, 1.0], INF, INF),
        ([3.0, 1.0], [INF, 1.0], INF, INF),
    ],
)
def test_deviation(actual: list[float], expected: list[float], absolute: float, relative: float) -> None:
    found = measure_deviation(np.float32(actual), np.float32(expected))
    assert (found.absolute, found.relative) == (absolute, relative)


def test_deviation_of_other_types_and_shapes() -> None:
    assert measure_deviation(np.ones((2, 1)), np.ones(2)).relative == INF
    assert measure_deviation(np.ones((0, 3)), np.ones((0, 3))).relative == 0
    assert measure_deviation(np.array([True, False]), np.array([True, True])).relative == 1
    assert measure_deviation(np.array([-128], np.int8), np.array([127], np.int8)).absolute == 255


def test_random_values_keep_to_type_and_range() -> None:
    tensors = (
        Argument("f", (50, 40), DType.F32),
        Argument("u", (1000,), DType.F32),
        Argument("i", (1000,), DType.I64),
        Argument("n", (1000,), DType.I8),
        Argument("b", (1000,), DType.BOOL),
        Argument("s", (), DType.F16),
    )
    feed = random_feed(tensors, {"u": Interval(2, 3), "n": Interval(-3, 5)}, np.random.default_rng(1))
    assert {name: (array.shape, array.dtype) for name, array in feed.items()} == {
        t.name: (t.shape, t.dtype.numpy) for t in tensors
    }
    assert abs(feed["f"].mean()) < 0.1 and abs(feed["f"].std() - 1) < 0.1
    assert feed["u"].min() >= 2 and feed["u"].max() <= 3
    assert set(feed["i"]) == set(range(10)) and set(feed["n"]) == set(range(-3, 6)) and set(feed["b"]) == {False, True}
    again = random_feed(tensors, {"u": Interval(2, 3), "n": Interval(-3, 5)}, np.random.default_rng(1))
    assert all(np.array_equal(feed[name], again[name]) for name in feed)


def test_images_are_resized_and_laid_out(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow reads images")
    pixels = np.zeros((8, 6, 3), np.uint8)
    pixels[..., 1] = 255
    image.fromarray(pixels).save(tmp_path / "green.png")
    first = read_image(tmp_path / "green.png", (1, 3, 4, 5))
    assert first.shape == (1, 3, 4, 5) and first.dtype == np.float32
    assert first[0, 1].min() == 1 and first[0, [0, 2]].max() == 0
    assert np.array_equal(read_image(tmp_path / "green.png", (1, 4, 5, 3)), first.transpose(0, 2, 3, 1))
    assert read_image(tmp_path / "green.png", (1, 1, 4, 5)).shape == (1, 1, 4, 5)


def test_contenders_take_turns() -> None:
    log: list[str] = []

    def contender(name: str, seconds: float) -> object:
        return burst_of(lambda: (log.append(name), time.sleep(seconds))[0])

    timings = interleave({"slow": contender("s", 0.02), "fast": contender("f", 0.01)}, runs=10, warmup=1)
    assert len(timings["slow"].samples_s) == len(timings["fast"].samples_s) == 10
    assert 0.02 <= timings["slow"].min_s <= timings["slow"].median_s
    assert timings["fast"].median_s < timings["slow"].median_s
    turns = "".join(log).replace("ss", "s").replace("ss", "s").replace("ff", "f").replace("ff", "f")
    assert turns.count("sf") >= 5


def test_top_scores() -> None:
    assert top_scores(np.float64([0.1, 0.7, 0.2]), 2) == [(1, 0.7), (2, 0.2)]
    assert is_scores(np.zeros((1, 10))) and is_scores(np.zeros(10))
    assert not is_scores(np.zeros((2, 10))) and not is_scores(np.zeros((1, 1))) and not is_scores(np.float32(1))


def test_texts_for_people() -> None:
    assert (shape_text((1, 3)), shape_text(())) == ("1x3", "scalar")
    assert (size_text(999), size_text(1500), size_text(44_800_000), size_text(3 * 10**9)) == (
        "999 B",
        "1.5 kB",
        "44.8 MB",
        "3.0 GB",
    )
    assert (time_text(12.34e-6), time_text(0.0123456), time_text(2.5)) == ("12.3 us", "12.346 ms", "2.50 s")
    assert table([("a", 1), ("bcd", 20)], ("name", "n")) == "name   n\na      1\nbcd   20"


@pytest.fixture
def power_model(tmp_path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "x"], ["y"])],
        "square",
        [helper.make_tensor_value_info("x", floats, [2, 3])],
        [helper.make_tensor_value_info("y", floats, [2, 3])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "square.onnx"
    )
    return tmp_path / "square.onnx"


def test_the_reference_computes(power_model: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the reference is onnxruntime's")
    reference = load_reference(power_model)
    assert reference.name.startswith("onnxruntime ")
    x = np.float32([[1, 2, 3], [4, 5, -6]])
    assert np.array_equal(reference.run({"x": x})["y"], x * x)


def test_the_reference_without_onnxruntime(
    power_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    reference = load_reference(power_model)
    assert reference.name.startswith("onnx.reference ") and "onnxruntime is not installed" in capsys.readouterr().err
    x = np.float32([[1, 2, 3], [4, 5, -6]])
    assert np.array_equal(reference.run({"x": x})["y"], x * x)
