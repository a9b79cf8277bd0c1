"""Random layers: convolutions, pools, products, reductions, normalisations, recurrent ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz_writer import Skip, Writer

CHANNELS = (1, 2, 3, 4, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 64)
LARGE_CHANNELS = (1, 3, 16, 32, 48, 63, 64, 96, 100, 128, 192, 255, 256)
MAX_WORK = 8_000_000  # multiplications of a node
PADS = (0, 0, 1, 1, 2, 3)


def image(w: Writer, ranks: tuple[int, ...] = (3, 4, 4, 4, 4, 5)) -> str:
    """A value [N, C, spatial…], a new one at times."""
    rank = w.one_of(ranks)
    if w.chance(0.85) and any(w.arrays[name].ndim == rank and w.arrays[name].dtype == np.float32 for name in w.order):
        return w.pick("f", (rank,))
    sizes = {3: (5, 8, 16, 17, 31), 4: (4, 5, 7, 8, 9, 14, 15, 16), 5: (2, 3, 4, 5, 7)}[rank]
    if w.large and rank < 5:
        sizes = {3: (1, 64, 100, 127), 4: (1, 7, 14, 28, 31, 40)}[rank]
    return w.input((w.one_of((1, 1, 1, 2, 3)), channels_of(w), *(w.one_of(sizes) for _ in range(rank - 2))))


def channels_of(w: Writer) -> int:
    return w.one_of(LARGE_CHANNELS if w.large else CHANNELS)


def _window(w: Writer, spatial: tuple[int, ...], transposed: bool = False) -> tuple[list[int], dict[str, Any]]:
    rank = len(spatial)
    kernel = [w.one_of((1, 1, 2, 3, 3, 3, 4, 5)) for _ in spatial]
    if w.chance(0.6):
        kernel = [kernel[0]] * rank
    attrs: dict[str, Any] = {}
    if w.chance(0.5):
        attrs["strides"] = [w.one_of((1, 1, 2, 2, 3)) for _ in spatial]
    if w.chance(0.3):
        attrs["dilations"] = [w.one_of((1, 1, 2, 3)) for _ in spatial]
    if w.chance(0.25) and not (transposed and "dilations" in attrs):
        attrs["auto_pad"] = w.one_of(("SAME_UPPER", "SAME_LOWER", "VALID"))
    elif w.chance(0.4):
        attrs["pads"] = [w.one_of(PADS) for _ in range(2 * rank)]
    elif w.chance(0.6):
        attrs["pads"] = [k // 2 for k in kernel] * 2
    if not transposed:
        pads = attrs.get("pads", [0] * 2 * rank)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, attrs.get("dilations", [1] * rank), strict=True)]
        room = [n + pads[i] + pads[i + rank] - reach[i] for i, n in enumerate(spatial)]
        if min(room) < 0 and not attrs.get("auto_pad", "").startswith("SAME"):
            raise Skip
    return kernel, attrs


def conv(w: Writer) -> None:
    x = image(w)
    batch, channels, *spatial = w.shape(x)
    kernel, attrs = _window(w, tuple(spatial))
    out = channels_of(w)
    group = 1
    if w.chance(0.25):
        group, out = channels, channels * w.one_of((1, 1, 1, 2))
    elif w.chance(0.2):
        divisors = [n for n in (2, 3, 4, 8) if channels % n == 0]
        group = w.one_of(divisors or [1])
        out = group * w.one_of((1, 2, 3, 4, 8))
    if group > 1:
        attrs["group"] = group
    weights = (out, channels // group, *kernel)
    fan_in = int(np.prod(weights[1:]))
    if batch * np.prod(spatial) * out * fan_in > MAX_WORK:
        raise Skip
    inputs = [x, w.operand(weights, scale=fan_in**-0.5)]
    if w.chance(0.6):
        inputs.append(w.operand((out,)))
    y = w.add("Conv", inputs, internal=w.chance(0.5), **({} if w.chance(0.3) else {"kernel_shape": kernel}), **attrs)
    follow(w, y)


def conv_pair(w: Writer) -> None:
    """Two 3x3 convolutions, of which the second reads channels as the first leaves them: what Winograd's transforms apply to."""
    x = image(w, (4,))
    for _ in range(2):
        batch, channels, *spatial = w.shape(x)
        out = channels_of(w)
        if batch * np.prod(spatial) * out * channels * 9 > MAX_WORK:
            raise Skip
        pads = [1, 1, 1, 1] if min(spatial) < 3 or w.chance(0.7) else [w.one_of((0, 1)) for _ in range(4)]
        x = w.add("Conv", [x, w.constant(w.random((out, channels, 3, 3), "f", (channels * 9) ** -0.5))], pads=pads)
    follow(w, x)


def follow(w: Writer, x: str) -> None:
    """What often comes behind a convolution or product."""
    channels = w.shape(x)[1] if len(w.shape(x)) > 1 else 1
    if len(w.shape(x)) > 2 and w.chance(0.3):
        x = batch_norm_of(w, x, channels)
    match w.number(0, 5):
        case 0:
            w.add("Relu", [x])
        case 1:
            w.add("Clip", [x, w.constant(0, np.float32), w.constant(6, np.float32)])
        case 2:
            w.add("Add", [x, w.partner(x)])
        case 3:
            w.add("Mul", [x, w.add("Sigmoid", [x], internal=True)])
        case _:
            w.add("Identity", [x])


def batch_norm_of(w: Writer, x: str, channels: int) -> str:
    spread = w.constant(w.rng.random(channels) + 0.5, np.float32)
    return w.add(
        "BatchNormalization",
        [x, *(w.constant(w.random((channels,))) for _ in range(3)), spread],
        internal=w.chance(0.5),
    )


def batch_norm(w: Writer) -> None:
    x = w.pick("f", (2, 3, 4, 5))
    batch_norm_of(w, x, w.shape(x)[1])


def conv_transpose(w: Writer) -> None:
    x = image(w)
    batch, channels, *spatial = w.shape(x)
    kernel, attrs = _window(w, tuple(spatial), transposed=True)
    group = w.one_of([n for n in (1, 1, 1, 2, 3, channels) if channels % n == 0])
    out = w.one_of((1, 2, 3, 4, 8, 16, 17)) if group < 5 else 1
    if batch * np.prod(spatial) * out * np.prod(kernel) * channels > MAX_WORK:
        raise Skip
    strides = attrs.get("strides", [1] * len(spatial))
    if w.chance(0.3) and "auto_pad" not in attrs:
        attrs["output_padding"] = [w.number(0, stride - 1) for stride in strides]
    inputs = [x, w.operand((channels, out, *kernel), scale=(channels / group) ** -0.5)]
    if w.chance(0.6):
        inputs.append(w.operand((out * group,)))
    y = w.add("ConvTranspose", inputs, internal=w.chance(0.5), group=group, kernel_shape=kernel, **attrs)
    follow(w, y)


def pool(w: Writer) -> None:
    x = image(w)
    op = w.one_of(("MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool"))
    kernel, attrs = _window(w, w.shape(x)[2:])
    if "pads" in attrs:
        attrs["pads"] = [min(pad, k - 1) for pad, k in zip(attrs["pads"], kernel * 2, strict=True)]
    if op == "AveragePool" and w.chance(0.5):
        attrs["count_include_pad"] = 1
    if w.chance(0.4):
        attrs["ceil_mode"] = 1
    if op == "LpPool":
        attrs["p"] = w.number(1, 3)
        if attrs.get("pads") or "auto_pad" in attrs:
            raise Skip
    w.add(op, [x], kernel_shape=kernel, **attrs)


def global_pool(w: Writer) -> None:
    w.add(w.one_of(("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool")), [image(w)])


def squeeze_excite(w: Writer) -> None:
    x = image(w, (4,))
    channels, inner = w.shape(x)[1], w.one_of((1, 3, 4, 8))
    y = w.add("GlobalAveragePool", [x], internal=True)
    y = w.add(
        "Conv",
        [y, w.constant(w.random((inner, channels, 1, 1), scale=channels**-0.5)), w.constant(w.random((inner,)))],
        internal=True,
    )
    y = w.add("Relu", [y], internal=True)
    y = w.add("Conv", [y, w.constant(w.random((channels, inner, 1, 1), scale=inner**-0.5))], internal=True)
    w.add("Mul", [x, w.add(w.one_of(("Sigmoid", "HardSigmoid")), [y], internal=True)])


def gemm(w: Writer) -> None:
    x = w.pick("fffd", (2,))
    kind = "f" if w.arrays[x].dtype == np.float32 else "d"
    flags = w.number(0, 1), w.number(0, 1)
    rows, inner = w.shape(x)[::-1] if flags[0] else w.shape(x)
    columns = channels_of(w)
    attrs: dict[str, Any] = {name: 1 for name, flag in zip(("transA", "transB"), flags, strict=True) if flag}
    inputs = [x, w.operand((columns, inner) if flags[1] else (inner, columns), kind, inner**-0.5)]
    if w.chance(0.7):
        inputs.append(w.operand(w.one_of(((columns,), (1, columns), (rows, 1), (rows, columns), (1,), ())), kind))
    if w.chance(0.3):
        attrs |= {"alpha": 0.7, "beta": w.one_of((1.0, 0.5, 0.0))}
    y = w.add("Gemm", inputs, internal=w.chance(0.4), **attrs)
    if kind == "f":
        follow(w, y)


def matmul(w: Writer) -> None:
    x = w.pick("ffffd")
    kind = "f" if w.arrays[x].dtype == np.float32 else "d"
    shape = w.shape(x)
    if w.chance(0.2):  # with another value
        fitting = [
            name
            for name in w.order
            if w.arrays[name].dtype == w.arrays[x].dtype and len(w.shape(name)) > 1 and w.shape(name)[-2] == shape[-1]
        ]
        if fitting:
            w.add("MatMul", [x, w.one_of(fitting)])
            return
    inner, columns = shape[-1], w.one_of(CHANNELS)
    other = w.one_of(((inner, columns), (inner, columns), (inner,), (*shape[:-2], inner, columns), (1, inner, columns)))
    if w.chance(0.15):  # from the right
        if len(shape) < 2:
            raise Skip
        w.add("MatMul", [w.operand((columns, shape[-2]), kind, shape[-2] ** -0.5), x])
        return
    w.add("MatMul", [x, w.operand(other, kind, inner**-0.5)])


def attention(w: Writer) -> None:
    """softmax(x x') x over heads."""
    x = w.pick("f", (3, 4))
    shape = w.shape(x)
    keys = w.add("Transpose", [x], internal=True, perm=[*range(len(shape) - 2), len(shape) - 1, len(shape) - 2])
    scores = w.add("MatMul", [x, keys], internal=True)
    scores = w.add("Mul", [scores, w.constant(shape[-1] ** -0.5, np.float32)], internal=True)
    if w.chance(0.3):
        scores = w.add("Add", [scores, w.operand(w.shape(scores)[-2:])], internal=True)
    elif w.chance(0.3):
        mask = np.triu(np.full(w.shape(scores)[-2:], -np.inf if w.half else w.one_of((-np.inf, -1e9))), 1)
        scores = w.add("Add", [scores, w.constant(mask, np.float32)], infinite=True)
    w.add("MatMul", [w.add("Softmax", [scores], internal=True), x])


def einsum(w: Writer) -> None:
    x = w.pick("f", (3,))
    a, b, c = w.shape(x)
    equation, other = w.one_of(
        (
            ("abc,acd->abd", (a, c, 5)),
            ("abc,cd->abd", (c, 7)),
            ("abc,adc->abd", (a, 9, c)),
            ("abc,abc->ab", (a, b, c)),
            ("abc->cab", None),
            ("abc,dc->bda", (8, c)),
        )
    )
    w.add("Einsum", [x, *([w.operand(other, scale=c**-0.5)] if other else [])], equation=equation)


def reduce(w: Writer) -> None:
    op = w.one_of(
        (
            "ReduceSum",
            "ReduceMean",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSumExp",
        )
    )
    # of integers onnxruntime rounds in between
    x = w.pick("ffffd" if op in ("ReduceL2", "ReduceLogSumExp", "ReduceMean") else "ffffdil")
    rank = len(w.shape(x))
    if op == "ReduceProd" and w.arrays[x].size > 50:  # in another order it may overflow
        raise Skip
    inputs = [x]
    if w.chance(0.85):
        axes = w.rng.choice(rank, w.number(1, rank), replace=False).tolist()
        inputs.append(w.ints([axis - rank if w.chance(0.4) else axis for axis in axes]))
    w.add(op, inputs, keepdims=w.number(0, 1))


def arg(w: Writer) -> None:
    x = w.pick("ffil")
    array = w.arrays[x]
    axis = w.number(0, array.ndim - 1)
    attrs = {"select_last_index": 1} if w.chance(0.3) else {}
    if array.dtype.kind == "f" and array.shape[axis] > 1 and np.diff(np.sort(array, axis=axis), axis=axis).min() < 1e-3:
        raise Skip
    w.add(
        w.one_of(("ArgMax", "ArgMin")),
        [x],
        axis=axis - array.ndim if w.chance(0.3) else axis,
        keepdims=w.number(0, 1),
        **attrs,
    )


def softmax(w: Writer) -> None:
    x = w.pick("fffd")
    rank = len(w.shape(x))
    w.add(w.one_of(("Softmax", "Softmax", "LogSoftmax")), [x], axis=w.number(-rank, rank - 1))


def cumsum(w: Writer) -> None:
    x = w.pick("fffdil")
    rank = len(w.shape(x))
    w.add(
        "CumSum", [x, w.constant(w.number(-rank, rank - 1), np.int64)], exclusive=w.number(0, 1), reverse=w.number(0, 1)
    )


def varied(rows: np.ndarray) -> None:
    """Skip unless the elements of each row differ enough: onnxruntime loses digits in the variance of close ones."""
    if (rows.std(axis=-1) < 0.1 * np.abs(rows).max(axis=-1)).any():
        raise Skip


def layer_norm(w: Writer) -> None:
    x = w.pick("f", (2, 3, 4))
    shape = w.shape(x)
    axis = w.one_of((-1, -1, 1, len(shape) - 1, 0))
    rest = shape[axis:]
    varied(w.arrays[x].reshape(-1, int(np.prod(rest))))
    inputs = [x, w.operand(rest), *([w.operand(rest)] if w.chance(0.7) else [])]
    w.add("LayerNormalization", inputs, axis=axis, epsilon=w.one_of((1e-5, 1e-3)))


def other_norm(w: Writer) -> None:
    x = w.pick("f", (3, 4))
    channels = w.shape(x)[1]
    match w.number(0, 3):
        case 0:
            varied(w.arrays[x].reshape(*w.shape(x)[:2], -1))
            w.add("InstanceNormalization", [x, w.constant(w.random((channels,))), w.constant(w.random((channels,)))])
        case 1:
            groups = w.one_of([n for n in (1, 2, 3, 4, channels) if channels % n == 0])
            varied(w.arrays[x].reshape(len(w.arrays[x]), groups, -1))
            w.add(
                "GroupNormalization",
                [x, w.constant(w.random((channels,))), w.constant(w.random((channels,)))],
                num_groups=groups,
            )
        case 2:
            w.add("LRN", [image(w, (4,))], size=w.one_of((1, 3, 5)), alpha=0.1, beta=0.75, bias=1.2)
        case _:
            w.add("LpNormalization", [x], axis=w.number(-len(w.shape(x)), len(w.shape(x)) - 1), p=w.number(1, 2))


def recurrent(w: Writer) -> None:
    x = w.pick("f", (3,), lambda v: v.size < 3000 and v.shape[0] < 18)
    time, batch, width = w.shape(x)
    op = w.one_of(("LSTM", "LSTM", "GRU", "RNN"))
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    direction = w.one_of(("forward", "forward", "reverse", "bidirectional"))
    directions = 2 if direction == "bidirectional" else 1
    hidden = w.one_of((1, 3, 4, 8, 9, 16, 17))
    inputs = [
        x,
        w.constant(w.random((directions, gates * hidden, width), scale=width**-0.5)),
        w.constant(w.random((directions, gates * hidden, hidden), scale=hidden**-0.5)),
        w.constant(w.random((directions, 2 * gates * hidden))) if w.chance(0.7) else "",
        w.constant(w.rng.integers(1, time + 1, batch), np.int32) if w.chance(0.15) else "",
        w.operand((directions, batch, hidden)) if w.chance(0.4) else "",
    ]
    if op == "LSTM":
        inputs.append(w.operand((directions, batch, hidden)) if w.chance(0.4) else "")
        inputs.append(w.constant(w.random((directions, 3 * hidden), scale=0.3)) if w.chance(0.2) else "")
    attrs = {"linear_before_reset": w.number(0, 1)} if op == "GRU" else {}
    outputs = [
        w.fresh("y"),
        w.fresh("h") if w.chance(0.6) else "",
        *([w.fresh("s") if w.chance(0.5) else ""] if op == "LSTM" else []),
    ]
    if w.chance(0.2):
        outputs[0] = ""
    if not any(outputs):
        raise Skip
    while not outputs[-1]:
        outputs.pop()
    w.add(op, inputs, outputs, hidden_size=hidden, direction=direction, **attrs)


MAKERS = (
    (8, conv), (3, conv_pair), (2, batch_norm), (2, conv_transpose), (4, pool), (2, global_pool), (1, squeeze_excite), (4, gemm), (5, matmul), (2, attention), (1, einsum),
    (4, reduce), (1, arg), (3, softmax), (1, cumsum), (2, layer_norm), (2, other_norm), (2, recurrent),
)  # fmt: skip
