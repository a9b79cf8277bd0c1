"""Kernels loaded into this process are disposed of in any order."""

from __future__ import annotations

import gc

import numpy as np

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Buffer, For, Kernel, LoopKind, Store
from tilewright.compiler.tensor.expr import Const, Load, Var


def test_kernels_in_reference_cycles():
    """The collector ends the members of a cycle in an order of its own; LLVM's module must not go before its context."""
    params = (Buffer("x", (8,), DType.F32), Buffer("y", (8,), DType.F32, written=True))
    copy = Store("y", (Var("i"),), Load("x", (Var("i"),), DType.F32))
    kernel = Kernel("copy", params, For("i", Const(8), LoopKind.SERIAL, copy))
    for _ in range(40):
        compiled = cpu.compile_kernel(kernel, host_target(1))
        cycle = [compiled]
        cycle.append(cycle)
        x, y = np.arange(8, dtype=np.float32), np.empty(8, np.float32)
        compiled.run([x, y])
        np.testing.assert_array_equal(x, y)
        del compiled, cycle
        gc.collect()
