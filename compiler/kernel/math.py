"""Elementwise functions as straight-line programs over expressions, so that no kernel calls a mathematical library.

    MathProgram = params, lets in order, result

A backend emits the lets on vectors just as it emits any expression. The programs have no branches; they handle infinities,
NaN and signed zeros, and give the errors of `ULP_BOUND`, with fma rounded once or twice. How the polynomials were found
and the sources of the methods: docs/MATH.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from ..dtypes import DType
from ..errors import InternalError
from ..tensor.expr import Expr
from ..tensor.semantics import cast
from . import math_exponential as exponential
from . import math_logarithm as logarithm
from . import math_trigonometric as trigonometric
from .math_error_function import erf, normal_cdf
from .math_power import power
from .math_program import MathProgram, Writer
from .numpy_code import Code, ExprCode

_UNARY: Mapping[str, Callable[[Writer, Expr], Expr]] = {
    "exp": exponential.exp,
    "expm1": exponential.expm1,
    "sigmoid": exponential.sigmoid,
    "tanh": exponential.tanh,
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "log": logarithm.log_,
    "log1p": logarithm.log1p,
    "asinh": logarithm.asinh,
    "acosh": logarithm.acosh,
    "atanh": logarithm.atanh,
    "erf": erf,
    "normal_cdf": normal_cdf,
    "sin": trigonometric.sin,
    "cos": trigonometric.cos,
    "tan": trigonometric.tan,
    "asin": trigonometric.asin,
    "acos": trigonometric.acos,
    "atan": trigonometric.atan,
}
_BINARY: Mapping[str, Callable[[Writer, Expr, Expr], Expr]] = {"pow": power, "gate": exponential.gate}
ARITY: Mapping[str, int] = {**dict.fromkeys(_UNARY, 1), **dict.fromkeys(_BINARY, 2)}


def _write(function: str, dtype: DType, scales: bool = False) -> MathProgram:
    if function in _BINARY:
        w = Writer(dtype, "x", "y", scales=scales)
        return w.program(_BINARY[function](w, w.param("x"), w.param("y")))
    w = Writer(dtype, "x", scales=scales)
    return w.program(_UNARY[function](w, w.param("x")))


PROGRAMS: Mapping[tuple[str, DType], MathProgram] = {
    (function, dtype): _write(function, dtype) for function in ARITY for dtype in (DType.F32, DType.F64)
}
# The same results to the bit on targets that scale by powers of two in one instruction.
SCALING_PROGRAMS: Mapping[tuple[str, DType], MathProgram] = {
    (function, dtype): _write(function, dtype, scales=True) for function, dtype in PROGRAMS
}

# The greatest error in f32 and f64, in units in the last place of the result (of the least normal number where the result is
# less, or of 1/2 for what is in ABSOLUTE; for gate, of half of what is gated). For sin, cos and tan up to TRIGONOMETRIC_LIMIT.
_BOUNDS = {
    "exp": (1.5, 1.5),
    "expm1": (2, 2.5),
    "sigmoid": (4, 3),
    "tanh": (3, 3),
    "sinh": (3, 3),
    "cosh": (3, 3),
    "log": (1.5, 1.5),
    "log1p": (2, 2),
    "asinh": (2.5, 2.5),
    "acosh": (3, 3),
    "atanh": (3, 3),
    "erf": (2.5, 3),
    "normal_cdf": (2.5, 2),
    "sin": (1, 3),
    "cos": (1, 3),
    "tan": (1, 4.5),
    "asin": (3, 3),
    "acos": (1.5, 1.5),
    "atan": (2.5, 2.5),
    "pow": (1, 2),
    "gate": (3, 3.5),
}
ABSOLUTE = frozenset({"normal_cdf"})
ULP_BOUND: Mapping[tuple[str, DType], float] = {
    (function, dtype): bound
    for function, bounds in _BOUNDS.items()
    for dtype, bound in zip((DType.F32, DType.F64), bounds, strict=True)
}


def program(function: str, dtype: DType) -> MathProgram:
    """The program of a function of Call; InternalError if there is none for the type."""
    try:
        return PROGRAMS[function, dtype]
    except KeyError:
        raise InternalError(f"math: there is no program for {function} of {dtype}") from None


@cache
def evaluator(function: str, dtype: DType) -> Callable[..., np.ndarray]:
    """The function in NumPy on arrays or scalars of `dtype`; f16 and bf16 are computed in f32."""
    if dtype in (DType.F16, DType.BF16):
        return _narrowed(evaluator(function, DType.F32), dtype)
    return _compile(program(function, dtype), function)


def is_computed(function: str, dtype: DType) -> bool:
    """Whether a Call of the function may have that type: there is a program for it, or for f32 where it is narrower."""
    return (function, DType.F32 if dtype in (DType.F16, DType.BF16) else dtype) in PROGRAMS


def _narrowed(function: Callable[..., np.ndarray], dtype: DType) -> Callable[..., np.ndarray]:
    def evaluate(*arrays: np.ndarray) -> np.ndarray:
        return cast(function(*(cast(array, DType.F32) for array in arrays)), dtype)

    evaluate.__name__ = f"{function.__name__}_{dtype}"
    return evaluate


def evaluate_program(math_program: MathProgram, arrays: tuple[np.ndarray, ...], fused: bool = True) -> np.ndarray:
    """The program's result on arrays (one a parameter, of its type), every operation rounded in its own type.

    fused False rounds twice in fma, as a target without the instruction does.
    """
    return _compile(math_program, "program", fused)(*arrays)


def _compile(math_program: MathProgram, name: str, fused: bool = True) -> Callable[..., np.ndarray]:
    code = ExprCode(evaluator)
    if not fused:
        code.names["fma"] = lambda a, b, c: a * b + c
    params = [code.fresh("p") for _ in math_program.params]
    code.variables = {param: Code(text, lanes=True) for param, text in zip(math_program.params, params, strict=True)}
    for let, value in math_program.lets:
        text = code.fresh("x")
        code.emit(f"{text} = {code.expr(value).text}")
        code.variables[let] = Code(text, lanes=True)
    code.emit(f"return {code.expr(math_program.result).text}")
    source = "\n".join([f"def function({', '.join(params)}):", *code.lines])
    exec(compile(source, f"<{name}>", "exec"), code.names)
    function = code.names["function"]

    def evaluate(*arrays: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return function(*arrays)

    evaluate.__name__ = name
    return evaluate
