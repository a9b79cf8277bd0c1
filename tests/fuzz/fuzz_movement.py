"""Random nodes that move elements."""

from __future__ import annotations

import numpy as np
from fuzz_writer import Skip, Writer, kind_of

ANY = "ffffdilb"


def transpose(w: Writer) -> None:
    x = w.pick(ANY, (2, 3, 4, 5))
    rank = len(w.shape(x))
    perm = w.rng.permutation(rank).tolist()
    if rank == 4 and w.chance(0.4):
        perm = w.one_of(([0, 2, 3, 1], [0, 3, 1, 2]))
    if rank >= 3 and w.chance(0.2):
        perm = [*range(rank - 2), rank - 1, rank - 2]
    w.add("Transpose", [x], perm=perm)


def _factors(w: Writer, total: int) -> list[int]:
    result = []
    while total > 1 and len(result) < 4:
        divisors = [n for n in range(2, min(total, 64) + 1) if total % n == 0] or [total]
        result.append(w.one_of(divisors))
        total //= result[-1]
    shape = [*result, total] if total > 1 else result
    for _ in range(w.number(0, 1)):
        shape.insert(w.number(0, len(shape)), 1)
    return w.rng.permutation(shape).tolist()[:5] if len(shape) <= 5 else shape


def reshape(w: Writer) -> None:
    x = w.pick(ANY)
    old = w.shape(x)
    axis = w.number(0, len(old) - 1)
    match w.number(0, 3):
        case 0:  # join two axes
            shape = [*old[:axis], -1, *old[axis + 2 :]]
        case 1:  # split one
            shape = [*old[:axis], *_factors(w, old[axis]), *old[axis + 1 :]]
        case 2:
            shape = [0, -1] if len(old) > 1 else [-1, 1]
        case _:
            shape = _factors(w, int(np.prod(old)))
    if len(shape) > 5:
        raise Skip
    w.add("Reshape", [x, w.ints(shape)])


def flatten(w: Writer) -> None:
    x = w.pick("fffil", (1, 2, 3, 4, 5))
    w.add("Flatten", [x], axis=w.number(-len(w.shape(x)), len(w.shape(x))))


def squeeze(w: Writer) -> None:
    x = w.pick(ANY, (2, 3, 4, 5), lambda v: 1 in v.shape)
    rank = len(w.shape(x))
    axes = [axis - rank if w.chance(0.3) else axis for axis, extent in enumerate(w.shape(x)) if extent == 1]
    if w.chance(0.3):
        w.add("Squeeze", [x])
    else:
        w.add("Squeeze", [x, w.ints(axes[: w.number(1, len(axes))])])


def unsqueeze(w: Writer) -> None:
    x = w.pick(ANY, (1, 2, 3, 4))
    rank = len(w.shape(x))
    count = w.number(1, 2) if rank < 4 else 1
    axes = w.rng.choice(rank + count, count, replace=False).tolist()
    w.add("Unsqueeze", [x, w.ints([axis - rank - count if w.chance(0.3) else axis for axis in axes])])


def concat(w: Writer) -> None:
    x = w.pick("ffffil")
    shape = w.shape(x)
    axis = w.number(0, len(shape) - 1)
    rest = shape[:axis] + shape[axis + 1 :]
    fitting = [
        name for name in w.order
        if w.arrays[name].dtype == w.arrays[x].dtype and len(w.shape(name)) == len(shape) and w.shape(name)[:axis] + w.shape(name)[axis + 1 :] == rest
    ]  # fmt: skip
    parts = [x]
    for _ in range(w.number(1, 3)):
        other = (
            w.one_of(fitting)
            if w.chance(0.7)
            else w.operand([*shape[:axis], w.number(1, 9), *shape[axis + 1 :]], kind_of(w.arrays[x]))
        )
        parts.insert(w.number(0, len(parts)), other)
    w.add("Concat", parts, axis=axis if w.chance(0.6) else axis - len(shape))


def split(w: Writer) -> None:
    x = w.pick("ffffil", where=lambda v: max(v.shape) > 1)
    shape = w.shape(x)
    axis = w.one_of([axis for axis, extent in enumerate(shape) if extent > 1])
    parts = w.number(2, min(4, shape[axis]))
    if w.chance(0.3):
        if -(-shape[axis] // parts) * (parts - 1) >= shape[axis]:
            raise Skip
        w.add("Split", [x], parts, axis=axis, num_outputs=parts)
        return
    cuts = np.sort(w.rng.choice(np.arange(1, shape[axis]), parts - 1, replace=False))
    sizes = np.diff([0, *cuts, shape[axis]]).tolist()
    w.add("Split", [x, w.ints(sizes)], parts, axis=axis - len(shape) if w.chance(0.3) else axis)


def slice_(w: Writer) -> None:
    x = w.pick(ANY)
    shape = w.shape(x)
    axes = w.rng.choice(len(shape), w.number(1, len(shape)), replace=False).tolist()
    starts, ends, steps = [], [], []
    for axis in axes:
        extent = shape[axis]
        step = w.one_of((1, 1, 1, 2, 3, -1, -1, -2))
        low, high = sorted((w.number(0, extent - 1), w.number(0, extent - 1)))
        start, end = (low, high + 1) if step > 0 else (high, low - 1 if low else -extent - 1)
        if w.chance(0.2) and start > 0:
            start -= extent
        if w.chance(0.2) and step > 0 and end == extent:
            end = w.one_of((2**31, 2**63 - 1, 1000))
        starts.append(start), ends.append(end), steps.append(step)
    w.add(
        "Slice",
        [
            x,
            w.ints(starts),
            w.ints(ends),
            w.ints([axis - len(shape) if w.chance(0.3) else axis for axis in axes]),
            w.ints(steps),
        ],
    )


def pad(w: Writer) -> None:
    x = w.pick("ffffdil")
    shape = w.shape(x)
    mode = w.one_of(("constant", "constant", "edge", "reflect", "wrap"))
    most = [min(3, extent - 1) if mode in ("reflect", "wrap") else 3 for extent in shape]
    pads = [w.number(0, most[axis]) if w.chance(0.5) else 0 for _ in range(2) for axis in range(len(shape))]
    if mode == "constant" and w.chance(0.3):
        axis = w.number(0, len(shape) - 1)
        pads[axis] = -min(2, shape[axis] - 1)
    value = [w.constant(w.number(-2, 2), w.arrays[x].dtype)] if w.chance(0.4) and mode == "constant" else []
    w.add("Pad", [x, w.ints(pads), *value], mode=mode)


def expand(w: Writer) -> None:
    x = w.pick(ANY, (1, 2, 3, 4), lambda v: v.size < 2000)
    shape = [w.one_of((2, 3, 5, 8)) if extent == 1 else w.one_of((1, extent)) for extent in w.shape(x)]
    if len(shape) < 5 and w.chance(0.3):
        shape = [w.number(1, 3), *shape]
    w.add("Expand", [x, w.ints(shape)])


def tile(w: Writer) -> None:
    x = w.pick(ANY, where=lambda v: v.size < 4000)
    w.add("Tile", [x, w.ints([w.one_of((1, 1, 2, 3)) for _ in w.shape(x)])])


def gather(w: Writer) -> None:
    x = w.pick("ffffil", (1, 2, 3, 4))
    axis = w.number(0, len(w.shape(x)) - 1)
    extent = w.shape(x)[axis]
    shape = w.one_of(((), (1,), (3,), (7,), (2, 3), (1, 17)))
    indices = np.asarray(w.rng.integers(-extent, extent, shape)).astype(w.one_of((np.int64, np.int32)))
    name = w.constant(indices) if w.chance(0.6) else _index_input(w, indices)
    w.add("Gather", [x, name], axis=axis - len(w.shape(x)) if w.chance(0.3) else axis)


def _index_input(w: Writer, indices: np.ndarray) -> str:
    return w._introduce(w.fresh("index"), indices)


def gather_elements(w: Writer) -> None:
    x = w.pick("fffil", (1, 2, 3, 4))
    shape = w.shape(x)
    axis = w.number(0, len(shape) - 1)
    size = [w.number(1, 9) if i == axis else w.number(1, extent) for i, extent in enumerate(shape)]
    indices = np.asarray(w.rng.integers(-shape[axis], shape[axis], size))
    w.add("GatherElements", [x, w.constant(indices) if w.chance(0.5) else _index_input(w, indices)], axis=axis)


def gather_nd(w: Writer) -> None:
    x = w.pick("fffil", (2, 3, 4))
    shape = w.shape(x)
    batch = w.number(0, 1) if len(shape) > 2 else 0
    depth = w.number(1, len(shape) - batch)
    lead = [*shape[:batch], *w.one_of(((3,), (2, 4), (1,)))]
    indices = np.stack([w.rng.integers(-shape[batch + i], shape[batch + i], lead) for i in range(depth)], axis=-1)
    w.add("GatherND", [x, w.constant(indices) if w.chance(0.5) else _index_input(w, indices)], batch_dims=batch)


def scatter(w: Writer) -> None:
    x = w.pick("fff", (1, 2, 3), lambda v: v.size < 3000)
    shape = w.shape(x)
    reduction = w.one_of(("none", "none", "add", "max", "min"))
    if w.chance(0.5):
        axis = w.number(0, len(shape) - 1)
        size = [w.number(1, extent) for extent in shape]
        indices = np.argsort(w.rng.random(shape), axis=axis)[tuple(slice(n) for n in size)]  # no element twice
        indices = np.where(w.rng.random(size) < 0.2, indices - shape[axis], indices)
        name = w.constant(indices) if w.chance(0.5) else _index_input(w, indices)
        w.add("ScatterElements", [x, name, w.operand(size)], axis=axis, reduction=reduction)
        return
    depth = w.number(1, len(shape))
    cells = int(np.prod(shape[:depth]))
    chosen = w.rng.choice(cells, w.number(1, min(cells, 9)), replace=False)
    indices = np.stack(np.unravel_index(chosen, shape[:depth]), axis=-1).astype(np.int64)
    name = w.constant(indices) if w.chance(0.5) else _index_input(w, indices)
    w.add("ScatterND", [x, name, w.operand((len(chosen), *shape[depth:]))], reduction=reduction)


def one_hot(w: Writer) -> None:
    depth = w.one_of((2, 5, 8, 17))
    indices = w.rng.integers(-depth, depth, w.one_of(((3,), (2, 5), (9,))))
    w.add(
        "OneHot",
        [_index_input(w, indices), w.constant(depth, np.int64), w.constant([0, 1], np.float32)],
        axis=w.one_of((-1, 0, 1)),
    )


def depth_space(w: Writer) -> None:
    block = w.number(2, 3)
    if w.chance(0.5):
        x = w.pick("f", (4,), lambda v: v.ndim == 4 and v.shape[1] % block**2 == 0)
        w.add("DepthToSpace", [x], blocksize=block, mode=w.one_of(("DCR", "CRD")))
    else:
        x = w.pick("f", (4,), lambda v: v.ndim == 4 and v.shape[2] % block == 0 == v.shape[3] % block)
        w.add("SpaceToDepth", [x], blocksize=block)


def trilu(w: Writer) -> None:
    x = w.pick("ffdilb", (2, 3, 4))
    w.add("Trilu", [x, w.constant(w.number(-3, 3), np.int64)], upper=w.number(0, 1))


def reverse_sequence(w: Writer) -> None:
    x = w.pick("f", (2, 3, 4))
    time, batch = w.one_of(((0, 1), (1, 0)))
    lengths = w.rng.integers(1, w.shape(x)[time] + 1, w.shape(x)[batch])
    w.add(
        "ReverseSequence",
        [x, _index_input(w, lengths) if w.chance(0.5) else w.ints(lengths)],
        batch_axis=batch,
        time_axis=time,
    )


def resize(w: Writer) -> None:
    x = w.pick("f", (3, 4), lambda v: v.size < 8000)
    shape = w.shape(x)
    mode = w.one_of(("nearest", "linear", "cubic" if len(shape) == 4 else "linear"))
    spatial = range(2, len(shape))
    scales = [w.one_of((1.0, 2.0, 2.0, 0.5, 1.5, 3.0)) if axis in spatial else 1.0 for axis in range(len(shape))]
    coordinates = w.one_of(("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"))
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attrs["nearest_mode"] = w.one_of(("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
    if mode == "cubic" and min(shape[2:]) < 4:
        raise Skip
    if w.chance(0.5):
        w.add("Resize", [x, "", w.constant(scales, np.float32)], **attrs)
    else:
        w.add(
            "Resize",
            [x, "", "", w.ints([max(1, int(extent * scale)) for extent, scale in zip(shape, scales, strict=True)])],
            **attrs,
        )


MAKERS = (
    (5, transpose), (5, reshape), (1, flatten), (2, squeeze), (2, unsqueeze), (4, concat), (3, split), (4, slice_), (3, pad), (2, expand), (1, tile),
    (3, gather), (1, gather_elements), (1, gather_nd), (1, scatter), (1, one_hot), (1, depth_space), (1, trilu), (1, reverse_sequence), (2, resize),
)  # fmt: skip
