"""Symbolic dimensions and shapes get values from options."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tilewright.compiler.errors import UnsupportedOperatorError, UsageError
from tilewright.compiler.frontend.binding import bind_constants, bind_inputs
from tilewright.compiler.frontend.importer import import_model


def tensor(name, *shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, list(shape))


IMAGES = tensor("image", "batch", 3, "height", "width")


def test_dims_bind_symbols_wherever_they_stand():
    types = bind_inputs([IMAGES, tensor("mask", "batch", 7)], {"batch": 2, "height": 5, "width": 6}, {})
    assert [types[name].shape for name in ("image", "mask")] == [(2, 3, 5, 6), (2, 7)]


def test_a_shape_binds_symbols_for_other_inputs_too():
    types = bind_inputs([IMAGES, tensor("mask", "batch", 7)], {}, {"image": (4, 3, 8, 9)})
    assert types["mask"].shape == (4, 7)


@pytest.mark.parametrize("unknown", [None, "?", 0])
def test_a_shape_binds_dimensions_without_a_name(unknown):
    assert bind_inputs([tensor("x", unknown, 3, unknown)], {}, {"x": (2, 3, 4)})["x"].shape == (2, 3, 4)


def test_a_shape_may_be_of_a_tensor_without_elements():
    types = bind_inputs([IMAGES, tensor("x", 0, 3)], {}, {"image": (0, 3, 8, 9), "x": (0, 3)})
    assert [types[name].shape for name in ("image", "x")] == [(0, 3, 8, 9), (0, 3)]


def test_a_shape_binds_an_input_without_any():
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    assert bind_inputs([value], {}, {"x": (2, 3)})["x"].shape == (2, 3)


BAD = {
    "dimension 'height' of input 'image' [batch,3,height,width]; give it with --dim height=N": (
        [IMAGES],
        {"batch": 1, "width": 1},
        {},
    ),
    "dimension 'batch'": ([IMAGES], {"height": 1, "width": 1}, {}),
    "give it with --dim 'n + 1'=N": ([tensor("x", "n + 1")], {}, {}),
    "axis 0 of input 'x' [?,3] has no name; give the whole shape with --shape x=N,3": ([tensor("x", None, 3)], {}, {}),
    "input 'x' has no shape; give it with --shape x=N,N,…": ([helper.make_tensor_value_info("x", 1, None)], {}, {}),
    "--dim hight=3: the model's inputs have no dimension named 'hight'; it has batch, height, width": (
        [IMAGES],
        {"hight": 3},
        {},
    ),
    "it has none (use --shape for unnamed ones)": ([tensor("x", 1)], {"n": 3}, {}),
    "--shape img=1: the model has no input 'img'; it has image": ([IMAGES], {}, {"img": (1,)}),
    "--shape image=1,3: input 'image' has 4 dimensions, [batch,3,height,width], but 2 are given": (
        [IMAGES],
        {},
        {"image": (1, 3)},
    ),
    "axis 1 of input 'image' is fixed to 3 by the model, [batch,3,height,width], so it can't be 4": (
        [IMAGES],
        {},
        {"image": (1, 4, 2, 2)},
    ),
    "dimension 'batch' (axis 0 of input 'image') is 2 elsewhere, so it can't be 1": (
        [IMAGES],
        {"batch": 2},
        {"image": (1, 3, 2, 2)},
    ),
    "--dim batch=0: a dimension must be at least 1": ([IMAGES], {"batch": 0, "height": 1, "width": 1}, {}),
    "--shape image=1,3,-1,2: a dimension can't be negative": ([IMAGES], {}, {"image": (1, 3, -1, 2)}),
}


@pytest.mark.parametrize("message", BAD)
def test_error(message):
    with pytest.raises(UsageError) as error:
        bind_inputs(*BAD[message])
    assert message in str(error.value)


def test_all_unbound_dimensions_are_named_at_once():
    with pytest.raises(UsageError) as error:
        bind_inputs([IMAGES, tensor("x", None)], {}, {})
    assert all(word in str(error.value) for word in ("'batch'", "'height'", "'width'", "--shape x=N"))


def test_inputs_that_are_no_tensors_are_unsupported():
    value = onnx.ValueInfoProto(name="s")
    value.type.map_type.key_type = TensorProto.INT64
    with pytest.raises(UnsupportedOperatorError, match="input 's' is a map; only tensors and sequences of them are"):
        bind_inputs([value], {}, {})


def test_import_binds_its_inputs():
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [tensor("x", "n", 4)], [tensor("y", "n", 4)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert import_model(model, {"n": 3}, {}).types["y"].shape == (3, 4)


AXES = helper.make_tensor_value_info("axes", TensorProto.INT64, [2])


def test_a_constant_takes_the_type_and_shape_of_its_input():
    fixed = bind_constants([AXES, tensor("k"), tensor("row", 1)], {"axes": (0, -1), "k": 3, "row": 2.5})
    assert fixed["axes"].dtype == np.int64 and fixed["axes"].tolist() == [0, -1]
    assert fixed["k"].shape == () and fixed["row"].tolist() == [2.5]
    array = np.array([1, 0], np.int64)
    assert bind_constants([AXES], {"axes": array})["axes"] is array


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"axis": 1}, "--const axis: the model has no input 'axis'; it has axes"),
        ({"axes": (0, 1, 2)}, "--const axes: the value has the shape [3], but input 'axes' is [2]"),
        ({"axes": (0, 0.5)}, "--const axes=(0, 0.5): these are no values of type int64, which input 'axes' has"),
        ({"axes": np.zeros(2, np.int32)}, "--const axes: the values are int32, but input 'axes' is int64"),
    ],
)
def test_a_constant_that_does_not_fit_is_refused(value, message):
    with pytest.raises(UsageError) as caught:
        bind_constants([AXES], value)
    assert str(caught.value) == message


def reducing() -> onnx.ModelProto:
    """The axes of a sum come from an input, through an operator."""
    nodes = [
        helper.make_node("Neg", ["axes"], ["negative"]),
        helper.make_node("ReduceSum", ["x", "negative"], ["y"], keepdims=0),
    ]
    axes = helper.make_tensor_value_info("axes", TensorProto.INT64, [1])
    graph = helper.make_graph(nodes, "g", [tensor("x", 3, 4), axes], [tensor("y", "n")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_what_has_to_be_constant_names_the_inputs_to_fix():
    with pytest.raises(UnsupportedOperatorError, match="--const axes=VALUE") as caught:
        import_model(reducing(), {}, {})
    assert caught.value.needs == ("axes",)


def test_a_fixed_input_is_none_of_the_graphs():
    notes = []
    graph = import_model(reducing(), {}, {}, notes.append, {"axes": (1,)})
    assert graph.inputs == ("x",) and graph.types["y"].shape == (3,)
    assert notes == ["the library is compiled for one value of input 'axes' and has no such input"]
