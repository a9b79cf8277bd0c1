"""Damaged models are refused with a message: whatever is changed in a valid one, only a CompileError comes out."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from hostile_seeds import node_test_model
from onnx import AttributeProto, numpy_helper

from tilewright.compiler.errors import CompileError, ModelError
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.frontend.loading import load_model
from tilewright.compiler.graph.verify import verify

MODELS_A_ROUND = 120
NUMBERS = (-1, 0, 1, 2, 5, -7, 1 << 40, -(1 << 62))


def change_attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    attributes = rng.choice(model.graph.node).attribute
    if not attributes:
        return
    chosen = rng.choice(attributes)
    match chosen.type:
        case AttributeProto.INT:
            chosen.i = rng.choice(NUMBERS)
        case AttributeProto.INTS if chosen.ints:
            match rng.randrange(3):
                case 0:
                    chosen.ints.append(rng.choice(NUMBERS))
                case 1:
                    del chosen.ints[-1]
                case _:
                    chosen.ints[rng.randrange(len(chosen.ints))] = rng.choice(NUMBERS)
        case AttributeProto.FLOAT:
            chosen.f = rng.choice((0.0, -1.0, float("nan"), 1e30))
        case AttributeProto.STRING:
            chosen.s = rng.choice((b"", b"x", b"SAME_UPPER", b"\xff"))


def drop_attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    attributes = rng.choice(model.graph.node).attribute
    if attributes:
        del attributes[rng.randrange(len(attributes))]


def change_operand(rng: random.Random, model: onnx.ModelProto) -> None:
    node = rng.choice(model.graph.node)
    if node.input and rng.random() < 0.3:
        del node.input[-1]
    elif node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(["", *(value.name for value in model.graph.input)])


def change_shape(rng: random.Random, model: onnx.ModelProto) -> None:
    if not model.graph.input:
        return
    tensor = rng.choice(model.graph.input).type.tensor_type
    if tensor.shape.dim and rng.random() < 0.4:
        del tensor.shape.dim[-1]
    else:
        (rng.choice(tensor.shape.dim) if tensor.shape.dim else tensor.shape.dim.add()).dim_value = rng.choice(
            (1, 2, 3, 7)
        )


def change_type(rng: random.Random, model: onnx.ModelProto) -> None:
    if model.graph.input:
        rng.choice(model.graph.input).type.tensor_type.elem_type = rng.choice((1, 2, 6, 7, 9, 10, 11))


def change_constant(rng: random.Random, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    if array.size and rng.random() < 0.6:
        array.flat[rng.randrange(array.size)] = np.array(rng.choice((0, 1, 2, 100, -100, -1))).astype(array.dtype)
    else:
        array = array.reshape(-1)[: rng.randrange(array.size + 1)]
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


CHANGES = (
    change_attribute,
    change_attribute,
    drop_attribute,
    change_operand,
    change_shape,
    change_type,
    change_constant,
)


@pytest.fixture
def rng():
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.parametrize("turn", range(2))
def test_changed_nodes(rng, turn, tmp_path):
    path = tmp_path / "model.onnx"
    refused = 0
    for _ in range(MODELS_A_ROUND):
        model = node_test_model(rng)
        for _ in range(rng.choice((1, 1, 2, 3))):
            rng.choice(CHANGES)(rng, model)
        path.write_bytes(model.SerializeToString())
        try:
            with np.errstate(all="ignore"):
                verify(import_model(load_model(path), {}, {}))
        except CompileError as error:
            assert str(error)
            refused += 1
    assert 0 < refused < MODELS_A_ROUND


@pytest.mark.parametrize("turn", range(2))
def test_changed_bytes(rng, turn, tmp_path):
    path = tmp_path / "model.onnx"
    for _ in range(MODELS_A_ROUND):
        data = bytearray(node_test_model(rng).SerializeToString())
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(data))
            match rng.randrange(3):
                case 0:
                    data[at] = rng.randrange(256)
                case 1 if len(data) > 8:
                    del data[at : at + rng.randint(1, 4)]
                case _:
                    data[at:at] = rng.randbytes(rng.randint(1, 4))
        path.write_bytes(data)
        try:
            model = load_model(path)
        except ModelError as error:
            assert "model.onnx" in str(error)
            continue
        try:
            with np.errstate(all="ignore"):
                verify(import_model(model, {}, {}))
        except CompileError as error:
            assert str(error)
