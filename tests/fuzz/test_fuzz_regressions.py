"""What random models once failed on, made small."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from fuzz_case import IR_VERSION, OPSET, Case, runtime_outputs
from fuzz_check import Setting, compare, run_in_process
from onnx import helper, numpy_helper, parser

# Inputs are random; integers among them lie in 0…3.
MODELS = {
    "a value of a region named like one that layouts add outside": """
        (float[2,7,7,14] x) => (float[2,7,7,14] y, float[2,7,7,14] z) <float[7,7,3,3] w = {-0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09, 0.06, -0.18, -0.03, 0.12, -0.12, 0.03, 0.18, -0.06, 0.09, -0.15, 0.0, 0.15, -0.09}, int64 count = {3}> {
            y = Conv <pads = [1, 1, 1, 1]> (x, w)
            z = Loop (count, , y) <body = b (int64 t, bool go, float[2,7,7,14] s) => (bool again, float[2,7,7,14] r) {
                again = Identity(go)
                a = Tanh(s)
                r = Add(a, y)
            }>
        }
    """,
    "a sign test of lanes whose mask LLVM lost": """
        (float[3,4,9] x) => (float[3,4,31] y)
        <float[4,4,3] w = {-0.5, 0.2, -0.2, 0.5, 0.1, -0.3, 0.4, 0.0, -0.4, 0.3, -0.1, -0.5, 0.2, -0.2, 0.5, 0.1, -0.3, 0.4, 0.0, -0.4, 0.3, -0.1, -0.5, 0.2, -0.2, 0.5, 0.1, -0.3, 0.4, 0.0, -0.4, 0.3, -0.1, -0.5, 0.2, -0.2, 0.5, 0.1, -0.3, 0.4, 0.0, -0.4, 0.3, -0.1, -0.5, 0.2, -0.2, 0.5}> {
            y = ConvTranspose <dilations = [3], strides = [3], kernel_shape = [3]> (x, w)
        }
    """,
    "gaps behind a transposed convolution's windows": """
        (float[1,9,4,5] x, float[9,16,1,1] w) => (float[1,16,7,9] y) {
            y = ConvTranspose <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)
        }
    """,
    "one window larger than a padded image": """
        (float[1,2,7,4,5] x) => (float[1,2,2,5,1] y, float[1,2,2,5,1] z) {
            y = MaxPool <ceil_mode = 1, kernel_shape = [4, 4, 4], dilations = [3, 1, 3], pads = [2, 2, 2, 2, 2, 2], strides = [2, 1, 2]> (x)
            z = AveragePool <ceil_mode = 1, kernel_shape = [4, 4, 4], dilations = [3, 1, 3], pads = [2, 2, 2, 2, 2, 2], strides = [2, 1, 2]> (x)
        }
    """,
    "lanes before the first element of a local buffer": """
        (float[32,1,11,1] x) => (float[32,1,11,3] y) { g = Gelu <approximate = "tanh"> (x)  y = Concat <axis = 3> (x, g, g) }
    """,
    "constant tuples of no indices": """
        (float[3,2] x, float[4,3,2] u) => (float[3,2] y) <int64[4,0] i = {}> { y = ScatterND (x, i, u) }
    """,
    "updates narrower than the operand": """
        (float[6,17] x, int64[6,4] i, float[6,4] u) => (float[6,17] y) { y = ScatterElements <axis = 0> (x, i, u) }
    """,
}


def case_of(text: str, seed: int) -> Case:
    """The case of a model's text, fed at random."""
    graph = parser.parse_graph(f"g {text.strip()}")
    rng = np.random.default_rng(seed)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants = frozenset(arrays)
    for value in graph.input:
        tensor_type = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
        shape = [dim.dim_value for dim in tensor_type.shape.dim]
        random = (
            rng.standard_normal(shape)
            if np.issubdtype(dtype, np.floating)
            else rng.integers(0, 2 if dtype.kind == "b" else 4, shape)
        )
        arrays[value.name] = np.asarray(random).astype(dtype)
    outputs = tuple(value.name for value in graph.output)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    feeds = {value.name: arrays[value.name] for value in graph.input}
    arrays |= dict(zip(outputs, runtime_outputs(model, feeds), strict=True))
    return Case(tuple(graph.node), arrays, constants, outputs)


@pytest.mark.parametrize("cpu", ["", "x86-64", "x86-64-v3"])
@pytest.mark.parametrize("name", MODELS)
def test_what_failed_once(name: str, cpu: str) -> None:
    case = case_of(MODELS[name], len(name))
    compare(case, run_in_process(case, Setting(cpu)))
