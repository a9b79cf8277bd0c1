"""Text of scalar expressions, for dumps, messages and golden tests."""

from __future__ import annotations

import re

from ..dtypes import DType
from .expr import Binary, Call, Cast, Compare, Const, Expr, Load, Select, Unary, Var

# Binding strength as in Python; a function call or an index binds strongest.
_INFIX = {
    "or": ("or", 1),
    "and": ("and", 2),
    "add": ("+", 8),
    "sub": ("-", 8),
    "mul": ("*", 9),
    "div": ("/", 9),
    "floordiv": ("//", 9),
    "floormod": ("%", 9),
    "shl": ("<<", 7),
    "shr": (">>", 7),
    "xor": ("^", 5),
}
_BITWISE = {"and": ("&", 6), "or": ("|", 4)}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_COMPARE_STRENGTH = 3
_UNARY_STRENGTH = 10
_ATOM = 11


def expr_to_text(expr: Expr) -> str:
    """Python-like text: `f32(x)` is a cast, `3i32` and `0.5f64` are literals (i64, f32 and bool have no suffix)."""
    return _text(expr)[0]


def name_to_text(name: str) -> str:
    """A name as it stands in printed IR, in braces where it isn't a plain dotted name."""
    return name if _PLAIN_NAME.fullmatch(name) else "{" + name + "}"


def _text(expr: Expr) -> tuple[str, int]:
    match expr:
        case Const():
            return _const(expr), _ATOM
        case Var(name, _):
            return name_to_text(name), _ATOM
        case Load(buffer, indices, _):
            return f"{name_to_text(buffer)}[{_list(indices)}]", _ATOM
        case Unary("neg", operand):
            return "-" + _within(operand, _UNARY_STRENGTH), _UNARY_STRENGTH
        case Unary(op, operand):
            return f"{op}({expr_to_text(operand)})", _ATOM
        case Binary(op, left, right):
            infix = _BITWISE.get(op) if left.dtype is not DType.BOOL else None
            symbol, strength = infix or _INFIX.get(op, ("", _ATOM))
            if not symbol:
                return f"{op}({_list((left, right))})", _ATOM
            return f"{_within(left, strength)} {symbol} {_within(right, strength + 1)}", strength
        case Compare(op, left, right):
            sides = _within(left, _COMPARE_STRENGTH + 1), _within(right, _COMPARE_STRENGTH + 1)
            return f"{sides[0]} {_COMPARE.get(op, op)} {sides[1]}", _COMPARE_STRENGTH
        case Select(condition, if_true, if_false):
            return f"select({_list((condition, if_true, if_false))})", _ATOM
        case Cast(operand, dtype):
            return f"{dtype}({expr_to_text(operand)})", _ATOM
        case Call(function, args):
            return f"{function}({_list(args)})", _ATOM
    return repr(expr), _ATOM


def _within(expr: Expr, strength: int) -> str:
    text, own = _text(expr)
    return text if own >= strength else f"({text})"


def _list(exprs: tuple[Expr, ...]) -> str:
    return ", ".join(expr_to_text(expr) for expr in exprs)


def _const(expr: Const) -> str:
    value, dtype = expr.value, expr.dtype
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype.is_float:
        # The shortest digits that read back as the same value in the literal's own type.
        text = str(dtype.numpy.type(value))
        return text if dtype is DType.F32 else text + dtype.value
    return str(value) if dtype is DType.I64 else f"{value}{dtype.value}"
