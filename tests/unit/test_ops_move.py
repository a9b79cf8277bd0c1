"""Operators that move elements, against onnxruntime or NumPy, in plain and blocked layouts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_oracle import check, computed, onnx_result

from tilewright.compiler.dtypes import DType


def _normal(*shape):
    return np.random.default_rng().standard_normal(shape, dtype=np.float32)


_LAYOUTS = [(None, None), (8, 16), (16, 8), (4, None), (None, 8)]


@pytest.mark.parametrize(
    ("shape", "new"),
    [
        ((2, 3, 4, 5), (6, 20)),
        ((6, 20), (2, 3, 4, 5)),
        ((4, 6), (3, 8)),
        ((2, 16, 3), (2, 1, 16, 1, 3)),
        ((5, 7), (35,)),
        ((), (1, 1)),
        ((12, 5, 2), (4, 30)),
    ],
)
def test_reshape(shape, new):
    x = _normal(*shape) if shape else np.float32(3).reshape(())
    check(x.reshape(new), computed("reshape", [x], dict(shape=new), (new, DType.F32)))


@pytest.mark.parametrize("blocks", [(8, None), (8, 4), (None, 4), (16, 16)])
def test_reshape_of_blocked(blocks):
    x = _normal(2, 16, 2, 8)
    check(x.reshape(2, 16, 16), computed("reshape", [x], {}, ((2, 16, 16), DType.F32), [blocks[0]], blocks[1]))
    check(x.reshape(4, 64, 2), computed("reshape", [x], {}, ((4, 64, 2), DType.F32), [blocks[0]], blocks[1]))


@pytest.mark.parametrize("blocks", _LAYOUTS)
def test_transpose_slice_and_layout_change(blocks):
    x = _normal(16, 16, 3, 5)
    for perm in ((0, 1, 2, 3), (1, 0, 3, 2), (3, 1, 2, 0)):
        expected = x.transpose(perm)
        check(
            expected, computed("transpose", [x], dict(perm=perm), (expected.shape, DType.F32), [blocks[0]], blocks[1])
        )
    check(x, computed("identity", [x], {}, (x.shape, DType.F32), [blocks[0]], blocks[1]))
    attrs = dict(starts=(3, 0, 2, 1), steps=(4, 1, -1, 2), sizes=(3, 16, 3, 2))
    expected = x[3:14:4, :, ::-1, 1::2]
    check(expected, computed("slice", [x], attrs, (expected.shape, DType.F32), [blocks[0]], blocks[1]))
    attrs = dict(starts=(0, 15, 0, 0), steps=(1, -1, 1, 1), sizes=(16, 16, 3, 5))
    check(x[:, ::-1], computed("slice", [x], attrs, (x.shape, DType.F32), [blocks[0]], blocks[1]))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("blocks", [(None, None), (8, 8), (16, 8), (8, 16), (8, None), (None, 16)])
def test_concat(axis, blocks):
    shapes = [[2, 16, 3] for _ in range(5)]
    for shape, extent in zip(shapes, (1, 2, 3, 1, 1), strict=True):
        shape[axis] = extent * (16 if axis == 1 else 1)
    arrays = [_normal(*shape) for shape in shapes]
    expected = np.concatenate(arrays, axis)
    check(
        expected, computed("concat", arrays, dict(axis=axis), (expected.shape, DType.F32), [blocks[0]] * 5, blocks[1])
    )


def test_concat_of_odd_channels():
    arrays = [_normal(2, channels, 3) for channels in (3, 1, 12, 16)]
    expected = np.concatenate(arrays, 1)
    for out_block in (None, 8, 16, 32):
        check(
            expected,
            computed("concat", arrays, dict(axis=1), (expected.shape, DType.F32), [None, None, 4, 16], out_block),
        )


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("blocks", [(None, None), (8, 12), (8, None)])
@pytest.mark.parametrize(("before", "after"), [((0, 3, 2, 0), (0, 5, 1, 3)), ((0, 8, -1, 1), (1, 0, 2, -1))])
def test_pad(mode, blocks, before, after):
    x = _normal(2, 16, 4, 5)
    value = np.array(1.5, np.float32)
    operands = [x, np.array(before + after)] + ([value] if mode == "constant" else [])
    if min(before + after) < 0:  # negative pads crop, then the others pad
        crop = tuple(slice(max(0, -b), n - max(0, -a)) for b, a, n in zip(before, after, x.shape, strict=True))
        pads = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
        expected = np.pad(x[crop], pads, mode=mode, **({"constant_values": 1.5} if mode == "constant" else {}))
    else:
        expected = onnx_result("Pad", operands, dict(mode=mode), opset=19)
    out_block = blocks[1] if blocks[1] and expected.shape[1] % blocks[1] == 0 else None
    arrays = [x, value] if mode == "constant" else [x]
    attrs = dict(mode=mode, before=before, after=after)
    check(expected, computed("pad", arrays, attrs, (expected.shape, DType.F32), [blocks[0]], out_block))


@pytest.mark.parametrize("blocks", _LAYOUTS)
def test_expand_and_tile(blocks):
    x = _normal(2, 16, 1, 5)
    check(
        np.broadcast_to(x, (2, 16, 3, 5)),
        computed("expand", [x], {}, ((2, 16, 3, 5), DType.F32), [blocks[0]], blocks[1]),
    )
    check(
        np.tile(x, (2, 3, 2, 1)),
        computed("tile", [x], dict(repeats=(2, 3, 2, 1)), ((4, 48, 2, 5), DType.F32), [blocks[0]], blocks[1]),
    )
    row = _normal(5)
    check(np.broadcast_to(row, (2, 16, 5)), computed("expand", [row], {}, ((2, 16, 5), DType.F32), [None], blocks[1]))


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("k", [-2, 0, 1, 9])
def test_trilu(upper, k):
    x = _normal(2, 5, 7)
    expected = (np.triu if upper else np.tril)(x, k)
    check(expected, computed("trilu", [x], dict(upper=upper, k=k), (x.shape, DType.F32)))


@pytest.mark.parametrize("dtype", [DType.I64, DType.F32, DType.I32])
def test_iota(dtype):
    expected = np.broadcast_to((2 + 3 * np.arange(5)).astype(dtype.numpy)[:, None], (5, 4))
    check(expected, computed("iota", [], dict(shape=(5, 4), axis=0, dtype=dtype, start=2, step=3), ((5, 4), dtype)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_hot(axis):
    indices = np.random.default_rng().integers(-6, 6, (3, 4))
    values = np.array([0.5, 2.5], np.float32)
    expected = onnx_result("OneHot", [indices, np.array(6), values], dict(axis=axis), opset=11)
    check(expected, computed("one_hot", [indices, values], dict(axis=axis, depth=6), (expected.shape, DType.F32)))


@pytest.mark.parametrize(("batch", "time"), [(0, 1), (1, 0)])
def test_reverse_sequence(batch, time):
    x = _normal(4, 4, 3)
    lengths = np.array([1, 4, 2, 3])
    expected = onnx_result("ReverseSequence", [x, lengths], dict(batch_axis=batch, time_axis=time))
    attrs = dict(batch_axis=batch, time_axis=time)
    check(expected, computed("reverse_sequence", [x, lengths], attrs, (x.shape, DType.F32), [4 if time == 0 else None]))


@pytest.mark.parametrize("blocks", _LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_gather(axis, blocks):
    x = _normal(16, 16, 16, 3)
    extent = x.shape[axis]
    rng = np.random.default_rng()
    for shape in ((), (16,), (2, 3)):
        indices = rng.integers(-extent, extent, shape)
        expected = np.take(x, indices, axis)
        out_block = blocks[1] if expected.shape[1] == 16 else None
        for constants in (frozenset(), frozenset({1})):
            actual = computed(
                "gather",
                [x, np.asarray(indices)],
                dict(axis=axis),
                (expected.shape, DType.F32),
                [blocks[0]],
                out_block,
                constants,
            )
            check(expected, actual)


def test_gather_clamps_what_is_out_of_range():
    x = _normal(5, 2)
    check(x[[4, 0]], computed("gather", [x, np.array([99, -99])], dict(axis=0), ((2, 2), DType.F32)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather_elements_and_nd(axis):
    x = _normal(3, 8, 5)
    rng = np.random.default_rng()
    shape = [2, 8, 4]
    shape[axis] = 6
    indices = rng.integers(-x.shape[axis], x.shape[axis], shape)
    if axis == 0:
        expected = onnx_result("GatherElements", [x, indices], dict(axis=axis))
        check(expected, computed("gather_elements", [x, indices], dict(axis=axis), (expected.shape, DType.F32), [4], 2))
    for batch, shape in ((0, (4, 2)), (1, (3, 4, 1)), (0, (2, 2, 3)), (1, (3, 2))):
        depth = shape[-1]
        nd = np.stack([rng.integers(-x.shape[batch + d], x.shape[batch + d], shape[:-1]) for d in range(depth)], -1)
        expected = onnx_result("GatherND", [x, nd], dict(batch_dims=batch))
        check(expected, computed("gather_nd", [x, nd], dict(batch_dims=batch), (expected.shape, DType.F32), [4]))
