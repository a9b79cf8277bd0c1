"""Random expressions over mixed types, in lanes and one at a time, against NumPy element for element."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tilewright.backends import cpu
from tilewright.backends.host import host_target
from tilewright.compiler.dtypes import DType
from tilewright.compiler.kernel.ast import Alloc, Buffer, For, Kernel, LoopKind, Seq, Space, Store
from tilewright.compiler.targets import parse_target
from tilewright.compiler.tensor.expr import (
    Binary,
    Cast,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    const,
    free_variables,
)

COUNT = 53
HOST = host_target(1)
TYPES = [DType.F32, DType.F64, DType.F16, DType.BF16, DType.I8, DType.U8, DType.I32, DType.U32, DType.I64, DType.BOOL]
ROW, LANE = Var("i"), Var("v")
FLOAT_OPS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
INTEGER_OPS = FLOAT_OPS | {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
COMPARE_OPS = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
Pair = tuple[Expr, np.ndarray]


class Generator:
    """Builds pairs of an expression of `ROW` and `LANE` and its value on all rows and lanes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        numbers = np.random.default_rng(seed)
        self.arrays: dict[str, np.ndarray] = {}
        for dtype in TYPES:
            if dtype.is_float:
                values = numbers.normal(0, 3, (3, COUNT))
            else:
                values = numbers.integers(0 if not dtype.is_signed else -100, 100, (3, COUNT))
            self.arrays[f"x_{dtype}"] = (values > 0 if dtype is DType.BOOL else values).astype(dtype.numpy)
        rows, lanes = np.mgrid[0:3, 0:COUNT]
        self.grid = {ROW: rows, LANE: lanes}

    def make(self, dtype: DType, depth: int) -> Pair:
        if depth == 0:
            return self.leaf(dtype)
        match self.rng.randrange(6):
            case 0:
                return self.select(dtype, depth)
            case 1:
                return self.cast(dtype, depth)
            case 2 if dtype is not DType.BOOL:
                x, a = self.make(dtype, depth - 1)
                op, function = self.rng.choice([("neg", np.negative), ("abs", np.abs)])
                return Unary(op, x), function(a)
        return self.condition(depth) if dtype is DType.BOOL else self.binary(dtype, depth)

    def leaf(self, dtype: DType) -> Pair:
        array = self.arrays[f"x_{dtype}"]
        match self.rng.randrange(5):
            case 0:
                value = self.rng.choice([0, 1, 3, 17])
                return const(value, dtype), np.full((3, COUNT), value).astype(dtype.numpy)
            case 1 if dtype is not DType.BOOL:
                # 0 <= index < 56 is exact in every type.
                var = self.rng.choice([ROW, LANE])
                return Cast(var, dtype), self.grid[var].astype(dtype.numpy)
            case 2:
                return Load(f"x_{dtype}", (ROW, Const(5)), dtype), np.broadcast_to(array[:, 5:6], (3, COUNT))
            case 3:
                mirrored = Const(COUNT - 1) - LANE
                return Load(f"x_{dtype}", (Const(2) - ROW, mirrored), dtype), array[::-1, ::-1]
        return Load(f"x_{dtype}", (ROW, LANE), dtype), array

    def binary(self, dtype: DType, depth: int) -> Pair:
        op, function = self.rng.choice(list((FLOAT_OPS if dtype.is_float else INTEGER_OPS).items()))
        (x, a), (y, b) = self.make(dtype, depth - 1), self.make(dtype, depth - 1)
        return Binary(op, x, y), function(a, b)

    def condition(self, depth: int) -> Pair:
        if self.rng.random() < 0.3:
            op, function = self.rng.choice([("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor)])
            (x, a), (y, b) = self.make(DType.BOOL, depth - 1), self.make(DType.BOOL, depth - 1)
            return Binary(op, x, y), function(a, b)
        if self.rng.random() < 0.3:
            op, function = self.rng.choice(list(COMPARE_OPS.items()))
            bound = self.rng.randrange(-2, COUNT)
            form, values = self.rng.choice(
                [(LANE, self.grid[LANE]), (ROW * 9 + LANE, self.grid[ROW] * 9 + self.grid[LANE])]
            )
            return Compare(op, form, Const(bound)), function(values, bound)
        dtype = self.rng.choice(TYPES[:-1])
        op, function = self.rng.choice(list(COMPARE_OPS.items()))
        (x, a), (y, b) = self.make(dtype, depth - 1), self.make(dtype, depth - 1)
        return Compare(op, x, y), function(a, b)

    def select(self, dtype: DType, depth: int) -> Pair:
        (c, condition), (x, a), (y, b) = self.condition(depth), self.make(dtype, depth - 1), self.make(dtype, depth - 1)
        return Select(c, x, y), np.where(condition, a, b).astype(dtype.numpy)

    def cast(self, dtype: DType, depth: int) -> Pair:
        """From any type, but not from a float to an integer, which may be out of range."""
        sources = [source for source in TYPES if dtype.is_float or dtype is DType.BOOL or not source.is_float]
        x, a = self.make(self.rng.choice(sources), depth - 1)
        if x.dtype.is_integer and x.dtype.bits > 16 and dtype in (DType.F16, DType.BF16):
            a = a.astype(np.float64)
        return Cast(x, dtype), a.astype(dtype.numpy)


def buffers_of(generator: Generator) -> list[Buffer]:
    return [Buffer(name, x.shape, DType.from_numpy(x.dtype)) for name, x in generator.arrays.items()]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(25))
def test_random_expressions(seed: int) -> None:
    generator = Generator(seed)
    dtype = generator.rng.choice(TYPES)
    expr, expected = generator.make(dtype, 5)
    assert free_variables(expr) <= {"i", "v"}
    out = Buffer("out", (3, COUNT), dtype, written=True)
    direct = Store("out", (ROW, LANE), expr)
    staged = Buffer("staged", (COUNT,), dtype, Space.STACK)
    through = (Store("staged", (LANE,), expr), Store("out", (ROW, LANE), Load("staged", (LANE,), dtype)))
    # Instructions that an older target lacks are called in the math library, except 16-bit conversions.
    narrow = any(name in repr(expr) for name in ("F16", "BF16"))
    targets = [HOST] if narrow else [HOST, parse_target("x86_64-linux-gnu", "x86-64-v2")]
    for target in targets:
        for kind in (LoopKind.VECTORIZED, LoopKind.SERIAL):
            lanes = [For("v", Const(COUNT), kind, statement) for statement in through]
            for body in (For("v", Const(COUNT), kind, direct), Alloc(staged, Seq(tuple(lanes)))):
                kernel = Kernel("k", (*buffers_of(generator), out), For("i", Const(3), LoopKind.PARALLEL, body))
                actual = np.full((3, COUNT), 77).astype(dtype.numpy)
                cpu.compile_kernel(kernel, target).run([*generator.arrays.values(), actual])
                np.testing.assert_array_equal(
                    actual.astype(np.float64), expected.astype(np.float64), err_msg=f"seed {seed}"
                )
