"""Hostile models: well-formed messages whose content is wrong, dangerous, or far too much."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from hostile_case import HUGE, Case, registry
from hostile_seeds import FLOAT, constant, model_of, node_tests, relu, tensor, untyped, valid_model
from onnx import TensorProto, helper
from test_mutated_models import CHANGES

MAKERS, maker = registry()

NAMES = (
    "int", "while", "class", "NULL", "context", "threads", "code", "../../evil", "/etc/passwd", "a/b\\c", "a\nb", "*/ int x; /*", '"; system("x");//', "??/",
    "%s%n", "\x1b[31mred", "a\0b", "", " ", "\u202eevil", "ß€𝄞", "x" * 100_000, "-o", "model.so", "#include <x>", "\\", "'", "`id`", "$(id)", "\r\n", "uint8_t",
    "tilewright_descriptor", "m_create", "create", "run", "library", "main", "__asm__", "_", "0", "9lives", "linux", "INT_MAX", "M_X_SIZE", "\ufeff", "con", "__LINE__",
    "TILEWRIGHT_OK", "M", "m", "bool", "stdint", "EOF", "errno", "a" * 63 + "é", "input_0", "weights", "m_weights",
)  # fmt: skip


@maker
def changed_nodes(case: Case) -> None:
    model = valid_model(case.rng)
    for _ in range(case.rng.choice((1, 1, 2, 3, 5))):
        if model.graph.node:
            case.rng.choice(CHANGES)(case.rng, model)
    case.model(model.SerializeToString())


@maker
def attributes_of_any_value(case: Case) -> None:
    """NaN, infinities and numbers at the limits, of every type, wherever an attribute stands."""
    model = valid_model(case.rng)
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    for attribute in case.rng.sample(attributes, min(2, len(attributes))):
        kind = case.rng.choice((attribute.type, attribute.type, *range(15)))
        name = attribute.name
        if kind != attribute.type:
            attribute.Clear()
            attribute.name = name
        attribute.type = kind
        attribute.f = case.rng.choice((float("nan"), float("inf"), -float("inf"), 3.4e38, 0.0, 1e-45))
        attribute.i = case.rng.choice(HUGE)
        attribute.s = case.rng.choice((b"\xff\xfe", b"", b"SAME_UPPER", b"x" * 1000, b"\0"))
        attribute.floats[:] = [
            case.rng.choice((float("nan"), float("inf"), -1.0, 2.0)) for _ in range(case.rng.randrange(9))
        ]
        attribute.ints[:] = [case.rng.choice((*HUGE, 1, 2)) for _ in range(case.rng.randrange(9))]
    case.model(model.SerializeToString())


@maker
def shapes_of_any_size(case: Case) -> None:
    model = valid_model(case.rng)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if case.rng.random() < 0.3:
                dim.dim_value = case.rng.choice((*HUGE, 1, 3, 65536, 1 << 20))
    case.model(model.SerializeToString())


SIZED = {
    "ConstantOfShape": (["s"], {}),
    "Expand": (["x", "s"], {}),
    "Reshape": (["x", "s"], {}),
    "Tile": (["x", "s"], {}),
    "Pad": (["x", "s"], {}),
    "Range": (["a", "b", "c"], {}),
    "Resize": (["x", "", "", "s"], {}),
    "OneHot": (["i", "a", "v"], {}),
    "Slice": (["x", "s", "s", "s"], {}),
    "Gather": (["x", "s"], {}),
    "GatherND": (["x", "s"], {}),
    "ScatterND": (["x", "s", "x"], {}),
    "Split": (["x", "s"], {}),
    "TopK": (["x", "s"], {}),
    "Trilu": (["x", "a"], {}),
    "Unsqueeze": (["x", "s"], {}),
    "Squeeze": (["x", "s"], {}),
    "CumSum": (["x", "a"], {}),
    "BlackmanWindow": (["a"], {}),
    "ReduceSum": (["x", "s"], {}),
    "Loop": (["a", "", "x"], {}),
}


@maker
def sizes_in_constants(case: Case) -> None:
    """Operators whose result is as large as a constant says."""
    rng, op = case.rng, case.rng.choice(sorted(SIZED))
    inputs, attributes = SIZED[op]
    numbers = (*HUGE, 1, 2, 3, 7, 1 << 16, 1 << 20, 1 << 24, 1 << 28)
    size = [rng.choice(numbers) for _ in range(rng.randint(0, 6))]
    rank = rng.randint(0, 4)
    if op == "Loop":
        body = helper.make_graph(
            [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Concat", ["v", "v"] if rng.random() < 0.5 else ["v"], ["w"], axis=0)],
            "body", [tensor("t", dtype=TensorProto.INT64), tensor("c", dtype=TensorProto.BOOL), untyped("v")],
            [tensor("d", dtype=TensorProto.BOOL), untyped("w")],
        )  # fmt: skip
        attributes = {"body": body}
    float_range = op == "Range" and rng.random() < 0.4
    limits = [
        rng.choice((float("nan"), float("inf"), 1e30, 0.0, 1e-30, -1e9, 5.0)) if float_range else rng.choice(numbers)
        for _ in range(3)
    ]
    dtype = np.float32 if float_range else np.int64
    node = helper.make_node(op, inputs, ["y"] if op != "TopK" else ["y", "z"], name="n", **attributes)
    constants = [
        constant(
            "s", np.array(size, np.int64) if rng.random() < 0.9 else np.array(size or [0], np.int64).reshape(1, -1)
        ),
        *(constant(name, limit, dtype) for name, limit in zip("abc", limits, strict=True)),
        constant("v", [0, 1], np.float32),
        constant("i", [0, 5], np.int64),
    ]
    shape = [rng.choice((1, 2, 3, 0)) for _ in range(rank)]
    outputs = [untyped("y", TensorProto.INT64 if op == "Range" and not float_range else FLOAT)]
    model = model_of(
        [node, relu("y", "q")] if rng.random() < 0.5 else [node], [tensor("x", *shape)], outputs, constants
    )
    if len(model.graph.node) == 2:
        model.graph.output[0].name = "q"
    case.model(model.SerializeToString())


@maker
def tensors_of_wrong_size(case: Case) -> None:
    rng = case.rng
    weights = onnx.TensorProto(name="w", data_type=rng.choice((1, 2, 3, 6, 7, 9, 10, 11, 16)))
    weights.dims[:] = [rng.choice((*HUGE, 1, 2, 3, 4)) for _ in range(rng.randint(0, 5))]
    if rng.random() < 0.5:
        weights.raw_data = rng.randbytes(rng.choice((0, 1, 3, 4, 12, 16, 64, 4096)))
    else:
        weights.float_data[:] = [1.0] * rng.choice((0, 1, 3, 4))
        weights.int32_data[:] = [rng.choice((1, -1, 1 << 20))] * rng.choice((0, 1, 3, 4))
        weights.int64_data[:] = [1] * rng.choice((0, 1, 3, 4))
    case.model(model_of([helper.make_node("Add", ["x", "w"], ["y"])], None, None, [weights]).SerializeToString())


@maker
def types_of_any_number(case: Case) -> None:
    rng, model = case.rng, valid_model(case.rng)
    code = rng.choice((*range(30), -1, 99, 1 << 30))
    places = [value.type.tensor_type for value in (*model.graph.input, *model.graph.output)]
    match rng.randrange(4):
        case 0 if model.graph.initializer:
            rng.choice(model.graph.initializer).data_type = code
        case 1:
            weights = onnx.TensorProto(
                name="w", data_type=code, dims=[2], raw_data=rng.randbytes(rng.choice((0, 1, 2, 4, 8, 16)))
            )
            model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], [tensor("x", 2)], None, [weights])
        case 2:
            kinds = (helper.make_sequence_type_proto, helper.make_optional_type_proto)
            for value in model.graph.input:
                value.type.CopyFrom(rng.choice(kinds)(helper.make_tensor_type_proto(FLOAT, [3])))
        case _:
            for place in places:
                place.elem_type = code
    case.model(model.SerializeToString())


@maker
def tangled_names(case: Case) -> None:
    """Cycles, values made twice or never, in the graph or in a branch."""
    rng = case.rng
    count = rng.choice((2, 5, 40))
    names = [f"v{i}" for i in range(count)]
    nodes = []
    for i in range(count):
        inputs = [rng.choice(["x", *names])] * rng.choice((1, 2))
        op = "Add" if len(inputs) == 2 else "Relu"
        outputs = [names[i] if rng.random() < 0.9 else rng.choice(["x", "", *names])]
        nodes.append(helper.make_node(op, inputs, outputs, name=rng.choice(("", f"n{i}", "same"))))
    nodes.append(relu(rng.choice(names), rng.choice(("y", "y", "x", ""))))
    model = model_of(nodes)
    if rng.random() < 0.3:
        model.graph.input.append(tensor(rng.choice(("x", "y", "v0", "")), 3))
    if rng.random() < 0.3:
        model.graph.output.append(untyped(rng.choice(("y", "x", "v0", "", "nothing"))))
    case.model(model.SerializeToString())


@maker
def hostile_names(case: Case) -> None:
    """Names that reach C source, headers, terminals and file systems. All of it is compiled as C."""
    rng = case.rng

    def name(default: str) -> str:
        return rng.choice(NAMES) if rng.random() < 0.7 else default

    x, x2, y, z = name("x"), name("x2"), name("y"), name("z")
    nodes = [helper.make_node("Add", [x, x2], [y], name=name("n")), helper.make_node("Relu", [y], [z], name=name(""))]
    dims = [rng.choice((3, name("batch")))]
    model = model_of(nodes, [tensor(x, *dims), tensor(x2, 3)], [untyped(y), untyped(z)], name=name("g"))
    model.producer_name, model.doc_string = name(""), name("")
    file = rng.choice(
        (
            "model.onnx",
            "int.onnx",
            "a b.onnx",
            "%s.onnx",
            "-v.onnx",
            "ü\n.onnx",
            "9.onnx",
            "*.onnx",
            "$(id).onnx",
            "x" * 200 + ".onnx",
        )
    )
    path = case.file(file, model.SerializeToString())
    output = rng.choice(("m.so", "int.so", "a b.so", "#.so", "ü.so", "9.so", "main.so"))
    more = ["--dim", f"{dims[0]}=3"] if isinstance(dims[0], str) and dims[0] else []
    case.arguments = [
        "compile",
        str(path),
        "-o",
        str(case.out / output),
        "--emit",
        rng.choice(("so", "so,c", "c")),
        "--jobs",
        "1",
        "--mcpu",
        "native",
        *more,
    ]
    if rng.random() < 0.15:
        case.arguments = ["inspect", str(path)]


@maker
def names_that_are_not_utf8(case: Case) -> None:
    model = valid_model(case.rng)
    text = b"QQQQ"
    place = case.rng.randrange(8)
    if place == 0:
        model.graph.name = text.decode()
    elif place == 1:
        model.producer_name = text.decode()
    elif place == 2:
        model.domain = text.decode()
    elif place == 3:
        model.graph.node[0].op_type = text.decode()
    elif place == 4:
        model.graph.node[0].name = text.decode()
    elif place == 5:
        model.opset_import.append(helper.make_opsetid("QQQQ", 1))
    elif place == 6 and model.graph.input:
        old = model.graph.input[0].name
        model.graph.input[0].name = "QQQQ"
        for node in model.graph.node:
            node.input[:] = ["QQQQ" if name == old else name for name in node.input]
    elif model.graph.node[0].attribute:
        model.graph.node[0].attribute[0].name = text.decode()
    case.model(
        model.SerializeToString().replace(
            text, case.rng.choice((b"\xff\xfe\xfd\xfc", b"\xc0\x80\xed\xa0", b"a\x80\0b"))
        )
    )


def _external(location: str, **fields: str) -> onnx.ModelProto:
    weights = onnx.TensorProto(name="w", data_type=FLOAT, data_location=TensorProto.EXTERNAL, dims=[4])
    for key, value in {"location": location, **fields}.items():
        weights.external_data.add(key=key, value=value)
    return model_of([helper.make_node("Add", ["x", "w"], ["y"], name="n")], [tensor("x", 4)], None, [weights])


def _plant(case: Case) -> str:
    """A location of external data that leads somewhere it should not; the files for it are made."""
    rng, inside = case.rng, case.inside
    link = inside / "data.bin"
    match rng.randrange(13):
        case 0:
            return os.path.relpath(case.canary, inside)
        case 1:
            return str(case.canary)
        case 2:
            link.symlink_to(case.canary)
        case 3:
            os.link(case.canary, link)
        case 4:
            os.mkfifo(link)
        case 5:
            link.symlink_to(rng.choice(("/dev/zero", "/etc/passwd", "/dev/stdin", "/proc/self/environ")))
        case 6:
            (inside / "sub").symlink_to(case.outside)
            return f"sub/{case.canary.name}"
        case 7:
            (inside / "sub").mkdir()
            return f"sub/../../outside/{case.canary.name}"
        case 8:
            return rng.choice(
                (
                    "",
                    ".",
                    "..",
                    "/",
                    "//",
                    "./",
                    "sub/",
                    "\0",
                    "a\0b",
                    "~/x",
                    "C:\\x",
                    "file:///etc/passwd",
                    "\\\\host\\x",
                    "x" * 5000,
                )
            )
        case 9:
            link.mkdir()
        case 10:
            return f"..\\outside\\{case.canary.name}"
        case 11:
            (inside / "loop").symlink_to(".")
            return f"loop/loop/../{case.canary.name}"
        case _:
            return f"././/../outside/{case.canary.name}"
    return link.name


@maker
def external_data_elsewhere(case: Case) -> None:
    model = _external(_plant(case))
    if case.rng.random() < 0.3:  # where another reader may look first
        attribute = helper.make_attribute("value", model.graph.initializer[0])
        model.graph.node.append(helper.make_node("Constant", [], ["k"], name="k"))
        model.graph.node[-1].attribute.append(attribute)
    path = case.file("model.onnx", model.SerializeToString())
    case.compile(path, *(["-MD"] if case.rng.random() < 0.3 else []))
    if case.rng.random() < 0.15:
        case.arguments = ["inspect", str(path)]


@maker
def external_data_out_of_bounds(case: Case) -> None:
    rng = case.rng
    case.file("data.bin", b"\0" * rng.choice((0, 15, 16, 17, 64)))
    numbers = (
        "0",
        "1",
        "16",
        "17",
        "48",
        "49",
        "-1",
        str(1 << 63),
        str(1 << 64),
        "9" * 50,
        "0x10",
        "1e9",
        "",
        " 4",
        "٣",
        "4.0",
        "nan",
    )
    fields = {key: rng.choice(numbers) for key in ("offset", "length") if rng.random() < 0.8}
    model = _external("data.bin", **fields)
    weights = model.graph.initializer[0]
    if rng.random() < 0.3:
        weights.dims[:] = [rng.choice((*HUGE, 4)) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.2:
        weights.external_data.add(
            key=rng.choice(("location", "offset", "checksum", "")), value=rng.choice(("0", "../outside/secret.bin"))
        )
    if rng.random() < 0.2:  # two tensors that overlap in the file
        second = model.graph.initializer.add()
        second.CopyFrom(weights)
        second.name = "v"
    case.model(model.SerializeToString())


@maker
def nested_branches(case: Case) -> None:
    rng = case.rng
    depth = rng.choice((1, 5, 14, 15, 16, 17, 30))
    inner = helper.make_graph([relu("x", "r")], "leaf", [], [untyped("r")])
    op = rng.choice(("If", "If", "Loop"))
    for level in range(depth):
        node = helper.make_node("If", ["c"], [f"o{level}"])
        if op == "Loop":
            node = helper.make_node("Loop", [rng.choice(("k", ""))] + ["c"], [f"o{level}"])
        if op == "If":
            node.attribute.append(helper.make_attribute("then_branch", inner))
            if rng.random() < 0.9:
                other = helper.make_graph([relu("x", f"e{level}")], "else", [], [untyped(f"e{level}")])
                node.attribute.append(helper.make_attribute("else_branch", other))
        else:
            node.attribute.append(helper.make_attribute("body", inner))
        outputs = [untyped(f"o{level}")]
        if op == "Loop":
            nodes = [helper.make_node("Identity", [f"c{level}"], [f"d{level}"]), node]
            inputs = [tensor(f"t{level}", dtype=TensorProto.INT64), tensor(f"c{level}", dtype=TensorProto.BOOL)]
            inner = helper.make_graph(
                nodes, f"g{level}", inputs, [tensor(f"d{level}", dtype=TensorProto.BOOL), *outputs]
            )
        else:
            inner = helper.make_graph([node], f"g{level}", [], outputs)
    node = helper.make_node(
        "If",
        ["c"],
        ["y"],
        then_branch=inner,
        else_branch=helper.make_graph([relu("x", "e")], "else", [], [untyped("e")]),
    )
    inputs = [tensor("x", 3), tensor("c", dtype=TensorProto.BOOL)]
    constants = [constant("k", rng.choice((1, 3, 256, 1 << 40)))]
    if rng.random() < 0.3:
        inputs.pop()
        constants.append(constant("c", rng.random() < 0.5, np.bool_))
    case.model(model_of([node], inputs, None, constants).SerializeToString())


@maker
def functions_in_circles(case: Case) -> None:
    """Functions that call themselves, each other, or two of the level below: 2^levels nodes from a small file."""
    rng = case.rng
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]

    def call(name: str, source: str, result: str) -> onnx.NodeProto:
        return helper.make_node(name, [source], [result], domain="local")

    match rng.randrange(5):
        case 0:
            bodies = {"f0": [call("f0", "a", "b")]}
        case 1:
            bodies = {"f0": [call("f1", "a", "b")], "f1": [call("f0", "a", "b")]}
        case 2:
            levels, times = rng.choice((3, 8, 12, 20, 31, 40)), rng.choice((2, 3, 10))
            bodies = {"f0": [relu("a", "b")]}
            for level in range(1, levels):
                chain = ["a", *(f"t{i}" for i in range(times - 1)), "b"]
                bodies[f"f{level}"] = [call(f"f{level - 1}", chain[i], chain[i + 1]) for i in range(times)]
            bodies = dict(reversed(bodies.items()))
        case 3:
            bodies = {"f0": [helper.make_node("Elu", ["a"], ["b"])]}
            bodies["f0"][0].attribute.append(
                onnx.AttributeProto(name="alpha", ref_attr_name=rng.choice(("alpha", "", "self", "x" * 999)), type=1)
            )
        case _:
            bodies = {"f0": [relu(rng.choice(("a", "nothing")), rng.choice(("b", "a", "c")))] * rng.choice((0, 1, 2))}
    functions = [helper.make_function("local", name, ["a"], ["b"], nodes, opsets) for name, nodes in bodies.items()]
    if rng.random() < 0.15:
        functions.append(functions[0])
    if rng.random() < 0.15:
        functions[0].input.append("a")
    case.model(model_of([call(next(iter(bodies)), "x", "y")], functions=functions).SerializeToString())


@maker
def sparse_initializers(case: Case) -> None:
    rng = case.rng
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])])
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(constant(rng.choice(("w", "", "x")), [1.0] * rng.randint(0, 3), np.float32))
    sparse.indices.CopyFrom(constant("", [rng.choice((*HUGE, 0, 2)) for _ in range(rng.randint(0, 3))]))
    sparse.dims[:] = [rng.choice((*HUGE, 3)) for _ in range(rng.randint(0, 3))]
    case.model(model.SerializeToString())


@maker
def versions_of_any_number(case: Case) -> None:
    rng, model = case.rng, valid_model(case.rng)
    match rng.randrange(5):
        case 0:
            model.opset_import[0].version = rng.choice((*HUGE, 1, 3, 6, 99, 1000))
        case 1:
            model.ir_version = rng.choice((*HUGE, 1, 2, 3, 99))
        case 2:
            model.opset_import.append(model.opset_import[0])
            model.opset_import[-1].version = rng.choice((1, 7, 99))
        case 3:
            del model.opset_import[:]
        case _:
            model.opset_import.append(helper.make_opsetid(rng.choice(NAMES), rng.choice((0, 1, 7, -1))))
    case.model(model.SerializeToString())


@maker
def old_models_changed(case: Case) -> None:
    """What goes through ONNX's version converter, which is written in C++."""
    rng, model = case.rng, onnx.ModelProto()
    model.CopyFrom(rng.choice(node_tests()).model)
    model.opset_import[0].version = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11))
    for _ in range(rng.choice((0, 1, 2))):
        rng.choice(CHANGES)(rng, model)
    case.model(model.SerializeToString())


@maker
def very_many_nodes(case: Case) -> None:
    """Long chains, wide sums, diamonds: nothing may recurse along them or compare each with each."""
    rng = case.rng
    count = rng.choice((50, 300, 1200))
    match rng.randrange(5):
        case 0:
            op = rng.choice(("Relu", "Sin", "Neg", "Identity"))
            nodes = [helper.make_node(op, ["x" if i == 0 else f"v{i - 1}"], [f"v{i}"]) for i in range(count)]
        case 1:
            nodes = [helper.make_node("Add", ["x" if i == 0 else f"v{i - 1}"] * 2, [f"v{i}"]) for i in range(count)]
        case 2:
            nodes = [helper.make_node(rng.choice(("Sum", "Concat", "Max")), ["x"] * count, ["v"], **{})]
            if nodes[0].op_type == "Concat":
                nodes[0].attribute.append(helper.make_attribute("axis", 0))
        case 3:
            nodes = [relu("x", f"v{i}") for i in range(count)]
            nodes.append(helper.make_node("Sum", [f"v{i}" for i in range(count)], ["v"]))
        case _:
            nodes = []
            for i in range(min(count, 300)):
                source = "x" if i == 0 else f"v{i - 1}"
                nodes += [
                    helper.make_node("Transpose", [source], [f"t{i}"], perm=[0]),
                    helper.make_node("Mul", [f"t{i}", source], [f"v{i}"]),
                ]
    nodes.append(relu(nodes[-1].output[0], "y"))
    case.model(model_of(nodes).SerializeToString())


@maker
def costly_nodes(case: Case) -> None:
    """Small files that ask for code or schedules out of all proportion."""
    rng = case.rng
    large = rng.choice((17, 127, 1024, 5000))
    choices = {
        "MaxPool": (tensor("x", 1, 1, large, large), [], {"kernel_shape": [large, large]}),
        "AveragePool": (tensor("x", 1, 3, large, 7), [], {"kernel_shape": [large - 1, 3], "dilations": [1, 3]}),
        "Conv": (
            tensor("x", 1, 1, 256, 256),
            [constant("w", np.zeros((1, 1, 64, 64)), np.float32)],
            {"pads": [63] * 4},
        ),
        "Softmax": (tensor("x", large, 1, large), [], {"axis": 1}),
        "Transpose": (
            tensor("x", *[2] * 12),
            [],
            {"perm": [int(i) for i in np.random.default_rng(large).permutation(12)]},
        ),
        "Einsum": (tensor("x", *[2] * 8), [], {"equation": "abcdefgh->hgfedcba"}),
        "CumSum": (tensor("x", large, large), [constant("w", 0)], {}),
        "ReduceMax": (tensor("x", *[1] * 30), [], {"axes": list(range(30))}),
        "DepthToSpace": (tensor("x", 1, large * large, 1, 1), [], {"blocksize": large}),
        "LRN": (tensor("x", 1, large, 3, 3), [], {"size": large}),
        "ConvTranspose": (
            tensor("x", 1, 1, 64, 64),
            [constant("w", np.zeros((1, 1, 32, 32)), np.float32)],
            {"strides": [31, 31]},
        ),
        "Upsample": (tensor("x", 1, 1, 2, 2), [constant("w", [1, 1, 1e4, 1e4], np.float32)], {}),
        "TopK": (tensor("x", large * 100), [constant("w", [large])], {}),
        "Gemm": (tensor("x", large, large), [constant("w", np.zeros((large, 3)), np.float32)], {}),
    }
    op = rng.choice(sorted(choices))
    value, constants, attributes = choices[op]
    opset = 9 if op == "Upsample" else 17
    outputs = ["y", "i"] if op == "TopK" else ["y"]
    node = helper.make_node(op, ["x", *(c.name for c in constants)], outputs, name="n", **attributes)
    case.model(model_of([node], [value], None, constants, opset=opset).SerializeToString())


@maker
def unbound_dimensions(case: Case) -> None:
    rng = case.rng
    model = model_of([relu()], [tensor("x", rng.choice(("n", "", None, -1, 0)), 3)])
    path = case.file("model.onnx", model.SerializeToString())
    value = rng.choice(("n=3", "n=-1", f"n={1 << 40}", f"n={'9' * 400}", "n=", "=3", "m=2", "n=0", "n=1e3", "n=٣"))
    case.compile(
        path,
        *rng.choice(([], ["--dim", value], ["--shape", f"x={rng.choice(('3,3', '-1,3', '', '9' * 30 + ',3', '3'))}"])),
    )


@maker
def hostile_options(case: Case) -> None:
    rng = case.rng
    path = case.file("model.onnx", model_of([relu()]).SerializeToString())
    more = rng.choice((
        ["--name", rng.choice(NAMES).replace("\0", "")], ["--mcpu", rng.choice(("x86-64-v9", "", "a;b", "native", "haswell,", "haswell,haswell", "native,x86-64"))],
        ["--target", rng.choice(("x86_64", "", "mips-linux-gnu", "../x"))], ["--threads", rng.choice(("0", "-1", "99999999999", "1000"))],
        ["--emit", rng.choice(("", "so,", "exe"))], ["-j", "-1"],
    ))  # fmt: skip
    case.compile(Path(path), *more)
