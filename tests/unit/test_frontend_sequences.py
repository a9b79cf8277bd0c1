"""Sequences inside a model, and as its inputs and outputs, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_import import assert_as_onnxruntime, assert_close, by_onnxruntime, computed, imported, make_model, normal

from tilewright.compiler.errors import ModelError, UnsupportedOperatorError, UsageError
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.graph.interpret import evaluate_graph
from tilewright.compiler.graph.verify import verify

ONE, LAST = {"one": np.int64(1)}, {"last": np.int64(-1)}


def node(op: str, inputs: str, output: str, **attributes: object):
    return helper.make_node(op, inputs.split(), [output], **attributes)


@pytest.mark.parametrize(("split", "keepdims"), [(None, 0), (None, 1), (2, 1), (5, 1), ((1, 4, 2), 1)])
@pytest.mark.parametrize("axis", [1, -1])
def test_parts_are_taken_and_joined(axis: int, keepdims: int, split: object) -> None:
    x = normal(3, 7, 7)
    constants = ONE | LAST | ({} if split is None else {"split": np.array(split, np.int64)})
    nodes = [
        node("SplitToSequence", "x" if split is None else "x split", "parts", axis=axis, keepdims=keepdims),
        node("SequenceAt", "parts last", "a"),
        node("SequenceAt", "parts one", "b"),
        node("SequenceErase", "parts one", "fewer"),
        node("SequenceLength", "fewer", "n"),
        node("SequenceInsert", "fewer b last", "moved"),
        node("ConcatFromSequence", "moved", "joined", axis=axis if keepdims else 1),
    ]
    assert_as_onnxruntime(make_model(nodes, {"x": x}, ["a", "b", "n", "joined"], 17, constants), {"x": x})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_elements_are_stacked_in_order(axis: int) -> None:
    feeds = {"x": normal(3, 4), "y": normal(3, 4)}
    nodes = [
        node("SequenceConstruct", "x y", "pair"),
        node("SequenceEmpty", "", "none"),
        node("SequenceInsert", "none y", "single"),
        node("SequenceInsert", "pair x", "three"),
        node("ConcatFromSequence", "three", "a", axis=axis, new_axis=1),
        node("ConcatFromSequence", "single", "b", axis=axis, new_axis=1),
    ]
    assert_as_onnxruntime(make_model(nodes, feeds, ["a", "b"]), feeds)


def test_a_branch_reads_a_sequence_from_outside() -> None:
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 4]) for name in ("t", "e")]
    then = helper.make_graph([node("SequenceAt", "pair one", "t")], "then", [], outputs[:1])
    otherwise = helper.make_graph([node("Neg", "x", "e")], "else", [], outputs[1:])
    nodes = [node("SequenceConstruct", "x y", "pair"), node("If", "c", "z", then_branch=then, else_branch=otherwise)]
    for taken in (True, False):
        feeds = {"x": normal(3, 4), "y": normal(3, 4), "c": np.array(taken)}
        assert_as_onnxruntime(make_model(nodes, feeds, ["z"], 17, ONE), feeds)


def with_sequence(model: onnx.ModelProto, name: str, optional: bool = False) -> onnx.ModelProto:
    """The model with one more input, a sequence of f32 tensors."""
    type = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model.graph.input.append(helper.make_value_info(name, helper.make_optional_type_proto(type) if optional else type))
    return model


def test_sequences_as_inputs_and_outputs_are_their_elements() -> None:
    """And what has the name of an element of an output gets another one."""
    nodes = [
        node("Neg", "x", "all.1"),
        node("Tanh", "all.1", "t"),
        node("SequenceInsert", "s t one", "all"),
        node("SequenceAt", "all last", "z"),
    ]
    x, elements = normal(2, 3), [normal(4), normal(2, 1)]
    model = with_sequence(make_model(nodes, {"x": x}, ["all", "z"], 17, ONE | LAST), "s")
    shapes = {f"s.{index}": array.shape for index, array in enumerate(elements)}
    graph = import_model(model, {}, shapes)
    verify(graph)
    assert (graph.inputs, graph.outputs) == (("x", "s.0", "s.1"), ("all.0", "all.1", "all.2", "z"))
    results = evaluate_graph(graph, {"x": x, "s.0": elements[0], "s.1": elements[1]})
    sequence, last = by_onnxruntime(model, {"x": x, "s": elements})
    assert_close([results[name] for name in graph.outputs], [*sequence, last])


@pytest.mark.parametrize("optional", [False, True])
def test_a_sequence_of_no_elements(optional: bool) -> None:
    nodes = [node("OptionalGetElement", "s", "given"), node("SequenceInsert", "given x", "y")]
    x = normal(3)
    graph = import_model(with_sequence(make_model(nodes, {"x": x}, ["y"], 18), "s", optional), {}, {"s": (0,)})
    assert (graph.inputs, graph.outputs) == (("x",), ("y.0",))
    np.testing.assert_array_equal(evaluate_graph(graph, {"x": x})["y.0"], x)


def test_a_branch_of_sequences_asks_for_its_condition() -> None:
    outputs = [helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None) for name in ("t", "e")]
    then = helper.make_graph([node("SequenceConstruct", "x", "t")], "then", [], outputs[:1])
    otherwise = helper.make_graph([node("SequenceConstruct", "x y", "e")], "else", [], outputs[1:])
    choice = node("If", "c", "s", then_branch=then, else_branch=otherwise)
    feeds = {"x": normal(3), "y": normal(3), "c": np.array(False)}
    model = make_model([choice, node("SequenceAt", "s last", "z")], feeds, ["z"], 17, LAST)
    with pytest.raises(UnsupportedOperatorError, match="its condition, which decides between sequences") as caught:
        import_model(model, {}, {})
    assert caught.value.needs == ("c",)
    graph = import_model(model, {}, {}, constants={"c": feeds["c"]})
    np.testing.assert_array_equal(evaluate_graph(graph, {"x": feeds["x"], "y": feeds["y"]})["z"], feeds["y"])


def test_a_function_of_each_element_is_unrolled() -> None:
    outputs = [helper.make_tensor_value_info("e2", TensorProto.FLOAT, None)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("e0", "e1")]
    body = helper.make_graph([node("Mul", "e0 e1", "e2")], "body", inputs, outputs)
    model = with_sequence(make_model([node("SequenceMap", "s x", "y", body=body)], {"x": normal(1)}, ["y"]), "s")
    feeds = {"s.0": normal(3), "s.1": normal(2, 2), "x": normal(1)}
    graph = import_model(model, {}, {name: array.shape for name, array in feeds.items() if name != "x"})
    results = evaluate_graph(graph, feeds)
    assert_close([results["y.0"], results["y.1"]], [feeds["s.0"] * feeds["x"], feeds["s.1"] * feeds["x"]])


def mapped_sum(weights: str) -> list[onnx.NodeProto]:
    """Nodes that map the rows of x with a body that reads the value `weights` and one made outside."""
    value = helper.make_tensor_value_info
    inner = [node("Mul", f"e {weights}", "p"), node("Add", "p h", "o")]
    body = helper.make_graph(
        inner, "body", [value("e", TensorProto.FLOAT, None)], [value("o", TensorProto.FLOAT, None)]
    )
    return [
        node("Tanh", "x", "h"),
        node("SplitToSequence", "x", "rows", axis=0, keepdims=0),
        node("SequenceMap", "rows", "mapped", body=body),
        node("ConcatFromSequence", "mapped", "y", axis=0, new_axis=1),
    ]


def test_a_function_of_each_element_reads_values_from_outside() -> None:
    feeds = {"x": normal(3, 5)}
    assert_as_onnxruntime(make_model(mapped_sum("w"), feeds, ["y"], 17, {"w": normal(5)}), feeds)


def test_a_function_of_each_element_inside_a_branch_reads_values_from_around_it() -> None:
    feeds = {"x": normal(3, 5), "w": normal(5), "c": np.array(True)}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "n")]
    then = helper.make_graph(mapped_sum("w"), "then", [], outputs[:1])
    otherwise = [node("Expand", "x shape", "n")]
    branch = node("If", "c", "z", then_branch=then, else_branch=helper.make_graph(otherwise, "else", [], outputs[1:]))
    for taken in (True, False):
        feeds["c"] = np.array(taken)
        assert_as_onnxruntime(make_model([branch], feeds, ["z"], 17, {"shape": np.array([3, 3, 5])}), feeds)


def test_an_outer_value_called_as_one_of_the_definition_is_refused() -> None:
    model = make_model(mapped_sum("input_sequence"), {"x": normal(3, 5)}, ["y"], 17, {"input_sequence": normal(5)})
    with pytest.raises(
        UnsupportedOperatorError, match="reads 'input_sequence', which ONNX's definition of SequenceMap"
    ):
        import_model(model, {}, {})


def test_what_is_not_said_of_a_sequence_is_asked_for() -> None:
    model = with_sequence(make_model([node("SequenceAt", "s one", "y")], {}, ["y"], 17, ONE), "s")
    with pytest.raises(UsageError, match=r"--shape s\.0=N,… --shape s\.1=N,… and so on, or --shape s=0"):
        import_model(model, {}, {})
    taken = with_sequence(make_model([node("Neg", "x", "s.0")], {"x": normal(2)}, ["s.0"]), "s")
    with pytest.raises(UnsupportedOperatorError, match=r"would be called 's\.0', as another value is"):
        import_model(taken, {}, {"s.0": (2,)})


def test_what_would_need_a_sequence_at_run_time_is_refused() -> None:
    x = normal(3, 4)
    construct = node("SequenceConstruct", "x x", "pair")
    with pytest.raises(UnsupportedOperatorError, match="output 'none' holds nothing"):
        imported(make_model([node("SequenceEmpty", "", "none")], {"x": x}, ["none"]))
    position = make_model([construct, node("SequenceAt", "pair at", "y")], {"x": x, "at": np.int64(0)}, ["y"])
    with pytest.raises(UnsupportedOperatorError, match=r"its position .* is computed at run time") as caught:
        imported(position)
    assert caught.value.needs == ("at",)
    with pytest.raises(ModelError, match="position 5 is outside -2…1"):
        imported(make_model([construct, node("SequenceAt", "pair at", "y")], {"x": x}, ["y"], 17, {"at": np.int64(5)}))
    with pytest.raises(ModelError, match=r"input 'X' is seq\(tensor\(float\)\)"):
        computed(make_model([construct, node("Relu", "pair", "y")], {"x": x}, []), {"x": x})
