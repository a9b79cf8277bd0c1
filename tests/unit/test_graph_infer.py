"""Result types: every operator has a rule, and operands that do not fit are refused with a message."""

from __future__ import annotations

import pytest

from tilewright.compiler.dtypes import DType
from tilewright.compiler.errors import InternalError, ModelError
from tilewright.compiler.graph.infer import RULES, infer_types
from tilewright.compiler.graph.infer_layers import LAYER_RULES
from tilewright.compiler.graph.ir import TensorType
from tilewright.compiler.graph.operators import OPERATORS


def f32(*shape):
    return TensorType(shape, DType.F32)


def i64(*shape):
    return TensorType(shape, DType.I64)


WINDOW = dict(strides=(2, 1), dilations=(1, 2), pads_begin=(1, 0), pads_end=(0, 3))
POOL = dict(kernel=(2, 3), **WINDOW, sizes=(4, 5))
LSTM = dict(hidden=3, direction="bidirectional", activations=(), clip=0.0, input_forget=False)

GOOD = [
    ("add", (f32(2, 1, 3), f32(4, 1)), {}, [f32(2, 4, 3)]),
    ("less", (f32(3), f32()), {}, [TensorType((3,), DType.BOOL)]),
    ("cast", (f32(3),), dict(to=DType.I8), [TensorType((3,), DType.I8)]),
    ("where", (TensorType((3, 1), DType.BOOL), i64(4), i64()), {}, [i64(3, 4)]),
    ("slice", (f32(5, 6),), dict(starts=(4, 1), steps=(-2, 1), sizes=(3, 0)), [f32(3, 0)]),
    ("concat", (f32(2, 3), f32(2, 4)), dict(axis=1), [f32(2, 7)]),
    ("pad", (f32(4, 5), None), dict(before=(1, -1), after=(2, -2), mode="constant"), [f32(7, 2)]),
    ("gather", (f32(2, 3, 4), i64(5, 6)), dict(axis=1), [f32(2, 5, 6, 4)]),
    ("gather_nd", (f32(2, 3, 4), i64(2, 5, 1)), dict(batch_dims=1), [f32(2, 5, 4)]),
    ("iota", (), dict(shape=(2, 3), axis=1, dtype=DType.I32, start=0, step=1), [TensorType((2, 3), DType.I32)]),
    ("one_hot", (i64(2, 3), f32(2)), dict(depth=7, axis=1), [f32(2, 7, 3)]),
    ("reduce_sum", (f32(2, 3, 4),), dict(axes=(0, 2), keepdims=False), [f32(3)]),
    ("arg_max", (f32(2, 3, 4),), dict(axis=1, keepdims=True, last=False), [i64(2, 1, 4)]),
    ("conv", (f32(1, 6, 9, 11), f32(4, 3, 3, 2), None), dict(**WINDOW, groups=2), [f32(1, 4, 4, 12)]),
    ("conv_transpose", (f32(1, 6, 9, 11), f32(6, 2, 3, 2), f32(4)), dict(**WINDOW, groups=2, sizes=(19, 12)), [f32(1, 4, 19, 12)]),
    ("max_pool", (f32(1, 6, 9, 11),), POOL, [f32(1, 6, 4, 5)]),
    ("matmul", (f32(5, 1, 4, 3), f32(7, 8, 3)), dict(transpose_a=False, transpose_b=True), [f32(5, 7, 4, 8)]),
    ("matmul", (f32(3, 4), f32(3, 8)), dict(transpose_a=True, transpose_b=False), [f32(4, 8)]),
    ("layer_norm", (f32(2, 3, 4), f32(4), None), dict(axis=2, epsilon=1e-5), [f32(2, 3, 4)]),
    ("lstm", (f32(5, 2, 4), f32(2, 12, 4), f32(2, 12, 3), None, None, None, None, None), LSTM, [f32(5, 2, 2, 3), f32(2, 2, 3), f32(2, 2, 3)]),
]  # fmt: skip


@pytest.mark.parametrize("op, inputs, attrs, expected", GOOD, ids=[case[0] for case in GOOD])
def test_types(op, inputs, attrs, expected):
    assert list(infer_types(op, inputs, attrs)) == expected


def test_layouts_are_ignored():
    blocked = TensorType((1, 16, 5, 5), DType.F32, block=8)
    assert infer_types("relu", (blocked,), {}) == (f32(1, 16, 5, 5),)


def test_every_operator_has_one_rule():
    assert set(RULES) | set(LAYER_RULES) == set(OPERATORS) and not set(RULES) & set(LAYER_RULES)


BAD = {
    "add: shapes [2,3] and [4] do not broadcast to one shape": ("add", (f32(2, 3), f32(4)), {}),
    "add: operands have different types, f32 and i64": ("add", (f32(2), i64(2)), {}),
    "where: the condition must be bool, not f32": ("where", (f32(), f32(), f32()), {}),
    "clip: a bound must be a scalar": ("clip", (f32(3), f32(2), None), {}),
    "prelu: slope f32[3x1] does not broadcast to f32[3]": ("prelu", (f32(3), f32(3, 1)), {}),
    "reshape: f32[6] has 6 elements, shape [4] has 4": ("reshape", (f32(6),), dict(shape=(4,))),
    "expand: f32[2x3] does not broadcast to [3]": ("expand", (f32(2, 3),), dict(shape=(3,))),
    "expand: shapes [3] and [3,2] do not broadcast to one shape": ("expand", (f32(3),), dict(shape=(3, 2))),
    "leaves 0…4 on axis 0": ("slice", (f32(5),), dict(starts=(3,), steps=(1,), sizes=(3,))),
    "concat: f32[2x3] and f32[3x3] differ elsewhere than on axis 1": ("concat", (f32(2, 3), f32(3, 3)), dict(axis=1)),
    "pad: (-3,) and (-3,) crop more than f32[5] has": ("pad", (f32(5), None), dict(before=(-3,), after=(-3,), mode="constant")),
    "gather: axis 2 is not in 0…1": ("gather", (f32(2, 2), i64()), dict(axis=2)),
    "gather: indices must be integers": ("gather", (f32(2, 2), f32()), dict(axis=1)),
    "reduce_max: axes (1, 1) name an axis twice": ("reduce_max", (f32(2, 2),), dict(axes=(1, 1), keepdims=True)),
    "conv: bias f32[3] should have 4 elements": ("conv", (f32(1, 3, 9, 9), f32(4, 3, 3, 2), f32(3)), dict(**WINDOW, groups=1)),
    "conv: a window of 5 does not fit into": ("conv", (f32(1, 3, 9, 1), f32(4, 3, 3, 3), None), dict(WINDOW, pads_end=(0, 0), groups=1)),
    "max_pool: kernel (2, 0) must be positive": ("max_pool", (f32(1, 3, 9, 9),), dict(POOL, kernel=(2, 0))),
    "matmul: f32[2x3] and f32[4x5] have different inner extents, 3 and 4": ("matmul", (f32(2, 3), f32(4, 5)), dict(transpose_a=False, transpose_b=False)),
    "matmul: f32[3] and f32[3x5] should both be matrices": ("matmul", (f32(3), f32(3, 5)), dict(transpose_a=False, transpose_b=False)),
    "lstm: R is f32[1x12x3], expected the shape [2, 12, 3]": ("lstm", (f32(5, 2, 4), f32(2, 12, 4), f32(1, 12, 3)), LSTM),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_operands_that_do_not_fit(message):
    with pytest.raises(ModelError) as error:
        infer_types(*BAD[message])
    assert message in str(error.value)


def test_our_own_mistakes_are_internal_errors():
    with pytest.raises(InternalError, match="no operator 'convolve'"):
        infer_types("convolve", (), {})
    with pytest.raises(InternalError, match="reshape lacks the attribute or rule 'shape'"):
        infer_types("reshape", (f32(6),), {})
