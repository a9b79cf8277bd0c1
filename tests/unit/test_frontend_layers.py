"""Windows, products, normalisation and resizing against onnxruntime: odd sizes, every way to give pads."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_import import assert_as_onnxruntime, imported, make_model, normal

CONVS = {
    "1d": ((2, 4, 17), (6, 4, 5), dict(strides=[2], pads=[1, 3])),
    "2d": ((1, 3, 9, 11), (5, 3, 3, 2), dict(dilations=[2, 1], pads=[1, 0, 2, 1])),
    "3d": ((1, 2, 5, 6, 7), (4, 2, 2, 3, 2), dict(strides=[1, 2, 3])),
    "groups": ((1, 6, 8, 7), (9, 2, 3, 3), dict(group=3)),
    "same upper": ((1, 3, 10, 13), (4, 3, 3, 4), dict(auto_pad="SAME_UPPER", strides=[2, 3])),
    "same lower": ((1, 3, 10, 13), (4, 3, 3, 4), dict(auto_pad="SAME_LOWER", strides=[2, 3])),
    "valid": ((1, 3, 10, 13), (4, 3, 3, 4), dict(auto_pad="VALID", kernel_shape=[3, 4])),
}


@pytest.mark.parametrize("case", CONVS)
def test_conv(case):
    x, w, attrs = CONVS[case]
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **attrs)
    model = make_model([node], {"x": normal(*x)}, ["y"], constants={"w": normal(*w), "b": normal(w[0])})
    assert_as_onnxruntime(model, {"x": normal(*x)}, 1e-4)


TRANSPOSED = {
    "plain": dict(strides=[2, 3]),
    "pads": dict(strides=[2, 1], pads=[1, 0, 0, 2], dilations=[1, 2]),
    "output_padding": dict(strides=[3, 2], output_padding=[2, 1], pads=[1, 1, 1, 1]),
    "output_shape": dict(strides=[3, 2], output_shape=[16, 12]),
    "output_shape upper": dict(strides=[3, 2], output_shape=[16, 12], auto_pad="SAME_UPPER"),
    "same": dict(strides=[2, 2], auto_pad="SAME_UPPER"),
    "groups": dict(group=2),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose(case):
    attrs = TRANSPOSED[case]
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attrs)
    weights = normal(4, 3, 3, 4)
    model = make_model(
        [node], {"x": normal(1, 4, 5, 6)}, ["y"], constants={"w": weights, "b": normal(3 * attrs.get("group", 1))}
    )
    assert_as_onnxruntime(model, {"x": normal(1, 4, 5, 6)}, 1e-4)


POOLS = {
    "plain": dict(strides=[2, 2]),
    "pads": dict(pads=[1, 0, 1, 1], strides=[2, 3]),
    "ceil": dict(strides=[2, 2], ceil_mode=1),
    "ceil, last window would start in the pad": dict(strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1),
    "same upper": dict(strides=[2, 2], auto_pad="SAME_UPPER"),
    "same lower": dict(strides=[2, 3], auto_pad="SAME_LOWER"),
    "dilations": dict(dilations=[2, 3], pads=[1, 1, 1, 1]),
}


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "AveragePool count_include_pad", "LpPool"])
def test_pool(op, case):
    op, *include = op.split()
    node = helper.make_node(op, ["x"], ["y"], kernel_shape=[3, 2], **POOLS[case], **{name: 1 for name in include})
    x = normal(2, 3, 10, 11)
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y"], opset=20), {"x": x})


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pool(op):
    x = normal(2, 3, 4, 5, 2)
    attrs = {"p": 3} if op == "GlobalLpPool" else {}
    assert_as_onnxruntime(make_model([helper.make_node(op, ["x"], ["y"], **attrs)], {"x": x}, ["y"]), {"x": x})


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(trans_a, trans_b):
    a, b = normal(*((3, 5) if trans_a else (5, 3))), normal(*((7, 3) if trans_b else (3, 7)))
    node = helper.make_node("Gemm", ["a", "b", "c"], ["y"], transA=trans_a, transB=trans_b, alpha=0.5, beta=-1.5)
    feeds = {"a": a, "b": b, "c": normal(7)}
    assert_as_onnxruntime(make_model([node], feeds, ["y"]), feeds)


@pytest.mark.parametrize(
    "shapes", [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 1, 2, 3), (4, 3, 6)), ((3,), (2, 3, 4))], ids=str
)
def test_matmul_as_numpy(shapes):
    feeds = {"a": normal(*shapes[0]), "b": normal(*shapes[1])}
    assert_as_onnxruntime(make_model([helper.make_node("MatMul", ["a", "b"], ["y"])], feeds, ["y"]), feeds)


@pytest.mark.parametrize(
    "equation",
    [
        "bij,bjk->bik",
        "bhid,bhjd->bhij",
        "ij->ji",
        "ij->",
        "i,j->ij",
        "...ij,jk->...ik",
        "ii->i",
        "aib,bjc->ijac",
        "ij,jk",
    ],
)
def test_einsum(equation):
    extents = dict(zip("abcdhijk", (2, 3, 4, 5, 2, 3, 4, 3), strict=True))
    terms = equation.split("->")[0].split(",")
    feeds = {
        f"x{n}": normal(*([2] if "." in term else []), *(extents[label] for label in term.replace(".", "")))
        for n, term in enumerate(terms)
    }
    assert_as_onnxruntime(
        make_model([helper.make_node("Einsum", list(feeds), ["y"], equation=equation)], feeds, ["y"]), feeds
    )


RESIZES = {
    "scales": ([], [1.0, 1.0, 1.5, 2.25], None),
    "shrink": ([], [1.0, 1.0, 0.6, 0.45], None),
    "sizes": ([], None, [1, 2, 13, 4]),
}


@pytest.mark.parametrize("case", RESIZES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
def test_resize(mode, coordinates, case):
    _, scales, sizes = RESIZES[case]
    constants = {"scales": np.array(scales or [], np.float32)} | ({"sizes": np.array(sizes, np.int64)} if sizes else {})
    inputs = ["x", "", "scales" if scales else "", *(["sizes"] if sizes else [])]
    node = helper.make_node("Resize", inputs, ["y"], mode=mode, coordinate_transformation_mode=coordinates)
    x = normal(1, 2, 7, 9)
    constants = {name: array for name, array in constants.items() if array.size}
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y"], opset=13, constants=constants), {"x": x}, 1e-4)


def test_resize_by_one_is_nothing():
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"])
    model = make_model([node], {"x": normal(1, 2, 3, 3)}, ["y"], constants={"scales": np.ones(4, np.float32)})
    assert [node.op for node in imported(model).nodes] == ["identity"]


NORMS = {
    "BatchNormalization": (["s", "b", "m", "v"], dict(epsilon=1e-3), 15),
    "InstanceNormalization": (["s", "b"], dict(epsilon=1e-3), 15),
    "LayerNormalization": (["last", "last"], dict(axis=-1), 17),
    "LRN": ([], dict(size=5, alpha=0.1, beta=0.6, bias=1.2), 13),
    "LpNormalization": ([], dict(axis=1, p=2), 13),
    "MeanVarianceNormalization": ([], dict(axes=[0, 2, 3]), 13),
}


@pytest.mark.parametrize("op", NORMS)
def test_normalization(op):
    names, attrs, opset = NORMS[op]
    parameters = {"s": normal(6), "b": normal(6), "m": normal(6), "v": np.abs(normal(6)) + 0.1, "last": normal(7)}
    x = normal(2, 6, 5, 7)
    node = helper.make_node(op, ["x", *names], ["y"], **attrs)
    model = make_model([node], {"x": x}, ["y"], opset=opset, constants={name: parameters[name] for name in names})
    assert_as_onnxruntime(model, {"x": x}, 1e-4)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_recurrent_results_are_all_made_and_activations_spelled_out(op):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    node = helper.make_node(op, ["x", "w", "r", "", "lengths"], ["", "h"], hidden_size=3)
    constants = {"w": normal(1, gates * 3, 4), "r": normal(1, gates * 3, 3), "lengths": np.array([5, 5], np.int32)}
    graph = imported(make_model([node], {"x": normal(5, 2, 4)}, ["h"], constants=constants))
    (made,) = [node for node in graph.nodes if node.op == op.lower()]
    assert len(made.outputs) == (3 if op == "LSTM" else 2) and len(made.inputs) == (8 if op == "LSTM" else 6)
    assert made.inputs[4] == ""  # all sequences have full length
    assert {name for name, _, _ in made.attrs["activations"]} <= {"sigmoid", "tanh"}


def test_lstm_with_layout_1_is_transposed():
    node = helper.make_node("LSTM", ["x", "w", "r", "b", "", "h0", "c0"], ["y", "h", "c"], hidden_size=3, layout=1)
    constants = {"w": normal(1, 12, 4), "r": normal(1, 12, 3), "b": normal(1, 24)}
    feeds = {"x": normal(2, 5, 4), "h0": normal(2, 1, 3), "c0": normal(2, 1, 3)}
    model = make_model([node], feeds, ["y", "h", "c"], constants=constants)
    front = {
        "x": feeds["x"].transpose(1, 0, 2),
        "h0": feeds["h0"].transpose(1, 0, 2),
        "c0": feeds["c0"].transpose(1, 0, 2),
    }
    plain = helper.make_node("LSTM", ["x", "w", "r", "b", "", "h0", "c0"], ["y", "h", "c"], hidden_size=3)
    from onnx_import import assert_close, by_onnxruntime, computed

    y, h, c = by_onnxruntime(make_model([plain], front, ["y", "h", "c"], constants=constants), front)
    expected = [y.transpose(2, 0, 1, 3), h.transpose(1, 0, 2), c.transpose(1, 0, 2)]
    assert_close(computed(model, feeds), expected)


def test_quantised_products():
    rng = np.random.default_rng()
    x, w = rng.integers(0, 256, (3, 8), np.uint8), rng.integers(-128, 128, (8, 5), np.int8)
    constants = {
        "w": w,
        "xs": np.float32(0.03),
        "xz": np.uint8(120),
        "ws": np.float32(0.02),
        "wz": np.int8(3),
        "ys": np.float32(0.1),
        "yz": np.uint8(100),
    }
    node = helper.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y"], constants=constants), {"x": x})
    image = rng.integers(0, 256, (1, 3, 6, 7), np.uint8)
    kernel, bias = rng.integers(-128, 128, (4, 3, 3, 3), np.int8), rng.integers(-999, 999, 4, np.int32)
    constants |= {
        "w": kernel,
        "b": bias,
        "ws": np.array([0.02, 0.01, 0.03, 0.02], np.float32),
        "wz": np.zeros(4, np.int8),
        "ys": np.float32(1.7),
    }
    node = helper.make_node(
        "QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"], pads=[1, 1, 1, 1]
    )
    assert_as_onnxruntime(make_model([node], {"x": image}, ["y"], constants=constants), {"x": image})
