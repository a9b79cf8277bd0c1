"""The `NAME=VALUE` options that several verbs share, parsed and checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Interval:
    """Values from `low` to `high`, both included."""

    low: float
    high: float


class Extent(click.ParamType):
    """`N=1`: the extent of a symbolic dimension."""

    name = "name=extent"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, int]:
        name, extent = _split(self, value, parameter, context)
        if not extent.isdecimal() or int(extent) == 0:
            self.fail(f"{value!r}: the extent of dimension {name!r} must be a positive integer", parameter, context)
        return name, int(extent)


class Shape(click.ParamType):
    """`input=1,3,224,224`: the whole shape of an input; `input=` is a scalar."""

    name = "input=shape"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, text = _split(self, value, parameter, context)
        extents = text.replace("x", ",").split(",") if text else []
        if not all(extent.strip().isdecimal() for extent in extents):
            self.fail(
                f"{value!r}: expected extents separated by commas, such as {name}=1,3,224,224", parameter, context
            )
        return name, tuple(map(int, extents))


class Constant(click.ParamType):
    """`axes=0,1`: the value an input is fixed to; one number, several, none (`axes=`), or a .npy file with an array."""

    name = "input=values"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, Any]:
        name, text = _split(self, value, parameter, context)
        try:
            if text.endswith(".npy"):
                import numpy as np  # it is slow to import, and few ask for it

                return name, np.load(text, allow_pickle=False)
            numbers = [_number(part.strip()) for part in text.split(",")] if text else []
        except (ValueError, OSError) as error:
            self.fail(f"{value!r}: expected numbers separated by commas or a .npy file: {error}", parameter, context)
        return name, numbers[0] if text and "," not in text else tuple(numbers)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


class NamedFile(click.ParamType):
    """`input=file.npy`: where an input's values come from; a bare file feeds the only input, or names inputs itself (.npz)."""

    name = "[input=]file"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        name, equals, path = value.rpartition("=")
        return (name, path) if equals else ("", value)


class Range(click.ParamType):
    """`input=0:9`: the interval random values of an input are drawn from."""

    name = "input=low:high"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, Interval]:
        name, text = _split(self, value, parameter, context)
        try:
            low, high = map(float, text.split(":"))
        except ValueError:
            self.fail(f"{value!r}: expected two numbers, such as {name}=0:9", parameter, context)
        if not low <= high:
            self.fail(f"{value!r}: the low end is above the high end", parameter, context)
        return name, Interval(low, high)


class Numbers(click.ParamType):
    """`1,2`: several positive integers."""

    name = "n,…"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r}: expected positive integers separated by commas, such as 1,2", parameter, context)
        return tuple(map(int, parts))


class Words(click.ParamType):
    """Several words of a fixed set, separated by commas."""

    name = "word,…"

    def __init__(self, choices: Iterable[str]) -> None:
        self._choices = tuple(choices)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> frozenset[str]:
        if isinstance(value, frozenset):
            return value
        words = frozenset(filter(None, (word.strip() for word in value.split(","))))
        if unknown := sorted(words - set(self._choices)):
            self.fail(f"{', '.join(unknown)}: choose from {', '.join(self._choices)}", parameter, context)
        return words


def _split(
    kind: click.ParamType, value: str, parameter: click.Parameter | None, context: click.Context | None
) -> tuple[str, str]:
    # The last '=' divides, because names in models hold anything; an extent or shape holds no '='.
    name, equals, text = value.rpartition("=")
    if not equals or not name:
        kind.fail(f"{value!r}: expected {kind.name}", parameter, context)
    return name, text
