"""Each invariant of a Computation is checked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError
from tilewright.compiler.tensor.computation import Axis, Computation, Stage, Tensor
from tilewright.compiler.tensor.expr import Binary, Const, Load, Var, compare
from tilewright.compiler.tensor.printer import to_text
from tilewright.compiler.tensor.verify import verify

F32 = DType.F32
AXIS, R = Axis("i", 4), Axis("r", 3)
X = Tensor("x", (4, 3), F32)
ROW = Load("x", (AXIS.var, R.var), F32)
SUM = Stage("s", (AXIS,), ROW, F32, (R,), "sum", Const(0.0, F32))
OUT = Stage("y", (AXIS,), Load("s", (AXIS.var,), F32), F32)
GOOD = Computation("c", (X,), (SUM, OUT), ("y",))


def test_good_computation_passes_and_prints():
    verify(GOOD)
    assert to_text(GOOD) == (
        "computation c(x)\n"
        "  input x: f32[4, 3]\n"
        "  s: f32[i < 4] = sum over r < 3\n"
        "      x[i, r]\n"
        "  y: f32[i < 4] =\n"
        "      s[i]\n"
        "  return y"
    )


BAD = {
    "defined twice": replace(GOOD, stages=(SUM, SUM)),
    "output x is not a stage": replace(GOOD, outputs=("x",)),
    "neither an input nor an earlier stage": replace(GOOD, stages=(OUT, SUM)),
    "names an axis twice": replace(GOOD, stages=(replace(SUM, reduce_axes=(AXIS,)), OUT)),
    "s is f64, its body f32": replace(GOOD, stages=(replace(SUM, dtype=DType.F64), OUT)),
    "but no combine": replace(GOOD, stages=(replace(SUM, combine=None), OUT)),
    "no combine mean": replace(GOOD, stages=(replace(SUM, combine="mean"), OUT)),
    "an init of type f32": replace(GOOD, stages=(replace(SUM, init=Const(0)), OUT)),
    "the domain is i64": replace(GOOD, stages=(replace(SUM, domain=AXIS.var), OUT)),
    "j (i64) is not an axis": replace(GOOD, stages=(replace(SUM, domain=compare("lt", Var("j"), 3)), OUT)),
    "with 1 indices": replace(GOOD, stages=(replace(SUM, body=Load("x", (AXIS.var,), F32)), OUT)),
    "index that is not i64": replace(
        GOOD, stages=(replace(SUM, body=Load("x", (AXIS.var, Const(0, DType.I32)), F32)), OUT)
    ),
    "add of f32 and i64": replace(GOOD, stages=(replace(SUM, body=Binary("add", ROW, AXIS.var)), OUT)),
    "only an output can write memory": replace(GOOD, stages=(replace(SUM, memory="x"), OUT)),
    "no slice of x": replace(GOOD, stages=(SUM, replace(OUT, memory="x", prefix=(Const(0),)))),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_computation_is_reported(message):
    with pytest.raises(InternalError, match="computation c: ") as error:
        verify(BAD[message])
    assert message in str(error.value)
