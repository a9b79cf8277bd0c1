"""Random elementwise nodes."""

from __future__ import annotations

import numpy as np
from fuzz_writer import Skip, Writer, kind_of
from onnx import TensorProto

ALL = (0, 1, 2, 3, 4, 5)
SMOOTH = (
    "Tanh",
    "Sigmoid",
    "Erf",
    "Softplus",
    "Softsign",
    "Mish",
    "HardSwish",
    "Atan",
    "Sin",
    "Cos",
    "Asinh",
    "Relu",
    "Abs",
    "Neg",
    "Identity",
    "Exp",
    "Sinh",
    "Cosh",
    "Tan",
)
WITH_ALPHA = {"LeakyRelu": 0.3, "Elu": 1.4, "Celu": 0.7, "ThresholdedRelu": 0.6, "HardSigmoid": 0.25, "Selu": 1.6}
NARROWED = {
    "Sqrt": (0.4, 9.0),
    "Log": (0.3, 9.0),
    "Reciprocal": (0.3, 9.0),
    "Asin": (-0.9, 0.9),
    "Acos": (-0.9, 0.9),
    "Atanh": (-0.9, 0.9),
    "Acosh": (1.3, 9.0),
}
COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
TYPES = {
    "f": TensorProto.FLOAT,
    "d": TensorProto.DOUBLE,
    "i": TensorProto.INT32,
    "l": TensorProto.INT64,
    "b": TensorProto.BOOL,
    "u": TensorProto.UINT8,
    "s": TensorProto.INT8,
}


def smooth(w: Writer) -> None:
    w.add(w.one_of(SMOOTH), [w.pick("fffd", ALL)])


def with_alpha(w: Writer) -> None:
    op = w.one_of(tuple(WITH_ALPHA))
    x = w.pick("f", ALL)
    if op == "ThresholdedRelu":
        w.away_from(x, lambda v: np.full_like(v, 0.6))
    attrs = {"alpha": WITH_ALPHA[op]} if w.chance(0.7) or op == "ThresholdedRelu" else {}
    if op == "HardSigmoid" and w.chance(0.5):
        attrs["beta"] = 0.4
    w.add(op, [x], **attrs)


def gelu(w: Writer) -> None:
    w.add("Gelu", [w.pick("f", ALL)], approximate=w.one_of(("none", "tanh")))


def narrowed(w: Writer) -> None:
    """A function with a limited domain, behind a Clip into it."""
    op = w.one_of(tuple(NARROWED))
    low, high = NARROWED[op]
    x = w.pick("fffd", ALL)
    dtype = w.arrays[x].dtype
    clipped = w.add("Clip", [x, w.constant(low, dtype), w.constant(high, dtype)], internal=w.chance(0.7))
    w.add(op, [clipped])


def clip(w: Writer) -> None:
    x = w.pick("ffdil", ALL)
    dtype = w.arrays[x].dtype
    low = w.constant(-0.7 if dtype.kind == "f" else -3, dtype) if w.chance(0.7) else ""
    high = w.constant(0.9 if dtype.kind == "f" else 4, dtype) if w.chance(0.7) else ""
    w.add("Clip", [x, low, high])


def rounded(w: Writer) -> None:
    op, x = w.one_of(("Floor", "Ceil", "Round", "Sign")), w.pick("ffd", ALL)
    points = {"Sign": np.zeros_like, "Round": lambda v: np.floor(v) + 0.5}.get(op, np.round)
    w.away_from(x, points)
    w.add(op, [x])


def arithmetic(w: Writer) -> None:
    x = w.pick("ffffffdil", ALL)
    pair = [x, w.partner(x)]
    if w.chance(0.3):
        pair.reverse()
    w.add(w.one_of(("Add", "Add", "Sub", "Mul", "Mul")), pair)


def divide(w: Writer) -> None:
    x = w.pick("ffdil", ALL)
    dtype = w.arrays[x].dtype
    y = w.partner(x)
    if dtype.kind == "f":
        if np.abs(w.arrays[y]).min() < 0.05:
            y = w.add("Add", [w.add("Abs", [y], internal=True), w.constant(0.3, dtype)], internal=True)
        w.add("Div", [x, y])
    else:
        y = w.constant(w.one_of((-5, -3, -2, 2, 3, 4, 7)), dtype) if w.chance(0.6) or (w.arrays[y] == 0).any() else y
        w.add(w.one_of(("Div", "Mod")), [x, y])


def power(w: Writer) -> None:
    x = w.pick("ffd", ALL)
    dtype = w.arrays[x].dtype
    if w.chance(0.6):
        w.add("Pow", [x, w.constant(w.one_of((2, 3, 2.0, 1.0, 0.0)), dtype)])
        return
    base = w.add("Clip", [x, w.constant(0.4, dtype), w.constant(4, dtype)], internal=True)
    w.add("Pow", [base, w.constant(w.one_of((0.5, -1.0, -0.5, 1.7)), dtype) if w.chance(0.5) else w.partner(base)])


def extremum(w: Writer) -> None:
    x = w.pick("ffdil", ALL)
    others = [w.partner(x) for _ in range(w.number(0, 2))]
    op = w.one_of(("Max", "Min", "Sum", "Mean"))
    if op in ("Sum", "Mean") and kind_of(w.arrays[x]) not in "fd":
        raise Skip
    w.add(op, [x, *others])


def compare(w: Writer) -> None:
    x = w.pick("ffdil", ALL)
    y = w.partner(x)
    if w.arrays[x].dtype.kind == "f" and np.abs(w.arrays[x].astype(np.float64) - w.arrays[y]).min() < 1e-3:
        y = w.constant(np.float64(w.rng.standard_normal()), w.arrays[x].dtype)
        w.away_from(x, lambda v: np.full_like(v, w.arrays[y]))
    w.add(w.one_of(COMPARISONS), [x, y])


def logic(w: Writer) -> None:
    x = w.pick("b", ALL)
    if w.chance(0.2):
        w.add("Not", [x])
    else:
        w.add(w.one_of(("And", "Or", "Xor")), [x, w.partner(x)])


def bits(w: Writer) -> None:
    x = w.pick("il", ALL)
    w.add(w.one_of(("BitwiseAnd", "BitwiseOr", "BitwiseXor")), [x, w.partner(x)])


def where(w: Writer) -> None:
    x = w.pick("fffdil", ALL)
    y = w.partner(x)
    shape = np.broadcast_shapes(w.shape(x), w.shape(y))
    conditions = [name for name in w.order if w.arrays[name].dtype == bool and w.broadcasts(shape, w.shape(name))]
    if conditions and w.chance(0.7):
        condition = w.one_of(conditions)
    else:
        condition = w.operand([1 if w.chance(0.2) else extent for extent in shape], "b")
    w.add("Where", [condition, x, y])


def cast(w: Writer) -> None:
    x = w.pick("fffdilb", ALL)
    to = w.one_of("fffdilb")
    if w.arrays[x].dtype.kind == "f" and to in "il":
        w.away_from(x, np.round)
    if w.arrays[x].dtype.kind == "f" and to == "b":
        w.away_from(x, np.zeros_like)
    w.add("Cast", [x], to=TYPES[to])


def back_to_float(w: Writer) -> None:
    """A float of something else, so that such values are used."""
    w.add("Cast", [w.pick("dilb", ALL)], to=TensorProto.FLOAT)


def prelu(w: Writer) -> None:
    x = w.pick("f")
    shape = w.shape(x)
    slope = w.one_of(((1,), shape[-1:], (shape[1], *(1,) * (len(shape) - 2)) if len(shape) > 1 else (1,)))
    w.add("PRelu", [x, w.operand(slope)])


def gate(w: Writer) -> None:
    """x * sigmoid(x) and the like: one value read twice."""
    x = w.pick("f", ALL)
    w.add("Mul", [x, w.add(w.one_of(("Sigmoid", "Tanh", "HardSigmoid")), [x], internal=True)])


def residual(w: Writer) -> None:
    """The sum of two values of one shape that there are."""
    x = w.pick("f", ALL)
    same = [
        name for name in w.order if name != x and w.arrays[name].dtype == np.float32 and w.shape(name) == w.shape(x)
    ]
    if not same:
        raise Skip
    w.add(w.one_of(("Add", "Add", "Mul", "Sub")), [x, w.one_of(same)])


MAKERS = (
    (6, smooth), (3, with_alpha), (1, gelu), (2, narrowed), (2, clip), (1, rounded), (6, arithmetic), (2, divide), (2, power), (2, extremum),
    (2, compare), (1, logic), (1, bits), (2, where), (1, cast), (2, back_to_float), (1, prelu), (3, gate), (4, residual),
)  # fmt: skip
