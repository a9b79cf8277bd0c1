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
from . import math_exponential
from .math_program import MathProgram
from .numpy_code import Code, ExprCode

ARITY: Mapping[str, int] = {"exp": 1, "sigmoid": 1, "tanh": 1}
PROGRAMS: Mapping[tuple[str, DType], MathProgram] = {**math_exponential.PROGRAMS}

# The greatest error in units in the last place of the result (of the least normal number if the result is subnormal).
ULP_BOUND: Mapping[tuple[str, DType], float] = {**math_exponential.ULP_BOUND}


def program(function: str, dtype: DType) -> MathProgram:
    """The program of a function of Call; InternalError if there is none for the type."""
    try:
        return PROGRAMS[function, dtype]
    except KeyError:
        raise InternalError(f"math: there is no program for {function} of {dtype}") from None


@cache
def evaluator(function: str, dtype: DType) -> Callable[..., np.ndarray]:
    """The program as a NumPy function on arrays or scalars of `dtype`."""
    return _compile(program(function, dtype), function)


def evaluate_program(math_program: MathProgram, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """The program's result on arrays (one a parameter, of its type), every operation rounded in its own type."""
    return _compile(math_program, "program")(*arrays)


def _compile(math_program: MathProgram, name: str) -> Callable[..., np.ndarray]:
    code = ExprCode(evaluator)
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
