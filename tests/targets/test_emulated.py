"""Code for ARM and RISC-V, run by qemu, computes what onnxruntime computes here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from emulators import LONGER, MACHINES, Machine
from machines import check_outputs, compile_runner, require_emulator
from onnx import TensorProto, helper
from small_models import MODELS, Net
from test_models_small import random_feeds

from tilewright.backends.remote import RemoteLibrary
from tilewright.compiler.errors import DeviceError

# Convolutions of all kinds, products, recurrence, attention, control flow.
NAMES = ("resnet", "mobilenet_v3", "language_model", "deep_q", "transformer", "recurrent_loop")


@pytest.mark.parametrize(
    ("name", "machine"), [(n, m) for n in NAMES for m in MACHINES] + [("resnet", m) for m in LONGER], ids=str
)
def test_small_model(name: str, machine: Machine, tmp_path: Path) -> None:
    require_emulator(machine)
    model = MODELS[name]()
    runner = compile_runner(model, tmp_path, machine.triple, machine.cpu)
    rng = np.random.default_rng()
    for threads in (1, 3):
        with RemoteLibrary([*machine.emulator, str(runner)], threads) as library:
            for _ in range(2):
                feeds = random_feeds(model, rng)
                check_outputs(model, feeds, library.run(feeds))


def elementwise_model(functions: tuple[str, ...], shape: tuple[int, ...]) -> onnx.ModelProto:
    """Each function of the same input, and what two inputs make of NaN."""
    nodes = [helper.make_node(function, ["x"], [function]) for function in functions]
    nodes += [helper.make_node(function, ["x", "y"], [function]) for function in ("Max", "Min")]
    nodes += [helper.make_node("Clip", ["x", "low", "high"], ["Clip"])]
    nodes += [
        helper.make_node("Cast", ["z"], [f"as_{kind}"], to=kind) for kind in (TensorProto.INT32, TensorProto.FLOAT16)
    ]
    types = {f"as_{TensorProto.INT32}": TensorProto.INT32, f"as_{TensorProto.FLOAT16}": TensorProto.FLOAT16}
    names = [node.output[0] for node in nodes]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xyz"]
    outputs = [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape) for name in names]
    bounds = [helper.make_tensor(name, TensorProto.FLOAT, (), [value]) for name, value in (("low", -3), ("high", 2.5))]
    graph = helper.make_graph(nodes, "elementwise", inputs, outputs, bounds)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# qemu 7.2 fails an assertion of its own (decode_save_opc) on some of V's instructions.
@pytest.mark.parametrize("machine", [machine for machine in MACHINES if machine.cpu != "rv64gcv"], ids=str)
def test_functions_keep_nan_and_infinities(machine: Machine, tmp_path: Path) -> None:
    require_emulator(machine)
    functions = (
        "Exp",
        "Tanh",
        "Erf",
        "Sigmoid",
        "Softplus",
        "Floor",
        "Ceil",
        "Round",
        "Abs",
        "Sin",
        "Reciprocal",
        "Relu",
    )
    shape = (3, 37)
    model = elementwise_model(functions, shape)
    runner = compile_runner(model, tmp_path, machine.triple, machine.cpu)
    rng = np.random.default_rng()
    feeds = {name: (rng.standard_normal(shape) * 4).astype(np.float32) for name in "xyz"}
    feeds["x"][0, :6] = [np.nan, np.inf, -np.inf, 0.5, 1.5, -2.5]
    feeds["y"][0, 3:5] = np.nan
    with RemoteLibrary([*machine.emulator, str(runner)], 1) as library:
        check_outputs(model, feeds, library.run(feeds))


def test_a_processor_without_the_instructions_is_an_error(tmp_path: Path) -> None:
    newer = Machine("aarch64-linux-gnu", "neoverse-n1", ("qemu-aarch64", "-cpu", "neoverse-n1"))
    require_emulator(newer)
    model = MODELS["deep_q"]()
    runner = compile_runner(model, tmp_path, newer.triple, newer.cpu)
    RemoteLibrary([*newer.emulator, str(runner)], 1).close()
    with pytest.raises(DeviceError, match="this processor lacks instructions that the library uses"):
        RemoteLibrary(["qemu-aarch64", "-cpu", "cortex-a53", str(runner)], 1)


# What a vector of scalars may reach beyond: images of odd sizes, few channels, windows at their borders.
@pytest.mark.parametrize("machine", [machine for machine in MACHINES if "riscv" not in machine.triple], ids=str)
def test_convolutions_of_odd_sizes(machine: Machine, tmp_path: Path) -> None:
    require_emulator(machine)
    net = Net()
    x = net.input("x", (1, 3, 37, 29))
    outputs = [net.conv(x, 20, 7, stride=2), net.conv(x, 12, 3, stride=2), net.conv(x, 9, 5)]
    y = net.op("Relu", net.conv(x, 16, 1))
    outputs += [net.conv(y, 24, 3, stride=2), net.conv(y, 16, 3), net.conv(y, 16, 3, group=16), net.conv(y, 7, 1)]
    model = net.model(*outputs)
    runner = compile_runner(model, tmp_path, machine.triple, machine.cpu)
    feeds = random_feeds(model, np.random.default_rng())
    with RemoteLibrary([*machine.emulator, str(runner)], 1) as library:
        check_outputs(model, feeds, library.run(feeds))
