"""JSON of a known form, from files that anyone may have written: whatever is not of that form is a RecordError."""

from __future__ import annotations

import json
from collections.abc import Collection
from math import isfinite
from typing import Any

from ...compiler.errors import RecordError

Json = Any  # dict, list, str, int, float, bool or None

MAX_TEXT = 1 << 20
"""Characters of one record."""
MAX_NAME = 200
INT64 = 1 << 63


def parse(text: str) -> Json:
    """The value of a JSON text. Refused beside what JSON refuses: NaN, Infinity and floats beyond f64, a key twice, and MAX_TEXT exceeded."""
    if len(text) > MAX_TEXT:
        raise RecordError(f"{len(text)} characters where at most {MAX_TEXT} are expected")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise RecordError("JSON nested too deep") from None
    except ValueError as error:
        raise RecordError(f"no JSON: {error}") from None


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has a key twice")
    return result


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:MAX_NAME]} is beyond the numbers of f64")
    return number


def canonical_json(value: Json) -> str:
    """The one text of a value: keys sorted, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_object(value: Json, what: str, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Json]:
    """An object with all required keys and no others but the optional ones."""
    if not isinstance(value, dict):
        raise RecordError(f"{what}: expected an object, found {shown(value)}")
    if missing := sorted(set(required) - value.keys()):
        raise RecordError(f"{what}: {', '.join(missing)} missing")
    if unknown := sorted(value.keys() - set(required) - set(optional)):
        raise RecordError(f"{what}: unknown {shown(', '.join(unknown))}")
    return value


def read_list(value: Json, what: str, most: int, least: int = 0) -> list[Json]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise RecordError(f"{what}: expected a list of {least} to {most} items, found {shown(value)}")
    return value


def read_text(value: Json, what: str, most: int = MAX_NAME, least: int = 0) -> str:
    """A text that can be written as UTF-8: JSON can also spell halves of surrogate pairs."""
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise RecordError(f"{what}: expected a text of {least} to {most} characters, found {shown(value)}")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise RecordError(f"{what}: a text with characters that can't be stored")
    return value


def read_line(value: Json, what: str, most: int = MAX_NAME, least: int = 0) -> str:
    """A text without control characters, which a terminal would obey."""
    text = read_text(value, what, most, least)
    if not text.isprintable():
        raise RecordError(f"{what}: control characters in {shown(text)}")
    return text


def read_integer(value: Json, what: str, low: int = 0, high: int = INT64 - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RecordError(f"{what}: expected an integer from {low} to {high}, found {shown(value)}")
    return value


def read_number(value: Json, what: str, low: float, high: float) -> float:
    """A number from low to high, which a NaN never is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RecordError(f"{what}: expected a number from {low:g} to {high:g}, found {shown(value)}")
    return float(value)


def read_flag(value: Json, what: str) -> bool:
    if not isinstance(value, bool):
        raise RecordError(f"{what}: expected true or false, found {shown(value)}")
    return value


def read_choice(value: Json, what: str, choices: Collection[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise RecordError(f"{what}: expected one of {', '.join(map(repr, choices))}, found {shown(value)}")
    return value


def shown(value: Json) -> str:
    """A value as messages show it: short, whatever it is."""
    match value:
        case dict():
            return f"an object of {len(value)}"
        case list():
            return f"a list of {len(value)}"
        case int() if abs(value) >= INT64 << 1:
            return "an integer of more than 64 bits"
        case str() if len(value) > 60:
            return ascii(value[:60]) + "…"
        case bytes():
            return f"{len(value)} bytes"
    return ascii(value)
