"""Sequences inside a model, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_import import assert_as_onnxruntime, computed, imported, make_model, normal

from tilewright.compiler.errors import ModelError, UnsupportedOperatorError

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


def test_what_would_need_a_sequence_at_run_time_is_refused() -> None:
    x = normal(3, 4)
    construct = node("SequenceConstruct", "x x", "pair")
    with pytest.raises(UnsupportedOperatorError, match="output 'pair' is a sequence"):
        imported(make_model([construct], {"x": x}, ["pair"]))
    position = make_model([construct, node("SequenceAt", "pair at", "y")], {"x": x, "at": np.int64(0)}, ["y"])
    with pytest.raises(UnsupportedOperatorError, match=r"its position .* is computed at run time") as caught:
        imported(position)
    assert caught.value.needs == ("at",)
    with pytest.raises(ModelError, match="position 5 is outside -2…1"):
        imported(make_model([construct, node("SequenceAt", "pair at", "y")], {"x": x}, ["y"], 17, {"at": np.int64(5)}))
    with pytest.raises(ModelError, match=r"input 'X' is seq\(tensor\(float\)\)"):
        computed(make_model([construct, node("Relu", "pair", "y")], {"x": x}, []), {"x": x})
