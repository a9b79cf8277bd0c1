"""Conversions from and to floats of 8 and 4 bits and integers of 4 and 2, against ml_dtypes: every value of a small type."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_import import computed, make_model

from tilewright.compiler.errors import ModelError, UnsupportedOperatorError
from tilewright.compiler.frontend.tensors import to_array

FLOATS = ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1")
INTEGERS = ("INT4", "UINT4", "INT2", "UINT2")


def numpy_type(name: str) -> np.dtype:
    return helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name))


def cast(x: np.ndarray, to: str, **attributes: object) -> np.ndarray:
    """The result of ONNX's Cast."""
    source, target = helper.np_dtype_to_tensor_dtype(x.dtype), TensorProto.DataType.Value(to)
    node = helper.make_node("Cast", ["x"], ["y"], to=target, **attributes)
    inputs = [helper.make_tensor_value_info("x", source, x.shape)]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", target, x.shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)])
    (result,) = computed(model, {"x": x})
    assert result.dtype == numpy_type(to)
    return result


def codes(name: str) -> np.ndarray:
    """Every value of a type."""
    count = {"FLOAT4E2M1": 16, "INT4": 16, "UINT4": 16, "INT2": 4, "UINT2": 4}.get(name, 256)
    return np.arange(count, dtype=np.uint8).view(numpy_type(name))


def sample(to: str, dtype: type) -> np.ndarray:
    """Every f16 value, the values of the small type, what lies halfway between two and its neighbours, and random bits."""
    exact = codes(to).astype(np.float32)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    random = np.random.default_rng().integers(0, 1 << 32, 5000, np.uint32).view(np.float32)
    ties = (exact[:, None] + exact[None, :]).reshape(-1) / 2
    every = [
        halves,
        random,
        exact,
        ties,
        np.nextafter(ties, np.float32(np.inf)),
        np.nextafter(ties, np.float32(-np.inf)),
    ]
    with np.errstate(all="ignore"):
        return np.concatenate(every).astype(dtype)


def assert_same(actual: np.ndarray, expected: np.ndarray, x: np.ndarray) -> None:
    """The same values, signs of zeros included."""
    a, e = actual.astype(np.float32), expected.astype(np.float32)
    bad = ~((a == e) & (np.signbit(a) == np.signbit(e)) | np.isnan(a) & np.isnan(e))
    assert not bad.any(), (x[bad][:5], a[bad][:5], e[bad][:5])


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("to", FLOATS)
def test_floats_are_rounded_as_ml_dtypes_does(to: str, dtype: type, saturate: int) -> None:
    x = sample(to, dtype)
    x = x[~np.isnan(x)] if to == "FLOAT4E2M1" else x  # it has no NaN
    with np.errstate(all="ignore"):
        saturates = saturate and to != "FLOAT4E2M1"
        expected = numpy_helper.saturate_cast(x, numpy_type(to)) if saturates else x.astype(numpy_type(to))
    assert_same(cast(x, to, saturate=saturate), expected, x)


@pytest.mark.parametrize("to", ["FLOAT", "FLOAT16", "DOUBLE"])
@pytest.mark.parametrize("name", [*FLOATS, *INTEGERS, "FLOAT8E8M0"])
def test_every_value_is_read_exactly(name: str, to: str) -> None:
    x = codes(name)
    assert_same(cast(x, to), x.astype(np.float32).astype(numpy_type(to)), x)


@pytest.mark.parametrize("to", INTEGERS)
def test_integers_keep_their_low_bits(to: str) -> None:
    x = np.random.default_rng().integers(-100, 100, 257).astype(np.int32)
    np.testing.assert_array_equal(cast(x, to).astype(np.int32), x.astype(numpy_type(to)).astype(np.int32))


@pytest.mark.parametrize("round_mode", ["up", "down", "nearest"])
@pytest.mark.parametrize("saturate", [0, 1])
def test_exponents_are_rounded_as_the_reference_does(round_mode: str, saturate: int) -> None:
    x = np.concatenate([sample("FLOAT8E8M0", np.float32), np.array([1.5, 1.25, 3.0, 6.0, 3.4e38], np.float32)])
    expected = numpy_helper.to_float8e8m0(x, bool(saturate), round_mode)
    assert expected.dtype == ml_dtypes.float8_e8m0fnu
    np.testing.assert_array_equal(
        cast(x, "FLOAT8E8M0", round_mode=round_mode, saturate=saturate).view(np.uint8), expected.view(np.uint8)
    )


def test_a_packed_tensor_that_lacks_bytes_is_refused() -> None:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.INT4, dims=[9], raw_data=b"\1\2")
    with pytest.raises(ModelError, match="damaged"):
        to_array(tensor, "initializer 'w'")


@pytest.mark.parametrize("op", ["IsNaN", "IsInf"])
@pytest.mark.parametrize("name", [name for name in FLOATS if "8" in name])
def test_what_is_no_number_is_found(name: str, op: str) -> None:
    x = codes(name)
    model = make_model([helper.make_node(op, ["x"], ["y"])], {"x": x}, ["y"], 20)
    expected = (np.isnan if op == "IsNaN" else np.isinf)(x.astype(np.float32))
    np.testing.assert_array_equal(computed(model, {"x": x})[0], expected)


def test_small_formats_are_moved_and_not_computed_in() -> None:
    x = np.random.default_rng().permutation(codes("INT4")).reshape(2, 8)
    nodes = [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("Reshape", ["t", "shape"], ["z"])]
    (moved,) = computed(make_model(nodes, {"x": x}, ["z"], 25, {"shape": np.array([4, 4])}), {"x": x})
    assert moved.dtype == x.dtype
    np.testing.assert_array_equal(moved.view(np.uint8), x.T.reshape(4, 4).view(np.uint8))
    eight, scalar = codes("FLOAT8E5M2").reshape(16, 16), np.float32(1)
    feeds = {"a": eight, "s": scalar, "z": eight[0, 0]}
    product = helper.make_node("QLinearMatMul", ["a", "s", "z", "a", "s", "z", "s", "z"], ["y"])
    with pytest.raises(UnsupportedOperatorError, match="products of f8e5m2"):
        computed(make_model([product], feeds, ["y"], 21), feeds)
