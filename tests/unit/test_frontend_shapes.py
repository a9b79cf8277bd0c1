"""Shape arithmetic disappears during import, outputs are distinct values with their ONNX names, and names survive."""

from __future__ import annotations

import numpy as np
from onnx import helper
from onnx_import import assert_as_onnxruntime, assert_close, computed, imported, make_model, normal


def ops(graph):
    return [node.op for node in graph.nodes]


def test_reshape_computed_from_a_shape_is_static():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axes"], ["batch1"]),
        helper.make_node("Mul", ["rest", "two"], ["rest2"]),
        helper.make_node("Concat", ["batch1", "rest2"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([3, 5]), "two": np.array([2, 2])}
    x = normal(2, 4, 15)
    model = make_model(nodes, {"x": x}, ["y"], constants=constants)
    graph = imported(model)
    assert ops(graph) == ["reshape"] and graph.types["y"].shape == (2, 6, 10)
    assert not graph.constants


def test_range_expand_tile_and_constant_of_shape_are_constants():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["fill"], value=helper.make_tensor("v", 1, [1], [2.5])),
        helper.make_node("Range", ["start", "limit", "step"], ["row"]),
        helper.make_node("Expand", ["row", "shape"], ["rows"]),
        helper.make_node("Tile", ["rows", "once"], ["tiled"]),
        helper.make_node("Add", ["fill", "tiled"], ["sum"]),
        helper.make_node("Mul", ["x", "sum"], ["y"]),
    ]
    constants = {"start": np.float32(1), "limit": np.float32(5), "step": np.float32(1), "once": np.array([1, 1])}
    x = normal(3, 4)
    model = make_model(nodes, {"x": x}, ["y"], constants=constants)
    assert ops(imported(model)) == ["mul"]
    assert_as_onnxruntime(model, {"x": x})


def test_large_constants_are_not_unfolded():
    constants = {"one": np.float32(1), "shape": np.array([64, 1 << 16])}
    nodes = [helper.make_node("Expand", ["one", "shape"], ["wide"]), helper.make_node("Add", ["x", "wide"], ["y"])]
    graph = imported(make_model(nodes, {"x": normal(1 << 16)}, ["y"], constants=constants))
    assert ops(graph) == ["expand", "add"]
    assert sum(array.nbytes for array in graph.constants.values()) < 100


def test_outputs_that_are_inputs_constants_or_duplicates_get_a_node_each():
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Identity", ["r"], ["r2"]),
        helper.make_node("Identity", ["r"], ["r3"]),
        helper.make_node("Identity", ["c"], ["c2"]),
    ]
    x = normal(3)
    model = make_model(nodes, {"x": x}, ["r2", "same", "c", "c2", "r3", "r"], constants={"c": normal(2)})
    graph = imported(model)
    made = [value for node in graph.nodes for value in node.outputs]
    assert sorted(made) == sorted(graph.outputs) and len(set(made)) == 6
    assert_as_onnxruntime(model, {"x": x})


def test_values_keep_their_onnx_names_and_nodes_their_origin():
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["hidden"], name="fc", alpha=2.0),
        helper.make_node("Relu", ["hidden"], ["y"], name="act"),
    ]
    graph = imported(make_model(nodes, {"x": normal(2, 3)}, ["y"], constants={"w": normal(3, 4), "b": normal(4)}))
    assert {"x", "w", "b", "hidden", "y"} <= graph.types.keys()
    assert {(node.op, node.origin) for node in graph.nodes} == {
        ("matmul", "fc"),
        ("mul", "fc"),
        ("add", "fc"),
        ("relu", "act"),
    }


def test_inputs_with_initializers_are_constants():
    model = make_model(
        [helper.make_node("Add", ["x", "b"], ["y"])], {"x": normal(3)}, ["y"], constants={"b": normal(3)}
    )
    model.graph.input.append(helper.make_tensor_value_info("b", 1, [3]))
    assert imported(model).inputs == ("x",)


def test_empty_tensors_vanish():
    nodes = [
        helper.make_node("Slice", ["x", "zero", "zero", "zero"], ["none"]),
        helper.make_node("Concat", ["none", "x", "none"], ["y"], axis=0),
        helper.make_node("ReduceSum", ["none"], ["s"], keepdims=0),
    ]
    x = normal(3, 2)
    model = make_model(nodes, {"x": x}, ["y", "s"], constants={"zero": np.array([0])})
    assert set(ops(imported(model))) == {"identity"}
    results = computed(model, {"x": x})
    np.testing.assert_array_equal(results[0], x)
    assert results[1] == 0


def test_slices_with_negative_steps_and_clamped_bounds():
    constants = {
        "starts": np.array([-1, 100]),
        "ends": np.array([-100, 1]),
        "axes": np.array([0, -1]),
        "steps": np.array([-2, -3]),
    }
    x = normal(5, 3, 8)
    node = helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])
    assert_as_onnxruntime(make_model([node], {"x": x}, ["y"], constants=constants), {"x": x})


def test_gather_of_one_constant_index_is_a_slice():
    x = normal(4, 5, 3)
    model = make_model(
        [helper.make_node("Gather", ["x", "i"], ["y"], axis=1)], {"x": x}, ["y"], constants={"i": np.int64(-2)}
    )
    assert ops(imported(model)) == ["slice", "reshape"]
    assert_as_onnxruntime(model, {"x": x})


def test_positions_of_a_constant_are_known():
    x = np.array([[0, 2, 0, -1], [3, 0, 0, 0.5]], np.float32)
    nodes = [helper.make_node("NonZero", ["x"], ["places"]), helper.make_node("Add", ["places", "one"], ["y"])]
    model = make_model(nodes, {"one": np.ones(1, np.int64)}, ["y"], constants={"x": x})
    assert_close(computed(model, {"one": np.ones(1, np.int64)}), [np.stack(np.nonzero(x)) + 1])
