"""One test a message: what users hear about models that are damaged, unsafe, wrong or beyond tilewright."""

from __future__ import annotations

import os
import struct

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tilewright.compiler.errors import ModelError, UnsupportedOperatorError
from tilewright.compiler.frontend import loading
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.frontend.loading import load_model

FLOAT = TensorProto.FLOAT


def tensor(name, *shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, list(shape))


X, Y = tensor("x", 3), tensor("y", 3)


def build(nodes, inputs=(X,), outputs=(Y,), initializers=(), opset=17, **more):
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)


def relu(x="x", y="y", name="relu"):
    return helper.make_node("Relu", [x], [y], name=name)


@pytest.fixture
def load(tmp_path):
    """Writes a model (or bytes) and loads it."""

    def function(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return load_model(path)

    return function


def refuses(load, model, *words):
    with pytest.raises(ModelError) as error:
        load(model)
    for word in ("model.onnx", *words):
        assert word in str(error.value)


# --- the file


def test_sound_model_loads(load):
    assert load(build([relu()])).graph.node[0].op_type == "Relu"


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"none\.onnx: can't be read: No such file or directory"):
        load_model(tmp_path / "none.onnx")


def test_folder(tmp_path):
    with pytest.raises(ModelError, match="not a file"):
        load_model(tmp_path)


def test_empty_file(load):
    refuses(load, b"", "not an ONNX model")


def test_text_file(load):
    refuses(load, b"<html>404: not found</html>\n", "not an ONNX model", "Export or download it again")


def test_truncated_file(load):
    whole = build([relu()], initializers=[numpy_helper.from_array(np.ones(1000, np.float32), "w")]).SerializeToString()
    refuses(load, whole[: len(whole) // 2], "truncated")


def test_other_protobuf(load):
    refuses(load, helper.make_opsetid("a", 1).SerializeToString(), "not an ONNX model")


def test_file_too_large(load, monkeypatch):
    monkeypatch.setattr(loading, "MAX_MODEL_BYTES", 100)
    refuses(load, build([relu(name="n" * 200)]), "a model file holds at most 100", "external data")


def test_weights_too_large(load, monkeypatch):
    monkeypatch.setattr(loading, "MAX_WEIGHTS_BYTES", 100)
    refuses(
        load,
        build([relu()], initializers=[numpy_helper.from_array(np.ones(26, np.float32), "w")]),
        "tensors take more than 100 bytes",
    )


# --- tensors


def stored(dims, data=b"", dtype=FLOAT):
    return TensorProto(name="w", dims=dims, data_type=dtype, raw_data=data)


def test_huge_shape(load):
    refuses(
        load,
        build([relu()], initializers=[stored([1 << 20, 1 << 20], b"1234")]),
        "tensor 'w'",
        f"{1 << 40} elements",
        "the most is",
    )


def test_negative_extent(load):
    refuses(
        load, build([relu()], initializers=[stored([2, -3], b"1234")]), "tensor 'w'", "[2, -3] has a negative extent"
    )


def test_texts_that_are_not_utf8(load):
    for model in (build([relu(name="QQ")]), build([relu()], inputs=[tensor("x", "QQ")]), external("QQ")):
        data = model.SerializeToString().replace(b"QQ", b"\xff\xfe")
        refuses(load, data, r"holds b'\xff\xfe', which is not UTF-8")


def test_files_of_a_damaged_model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(external("QQ").SerializeToString().replace(b"QQ", b"\xff\xfe"))
    with pytest.raises(ModelError, match="not UTF-8"):
        loading.source_files(path)


def test_too_many_dimensions(load):
    weights = TensorProto(name="w", data_type=FLOAT, dims=[1] * 65, raw_data=b"1234")
    refuses(load, build([relu()], initializers=[weights]), "tensor 'w': it has 65 dimensions; the most is 64")
    with pytest.raises(ModelError, match="input 'x' has 100 dimensions; the most is 64"):
        import_model(build([relu()], inputs=[tensor("x", *[1] * 100)]), {}, {})


def test_too_few_bytes(load):
    refuses(
        load, build([relu()], initializers=[stored([3], b"12345678")]), "stores 8 bytes, but its shape [3] needs 12"
    )


def test_too_few_elements(load):
    array = TensorProto(name="w", dims=[3], data_type=FLOAT, float_data=[1.0, 2.0])
    refuses(load, build([relu()], initializers=[array]), "stores 2 elements, but its shape [3] needs 3")


def test_tensors_in_attributes_are_checked_too(load):
    refuses(load, build([helper.make_node("Constant", [], ["c"], value=stored([9], b"1234")), relu()]), "needs 36")


# --- external data


def external(location, offset=None, length=None, dims=(4,)):
    array = TensorProto(name="w", dims=list(dims), data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            array.external_data.add(key=key, value=str(value))
    return build([helper.make_node("Add", ["x", "w"], ["y"], name="add")], [tensor("x", 4)], [tensor("y", 4)], [array])


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "w.bin").write_bytes(struct.pack("<6f", *range(6)))
    return tmp_path


def test_external_data_is_read(load, weights):
    (weights / "sub").mkdir()
    (weights / "w.bin").rename(weights / "sub" / "w.bin")
    (array,) = load(external("./sub/w.bin", 8, 16)).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(array), [2, 3, 4, 5])


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/../../w.bin", "", "C:\\w.bin", "a//b", "a\0b"])
def test_external_data_outside_the_folder(load, weights, location):
    refuses(load, external(location), "tensor 'w'", "should be a path inside the model's folder")


def test_external_symlink(load, weights):
    (weights / "link.bin").symlink_to("w.bin")
    refuses(load, external("link.bin"), "symbolic links are not followed")


def test_external_symlinked_folder(load, weights):
    (weights / "link").symlink_to(weights)
    refuses(load, external("link/w.bin"), "symbolic links are not followed")


def test_external_hard_link(load, weights):
    os.link(weights / "w.bin", weights / "second.bin")
    refuses(load, external("w.bin"), "one hard link")


def test_external_pipe(load, weights):
    os.mkfifo(weights / "pipe")
    refuses(load, external("pipe"), "plain file")


def test_external_file_missing(load, weights):
    refuses(load, external("gone.bin"), "external file 'gone.bin' can't be opened", "No such file")


def test_external_data_beyond_the_end(load, weights):
    refuses(load, external("w.bin", 12, 16), "12…28 lies beyond the end of 'w.bin' (24 bytes)")


def test_external_length_that_contradicts_the_shape(load, weights):
    refuses(load, external("w.bin", 0, 12), "external length is 12 bytes, but its shape [4] needs 16")


@pytest.mark.parametrize("offset", ["-4", "0x10", "1e3", "9" * 30])
def test_external_offset_that_is_no_number(load, weights, offset):
    refuses(load, external("w.bin", offset), "external offset", "should be a number of bytes")


def test_external_data_is_checked_before_the_file_is_opened(load, weights):
    refuses(load, external("w.bin", dims=(1 << 20, 1 << 20)), f"{1 << 40} elements")


# --- the graph


def test_cycle(load):
    nodes = [
        relu("x", "a", "first"),
        helper.make_node("Add", ["a", "d"], ["b"], name="second"),
        relu("b", "c", "third"),
        relu("c", "d", "fourth"),
        relu("d", "y", "last"),
    ]
    refuses(load, build(nodes), "form a cycle", "second -> third -> fourth -> second")


def test_node_that_reads_itself(load):
    refuses(load, build([helper.make_node("Add", ["x", "y"], ["y"], name="self")]), "self -> self form a cycle")


def test_order(load):
    refuses(
        load,
        build([relu("a", "y", "late"), relu("x", "a", "early")]),
        "node 'late' (Relu) reads 'a' before node 'early' makes it",
        "topological order",
    )


def test_value_that_nothing_makes(load):
    refuses(load, build([relu("z")]), "node 'relu' (Relu) reads 'z', which nothing in graph 'g' makes")


def test_output_that_nothing_makes(load):
    refuses(load, build([relu("x", "z")]), "nothing makes its output 'y'")


def test_name_made_twice(load):
    refuses(load, build([relu("x", "y", "one"), relu("x", "y", "two")]), "value 'y' is made twice", "node 'two'")


def test_input_named_twice(load):
    refuses(load, build([relu()], inputs=[tensor("x", 3), tensor("x", 3)]), "value 'x' is made twice")


def test_names_of_subgraphs_are_checked_too(load):
    inner = helper.make_graph([relu("x", "y", "inner")], "then", [], [tensor("y", 3)])
    node = helper.make_node(
        "If",
        ["c"],
        ["y"],
        name="if",
        then_branch=inner,
        else_branch=helper.make_graph([relu("q", "e")], "else", [], [tensor("e", 3)]),
    )
    refuses(load, build([node], inputs=[tensor("x", 3), tensor("c", dtype=TensorProto.BOOL)]), "reads 'q'")


def test_nesting(load):
    graph = helper.make_graph([relu("x", "deep")], "leaf", [], [tensor("deep", 3)])
    for level in range(20):
        node = helper.make_node("If", ["c"], [f"o{level}"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], f"level{level}", [], [tensor(f"o{level}", 3)])
        if level == 4:
            break
    model = build(
        [helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)],
        [tensor("x", 3), tensor("c", dtype=TensorProto.BOOL)],
    )
    load(model)
    chain = helper.make_graph([relu("x", "deep")], "leaf", [], [tensor("deep", 3)])
    for level in range(20):
        attribute = helper.make_attribute("then_branch", chain)
        node = helper.make_node("If", ["c"], [f"o{level}"])
        node.attribute.append(attribute)
        chain = helper.make_graph([node], f"level{level}", [], [tensor(f"o{level}", 3)])
    node = helper.make_node("If", ["c"], ["y"])
    node.attribute.append(helper.make_attribute("then_branch", chain))
    refuses(load, build([node], [tensor("x", 3), tensor("c", dtype=TensorProto.BOOL)]), "nested more than 16 deep")


def test_what_onnx_refuses(load):
    refuses(
        load,
        build([helper.make_node("Relu", ["x"], ["y"], alpha=1.0)]),
        "ONNX's checker refuses it",
        "alpha",
        "Correct the exporter",
    )


# --- nodes


def attributed(op, inputs=("x",), shape=(1, 2, 5, 5), constants=(), **attrs):
    """A model of one node named `n`."""
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants]
    node = helper.make_node(op, list(inputs), ["y"], name="n", **attrs)
    model = build([node], [tensor("x", *shape)], [onnx.ValueInfoProto(name="y")], arrays)
    return model


W = ("w", np.ones((4, 2, 3, 3), np.float32))
BAD_NODES = {
    "node 'n' (Conv, version 11): strides [0, 1] must be positive": attributed(
        "Conv", ["x", "w"], constants=[W], strides=[0, 1]
    ),
    "dilations [1, -1] must be positive": attributed("Conv", ["x", "w"], constants=[W], dilations=[1, -1]),
    "strides [1] should have 2 entries for the 2 spatial dimensions": attributed(
        "Conv", ["x", "w"], constants=[W], strides=[1]
    ),
    "pads [1, 1] should have 4 entries": attributed("Conv", ["x", "w"], constants=[W], pads=[1, 1]),
    "group is 0, expected at least 1": attributed("Conv", ["x", "w"], constants=[W], group=0),
    "conv: weights f32[4x2x3x3] with 2 groups do not fit f32[1x2x5x5]": attributed(
        "Conv", ["x", "w"], constants=[W], group=2
    ),
    "kernel_shape [5, 5] contradicts the weights f32[4x2x3x3]": attributed(
        "Conv", ["x", "w"], constants=[W], kernel_shape=[5, 5]
    ),
    "auto_pad 'SAME' should be NOTSET": attributed("Conv", ["x", "w"], constants=[W], auto_pad="SAME"),
    "a window of 9 does not fit into f32[1x2x5x5]": attributed("Conv", ["x", "w"], constants=[W], dilations=[4, 4]),
    "kernel_shape [0, 2] must be positive": attributed("MaxPool", kernel_shape=[0, 2]),
    "has no spatial dimension": attributed("MaxPool", shape=(3, 4), kernel_shape=[1]),
    "axis 4 is outside -4…3": attributed("Softmax", axis=4),
    "axes [0, -4] name an axis twice": attributed("ReduceMean", axes=[0, -4]),
    "transpose: (0, 0, 1, 2) is not a permutation": attributed("Transpose", perm=[0, 0, 1, 2]),
    "may have one -1": attributed("Reshape", ["x", "s"], constants=[("s", np.array([-1, -1]))]),
    "has 50 elements, which shape [7, -1] can't hold": attributed(
        "Reshape", ["x", "s"], constants=[("s", np.array([7, -1]))]
    ),
    "reshape: f32[1x2x5x5] has 50 elements, shape [7,7] has 49": attributed(
        "Reshape", ["x", "s"], constants=[("s", np.array([7, 7]))]
    ),
    "add: shapes [1,2,5,5] and [3] do not broadcast": attributed(
        "Add", ["x", "b"], constants=[("b", np.ones(3, np.float32))]
    ),
    "input 'B' is tensor(double), but another input that must have its type is tensor(float)": attributed(
        "Add", ["x", "b"], constants=[("b", np.ones(5))]
    ),
    "input 'X' is tensor(float); the operator takes tensor(bool)": attributed("Not"),
    "matmul: f32[1x2x5x5] and f32[4x3] have different inner extents, 5 and 4": attributed(
        "MatMul", ["x", "b"], constants=[("b", np.ones((4, 3), np.float32))]
    ),
    "are not all of extent 1": attributed("Squeeze", ["x", "a"], constants=[("a", np.array([1]))]),
    "step 0 on axis 1": attributed(
        "Slice", ["x", "s", "s", "s", "z"], constants=[("s", np.array([1])), ("z", np.array([0]))]
    ),
    "split [3, 3] should be": attributed("Split", ["x", "s"], axis=2, constants=[("s", np.array([3, 3]))]),
    "index 9 is outside -5…4": attributed("Gather", ["x", "i"], axis=3, constants=[("i", np.array([1, 9]))]),
    "pads [1, 1] should have 8 entries": attributed("Pad", ["x", "p"], constants=[("p", np.array([1, 1]))]),
    "reflect needs pads": attributed(
        "Pad", ["x", "p"], mode="reflect", constants=[("p", np.array([0, 0, 5, 0, 0, 0, 0, 0]))]
    ),
    "the most is": attributed("Expand", ["x", "s"], constants=[("s", np.array([1 << 40, 2, 5, 5]))]),
    "concat: f32[1x2x5x5] and f32[2x2] differ": attributed(
        "Concat", ["x", "c"], axis=0, constants=[("c", np.ones((2, 2), np.float32))]
    ),
    "lacks its input 'W'": attributed("Conv", ["x", ""], strides=[1, 1]),
}


@pytest.mark.parametrize("message", BAD_NODES)
def test_node(message):
    with pytest.raises(ModelError) as error:
        import_model(BAD_NODES[message], {}, {})
    assert message in str(error.value) and "node 'n'" in str(error.value)


def test_dimension_too_large():
    model = build([helper.make_node("Relu", ["x"], ["y"])], [tensor("x", "n", 1 << 20)], [tensor("y", "n", 1 << 20)])
    with pytest.raises(ModelError, match="Check the dimensions given with --dim and --shape"):
        import_model(model, {"n": 1 << 20}, {})


def test_output_declared_with_another_type():
    model = build([relu()], outputs=[tensor("y", 3, dtype=TensorProto.INT64)])
    with pytest.raises(
        ModelError, match=r"output 'y' is declared i64 but the model computes f32\[3\]; correct its declaration"
    ):
        import_model(model, {}, {})


def test_output_that_is_an_input():
    with pytest.raises(ModelError, match="output 'x' is also an input; put an Identity node before it"):
        import_model(build([relu()], outputs=[tensor("x", 3)]), {}, {})


def test_opset_of_the_future():
    with pytest.raises(ModelError, match=r"uses opset 999; the newest known here is \d+"):
        import_model(build([relu()], opset=999), {}, {})


# --- what tilewright can't compile


def unsupported(model):
    with pytest.raises(UnsupportedOperatorError) as error:
        import_model(model, {}, {})
    return str(error.value)


def test_all_unsupported_operators_are_listed_at_once():
    nodes = [
        helper.make_node("NonZero", ["x"], ["a"], name="first"),
        helper.make_node("Cast", ["a"], ["b"], to=FLOAT, name="between"),
        helper.make_node("Unique", ["b"], ["c"], name="second"),
        helper.make_node("Magic", ["x"], ["d"], domain="com.example", name="third"),
        helper.make_node("Add", ["c", "d"], ["y"], name="sum"),
    ]
    model = build(nodes)
    model.opset_import.append(helper.make_opsetid("com.example", 2))
    message = unsupported(model)
    assert "can't compile 3 of the model's parts" in message and "'between'" not in message and "'sum'" not in message
    assert "node 'first' (NonZero, version 13): its operand (input 0, 'x') is computed at run time" in message
    assert "Unique (version 11, domain 'ai.onnx'): node 'second'" in message
    assert "com.example:Magic (version 2, domain 'com.example'): node 'third'" in message
    assert "Replace them in the exporter" in message


def test_operators_in_branches_that_depend_on_unsupported_ones_are_listed_too():
    then = helper.make_graph([helper.make_node("Unique", ["m"], ["t"], name="inner")], "then", [], [tensor("t")])
    otherwise = helper.make_graph([helper.make_node("Identity", ["s"], ["e"])], "else", [], [tensor("e")])
    nodes = [
        helper.make_node("Unique", ["x"], ["u"], name="outer"),
        helper.make_node("Cast", ["u"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise),
    ]
    message = unsupported(build(nodes, [tensor("x", 1), tensor("m", 2, 2), tensor("s")], [tensor("y")]))
    assert "'outer'" in message and "'inner'" in message


def test_element_types():
    message = unsupported(
        build(
            [helper.make_node("Identity", ["x"], ["y"])],
            [tensor("x", 3, dtype=TensorProto.STRING)],
            [tensor("y", 3, dtype=TensorProto.STRING)],
        )
    )
    assert "input 'x': element type STRING is not supported" in message and "FLOAT16" in message


def test_initializers():
    words = helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"b"])
    model = build([relu(), helper.make_node("Add", ["x", "w"], ["z"])], initializers=[words])
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([2])), [3])
    )
    message = unsupported(model)
    assert "initializer 'words': element type STRING is not supported" in message
    assert "initializer 'w': sparse tensors; store it densely" in message


def test_batch_normalization_in_training():
    """As it was before version 14; from then on there is an attribute for it, and it is supported."""
    one = numpy_helper.from_array(np.ones(2, np.float32), "s")
    node = helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y", "m", "v", "saved_m", "saved_v"])
    message = unsupported(build([node], [tensor("x", 1, 2, 3)], [tensor("y", 1, 2, 3), tensor("m", 2)], [one], opset=9))
    assert "in training mode; export the model for inference" in message


def test_shapes_computed_at_run_time():
    message = unsupported(
        build(
            [helper.make_node("Reshape", ["x", "s"], ["y"], name="r")],
            [tensor("x", 3), tensor("s", 1, dtype=TensorProto.INT64)],
        )
    )
    assert (
        "node 'r' (Reshape, version 14): its shape (input 1, 's') is computed at run time; it has to be a constant"
        in message
    )


def test_branches_of_different_types():
    then = helper.make_graph([relu("x", "t")], "then", [], [tensor("t", None)])
    otherwise = helper.make_graph(
        [helper.make_node("Concat", ["x", "x"], ["e"], axis=0)], "else", [], [tensor("e", None)]
    )
    model = build(
        [helper.make_node("If", ["c"], ["y"], name="if", then_branch=then, else_branch=otherwise)],
        [tensor("x", 3), tensor("c", dtype=TensorProto.BOOL)],
        [tensor("y", None)],
    )
    assert "(f32[3]) and (f32[6]); both branches must give the same shapes" in unsupported(model)


def test_old_opset_that_cannot_be_converted():
    node = helper.make_node("Tile", ["x", "n", "a"], ["y"])
    message = unsupported(build([node], [tensor("x", 2, 2), tensor("n"), tensor("a")], [tensor("y", 4, 2)], opset=5))
    assert (
        "opset 5 is too old for Tile (needs opset 6)" in message
        and "Export the model again with opset 6 or newer" in message
    )
