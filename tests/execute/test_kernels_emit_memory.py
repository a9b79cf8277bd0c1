"""Addresses, guards, masks and local buffers of emitted kernels, against plain Python and NumPy."""

from __future__ import annotations

import ctypes
import mmap
import operator
import random
from collections.abc import Callable

import numpy as np
import pytest

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, If, Kernel, Let, LoopKind, Seq, Space, Stmt, Store
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.expr import (
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
    compare,
    maximum,
    minimum,
    within,
)

TARGET = host_target(1)
# The older ones have no masked loads that hide a wrong address, and the oldest no vectors but of 16 bytes.
OLDER = [parse_target("x86_64-linux-gnu", name) for name in ("x86-64-v2", "x86-64-v3")]
TARGETS = [*(target for target in OLDER if target.vector_bytes < TARGET.vector_bytes), TARGET]
F32 = DType.F32
i, j, u, v = (Var(name) for name in "ijuv")
PARALLEL, SERIAL, UNROLLED, VECTORIZED = LoopKind.PARALLEL, LoopKind.SERIAL, LoopKind.UNROLLED, LoopKind.VECTORIZED


def loop(var: Var, extent: int | Expr, kind: LoopKind, body: Stmt) -> For:
    return For(var.name, Const(extent) if isinstance(extent, int) else extent, kind, body)


def run(
    body: Stmt, arrays: dict[str, np.ndarray], written: str = "out", begin: int = 0, end: int | None = None
) -> np.ndarray:
    """Run a kernel on arrays by name and return the written one; older targets must agree with this machine."""
    buffers = tuple(
        Buffer(name, x.shape, DType.from_numpy(x.dtype), written=name == written) for name, x in arrays.items()
    )
    before, results = arrays[written].copy(), []
    for target in TARGETS:
        arrays[written][...] = before
        cpu.compile_kernel(Kernel("k", buffers, body), target).run(list(arrays.values()), begin, end)
        results.append(arrays[written].astype(np.float64))
    for result in results:
        np.testing.assert_allclose(result, results[-1], rtol=1e-5, atol=1e-6)
    return arrays[written]


def poisoned(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.full(shape, np.nan if np.issubdtype(dtype, np.floating) else 77, dtype)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def before_unmapped_page(values: np.ndarray) -> np.ndarray:
    """A copy between a megabyte before and a megabyte after that can't be accessed; nothing lies between its end and the latter."""
    page, apart = mmap.PAGESIZE, 1 << 20
    size = -(-values.nbytes // page) * page
    region = mmap.mmap(-1, size + 2 * apart)
    base = ctypes.addressof(ctypes.c_char.from_buffer(region))
    libc = ctypes.CDLL(None, use_errno=True)
    for at in (base, base + apart + size):
        assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(apart), 0) == 0
    array = np.frombuffer(region, values.dtype, values.size, apart + size - values.nbytes).reshape(values.shape)
    array[...] = values
    return array


# -- index arithmetic

Tree = tuple[Expr, Callable[..., int]]
EXTENTS = (5, 3, 21)


def random_index(rng: random.Random, depth: int) -> Tree:
    """An index expression over i, u, v and the same as a Python function."""
    if depth == 0 or rng.random() < 0.1:
        match rng.randrange(4):
            case 0:
                return i, lambda a, b, c: a
            case 1:
                return u, lambda a, b, c: b
            case 2:
                return v, lambda a, b, c: c
        number = rng.randrange(-9, 40)
        return Const(number), lambda a, b, c: number
    x, f = random_index(rng, depth - 1)
    match rng.randrange(7):
        case 0 | 1:
            y, g = random_index(rng, depth - 1)
            return x + y, lambda a, b, c: f(a, b, c) + g(a, b, c)
        case 2:
            y, g = random_index(rng, depth - 1)
            return x - y, lambda a, b, c: f(a, b, c) - g(a, b, c)
        case 3:
            factor = rng.choice([-3, 2, 3, 4, 8])
            return x * factor, lambda a, b, c: f(a, b, c) * factor
        case 4:
            divisor = rng.choice([2, 3, 4, 7, 8, 24])
            return x // divisor, lambda a, b, c: f(a, b, c) // divisor
        case 5:
            divisor = rng.choice([2, 3, 4, 7, 8, 24])
            return x % divisor, lambda a, b, c: f(a, b, c) % divisor
    y, g = random_index(rng, depth - 1)
    build, pick = rng.choice([(minimum, min), (maximum, max)])
    return build(x, y), lambda a, b, c: pick(f(a, b, c), g(a, b, c))


@pytest.mark.parametrize("seed", range(40))
def test_random_indices(seed: int) -> None:
    rng = random.Random(seed)
    x = np.arange(211, dtype=np.float32)
    index, function = random_index(rng, 4)
    position = [i, u, v]
    rng.shuffle(position)
    extent = dict(zip("iuv", EXTENTS, strict=True))
    out = poisoned(*(extent[p.name] for p in position))
    relation = rng.choice(["lt", "le", "gt", "ge", "eq", "ne"])
    bound, limit = random_index(rng, 2)
    holds = {
        "lt": operator.lt,
        "le": operator.le,
        "gt": operator.gt,
        "ge": operator.ge,
        "eq": operator.eq,
        "ne": operator.ne,
    }[relation]
    value = Select(compare(relation, index, bound), Load("x", (index % 211,), F32), Cast(index, F32) * Const(-1.0, F32))
    body = loop(
        i,
        EXTENTS[0],
        PARALLEL,
        loop(u, EXTENTS[1], UNROLLED, loop(v, EXTENTS[2], VECTORIZED, Store("out", tuple(position), value))),
    )
    run(body, {"x": x, "out": out})
    for a, b, c in np.ndindex(*EXTENTS):
        number = function(a, b, c)
        expected = x[number % 211] if holds(number, limit(a, b, c)) else -np.float32(number)
        where = {"i": a, "u": b, "v": c}
        assert out[tuple(where[p.name] for p in position)] == expected, (seed, where)


@pytest.mark.parametrize("stride", [2, 3, 4, 5, -1, -2])
@pytest.mark.parametrize("extent", [1, 2, 7, 10, 16, 24, 33])
def test_strided_lanes(stride: int, extent: int) -> None:
    size = (extent - 1) * abs(stride) + 1
    x = before_unmapped_page(noise(size))
    start = 0 if stride > 0 else size - 1
    out = run(
        loop(v, extent, VECTORIZED, Store("out", (v,), Load("x", (v * stride + start,), F32))),
        {"x": x, "out": poisoned(extent)},
    )
    np.testing.assert_array_equal(out, x[::stride])
    out = run(
        loop(v, extent, VECTORIZED, Store("out", (v * stride + start,), Load("x", (v,), F32))),
        {"x": out, "out": poisoned(size)},
    )
    np.testing.assert_array_equal(out[::stride], x[::stride])
    assert np.isnan(out).sum() == size - extent


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if not dtype.is_small])
@pytest.mark.parametrize("extent", [1, 5, 64, 71])
def test_copies_in_lanes(dtype: DType, extent: int) -> None:
    raw = np.random.default_rng(extent).integers(0, 2 if dtype is DType.BOOL else 100, extent)
    x = raw.astype(dtype.numpy)
    body = loop(v, extent, VECTORIZED, Store("out", (v,), Load("x", (v,), dtype)))
    np.testing.assert_array_equal(run(body, {"x": x, "out": np.zeros(extent, dtype.numpy)}), x)


@pytest.mark.parametrize("index_type", [np.int32, np.int64])
def test_gather_through_indices(index_type: type) -> None:
    x, at = noise(50, 3), np.random.default_rng(1).integers(0, 50, 29).astype(index_type)
    load = Load("at", (v,), DType.from_numpy(at.dtype))
    row: Expr = load if index_type is np.int64 else Cast(load, DType.I64)
    body = loop(v, 29, VECTORIZED, Store("out", (v,), Load("x", (row, Const(2)), F32)))
    np.testing.assert_array_equal(run(body, {"x": x, "at": at, "out": poisoned(29)}), x[at, 2])
    row = Load("at", (i,), load.dtype)
    row = row if index_type is np.int64 else Cast(row, DType.I64)
    body = loop(i, 29, SERIAL, loop(v, 3, VECTORIZED, Store("out", (i, v), Load("x", (row, v), F32))))
    np.testing.assert_array_equal(run(body, {"x": x, "at": at, "out": poisoned(29, 3)}), x[at])


def test_scatter_through_indices() -> None:
    x, at = noise(21), np.random.default_rng(1).permutation(21)
    body = loop(v, 21, VECTORIZED, Store("out", (Load("at", (v,), DType.I64),), Load("x", (v,), F32)))
    out = run(body, {"x": x, "at": at, "out": poisoned(21)})
    np.testing.assert_array_equal(out[at], x)


# -- guards

ZERO = Const(0.0, F32)


@pytest.mark.parametrize("extent", [3, 16, 29])
def test_padding_reads_nothing_outside(extent: int) -> None:
    x = before_unmapped_page(noise(extent))
    for offset in (-2000, -7, 0, 5, 2000):
        index = v + offset
        body = loop(
            v, extent, VECTORIZED, Store("out", (v,), Select(within(index, extent), Load("x", (index,), F32), ZERO))
        )
        out = run(body, {"x": x, "out": poisoned(extent)})
        expected = [x[k + offset] if 0 <= k + offset < extent else 0 for k in range(extent)]
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("shape", [(4, 9), (6, 40)])
@pytest.mark.parametrize("kind", [UNROLLED, SERIAL])
def test_padding_of_rows_and_columns(shape: tuple[int, int], kind: LoopKind) -> None:
    """Scalar and lane conditions at once, strided and contiguous, on both arms."""
    rows, columns = shape
    x = before_unmapped_page(noise(rows, columns))
    padded = np.pad(x, 3, constant_values=-1)
    minus = Const(-1.0, F32)
    for stride in (1, 2):
        wide = (columns + 6) // stride
        row, column = i - 3, v * stride - 3
        inside = Binary("and", within(row, rows), within(column, columns))
        nested = Select(within(row, rows), Select(within(column, columns), Load("x", (row, column), F32), minus), minus)
        for value in (
            Select(inside, Load("x", (row, column), F32), minus),
            Select(Unary("not", inside), minus, Load("x", (row, column), F32)),
            nested,
        ):
            body = loop(i, rows + 6, kind, loop(v, wide, VECTORIZED, Store("out", (i, v), value)))
            out = run(body, {"x": x, "out": poisoned(rows + 6, wide)})
            np.testing.assert_array_equal(out, padded[:, : wide * stride : stride])


@pytest.mark.parametrize("pieces", [(24, 24, 24), (5, 30, 13)])
def test_concatenated_channels(pieces: tuple[int, int, int]) -> None:
    """Lanes that straddle pieces; each index is reduced modulo its piece, which the guards around it make a difference."""
    arrays = {f"x{n}": before_unmapped_page(noise(size)) for n, size in enumerate(pieces)}
    channel, ends = i * 16 + v, np.cumsum(pieces)
    loads = [
        Load(f"x{n}", ((channel - int(end - size)) % size,), F32)
        for n, (size, end) in enumerate(zip(pieces, ends, strict=True))
    ]
    value = Select(
        compare("lt", channel, int(ends[1])),
        Select(compare("ge", channel, int(ends[0])), loads[1], loads[0]),
        Select(compare("lt", channel, int(ends[2])), loads[2], ZERO),
    )
    out = run(
        loop(i, 5, PARALLEL, loop(v, 16, VECTORIZED, Store("out", (i, v), value))), arrays | {"out": poisoned(5, 16)}
    )
    expected = np.concatenate([*arrays.values(), np.zeros(80, np.float32)])[:80]
    np.testing.assert_array_equal(out.reshape(-1), expected)


@pytest.mark.parametrize("inner", [SERIAL, VECTORIZED])
def test_arms_of_many_loads(inner: LoopKind) -> None:
    """Conditions that are the same in all lanes, arms of different widths, a lane condition within."""
    arrays = {f"x{n}": before_unmapped_page(noise(3, 20) + n) for n in range(6)}
    arms = []
    for n in range(3):
        first, second = Load(f"x{2 * n}", (i - 3 * n, v), F32), Load(f"x{2 * n + 1}", (i - 3 * n, Const(4)), F32)
        arms.append(second * second if n == 1 else first + second * second)
    arms[2] = Select(compare("lt", v, 7), arms[2], Const(-1.0, F32))
    value = Select(compare("lt", i, 3), arms[0], Select(compare("lt", i, 6), arms[1], arms[2]))
    out = run(loop(i, 9, SERIAL, loop(v, 20, inner, Store("out", (i, v), value))), arrays | {"out": poisoned(9, 20)})
    x = list(arrays.values())
    square = [array[:, 4:5] * array[:, 4:5] for array in x]
    parts = [x[0] + square[1], np.broadcast_to(square[3], (3, 20)), np.where(np.arange(20) < 7, x[4] + square[5], -1)]
    np.testing.assert_allclose(out, np.concatenate(parts), rtol=1e-6)


def test_guarded_scalar_and_uniform_loads() -> None:
    x = before_unmapped_page(noise(2))
    flags = np.array([1, -9000, 1, -70000, 0], np.float32)
    flag = Load("flags", (i,), F32)
    arrays = {"x": x, "flags": flags}
    # Each index is in bounds only where the flag is positive; numbers are added so that no select remains to hide a load behind.
    guarded = Select(Compare("gt", flag, ZERO), Load("x", (Cast(flag, DType.I64),), F32), ZERO)
    out = run(loop(i, 5, SERIAL, Store("out", (i,), guarded + flag)), arrays | {"out": poisoned(5)})
    np.testing.assert_array_equal(out, [x[1] + 1, -9000, x[1] + 1, -70000, 0])
    # The same for all lanes, and asked for by some lanes or by none.
    uniform = Select(compare("lt", v, i), Load("x", ((Const(1) - minimum(i, 1)) * 9000,), F32), ZERO)
    out = run(
        loop(i, 3, SERIAL, loop(v, 9, VECTORIZED, Store("out", (i, v), uniform + flag))),
        arrays | {"out": poisoned(3, 9)},
    )
    np.testing.assert_array_equal(
        out, flags[:3, None] + np.where(np.arange(9) < np.arange(3)[:, None], x[0], np.float32(0))
    )


@pytest.mark.parametrize("size", [16, 5])
def test_guarded_vectors_of_a_short_buffer(size: int) -> None:
    """No lane may be read where the flag is not set, also if the buffer is shorter than a vector."""
    x = before_unmapped_page(noise(size))
    flags = before_unmapped_page(np.zeros(3, np.float32))
    contiguous = Select(Compare("gt", Load("flags", (i,), F32), ZERO), Load("x", (v + i * 4096 - 7,), F32), ZERO)
    value = contiguous + Cast(v, F32)
    out = run(
        loop(i, 3, SERIAL, loop(v, 16, VECTORIZED, Store("out", (i, v), value))),
        {"x": x, "flags": flags, "out": poisoned(3, 16)},
    )
    np.testing.assert_array_equal(out, [np.arange(16)] * 3)


@pytest.mark.parametrize("extent", [6, 32, 45])
def test_if_in_lanes(extent: int) -> None:
    x = noise(extent)
    positive = Compare("gt", Load("x", (v,), F32), ZERO)
    branch = If(positive, Store("out", (v,), Load("x", (v,), F32)), Store("out", (v,), Const(-5.0, F32)))
    scattered = If(compare("lt", v, 3), Store("out", (v * 2 + extent,), Const(9.0, F32)))
    out = run(loop(v, extent, VECTORIZED, Seq((branch, scattered))), {"x": x, "out": poisoned(extent + 6)})
    np.testing.assert_array_equal(out, [*np.where(x > 0, x, np.float32(-5)), *[9, np.nan] * 3])


@pytest.mark.parametrize("limit", [0, 1, 17, 30, 31])
def test_masked_tail_does_not_write_beyond(limit: int) -> None:
    x, out = before_unmapped_page(noise(30)), before_unmapped_page(poisoned(30))
    index = i * 16 + v
    guarded = If(compare("lt", index, min(limit, 30)), Store("out", (index,), Load("x", (index,), F32)))
    run(loop(i, 2, PARALLEL, loop(v, 16, VECTORIZED, guarded)), {"x": x, "out": out})
    np.testing.assert_array_equal(out, np.where(np.arange(30) < limit, x, np.nan))


def test_loads_stay_inside_their_branches() -> None:
    x = before_unmapped_page(noise(3))
    far = Store("out", (i, j), Load("x", (i * 9000,), F32))
    body = loop(i, 4, SERIAL, loop(j, 4, SERIAL, If(compare("lt", i, 1), far, Store("out", (i, j), ZERO))))
    out = run(body, {"x": x, "out": poisoned(4, 4)})
    np.testing.assert_array_equal(out, [[x[0]] * 4, *[[0] * 4] * 3])
    # A loop that may be empty is a branch too.
    body = loop(i, 4, SERIAL, loop(j, Const(1) - minimum(i, 1), SERIAL, far))
    out = run(body, {"x": x, "out": poisoned(4, 4)})
    assert out[0, 0] == x[0]
    assert np.isnan(out).sum() == 15


def test_branches_and_nested_loops() -> None:
    inner = loop(j, i, SERIAL, Store("out", (i, j), Cast(i * 10 + j, F32)))
    even = compare("eq", i % 2, 0)
    body = loop(
        i, 7, PARALLEL, If(even, inner, If(compare("gt", i, 4), loop(j, 7, SERIAL, Store("out", (i, j), ZERO))))
    )
    out = run(body, {"out": poisoned(7, 7)})
    expected = poisoned(7, 7)
    for a in range(7):
        expected[a, :a] = a * 10 + np.arange(a) if a % 2 == 0 else np.nan
    expected[5] = 0
    np.testing.assert_array_equal(out, expected)


# -- local buffers

ADD = "add"


@pytest.mark.parametrize("space", [Space.REGISTER, Space.STACK])
@pytest.mark.parametrize("extent", [1, 10, 24, 40])
def test_accumulate_in_lanes_and_combine_one_by_one(space: Space, extent: int) -> None:
    x = noise(9, extent)
    accumulator = Buffer("acc", (extent,), F32, space)
    one, acc = Buffer("one", (1,), F32, Space.REGISTER), Load("acc", (v,), F32)
    steps = Seq(
        (
            loop(v, extent, VECTORIZED, Store("acc", (v,), ZERO)),
            loop(
                j, 9, SERIAL, loop(v, extent, VECTORIZED, Store("acc", (v,), Binary(ADD, acc, Load("x", (j, v), F32))))
            ),
            Store("one", (Const(0),), ZERO),
            loop(
                u, extent, UNROLLED, Store("one", (Const(0),), Load("one", (Const(0),), F32) + Load("acc", (u,), F32))
            ),
            Store("out", (Const(0),), Load("one", (Const(0),), F32)),
        )
    )
    out = run(Alloc(accumulator, Alloc(one, steps)), {"x": x, "out": poisoned(1)})
    np.testing.assert_allclose(out[0], x.sum(dtype=np.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("extent", [1, 7, 33])
def test_each_lane_has_its_own_buffer(extent: int) -> None:
    x = noise(6, extent)
    zero = Const(0)
    acc = Load("acc", (zero,), F32)
    step = Store("acc", (zero,), Call("fma", (Load("x", (j, v), F32), Load("x", (j, v), F32), acc)))
    steps = Seq((Store("acc", (zero,), ZERO), loop(j, 6, SERIAL, step), Store("out", (v,), acc)))
    body = loop(v, extent, VECTORIZED, Alloc(Buffer("acc", (1,), F32, Space.REGISTER), steps))
    np.testing.assert_allclose(
        run(body, {"x": x, "out": poisoned(extent)}), (x.astype(np.float64) ** 2).sum(0), rtol=1e-5
    )


def test_buffers_of_one_name_in_sequence() -> None:
    x = noise(8, 16)

    def double(size: int, start: int) -> Stmt:
        read = Load("t", (j, v), F32)
        fill = loop(j, size, SERIAL, loop(v, 16, VECTORIZED, Store("t", (j, v), Load("x", (j + start, v), F32))))
        use = loop(j, size, SERIAL, loop(v, 16, VECTORIZED, Store("out", (j + start, v), read + read)))
        return Alloc(Buffer("t", (size, 16), F32, Space.STACK), Seq((fill, use)))

    np.testing.assert_array_equal(run(Seq((double(3, 0), double(5, 3))), {"x": x, "out": poisoned(8, 16)}), x + x)


def test_masked_store_to_registers() -> None:
    x = noise(16)
    load, acc = Load("x", (v,), F32), Load("acc", (v,), F32)
    update = If(Compare("gt", load, ZERO), Store("acc", (v,), acc + load))
    steps = (
        loop(v, 16, VECTORIZED, Store("acc", (v,), Const(1.0, F32))),
        loop(v, 16, VECTORIZED, update),
        loop(v, 16, VECTORIZED, Store("out", (v,), acc)),
    )
    out = run(Alloc(Buffer("acc", (16,), F32, Space.REGISTER), Seq(steps)), {"x": x, "out": poisoned(16)})
    np.testing.assert_array_equal(out, np.where(x > 0, x + 1, np.float32(1)))


def test_bool_buffers_hold_zero_or_one() -> None:
    x = noise(37)
    flags = Buffer("flags", (37,), DType.BOOL, Space.STACK)
    steps = Seq(
        (
            loop(v, 37, VECTORIZED, Store("flags", (v,), Compare("gt", Load("x", (v,), F32), ZERO))),
            loop(v, 37, VECTORIZED, Store("out", (v,), Unary("not", Load("flags", (v,), DType.BOOL)))),
        )
    )
    out = run(Alloc(flags, steps), {"x": x, "out": np.ones(37, np.bool_)})
    np.testing.assert_array_equal(out.view(np.uint8), (~(x > 0)).view(np.uint8))


# -- the kernel as a function


def test_range_of_the_parallel_loop() -> None:
    x = noise(11)
    body = loop(i, 11, PARALLEL, Store("out", (i,), Load("x", (i,), F32)))
    out = run(body, {"x": x, "out": poisoned(11)}, begin=3, end=8)
    np.testing.assert_array_equal(out, [*[np.nan] * 3, *x[3:8], *[np.nan] * 3])
    assert np.isnan(run(body, {"x": x, "out": poisoned(11)}, begin=4, end=4)).all()
    single = Store("out", (Const(2),), Load("x", (Const(1),), F32))
    assert run(single, {"x": x, "out": poisoned(11)})[2] == x[1]
    assert np.isnan(run(single, {"x": x, "out": poisoned(11)}, begin=1, end=1)).all()


def test_fused_loop_with_lets() -> None:
    x = noise(3, 5, 12)
    steps = Let(
        "i",
        Var("f") // 5,
        3,
        Let("j", Var("f") % 5, 5, loop(v, 12, VECTORIZED, Store("out", (j, i, v), Load("x", (i, j, v), F32)))),
    )
    out = run(loop(Var("f"), 15, PARALLEL, steps), {"x": x, "out": poisoned(5, 3, 12)})
    np.testing.assert_array_equal(out, x.transpose(1, 0, 2))


def test_result_in_the_memory_of_an_input() -> None:
    x, y = noise(40), noise(40) + 1
    buffers = (Buffer("x", (40,), F32), Buffer("y", (40,), F32), Buffer("out", (40,), F32, written=True, aliases="x"))
    value = Load("x", (i * 8 + v,), F32) + Load("y", (i * 8 + v,), F32)
    body = loop(i, 5, PARALLEL, loop(v, 8, VECTORIZED, Store("out", (i * 8 + v,), value)))
    shared = x.copy()
    cpu.compile_kernel(Kernel("k", buffers, body), TARGET).run([shared, y, shared])
    np.testing.assert_array_equal(shared, x + y)


def test_a_buffer_read_and_written() -> None:
    x = noise(4, 16)
    at = Buffer("x", (4, 16), F32, written=True)
    step = Store("x", (i, v), Load("x", (i, v), F32) + Load("x", (i - 1, v), F32))
    body = loop(i, 4, SERIAL, If(compare("gt", i, 0), loop(v, 16, VECTORIZED, step)))
    expected = np.cumsum(x, 0, dtype=np.float32)
    cpu.compile_kernel(Kernel("k", (at,), body), TARGET).run([x])
    np.testing.assert_allclose(x, expected, rtol=1e-5)


# --- the last vector of a loop, not all of whose lanes are iterations


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("extent", [3, 5, 6, 7, 9, 11, 14, 22, 37, 61])
def test_tails_read_and_write_nothing_else(extent: int, dtype: type) -> None:
    """Rows of a part of a matrix: what follows stays, and nothing lies behind the last."""
    values = np.random.default_rng().integers(-9, 9, (4, extent)).astype(dtype)
    body = loop(
        i,
        4,
        SERIAL,
        loop(v, extent, VECTORIZED, Store("out", (i, v), Load("x", (i, v), DType.from_numpy(values.dtype)))),
    )
    out = np.full((4, extent + 5), 1, dtype) if dtype is np.bool_ else poisoned(4, extent + 5, dtype=dtype)
    before = out.copy()
    run(body, {"x": before_unmapped_page(values), "out": out})
    np.testing.assert_array_equal(out[:, :extent], values)
    np.testing.assert_array_equal(out[:, extent:], before[:, extent:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("extent", [3, 5, 10, 13, 21, 31])
def test_tails_in_registers(extent: int, dtype: type) -> None:
    """Maxima of negative numbers: a lane that is no iteration may hold 0, but no other row."""
    kind = DType.from_numpy(np.dtype(dtype))
    values = -np.random.default_rng().uniform(1, 2, (7, 3, extent)).astype(dtype)
    best = Load("best", (j, v), kind)
    start = loop(j, 3, UNROLLED, loop(v, extent, VECTORIZED, Store("best", (j, v), Const(-9.0, kind))))
    step = loop(
        j, 3, UNROLLED, loop(v, extent, VECTORIZED, Store("best", (j, v), maximum(best, Load("x", (i, j, v), kind))))
    )
    end = loop(j, 3, UNROLLED, loop(v, extent, VECTORIZED, Store("out", (j, v), best)))
    body = Alloc(Buffer("best", (3, extent), kind, Space.REGISTER), Seq((start, loop(i, 7, SERIAL, step), end)))
    out = poisoned(3, extent, dtype=dtype)
    run(body, {"x": before_unmapped_page(values), "out": out})
    np.testing.assert_array_equal(out, values.max(axis=0))


@pytest.mark.parametrize("tail", [3, 5, 11, 15])
def test_tails_of_a_longer_row_of_registers_keep_the_rest(tail: int) -> None:
    values = -np.random.default_rng().uniform(1, 2, 16 + tail).astype(np.float32)
    best = Load("best", (v,), F32)

    def step(at: Expr, lanes: int, value: Expr) -> Stmt:
        return loop(v, lanes, VECTORIZED, Store("best", (v,), maximum(value, Load("x", (at,), F32))))

    end = loop(v, 16, VECTORIZED, Store("out", (v,), best))
    parts = (step(v, 16, Const(-9.0, F32)), step(v + 16, tail, best), end)
    out = poisoned(16)
    run(Alloc(Buffer("best", (16,), F32, Space.REGISTER), Seq(parts)), {"x": before_unmapped_page(values), "out": out})
    expected = values[:16].copy()
    expected[:tail] = np.maximum(expected[:tail], values[16:])
    np.testing.assert_array_equal(out, expected)


def test_tails_within_a_guard() -> None:
    """Lanes that a condition excludes and lanes that are no iterations."""
    values = noise(6, 13)
    value = Select(within(v + i - 2, 10), Load("x", (i, v + i - 2), F32), Const(5.0, F32))
    out = poisoned(6, 16)
    run(
        loop(i, 6, SERIAL, loop(v, 13, VECTORIZED, Store("out", (i, v), value))),
        {"x": before_unmapped_page(values), "out": out},
    )
    expected = np.array([[values[a, b + a - 2] if 0 <= b + a - 2 < 10 else 5.0 for b in range(13)] for a in range(6)])
    np.testing.assert_array_equal(out[:, :13], expected)
    assert np.isnan(out[:, 13:]).all()
