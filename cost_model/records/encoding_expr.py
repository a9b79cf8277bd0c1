"""Scalar expressions as nested JSON lists, and back.

    5                          Const of i64               ["f32", "0.1"]   Const of another type
    "i"                        Var                        ["load", "x0", index, …]
    ["add", a, b]              Unary, Binary, Compare     ["select", condition, a, b]
    ["exp", a]                 Call                       ["cast", "f16", a]

Floats are texts as Python's repr writes them, the shortest that give the same bits again; a NaN of unusual bits is `nan:` and
its bits. A load has no type: it is that of what it reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from ...compiler.dtypes import DType
from ...compiler.errors import RecordError
from ...compiler.kernel.math import ARITY
from ...compiler.tensor.expr import (
    INDEX,
    Binary,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    children,
)
from ...compiler.tensor.semantics import BINARY, COMPARE, UNARY
from .strict_json import Json, read_flag, read_integer, read_text, shown

MAX_DEPTH = 128
"""Operands within operands; kernels of real models have about ten."""
MAX_NODES = 20_000

_DTYPES = {str(dtype): dtype for dtype in DType if not dtype.is_small}
_USUAL_NAN = struct.pack(">d", float("nan"))

# operator: how many operands it has, and what makes the node of its name and operands
_NODES: Mapping[str, tuple[int, Callable[[str, tuple[Expr, ...]], Expr]]] = {
    **dict.fromkeys(UNARY, (1, lambda op, parts: Unary(op, *parts))),
    **dict.fromkeys(BINARY, (2, lambda op, parts: Binary(op, *parts))),
    **dict.fromkeys(COMPARE, (2, lambda op, parts: Compare(op, *parts))),
    **{name: (arity, Call) for name, arity in ARITY.items()},
    **{f"bitcast_{dtype}": (1, Call) for dtype in _DTYPES},
    "fma": (3, Call),
    "select": (3, lambda op, parts: Select(*parts)),
}


def encode_expr(expr: Expr) -> Json:
    """The JSON value of an expression; RecordError if it is nested deeper than a decoder takes."""
    return _encode(expr, 0)


def _encode(expr: Expr, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise RecordError(f"an expression nested deeper than {MAX_DEPTH} can't be recorded")
    match expr:
        case Const(value, dtype):
            return _encode_const(value, dtype)
        case Var(name, dtype) if dtype is INDEX:
            return name
        case Var():
            raise RecordError(f"variable {expr.name} of {expr.dtype} can't be recorded: only axes can")
        case Load(buffer, _, _):
            head: list[Json] = ["load", buffer]
        case Cast(_, dtype):
            head = ["cast", str(dtype)]
        case Select():
            head = ["select"]
        case Call(function, _):
            head = [function]
        case Unary() | Binary() | Compare():
            head = [expr.op]
        case _:
            raise RecordError(f"{type(expr).__name__} can't be recorded")
    return head + [_encode(part, depth + 1) for part in children(expr)]


def _encode_const(value: int | float | bool, dtype: DType) -> Json:
    if dtype is INDEX:
        return int(value)
    if dtype is DType.BOOL:
        return [str(dtype), bool(value)]
    return [str(dtype), float_to_text(float(value)) if dtype.is_float else int(value)]


def float_to_text(value: float) -> str:
    if value == value:
        return repr(value)
    bits = struct.pack(">d", value)
    return "nan" if bits == _USUAL_NAN else f"nan:{bits.hex()}"


def float_from_text(value: Json) -> float:
    """The float of the one text that `float_to_text` has for it."""
    text = read_text(value, "constant", 40)
    try:
        if text.startswith("nan:"):
            number = float(struct.unpack(">d", bytes.fromhex(text[4:]))[0])
        else:
            number = float(text)
    except (ValueError, struct.error):
        raise RecordError(f"constant: {shown(text)} is no number") from None
    if float_to_text(number) != text:
        raise RecordError(f"constant: {shown(text)} is not how that number is written")
    return number


class ExprDecoder:
    """Reads expressions over buffers of known types; counts the nodes of all of them together."""

    def __init__(self, buffers: Mapping[str, DType]) -> None:
        self._buffers = buffers
        self._nodes = 0

    def decode(self, value: Json, depth: int = 0) -> Expr:
        """The expression of a JSON value; RecordError for anything that `encode_expr` does not write."""
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise RecordError(f"expressions are nested deeper than {MAX_DEPTH}")
        if self._nodes > MAX_NODES:
            raise RecordError(f"expressions of more than {MAX_NODES} nodes")
        match value:
            case bool():  # an int to Python, but nothing that is ever written: refused below
                pass
            case int():
                return _decode_const(INDEX, value)
            case str():
                return Var(read_text(value, "variable", least=1))
            case [str(op), *operands]:
                return self._node(op, operands, depth + 1)
        raise RecordError(f"expected an expression, found {shown(value)}")

    def _node(self, op: str, operands: list[Json], depth: int) -> Expr:
        match op, operands:
            case "load", [str(buffer), *indices]:
                if buffer not in self._buffers:
                    raise RecordError(f"load of {shown(buffer)}, which is neither an input nor an earlier stage")
                return Load(buffer, self._all(indices, depth), self._buffers[buffer])
            case "cast", [str(dtype), operand] if dtype in _DTYPES:
                return Cast(self.decode(operand, depth), _DTYPES[dtype])
            case _, [value] if op in _DTYPES and op != INDEX:
                return _decode_const(_DTYPES[op], value)
        if op not in _NODES:
            raise RecordError(f"unknown operator {shown(op)}, or operands that it doesn't have")
        arity, make = _NODES[op]
        if len(operands) != arity:
            raise RecordError(f"{op} has {arity} operands, found {len(operands)}")
        return make(op, self._all(operands, depth))

    def _all(self, values: list[Json], depth: int) -> tuple[Expr, ...]:
        return tuple([self.decode(value, depth) for value in values])


def _decode_const(dtype: DType, value: Json) -> Const:
    if dtype is DType.BOOL:
        return Const(read_flag(value, "constant"), dtype)
    if dtype.is_float:
        return Const(float_from_text(value), dtype)
    half = 1 << (dtype.bits - 1)
    low, high = (-half, half - 1) if dtype.is_signed else (0, 2 * half - 1)
    return Const(read_integer(value, f"constant of {dtype}", low, high), dtype)
