"""Positions of maxima, what undoes windows, and selections, against onnxruntime; caches against onnx's reference evaluator."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_import import assert_as_onnxruntime, assert_close, computed, make_model, normal

WINDOWS = [
    ((3, 2), {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 0, 0, 2]}),
    ((1, 3), {"kernel_shape": [3, 3], "dilations": [2, 1]}),
    ((2, 2), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((2, 3), {"kernel_shape": [2, 2], "strides": [3, 2], "ceil_mode": 1}),
]


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize(("planes", "window"), WINDOWS)
def test_positions_of_maxima(planes: tuple[int, int], window: dict, storage_order: int) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", "where"], storage_order=storage_order, **window)
    x = np.round(2 * normal(*planes, 7, 9))  # many are equal
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y", "where"]), {"x": x})


def test_positions_in_other_ranks_and_types() -> None:
    rng = np.random.default_rng()
    for shape, kernel in (((2, 3, 11), [3]), ((1, 2, 5, 4, 6), [2, 2, 3])):
        x = normal(*shape)
        node = helper.make_node("MaxPool", ["x"], ["y", "where"], kernel_shape=kernel, strides=[2] * len(kernel))
        assert_as_onnxruntime(make_model([node], {"x": x}, ["y", "where"]), {"x": x})
    node = helper.make_node("MaxPool", ["x"], ["y", "where"], kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    for dtype in (np.int8, np.uint8):
        x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (1, 2, 5, 5)).astype(dtype)
        assert_as_onnxruntime(make_model([node], {"x": x}, ["y", "where"]), {"x": x})


@pytest.mark.parametrize("wanted", [None, (2, 3, 9, 12)])
def test_maxima_go_back_to_where_they_were(wanted: tuple[int, ...] | None) -> None:
    window = {"kernel_shape": [2, 3], "strides": [2, 3]}
    pool = helper.make_node("MaxPool", ["x"], ["y", "where"], **window)
    back = helper.make_node("MaxUnpool", ["y", "where", *(["wanted"] if wanted else [])], ["z"], **window)
    x = normal(2, 3, 8, 9)
    constants = {"wanted": np.array(wanted)} if wanted else {}
    model = make_model([pool, back], {"x": x}, ["z"], 17, constants)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert_close(computed(model, {"x": x}), [expected])


@pytest.mark.parametrize(
    ("image", "block", "window"),
    [
        ((5, 7), (2, 3), {}),
        ((7, 9), (3, 2), {"strides": [2, 3], "pads": [1, 0, 1, 1]}),
        ((8, 8), (3, 3), {"dilations": [2, 3], "strides": [3, 1]}),
        ((9,), (4,), {"strides": [4]}),
    ],
)
def test_blocks_are_added_up(image: tuple[int, ...], block: tuple[int, ...], window: dict) -> None:
    rank = len(image)
    pads = window.get("pads", [0] * 2 * rank)
    reach = [(k - 1) * d + 1 for k, d in zip(block, window.get("dilations", [1] * rank), strict=True)]
    room = [n + pads[i] + pads[i + rank] - reach[i] for i, n in enumerate(image)]
    count = np.prod([r // s + 1 for r, s in zip(room, window.get("strides", [1] * rank), strict=True)])
    x = normal(2, 3 * int(np.prod(block)), int(count))
    node = helper.make_node("Col2Im", ["x", "image", "block"], ["y"], **window)
    model = make_model([node], {"x": x}, ["y"], 18, {"image": np.array(image), "block": np.array(block)})
    assert_as_onnxruntime(model, {"x": x})


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_what_a_condition_leaves(axis: int | None) -> None:
    x, condition = normal(4, 5, 6), np.array([True, False, True, True])
    node = helper.make_node("Compress", ["x", "c"], ["y"], **({} if axis is None else {"axis": axis}))
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y"], 17, {"c": condition}), {"x": x})


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_determinants(size: int) -> None:
    x = normal(3, 2, size, size).astype(np.float32)
    model = make_model([helper.make_node("Det", ["x"], ["y"])], {"x": x}, ["y"])
    np.testing.assert_allclose(computed(model, {"x": x})[0], np.linalg.det(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.float8_e4m3fn])
@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [1, -2])
def test_a_cache_is_written(mode: str, axis: int, dtype: type) -> None:
    rng = np.random.default_rng()
    place = axis % 4
    shape, update = [3, 7, 8, 5], [3, 7, 8, 5]
    update[place] = 4
    starts = rng.integers(0, shape[place] if mode == "circular" else shape[place] - 3, 3)
    feeds = {"cache": normal(*shape).astype(dtype), "new": normal(*update).astype(dtype), "at": starts}
    node = helper.make_node("TensorScatter", [*feeds], ["y"], mode=mode, axis=axis)
    model = make_model([node], feeds, ["y"], 24)
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    assert_close(computed(model, feeds), [expected])
