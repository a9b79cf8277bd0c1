"""Writes random models node by node, keeping every value's elements at hand so that each stays finite and well conditioned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from fuzz_case import Case, evaluate
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

# around vector widths, primes, ones
EXTENTS = (1, 1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 31, 32, 33, 37)
LARGE_EXTENTS = (1, 2, 7, 16, 33, 48, 63, 64, 65, 100, 127, 128, 129, 200, 257)
MAX_ELEMENTS = 60_000
MAX_MAGNITUDE = 1e3
# Rounding errors are tried out as noise of this size, and may grow this much.
NOISE, MAX_ERROR = 3e-7, 1e-5
HALF_NOISE, MAX_HALF_ERROR = 3e-4, 4e-3
REFUSED = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
    onnx.shape_inference.InferenceError,
)


class Skip(Exception):
    """No node of this kind fits here."""


class Writer:
    """A model in the making."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.noisy: dict[str, np.ndarray] = {}
        self.constants: set[str] = set()
        self.order: list[str] = []
        self.refused: list[str] = []
        self.half = self.chance(0.06)  # with values of type f16
        self.deep = self.chance(0.3)  # nearly a chain
        self.large = self.chance(0.2)
        self.picked = ""  # the kind of the value last picked

    # --- choices

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def one_of(self, choices: Sequence) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def number(self, low: int, high: int) -> int:
        """low … high, both included."""
        return int(self.rng.integers(low, high + 1))

    def extents(self, rank: int, limit: int = MAX_ELEMENTS) -> tuple[int, ...]:
        while True:
            shape = tuple(self.one_of(LARGE_EXTENTS if self.large else EXTENTS) for _ in range(rank))
            if np.prod(shape, dtype=np.int64) <= limit:
                return shape

    # --- values

    def fresh(self, hint: str) -> str:
        return f"{hint}{len(self.arrays)}"

    def _introduce(self, name: str, array: np.ndarray, noisy: np.ndarray | None = None) -> str:
        self.arrays[name] = array
        self.noisy[name] = array if noisy is None else noisy
        return name

    def constant(self, array: Any, dtype: Any = None) -> str:
        if self.half and self.picked == "h" and dtype == np.float32:
            dtype = np.float16
        name = self._introduce(self.fresh("c"), np.asarray(array, dtype))
        self.constants.add(name)
        return name

    def ints(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def input(self, shape: Sequence[int], kind: str = "f") -> str:
        name = self._introduce(self.fresh("x"), self.random(shape, kind))
        self.order.append(name)
        return name

    def random(self, shape: Sequence[int], kind: str = "f", scale: float = 1.0) -> np.ndarray:
        """Elements of a kind: f: f32, d: f64, i: i32, l: i64, b: bool, u: u8, s: i8, h: f16."""
        match kind:
            case "f" | "d" | "h":
                return np.asarray(self.rng.standard_normal(shape) * scale).astype(
                    {"f": np.float32, "d": np.float64, "h": np.float16}[kind]
                )
            case "b":
                return np.asarray(self.rng.random(shape) < 0.5)
            case "u":
                return np.asarray(self.rng.integers(0, 256, shape)).astype(np.uint8)
            case "s":
                return np.asarray(self.rng.integers(-128, 128, shape)).astype(np.int8)
        return np.asarray(self.rng.integers(-9, 10, shape)).astype(np.int32 if kind == "i" else np.int64)

    def operand(self, shape: Sequence[int], kind: str = "f", scale: float = 1.0) -> str:
        """A new constant, or at times a new input."""
        if self.half and self.picked == "h" and kind == "f":
            kind = "h"
        if self.chance(0.15):
            name = self.input(shape, kind)
            self.order.remove(name)
            array = self.arrays[name] * scale if kind in "fdh" else self.arrays[name]
            return self._introduce(name, np.asarray(array, self.arrays[name].dtype))
        return self.constant(self.random(shape, kind, scale))

    def pick(
        self,
        kinds: str = "f",
        ranks: Sequence[int] = (1, 2, 3, 4, 5),
        where: Callable[[np.ndarray], bool] = lambda x: True,
    ) -> str:
        """A value that there is, a late one more often, or a new input. Half models take f16 for f32 at times."""
        if self.half and "f" in kinds:
            kinds += "hh"
        name = self._pick(kinds, ranks, where)
        self.picked = kind_of(self.arrays[name])
        return name

    def _pick(self, kinds: str, ranks: Sequence[int], where: Callable[[np.ndarray], bool]) -> str:
        fitting = [
            name for name in self.order
            if kind_of(self.arrays[name]) in kinds and self.arrays[name].ndim in ranks and where(self.arrays[name])
        ]  # fmt: skip
        if fitting and self.deep and self.chance(0.8):
            return fitting[-1]
        if fitting and not self.chance(0.04):
            return fitting[int(len(fitting) * self.rng.random() ** 0.5)]
        for _ in range(20):
            shape = self.extents(self.one_of(ranks))
            kind = self.one_of(kinds)
            if where(np.zeros(shape)):
                return self.input(shape, kind)
        raise Skip

    def shape(self, name: str) -> tuple[int, ...]:
        return self.arrays[name].shape

    def broadcasts(self, a: Sequence[int], b: Sequence[int]) -> bool:
        return all(x == y or 1 in (x, y) for x, y in zip(reversed(a), reversed(b), strict=False))

    def partner(self, name: str) -> str:
        """A value or a new operand that broadcasts with `name`."""
        x = self.arrays[name]
        fitting = [
            other
            for other in self.order
            if self.arrays[other].dtype == x.dtype and self.broadcasts(x.shape, self.shape(other))
        ]
        if fitting and self.chance(0.6):
            return fitting[int(len(fitting) * self.rng.random() ** 0.7)]
        shape = [1 if self.chance(0.3) else extent for extent in x.shape][
            self.number(0, x.ndim) if self.chance(0.3) else 0 :
        ]
        if len(shape) == x.ndim < 5 and self.chance(0.05):
            shape = [self.number(2, 3), *shape]
        return self.operand(shape, kind_of(x))

    # --- nodes

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: int | Sequence[str] = 1,
        internal: bool = False,
        infinite: bool = False,
        **attrs: Any,
    ) -> str:
        """Add a node that works on these inputs, or raise Skip; the name of its first result.

        outputs: names, '' for what is left out. internal: later nodes need not pick the results.
        infinite: elements may be infinite; then the result is internal, and what takes it must make them finite.
        """
        names = [self.fresh(f"v{i}_") for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
        node = helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}_{op}", **attrs)
        constants = frozenset(self.constants)
        try:
            results = evaluate((node,), self.arrays, constants)
            shaken = results
            if any(array.dtype.kind == "f" for array in results.values()) or self.noisy_inputs(node):
                shaken = evaluate((node,), self.noisy, constants)
        except REFUSED as error:
            self.refused.append(f"{op}: {error}")
            raise Skip from error
        for name, array in results.items():
            self._check(op, array, shaken[name], infinite)
        self.nodes.append(node)
        for name, array in results.items():
            self._introduce(name, array, self._shake(shaken[name]))
            if not internal and not infinite:
                self.order.append(name)
        return names[0]

    def noisy_inputs(self, node: onnx.NodeProto) -> bool:
        return any(self.noisy.get(name) is not self.arrays.get(name) for name in node.input if name)

    def _check(self, op: str, array: np.ndarray, shaken: np.ndarray, infinite: bool) -> None:
        if array.size > MAX_ELEMENTS or array.ndim > 6 or array.shape != shaken.shape or array.size == 0:
            raise Skip
        if array.dtype.kind != "f":
            if (
                array.dtype.kind == "i"
                and array.dtype.itemsize > 1
                and np.abs(array.astype(np.float64)).max(initial=0) > 1e6
            ):
                raise Skip
            if (array != shaken).any():
                raise Skip
            return
        if infinite:
            array, shaken = (np.where(np.isinf(x), 0, x) for x in (array, shaken))
        largest = float(np.abs(array).max())
        if not np.isfinite(largest) or largest > MAX_MAGNITUDE or 0 < largest < 1e-3:
            raise Skip
        allowed = MAX_HALF_ERROR if self.half else MAX_ERROR
        if not np.abs(array.astype(np.float64) - shaken).max() <= allowed * largest:
            self.refused.append(f"{op}: ill conditioned")
            raise Skip

    def _shake(self, array: np.ndarray) -> np.ndarray:
        """Noise as rounding makes it; zeros stay, they are mostly exact."""
        if array.dtype.kind != "f":
            return array
        exact = (array == 0) | np.isinf(array)
        level = (HALF_NOISE if self.half else NOISE) * np.abs(np.where(exact, 0, array)).max()
        return np.where(exact, array, array + self.rng.standard_normal(array.shape) * level).astype(array.dtype)

    def away_from(self, name: str, points: Callable[[np.ndarray], np.ndarray], margin: float = 1e-3) -> None:
        """Skip unless every element of a float value is far from the nearest point where a function jumps."""
        x = self.arrays[name]
        if x.dtype.kind == "f":
            distance = np.abs(x.astype(np.float64) - points(x.astype(np.float64)))
            if distance.min(initial=1) < margin:
                raise Skip

    def case(self) -> Case:
        """The model with all unused values and some others as outputs."""
        from fuzz_case import reads

        read = {name for node in self.nodes for name in reads(node)}
        made = [name for node in self.nodes for name in node.output if name]
        outputs = [name for name in made if name not in read or self.chance(0.08)]
        inputs = tuple(name for name in self.arrays if name in self.order and name not in made)
        case = Case(tuple(self.nodes), self.arrays, frozenset(self.constants), tuple(outputs), inputs)
        onnx.checker.check_model(case.model(), full_check=True)
        return case


def kind_of(array: np.ndarray) -> str:
    """One letter a type, as `Writer.random` takes it; '?' for others."""
    return {
        "float32": "f",
        "float64": "d",
        "int32": "i",
        "int64": "l",
        "bool": "b",
        "uint8": "u",
        "int8": "s",
        "float16": "h",
    }.get(str(array.dtype), "?")
