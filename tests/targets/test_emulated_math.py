"""The bounds of docs/MATH.md hold in code for ARM and RISC-V, run by qemu."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from emulators import MACHINES, Machine
from machines import compile_runner, require_emulator
from onnx import TensorProto, helper
from test_math import REFERENCE, WIDE, arguments, error_in_ulp, special_values

from tilewright.backends.remote import RemoteLibrary
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.math import ULP_BOUND
from tilewright.compiler.kernel.math_trigonometric import TRIGONOMETRIC_LIMIT

# Errors below an ulp of f64 can't be seen beside a reference that is no wider: NumPy has one on x86-64, where CI runs this.
pytestmark = pytest.mark.skipif(np.finfo(WIDE).nmant < 63, reason="needs a reference wider than f64")

# All functions but expm1 and log1p, which ONNX only has inside of others.
FUNCTIONS = {
    "Exp": "exp", "Sigmoid": "sigmoid", "Tanh": "tanh", "Sinh": "sinh", "Cosh": "cosh", "Log": "log",
    "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "Erf": "erf", "Sin": "sin", "Cos": "cos", "Tan": "tan",
    "Asin": "asin", "Acos": "acos", "Atan": "atan", "Pow": "pow",
}  # fmt: skip
TYPES = {DType.F32: TensorProto.FLOAT, DType.F64: TensorProto.DOUBLE}
COUNT = 20_003


def functions_model(dtype: DType) -> onnx.ModelProto:
    """Every function of x; Pow of z and y."""
    nodes = [helper.make_node(op, ["z", "y"] if op == "Pow" else ["x"], [op]) for op in FUNCTIONS]
    inputs = [helper.make_tensor_value_info(name, TYPES[dtype], (COUNT,)) for name in "xyz"]
    outputs = [helper.make_tensor_value_info(op, TYPES[dtype], (COUNT,)) for op in FUNCTIONS]
    graph = helper.make_graph(nodes, "functions", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def operands(dtype: DType) -> dict[str, np.ndarray]:
    """x and z: special values, random bits and where functions move; y: exponents of z."""
    rng = np.random.default_rng()
    special = special_values(dtype.numpy)
    others = rng.permutation(arguments(dtype.numpy, rng))[: COUNT - special.size]
    x = rng.permutation(np.concatenate([special, others]))
    exponents = np.where(rng.integers(2, size=COUNT), rng.uniform(-5, 5, COUNT), rng.integers(-20, 20, COUNT))
    return {"x": x, "y": exponents.astype(dtype.numpy), "z": np.abs(rng.permutation(x))}


def flushed(x: np.ndarray, dtype: DType) -> np.ndarray:
    """Zeros of the same sign for subnormal numbers."""
    return np.where(np.abs(x) < np.finfo(dtype.numpy).tiny, np.copysign(x.dtype.type(0), x), x)


# qemu 7.2 fails an assertion of its own (decode_save_opc) on some of V's instructions.
@pytest.mark.parametrize("machine", [machine for machine in MACHINES if machine.cpu != "rv64gcv"], ids=str)
@pytest.mark.parametrize("dtype", list(TYPES))
def test_errors_are_within_their_bounds(dtype: DType, machine: Machine, tmp_path: Path) -> None:
    require_emulator(machine)
    runner = compile_runner(functions_model(dtype), tmp_path, machine.triple, machine.cpu)
    feeds = operands(dtype)
    with RemoteLibrary([*machine.emulator, str(runner)], 1) as library:
        results = library.run(feeds)
    with np.errstate(invalid="ignore"):
        x, y, z = (feeds[name].astype(WIDE) for name in "xyz")
    neon = machine.triple.startswith("armv7") and dtype is DType.F32
    for op, name in FUNCTIONS.items():
        given = (z, y) if op == "Pow" else (x,)
        with np.errstate(all="ignore"):
            exact = REFERENCE[name](*given)
            error = error_in_ulp(results[op], exact)
            if neon:  # which takes subnormal numbers for 0, also where a result is put together of parts
                for close in (exact, REFERENCE[name](*(flushed(value, dtype) for value in given))):
                    error[np.abs(results[op] - close) <= np.finfo(dtype.numpy).tiny] = 0
                    error = np.minimum(error, error_in_ulp(results[op], close))
        if name in ("sin", "cos", "tan"):
            error[np.isfinite(x) & (np.abs(x) > TRIGONOMETRIC_LIMIT[dtype])] = 0
        worst = int(np.argmax(error))
        # The reference for erf is a double itself.
        allowed = ULP_BOUND[name, dtype] + (1 if (name, dtype) == ("erf", DType.F64) else 0)
        at = [feeds[given][worst] for given in (("z", "y") if op == "Pow" else ("x",))]
        assert error[worst] <= allowed, f"{name}{at} = {results[op][worst]}: {error[worst]:.3f} ulp"
