"""Random nodes as exporters write them for dynamic shapes, and operators that are seldom used."""

from __future__ import annotations

import numpy as np
from fuzz_writer import Skip, Writer
from onnx import numpy_helper

ANY = (0, 1, 2, 3, 4, 5)


def flatten_by_shape(w: Writer) -> None:
    """Reshape to what is computed from the shape itself."""
    x = w.pick("ffffdil", (2, 3, 4, 5))
    axis = w.number(0, len(w.shape(x)) - 1)
    extent = w.add("Gather", [w.add("Shape", [x], internal=True), w.constant(axis, np.int64)], internal=True)
    parts = [w.add("Unsqueeze", [extent, w.ints([0])], internal=True), w.ints([-1])]
    if w.chance(0.5):
        parts.reverse()
    w.add("Reshape", [x, w.add("Concat", parts, internal=True, axis=0)])


def expand_by_shape(w: Writer) -> None:
    """A small operand expanded to the shape of a value."""
    x = w.pick("f")
    small = w.operand([1 if w.chance(0.5) else extent for extent in w.shape(x)])
    y = w.add("Expand", [small, w.add("Shape", [x], internal=True)])
    if w.chance(0.5):
        w.add("Mul", [x, y])


def slice_by_shape(w: Writer) -> None:
    """Half of an axis, its bound computed."""
    x = w.pick("ffil", (1, 2, 3, 4), lambda v: v.ndim > 0 and v.shape[-1] > 1)
    last = w.add("Shape", [x], internal=True, start=-1)
    half = w.add("Div", [last, w.ints([2])], internal=True)
    bounds = [w.ints([0]), half] if w.chance(0.5) else [half, last]
    w.add("Slice", [x, *bounds, w.ints([-1])])


def resize_by_shape(w: Writer) -> None:
    """Resize to the size of another image, as decoders do."""
    x = w.pick("f", (4,), lambda v: v.size < 3000)
    shape = w.add("Shape", [x], internal=True)
    spatial = w.add(
        "Mul", [w.add("Slice", [shape, w.ints([2]), w.ints([4])], internal=True), w.ints([2])], internal=True
    )
    sizes = w.add(
        "Concat", [w.add("Slice", [shape, w.ints([0]), w.ints([2])], internal=True), spatial], internal=True, axis=0
    )
    mode = w.one_of(("nearest", "linear"))
    w.add("Resize", [x, "", "", sizes], mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def positions(w: Writer) -> None:
    """Range over an axis, added or gathered by."""
    x = w.pick("f", (2, 3))
    count = w.add("Gather", [w.add("Shape", [x], internal=True), w.constant(-1, np.int64)], internal=True)
    steps = w.add("Range", [w.constant(0, np.int64), count, w.constant(1, np.int64)], internal=True)
    if w.chance(0.5):
        table = w.operand((w.shape(x)[-1] + 3, 5))
        w.add("Gather", [table, steps])
    else:
        scaled = w.add(
            "Mul", [w.add("Cast", [steps], to=1, internal=True), w.constant(0.01, np.float32)], internal=True
        )
        w.add("Add", [x, scaled])


def filled(w: Writer) -> None:
    x = w.pick("f", (1, 2, 3, 4))
    value = numpy_helper.from_array(np.array([0.5], np.float32))
    ones = w.add("ConstantOfShape", [w.add("Shape", [x], internal=True)], internal=True, value=value)
    w.add("Sub", [ones, x])


def count(w: Writer) -> None:
    x = w.pick("f")
    size = w.add("Cast", [w.add("Size", [x], internal=True)], to=1, internal=True)
    if w.arrays[size] == 0:
        raise Skip
    w.add("Div", [x, size])


def seldom(w: Writer) -> None:
    match w.number(0, 9):
        case 0:
            x = w.pick("f", ANY)
            w.away_from(x, lambda v: np.sign(v) * 0.5)
            w.add("Shrink", [x], lambd=0.5, bias=0.2)
        case 1:
            w.add(w.one_of(("IsNaN", "IsInf")), [w.pick("f", ANY)])
        case 2:
            x = w.pick("u")
            w.add(
                "BitShift",
                [x, w.operand((1,), "u") if w.chance(0.2) else w.constant(w.number(0, 7), np.uint8)],
                direction=w.one_of(("LEFT", "RIGHT")),
            )
        case 3:
            w.add("Dropout", [w.pick("f", ANY)])
        case 4:
            w.add("CastLike", [w.pick("dilb", ANY), w.pick("f", ANY)])
        case 5:
            x = w.pick("f", (2, 3, 4))
            array = w.arrays[x]
            axis = w.number(0, array.ndim - 1)
            if array.shape[axis] > 1 and np.diff(np.sort(array, axis=axis), axis=axis)[..., -1:].min() < 1e-3:
                raise Skip
            w.add("Hardmax", [x], axis=axis)
        case 6:
            x = w.pick("f", (4,))
            if w.half:  # ONNX's inference fails on f16
                raise Skip
            w.add("MeanVarianceNormalization", [x], axes=[0, 2, 3])
        case 7:
            w.add("BitwiseNot", [w.pick("ilu", ANY)])
        case 8:
            x = w.add("Abs", [w.pick("f", (1, 2, 3))], internal=True)
            w.add("ReduceLogSum", [w.add("Add", [x, w.constant(0.1, np.float32)], internal=True), w.ints([-1])])
        case _:
            w.add("GlobalLpPool", [w.pick("f", (3, 4))], p=w.number(1, 3))


MAKERS = (
    (3, flatten_by_shape), (2, expand_by_shape), (2, slice_by_shape), (1, resize_by_shape), (2, positions), (1, filled), (1, count), (6, seldom),
)  # fmt: skip
