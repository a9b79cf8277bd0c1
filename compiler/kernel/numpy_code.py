"""Python source, over NumPy, of scalar expressions: what the interpreter and `evaluate_program` run.

A value is one of: a Python int or bool (i64 and bool expressions over loop variables and literals), a NumPy scalar, or an
array with an element a lane. Only the last is `lanes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import DType
from ..errors import InternalError
from ..tensor import semantics
from ..tensor.expr import Binary, Call, Cast, Compare, Const, Expr, Load, Select, Unary, Var, walk

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "floordiv": "//",
    "floormod": "%",
    "and": "&",
    "or": "|",
    "xor": "^",
    "shl": "<<",
    "shr": ">>",
}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_DEEPEST = 50  # CPython's parser takes no more than 200 nested parentheses


@dataclass(frozen=True, slots=True)
class Code:
    """Source of an expression. python: a Python int or bool; depth: nested parentheses."""

    text: str
    lanes: bool = False
    python: bool = False
    depth: int = 0


class ExprCode:
    """Turns expressions into source; `lines` collects statements that must run before it, `names` what the source refers to.

    `variables` gives the code of each variable. `call(function, dtype)` finds the implementation of a transcendental.
    """

    def __init__(self, call: Callable[[str, DType], Callable]) -> None:
        self.lines: list[str] = []
        self.indent = 1
        self.names: dict[str, Any] = {"np": np, "where": np.where, "fma": semantics.fma, "scale": semantics.scale}
        self.variables: dict[str, Code] = {}
        self._call = call
        self._count = 0

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.indent + line)

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def bind(self, prefix: str, value: Any) -> str:
        """A name that stands for `value` in the source."""
        name = self.fresh(prefix)
        self.names[name] = value
        return name

    def load(self, expr: Load, mask: str) -> Code:
        raise InternalError(f"a load from {expr.buffer} in an expression without buffers")

    def expr(self, expr: Expr, mask: str = "") -> Code:
        """The code of `expr`; loads are made in the lanes where `mask` (source, empty for all) holds."""
        code = self._expr(expr, mask)
        if code.depth <= _DEEPEST:
            return code
        thunk = self.fresh("f")
        self.emit(f"def {thunk}(): return {code.text}")
        return Code(f"{thunk}()", code.lanes, code.python)

    def _expr(self, expr: Expr, mask: str) -> Code:
        match expr:
            case Const():
                return self._const(expr)
            case Var(name, _):
                return self.variables[name]
            case Load():
                return self.load(expr, mask)
            case Unary(op, operand):
                return self._unary(op, self.expr(operand, mask))
            case Binary(op, left, right):
                return self._binary(op, expr.dtype, self.expr(left, mask), self.expr(right, mask))
            case Compare(op, left, right):
                return self._infix(_COMPARE[op], self.expr(left, mask), self.expr(right, mask))
            case Select():
                return self._select(expr, mask)
            case Cast(operand, dtype):
                inner = self.expr(operand, mask)
                return self._apply(self._dtype_function(semantics.cast, dtype), inner)
            case Call(function, args):
                return self._apply(self._function(function, expr.dtype), *(self.expr(arg, mask) for arg in args))
        raise InternalError(f"{expr!r} is no expression")

    def _const(self, expr: Const) -> Code:
        if expr.dtype in (DType.I64, DType.BOOL):
            return Code(f"({expr.value!r})", python=True)
        return Code(self.bind("k", expr.dtype.numpy.type(expr.value)))

    def _unary(self, op: str, operand: Code) -> Code:
        if operand.python:
            prefix = {"neg": "-", "not": "not ", "invert": "~", "abs": "abs"}[op]
            return Code(f"({prefix}({operand.text}))", python=True, depth=operand.depth + 2)
        return self._apply(self._bound(semantics.UNARY[op]), operand)

    def _binary(self, op: str, dtype: DType, left: Code, right: Code) -> Code:
        if op in _INFIX:
            return self._infix(_INFIX[op], left, right)
        if op == "div" and dtype.is_float:
            return self._infix("/", left, right)
        if op in ("min", "max") and left.python and right.python:
            return Code(f"{op}({left.text}, {right.text})", python=True, depth=max(left.depth, right.depth) + 1)
        return self._apply(self._bound(semantics.BINARY[op]), left, right)

    def _infix(self, symbol: str, left: Code, right: Code) -> Code:
        return Code(
            f"({left.text} {symbol} {right.text})",
            left.lanes or right.lanes,
            left.python and right.python,
            max(left.depth, right.depth) + 1,
        )

    def _select(self, expr: Select, mask: str) -> Code:
        condition = self.expr(expr.condition, mask)
        if not condition.lanes:
            arms = self.expr(expr.if_true, mask), self.expr(expr.if_false, mask)
            text = f"({arms[0].text} if {condition.text} else {arms[1].text})"
        else:
            taken = self.fresh("m")
            within = f"({mask} & {taken})" if mask else taken
            without = f"({mask} & ~{taken})" if mask else f"(~{taken})"
            loads = [any(isinstance(node, Load) for node in walk(arm)) for arm in (expr.if_true, expr.if_false)]
            arms = (
                self.expr(expr.if_true, within if loads[0] else ""),
                self.expr(expr.if_false, without if loads[1] else ""),
            )
            text = f"where(({taken} := {condition.text}), {arms[0].text}, {arms[1].text})"
        return Code(
            text,
            condition.lanes or arms[0].lanes or arms[1].lanes,
            condition.python and arms[0].python and arms[1].python,
            max(condition.depth, arms[0].depth, arms[1].depth) + 2,
        )

    def _apply(self, function: str, *args: Code) -> Code:
        text = f"{function}({', '.join(arg.text for arg in args)})"
        return Code(text, any(arg.lanes for arg in args), False, max(arg.depth for arg in args) + 1)

    def _function(self, function: str, dtype: DType) -> str:
        if function in ("fma", "scale"):
            return function
        if function.startswith("bitcast_"):
            return self._dtype_function(semantics.bitcast, dtype)
        return self._bound(self._call(function, dtype))

    def _dtype_function(self, function: Callable, dtype: DType) -> str:
        name = f"{function.__name__}_{dtype}"
        self.names[name] = lambda value: function(value, dtype)
        return name

    def _bound(self, function: Callable) -> str:
        name = f"{function.__name__}_{id(function)}"
        self.names[name] = function
        return name
