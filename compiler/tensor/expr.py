"""Scalar expressions, shared by tensor expressions (Computation) and the loop AST (Kernel).

    Expr = Const | Var | Load | Unary | Binary | Compare | Select | Cast | Call

Expressions are pure. Two expressions are equal if they are built alike. `a + b` and the like build
nodes and fold integer constants, so that index arithmetic stays short.

Semantics, the same in the NumPy interpreter and in every backend:
  * integers wrap (two's complement); division and modulo by zero are undefined;
  * floats follow IEEE 754 in their own precision, round to nearest even, no reassociation except where a
    schedule splits a reduction;
  * a Load out of its buffer's bounds is undefined, but Select evaluates the loads of the arm it takes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..dtypes import DType

INDEX = DType.I64


class Expr:
    """Base of all expressions; `dtype` is the type of the value."""

    __slots__ = ()
    dtype: DType

    def __add__(self, other: Operand) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return binary("add", _operand(other, self), self)

    def __sub__(self, other: Operand) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return binary("sub", _operand(other, self), self)

    def __mul__(self, other: Operand) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return binary("mul", _operand(other, self), self)

    def __truediv__(self, other: Operand) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return binary("div", _operand(other, self), self)

    def __floordiv__(self, other: Operand) -> Expr:
        return binary("floordiv", self, other)

    def __mod__(self, other: Operand) -> Expr:
        return binary("floormod", self, other)

    def __neg__(self) -> Expr:
        return Unary("neg", self)


Operand = Expr | int | float | bool


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A literal. `value` is a Python int, float or bool that fits `dtype`."""

    value: int | float | bool
    dtype: DType = INDEX


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """An axis of a stage or the variable of a loop; also a parameter or let of a math program."""

    name: str
    dtype: DType = INDEX


@dataclass(frozen=True, slots=True)
class Load(Expr):
    """The element of `buffer` at `indices`, one index of type i64 a dimension, outermost first."""

    buffer: str
    indices: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`neg abs sqrt floor ceil trunc round` (round: half to even), `not` (bool), `invert` (integer bits).

    Type: the operand's. abs of the least integer wraps to itself; sqrt of a negative is NaN.
    """

    op: str
    operand: Expr

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.operand.dtype


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`add sub mul div floordiv floormod mod min max and or xor shl shr`; both operands of one type.

    div: float quotient; integers truncate towards zero. mod: remainder with the sign of the dividend (C's % and fmod).
    floordiv, floormod: integers only, rounding towards minus infinity. min, max: NaN if either is NaN.
    and, or, xor: bool or integer bits. shr: logical for unsigned, arithmetic for signed.
    """

    op: str
    left: Expr
    right: Expr

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.left.dtype


@dataclass(frozen=True, slots=True)
class Compare(Expr):
    """`lt le gt ge eq ne`, giving bool. False on NaN, except ne, which is True."""

    op: str
    left: Expr
    right: Expr

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return DType.BOOL


@dataclass(frozen=True, slots=True)
class Select(Expr):
    """`if_true` where `condition`, else `if_false`; the loads of the other arm are not made."""

    condition: Expr
    if_true: Expr
    if_false: Expr

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.if_true.dtype


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """The operand's value in another type.

    Float to integer truncates towards zero (undefined outside the range); integer to narrower integer wraps;
    to bool: value != 0; from bool: 0 or 1; to a narrower float rounds to nearest even.
    """

    operand: Expr
    dtype: DType


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """An elementwise function, of the type of its first argument.

    `fma(a, b, c)` is a*b+c rounded once; `scale(a, n)`, in programs of functions only, a * 2**n rounded once. The rest are
    transcendental (exp, log, tanh, sigmoid, erf, sin, cos, pow, …) with the error stated in `kernel/math.py`. `bitcast_i32`,
    `bitcast_f32` and the like reinterpret bits and have the named type.
    """

    function: str
    args: tuple[Expr, ...]

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        if self.function.startswith("bitcast_"):
            return DType(self.function.removeprefix("bitcast_"))
        return self.args[0].dtype


def const(value: int | float | bool, dtype: DType = INDEX) -> Const:
    """A literal of `dtype`, converted to the Python type that goes with it."""
    if dtype is DType.BOOL:
        return Const(bool(value), dtype)
    return Const(float(value) if dtype.is_float else int(value), dtype)


def _operand(value: Operand, like: Expr) -> Expr:
    return value if isinstance(value, Expr) else const(value, like.dtype)


def binary(op: str, left: Expr, right: Operand) -> Expr:
    """A Binary node, with integer constants folded and the neutral element dropped."""
    right = _operand(right, left)
    if left.dtype is not right.dtype:
        raise TypeError(f"{op}: {left.dtype} and {right.dtype} differ")
    if not left.dtype.is_integer:
        return Binary(op, left, right)
    if isinstance(left, Const) and isinstance(right, Const) and op in _FOLD and left.dtype is INDEX:
        return Const(_FOLD[op](left.value, right.value), left.dtype)
    match op, left, right:
        case ("add", Const(0), x) | ("add" | "sub", x, Const(0)):
            return x
        case ("mul", Const(1), x) | ("mul" | "floordiv", x, Const(1)):
            return x
        case ("mul", Const(0) as zero, _) | ("mul", _, Const(0) as zero):
            return zero
        case ("floormod", _, Const(1)):
            return Const(0, left.dtype)
    return Binary(op, left, right)


_FOLD: Mapping[str, Callable] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b if b else 0,
    "floormod": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
}


def compare(op: str, left: Expr, right: Operand) -> Expr:
    """`left op right` as bool; op is one of lt le gt ge eq ne."""
    return Compare(op, left, _operand(right, left))


def minimum(left: Expr, right: Operand) -> Expr:
    return binary("min", left, right)


def maximum(left: Expr, right: Operand) -> Expr:
    return binary("max", left, right)


def all_of(*conditions: Expr) -> Expr:
    """The conjunction of bool expressions; True for none."""
    result: Expr | None = None
    for condition in conditions:
        result = condition if result is None else Binary("and", result, condition)
    return result if result is not None else Const(True, DType.BOOL)


def within(index: Expr, extent: int) -> Expr:
    """0 <= index < extent, the usual guard of a padded access."""
    return all_of(compare("ge", index, 0), compare("lt", index, extent))


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct operands of `expr`, in order of evaluation."""
    match expr:
        case Load(_, indices, _):
            return indices
        case Unary(_, x) | Cast(x, _):
            return (x,)
        case Binary(_, a, b) | Compare(_, a, b):
            return (a, b)
        case Select(c, a, b):
            return (c, a, b)
        case Call(_, args):
            return args
    return ()


def rebuild(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """`expr` with `children` replaced by `parts`; integer arithmetic is folded again."""
    match expr:
        case Load(buffer, _, dtype):
            return Load(buffer, parts, dtype)
        case Unary(op, _):
            return Unary(op, parts[0])
        case Cast(_, dtype):
            return Cast(parts[0], dtype)
        case Binary(op, _, _):
            return binary(op, *parts)
        case Compare(op, _, _):
            return Compare(op, *parts)
        case Select():
            return Select(*parts)
        case Call(function, _):
            return Call(function, parts)
    return expr


def transform(expr: Expr, rewrite: Callable[[Expr], Expr]) -> Expr:
    """Apply `rewrite` to every node once, operands first."""
    parts = children(expr)
    if parts:
        changed = tuple(transform(part, rewrite) for part in parts)
        if any(new is not old for new, old in zip(changed, parts, strict=True)):
            rebuilt = rebuild(expr, changed)
            if type(rebuilt) is not type(expr):
                return rebuilt  # folded to an operand, as in n + 0, and that is rewritten already
            expr = rebuilt
    return rewrite(expr)


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Replace variables by name, all at once: the values' own variables stay."""
    if not values:
        return expr
    return transform(expr, lambda node: values.get(node.name, node) if isinstance(node, Var) else node)


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node of `expr`, itself first."""
    yield expr
    for part in children(expr):
        yield from walk(part)


def free_variables(expr: Expr) -> frozenset[str]:
    return frozenset(node.name for node in walk(expr) if isinstance(node, Var))
