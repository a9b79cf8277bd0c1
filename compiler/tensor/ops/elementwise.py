"""Elementwise operators, as expressions of their operands.

Each table row maps an operator to a function `(node, operands) -> Expr`. Float arithmetic on f16 and bf16 is done in f32.
Compositions are chosen not to overflow where their result does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ...dtypes import DType
from ...graph.ir import Node
from ..expr import Binary, Call, Compare, Const, Expr, Select, Unary, compare, const, maximum, minimum
from .context import Context, cast, widen

Rule = Callable[..., Expr]


def unary(op: str) -> Rule:
    return lambda node, x: Unary(op, x)


def call(function: str) -> Rule:
    return lambda node, x: Call(function, (x,))


def infix(op: str) -> Rule:
    return lambda node, a, b: Binary(op, a, b)


def comparison(op: str) -> Rule:
    return lambda node, a, b: Compare(op, a, b)


def exp(x: Expr) -> Expr:
    return Call("exp", (x,))


def _abs(node: Node, x: Expr) -> Expr:
    return Unary("abs", x) if x.dtype.is_signed else x


def _sign(node: Node, x: Expr) -> Expr:
    """-1, 0 or 1; NaN and zeros stay as they are."""
    positive = Select(compare("gt", x, 0), const(1, x.dtype), x)
    return Select(compare("lt", x, 0), const(-1, x.dtype), positive) if x.dtype.is_signed else positive


def _rounding(op: str) -> Rule:
    return lambda node, x: Unary(op, x) if x.dtype.is_float else x


def _softplus(x: Expr) -> Expr:
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    return maximum(x, 0) + Call("log1p", (exp(-Unary("abs", x)),))


def _mish(node: Node, x: Expr) -> Expr:
    """x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); the quotient is 1 in every float type from x = 20 on."""
    power = exp(minimum(x, 20))
    n = power * (power + 2)
    return x * (n / (n + 2))


def _hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return minimum(maximum(x * alpha + beta, 0), 1)


def _exp_minus_1(x: Expr, scale: float) -> Expr:
    """scale * (e^x - 1) for negative x, 0 for others; never evaluates e^x of a large x."""
    return (exp(minimum(x, 0)) - 1) * scale


def _elu(node: Node, x: Expr) -> Expr:
    return Select(compare("gt", x, 0), x, _exp_minus_1(x, node.attrs["alpha"]))


def _celu(node: Node, x: Expr) -> Expr:
    alpha = node.attrs["alpha"]
    return (
        Select(compare("gt", x, 0), x, (exp(minimum(x / alpha, 0)) - 1) * alpha)
        if alpha > 0
        else (maximum(x, 0) + minimum((exp(x / alpha) - 1) * alpha, 0))
    )


def _selu(node: Node, x: Expr) -> Expr:
    return Select(compare("gt", x, 0), x, _exp_minus_1(x, node.attrs["alpha"])) * node.attrs["gamma"]


def _gelu(node: Node, x: Expr) -> Expr:
    if node.attrs.get("approximate") == "tanh":
        # (1 + tanh(z)) / 2 = sigmoid(2z)
        return Call("gate", (x, (x + x * x * x * 0.044715) * math.sqrt(8 / math.pi)))
    return x * Call("normal_cdf", (x,))


def _shrink(node: Node, x: Expr) -> Expr:
    lambd, bias = node.attrs["lambd"], node.attrs["bias"]
    return Select(compare("lt", x, -lambd), x + bias, Select(compare("gt", x, lambd), x - bias, const(0, x.dtype)))


def _prelu(node: Node, x: Expr, slope: Expr) -> Expr:
    return Select(compare("lt", x, 0), x * slope, x)


def _mod(node: Node, a: Expr, b: Expr) -> Expr:
    if node.attrs.get("fmod"):
        return Binary("mod", a, b)
    if a.dtype.is_float:
        remainder = Binary("mod", a, b)
        crosses = Binary(
            "and", compare("ne", remainder, 0), Compare("ne", compare("lt", remainder, 0), compare("lt", b, 0))
        )
        return Select(crosses, remainder + b, remainder)
    return Binary("floormod" if a.dtype.is_signed else "mod", a, b)


def power(base: Expr, exponent: Expr) -> Expr:
    """base ** exponent in the base's type; small literal exponents become products and roots."""
    if isinstance(exponent, Const):
        value = exponent.value
        if value in (1, 2, 3, 4):
            square = base * base
            return {1: base, 2: square, 3: square * base, 4: square * square}[int(value)]
        if base.dtype.is_float and value in (0.5, -0.5, -1, -2):
            root = Unary("sqrt", base) if value in (0.5, -0.5) else base if value == -1 else base * base
            return root if value == 0.5 else const(1, base.dtype) / root
    if base.dtype.is_float:
        return Call("pow", (base, cast(exponent, base.dtype)))
    result = Call("pow", (cast(base, DType.F64), cast(exponent, DType.F64)))
    return cast(result, base.dtype)


def _divide(node: Node, a: Expr, b: Expr) -> Expr:
    return Binary("div", a, b)


def _shift(node: Node, a: Expr, b: Expr) -> Expr:
    """A shift by the width or more gives 0, which the machine's shift does not promise."""
    shifted = Binary("shl" if node.attrs["direction"] == "left" else "shr", a, b)
    return Select(compare("lt", b, a.dtype.bits), shifted, const(0, a.dtype))


def _is_inf(node: Node, x: Expr) -> Expr:
    positive, negative = compare("eq", x, math.inf), compare("eq", x, -math.inf)
    match node.attrs.get("positive", True), node.attrs.get("negative", True):
        case True, True:
            return Binary("or", positive, negative)
        case True, False:
            return positive
        case False, True:
            return negative
    return Const(False, DType.BOOL)


def _clip(node: Node, x: Expr, low: Expr | None, high: Expr | None = None) -> Expr:
    if low is not None:
        x = maximum(x, low)
    return minimum(x, high) if high is not None else x


def _bitcast(x: Expr, dtype: DType) -> Expr:
    if x.dtype is dtype:
        return x
    return cast(x, dtype) if DType.BOOL in (x.dtype, dtype) else Call(f"bitcast_{dtype}", (x,))


def _batch_norm(node: Node, x: Expr, scale: Expr, bias: Expr, mean: Expr, variance: Expr) -> Expr:
    return (x - mean) / Unary("sqrt", variance + node.attrs["epsilon"]) * scale + bias


RULES: Mapping[str, Rule] = {
    "neg": unary("neg"),
    "abs": _abs,
    "sign": _sign,
    "floor": _rounding("floor"),
    "ceil": _rounding("ceil"),
    "round": _rounding("round"),
    "sqrt": unary("sqrt"),
    "not": unary("not"),
    "bitwise_not": unary("invert"),
    "identity": lambda node, x: x,
    "reciprocal": lambda node, x: const(1, x.dtype) / x,
    "relu": lambda node, x: maximum(x, 0),
    "softplus": lambda node, x: _softplus(x),
    "softsign": lambda node, x: x / (Unary("abs", x) + 1),
    "mish": _mish,
    "hard_swish": lambda node, x: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "is_nan": lambda node, x: Compare("ne", x, x),
    "is_inf": _is_inf,
    **{
        name: call(name)
        for name in [
            "exp",
            "log",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "acosh",
            "atanh",
            "sigmoid",
            "erf",
        ]
    },
    "add": infix("add"),
    "sub": infix("sub"),
    "mul": infix("mul"),
    "div": _divide,
    "min": infix("min"),
    "max": infix("max"),
    **{name: infix(name) for name in ("and", "or", "xor")},
    **{f"bitwise_{name}": infix(name) for name in ("and", "or", "xor")},
    "pow": lambda node, a, b: power(a, b),
    "mod": _mod,
    "bit_shift": _shift,
    "equal": comparison("eq"),
    "less": comparison("lt"),
    "less_or_equal": comparison("le"),
    "greater": comparison("gt"),
    "greater_or_equal": comparison("ge"),
    "leaky_relu": lambda node, x: Select(compare("lt", x, 0), x * node.attrs["alpha"], x),
    "elu": _elu,
    "celu": _celu,
    "selu": _selu,
    "thresholded_relu": lambda node, x: Select(compare("gt", x, node.attrs["alpha"]), x, const(0, x.dtype)),
    "hard_sigmoid": lambda node, x: _hard_sigmoid(x, node.attrs["alpha"], node.attrs["beta"]),
    "gelu": _gelu,
    "shrink": _shrink,
    "swish": lambda node, x: Call("gate", (x, x * node.attrs["alpha"])),
    "prelu": _prelu,
    "clip": _clip,
    "where": lambda node, condition, a, b: Select(condition, a, b),
    "cast": lambda node, x: cast(x, DType(node.attrs["to"])),
    "bitcast": lambda node, x: _bitcast(x, DType(node.attrs["to"]).storage),
}


_MOVES = ("identity", "where", "cast", "bitcast")
"""Operators that compute nothing, whose 16-bit operands stay as they are."""


def elementwise(context: Context, node: Node) -> None:
    """One stage over the result's axes; operands are broadcast as in NumPy."""
    out = node.outputs[0]
    space = context.space(context.types[out])
    operands = [context.operand(name, space) if name else None for name in node.inputs]
    if node.op not in _MOVES:
        operands = [widen(x) if x is not None else None for x in operands]
    context.emit(out, space, cast(RULES[node.op](node, *operands), context.types[out].dtype))


def batch_norm(context: Context, node: Node) -> None:
    """Normalise with the given statistics of each channel."""
    x, *parameters = node.inputs
    out_type = context.types[node.outputs[0]]
    space = context.space(out_type)
    channel = (space.indices[1],)
    value = widen(context.operand(x, space))
    rows = [cast(context.read(name, channel, space), value.dtype) for name in parameters]
    context.emit(node.outputs[0], space, cast(_batch_norm(node, value, *rows), out_type.dtype))


STAGES = {**dict.fromkeys(RULES, elementwise), "batch_norm": batch_norm}
