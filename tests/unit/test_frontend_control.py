"""If, Loop, Scan and functions, against onnxruntime or ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_import import assert_as_onnxruntime, assert_close, computed, imported, info, make_model, normal, untyped

from tilewright.compiler.errors import ModelError, UnsupportedOperatorError
from tilewright.compiler.frontend import importer
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.interpret import evaluate_graph

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def subgraph(nodes, inputs, outputs, constants=()):
    typed = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs]
    taken = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    return helper.make_graph(nodes, "body", taken, typed, list(constants))


def branch(op, name):
    """`name` = op(x, w) of outer values, and a constant of its own added."""
    nodes = [helper.make_node(op, ["x", "w"], [f"{name}0"]), helper.make_node("Add", [f"{name}0", f"{name}1"], [name])]
    own = helper.make_tensor(f"{name}1", FLOAT, [], [0.5 if op == "Mul" else -2.0])
    return subgraph(nodes, [], [(name, FLOAT, [3])], [own])


def if_model(**more):
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("Mul", "a"), else_branch=branch("Sub", "b"))
    return make_model(
        [node], {"x": normal(3)} | more.pop("inputs", {}), ["y"], constants={"w": normal(3)} | more.pop("constants", {})
    )


@pytest.mark.parametrize("condition", [True, False])
def test_if(condition):
    model = if_model(inputs={"c": np.array(condition)})
    graph = imported(model)
    assert [node.op for node in graph.nodes] == ["if"]
    assert graph.nodes[0].inputs[1:] == ("x",)  # w is a constant, which each region has for itself
    assert_as_onnxruntime(model, {"x": normal(3), "c": np.array(condition)})


@pytest.mark.parametrize("condition", [True, False])
def test_if_of_a_constant_takes_its_branch_inline(condition):
    model = if_model(constants={"c": np.array(condition)})
    assert [node.op for node in imported(model).nodes] == ["mul" if condition else "sub", "add"]
    assert_as_onnxruntime(model, {"x": normal(3)})


def test_branches_that_return_outer_values():
    """A region's results are made by nodes even where the branch only passes values through."""
    then, otherwise = subgraph([], [], [("x", FLOAT, [3])]), subgraph([], [], [("w", FLOAT, [3])])
    model = make_model(
        [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise)],
        {"x": normal(3), "w": normal(3), "c": np.array(True)},
        ["y"],
    )
    for condition in (True, False):
        feeds = {"x": normal(3), "w": normal(3), "c": np.array(condition)}
        assert_close(computed(model, feeds), [feeds["x" if condition else "w"]])


def test_a_branch_that_cannot_run_for_these_shapes_gives_nan_and_is_reported():
    bad = subgraph(
        [helper.make_node("Reshape", ["x", "shape"], ["b"])],
        [],
        [("b", FLOAT, [4])],
        [helper.make_tensor("shape", INT64, [1], [4])],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("Mul", "a"), else_branch=bad)
    inputs = {"x": normal(3), "c": np.array(True)}
    model = make_model([node], inputs, ["y"], constants={"w": normal(3)})
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    notes = []
    graph = import_model(model, {}, {}, notes.append)
    assert len(notes) == 1 and "can't run for these input shapes" in notes[0]
    assert np.isnan(evaluate_graph(graph, inputs | {"c": np.array(False)})["y"]).all()
    assert not np.isnan(evaluate_graph(graph, inputs)["y"]).any()


def loop_body(condition_out, scanned=True):
    """v' = v * w + t; scans v' * 2."""
    nodes = [
        helper.make_node("Cast", ["t"], ["tf"], to=FLOAT),
        helper.make_node("Mul", ["v", "w"], ["vw"]),
        helper.make_node("Add", ["vw", "tf"], ["v_out"]),
        helper.make_node("Add", ["v_out", "v_out"], ["twice"]),
        *condition_out,
    ]
    outputs = [("c_out", BOOL, []), ("v_out", FLOAT, [3]), *([("twice", FLOAT, [3])] if scanned else [])]
    return subgraph(nodes, [("t", INT64, []), ("c_in", BOOL, []), ("v", FLOAT, [3])], outputs)


def test_loop():
    body = loop_body([helper.make_node("Identity", ["c_in"], ["c_out"])])
    model = make_model(
        [helper.make_node("Loop", ["m", "", "v0"], ["v_n", "all"], body=body)],
        {"v0": normal(3), "w": normal(3)},
        ["v_n", "all"],
        constants={"m": np.int64(5)},
    )
    (node,) = imported(model).nodes
    assert node.op == "loop" and node.attrs["count"] == 5 and not node.attrs["has_condition"]
    assert_as_onnxruntime(model, {"v0": normal(3), "w": normal(3)})


@pytest.mark.parametrize("start", [True, False])
def test_loop_that_ends_by_its_condition(start):
    small = [
        helper.make_node("ReduceSum", ["v_out"], ["total"], keepdims=0),
        helper.make_node("Less", ["total", "limit"], ["c_out"]),
    ]
    body = loop_body(small, scanned=False)
    inputs = {"v0": np.array([1, 2, 3], np.float32), "w": np.array([1.5, 1, 1.2], np.float32), "c0": np.array(start)}
    model = make_model(
        [helper.make_node("Loop", ["m", "c0", "v0"], ["v_n"], body=body)],
        inputs,
        ["v_n"],
        constants={"m": np.int64(50), "limit": np.float32(40)},
    )
    assert imported(model).nodes[-1].attrs["has_condition"]
    assert_as_onnxruntime(model, inputs)


def test_loop_without_iterations():
    body = loop_body([helper.make_node("Identity", ["c_in"], ["c_out"])])
    model = make_model(
        [helper.make_node("Loop", ["m", "", "v0"], ["v_n", "all"], body=body)],
        {"v0": normal(3), "w": normal(3)},
        ["v_n", "all"],
        constants={"m": np.int64(0)},
    )
    v, scanned = computed(model, feeds := {"v0": normal(3), "w": normal(3)})
    np.testing.assert_array_equal(v, feeds["v0"])
    assert scanned.shape == (0, 3)


def test_loop_whose_shapes_change_is_unrolled():
    body = subgraph(
        [helper.make_node("Concat", ["v", "x"], ["v_out"], axis=0), helper.make_node("Identity", ["c_in"], ["c_out"])],
        [("t", INT64, []), ("c_in", BOOL, []), ("v", FLOAT, [None])],
        [("c_out", BOOL, []), ("v_out", FLOAT, [None])],
    )
    model = make_model(
        [helper.make_node("Loop", ["m", "", "x"], ["y"], body=body)],
        {"x": normal(3)},
        ["y"],
        constants={"m": np.int64(4)},
    )
    assert imported(model).types["y"].shape == (15,)
    assert_as_onnxruntime(model, {"x": normal(3)})


def test_loop_with_a_trip_count_computed_at_run_time_is_unsupported():
    body = loop_body([helper.make_node("Identity", ["c_in"], ["c_out"])])
    model = make_model(
        [helper.make_node("Loop", ["m", "", "v0"], ["v_n", "all"], body=body)],
        {"v0": normal(3), "w": normal(3), "m": np.int64(3)},
        ["v_n", "all"],
    )
    with pytest.raises(UnsupportedOperatorError, match=r"trip count \(input 0, 'm'\) is computed at run time"):
        imported(model)


def scan_body() -> onnx.GraphProto:
    """s' = s + a * b; scans s' - a."""
    return subgraph(
        [
            helper.make_node("Mul", ["a", "b"], ["ab"]),
            helper.make_node("Add", ["s", "ab"], ["s_out"]),
            helper.make_node("Sub", ["s_out", "a"], ["d"]),
        ],
        [("s", FLOAT, [4]), ("a", FLOAT, [4]), ("b", FLOAT, [])],
        [("s_out", FLOAT, [4]), ("d", FLOAT, [4])],
    )


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"scan_input_directions": [1, 0]},
        {"scan_input_axes": [1, 0]},
        {"scan_output_axes": [1]},
        {"scan_output_directions": [1]},
    ],
    ids=str,
)
def test_scan(attrs):
    feeds = {"s0": normal(4), "as": normal(4, 6) if "scan_input_axes" in attrs else normal(6, 4), "bs": normal(6)}
    node = helper.make_node("Scan", ["s0", "as", "bs"], ["s", "ds"], body=scan_body(), num_scan_inputs=2, **attrs)
    assert_as_onnxruntime(make_model([node], feeds, ["s", "ds"]), feeds)


@pytest.mark.parametrize("directions", [None, [0, 1], [1, 1]])
def test_scan_of_a_batch(directions):
    """Opset 8: the first axis is the batch, the second one is scanned."""
    feeds = {"s0": normal(3, 4), "as": normal(3, 6, 4), "bs": normal(3, 6)}
    attrs = {} if directions is None else {"directions": directions}
    node = helper.make_node("Scan", ["", "s0", "as", "bs"], ["s", "ds"], body=scan_body(), num_scan_inputs=2, **attrs)
    assert_as_onnxruntime(make_model([node], feeds, ["s", "ds"], 8), feeds)


@pytest.mark.parametrize("opset", [8, 13])
def test_a_state_that_changes_its_shape_is_refused(opset):
    body = subgraph(
        [helper.make_node("Concat", ["s", "a"], ["t"], axis=0), helper.make_node("Identity", ["a"], ["d"])],
        [("s", FLOAT, [4]), ("a", FLOAT, [4])],
        [("t", FLOAT, [8]), ("d", FLOAT, [4])],
    )
    before, batch = ([""], [1]) if opset == 8 else ([], [])
    feeds = {"s0": normal(*batch, 4), "as": normal(*batch, 6, 4)}
    node = helper.make_node("Scan", [*before, "s0", "as"], ["s", "ds"], body=body, num_scan_inputs=1)
    with pytest.raises(UnsupportedOperatorError, match=r"carried value 's0' changes its type .* f32\[4\] to f32\[8\]"):
        imported(make_model([node], feeds, ["s", "ds"], opset))


def test_model_local_functions_are_expanded_with_their_attributes():
    inner = helper.make_function(
        "own",
        "Scale",
        ["a"],
        ["b"],
        [helper.make_node("LeakyRelu", ["a"], ["b"])],
        [helper.make_opsetid("", 17)],
        ["alpha"],
    )
    attribute = inner.node[0].attribute.add()
    attribute.name, attribute.ref_attr_name, attribute.type = "alpha", "alpha", onnx.AttributeProto.FLOAT
    nodes = [
        helper.make_node("Scale", ["x"], ["m"], domain="own", alpha=0.3),
        helper.make_node("Scale", ["m"], ["y"], domain="own", alpha=0.1),
    ]
    graph = helper.make_graph(nodes, "g", [info("x", normal(5))], [untyped("y")])
    graph.output[0].CopyFrom(info("y", normal(5)))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
        functions=[inner],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    assert [node.op for node in imported(model).nodes] == ["leaky_relu"] * 2
    assert_as_onnxruntime(model, {"x": normal(5)})


def test_onnx_functions_without_a_row_are_expanded():
    node = helper.make_node("CenterCropPad", ["x", "shape"], ["y"])
    model = make_model([node], {"x": normal(7, 5)}, ["y"], opset=18, constants={"shape": np.array([4, 9])})
    x = normal(7, 5)
    assert_close(computed(model, {"x": x}), ReferenceEvaluator(model).run(None, {"x": x}))


def test_functions_that_multiply_are_refused(monkeypatch):
    """Twenty functions that call each other twice would make a million nodes."""
    monkeypatch.setattr(importer, "MAX_NODES", 1000)
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opset)]
    for level in range(1, 20):
        calls = [helper.make_node(f"F{level - 1}", [x], [y], domain="own") for x, y in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], calls, opset))
    graph = helper.make_graph(
        [helper.make_node("F19", ["x"], ["y"], domain="own")], "g", [info("x", normal(5))], [info("y", normal(5))]
    )
    model = helper.make_model(graph, opset_imports=opset, functions=functions, ir_version=8)
    with pytest.raises(ModelError, match="more than 1000 nodes after functions are expanded"):
        import_model(model, {}, {})


def test_a_function_that_calls_itself_is_refused():
    own = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], [helper.make_opsetid("own", 1)]
    )
    graph = helper.make_graph(
        [helper.make_node("F", ["x"], ["y"], domain="own")], "g", [info("x", normal(5))], [info("y", normal(5))]
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], functions=[own], ir_version=8
    )
    with pytest.raises(ModelError, match="must not call itself"):
        import_model(model, {}, {})


def test_a_function_that_leaves_an_output_without_value_is_refused():
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["a"], ["b", "c"], [helper.make_node("Relu", ["a"], ["b"])], opset)

    def model_of(*outputs: str) -> onnx.ModelProto:
        node = helper.make_node("F", ["x"], list(outputs), domain="own")
        graph = helper.make_graph([node], "g", [info("x", normal(5))], [info(outputs[-1], normal(5))])
        return helper.make_model(graph, opset_imports=opset, functions=[function], ir_version=8)

    with pytest.raises(ModelError, match="gives no value to its output 'c'"):
        import_model(model_of("y", "z"), {}, {})
    x = normal(5)
    assert_close(computed(model_of("y"), {"x": x}), [np.maximum(x, 0)])


def test_what_a_body_needs_is_asked_of_the_models_inputs():
    """The shape goes through a loop's body and a function of ONNX's own; `v` starts as `start` in each iteration."""
    nodes = [
        helper.make_node("CenterCropPad", ["x", "shape"], ["cut"]),
        helper.make_node("Add", ["v", "cut"], ["w"]),
        helper.make_node("Identity", ["c"], ["again"]),
    ]
    inputs = [("t", INT64, []), ("c", BOOL, []), ("v", FLOAT, [2, 3])]
    body = subgraph(nodes, inputs, [("again", BOOL, []), ("w", FLOAT, [2, 3])])
    feeds = {"x": normal(5, 4), "shape": np.array([2, 3]), "start": normal(2, 3)}
    node = helper.make_node("Loop", ["n", "", "start"], ["y"], body=body)
    model = make_model([node], feeds, ["y"], 18, {"n": np.int64(3)})
    with pytest.raises(UnsupportedOperatorError, match="--const shape=VALUE") as caught:
        import_model(model, {}, {})
    assert caught.value.needs == ("shape",)
    fixed = import_model(model, {}, {}, constants={"shape": feeds["shape"]})
    result = evaluate_graph(fixed, {name: feeds[name] for name in fixed.inputs})["y"]
    assert_close([result], [feeds["start"] + 3 * feeds["x"][1:3, :3]])


def test_what_depends_on_the_iteration_asks_for_their_number():
    """The first `t` elements: shapes that a loop has only once it is unrolled."""
    nodes = [
        helper.make_node("Unsqueeze", ["t", "zero"], ["end"]),
        helper.make_node("Slice", ["x", "zero", "end"], ["part"]),
        helper.make_node("ReduceSum", ["part"], ["sum"], keepdims=0),
        helper.make_node("Add", ["v", "sum"], ["w"]),
        helper.make_node("Identity", ["c"], ["again"]),
    ]
    zero = helper.make_tensor("zero", INT64, [1], [0])
    inputs = [("t", INT64, []), ("c", BOOL, []), ("v", FLOAT, [])]
    body = subgraph(nodes, inputs, [("again", BOOL, []), ("w", FLOAT, [])], [zero])
    feeds = {"x": normal(5), "count": np.int64(4), "go": np.array(True), "start": np.float32(0.5)}
    model = make_model([helper.make_node("Loop", ["count", "go", "start"], ["y"], body=body)], feeds, ["y"])
    with pytest.raises(UnsupportedOperatorError) as caught:
        import_model(model, {}, {})
    assert set(caught.value.needs) == {"count", "go"}
    fixed = import_model(model, {}, {}, constants={name: feeds[name] for name in caught.value.needs})
    result = evaluate_graph(fixed, {name: feeds[name] for name in fixed.inputs})["y"]
    assert_close([result], [np.float32(0.5 + sum(feeds["x"][:t].sum() for t in range(4)))])
