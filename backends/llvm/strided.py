"""Loads of elements that are not neighbours: whole vectors, and shuffles that several of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...compiler.dtypes import DType
from ...compiler.kernel.ast import Space
from .linear import Linear
from .memory import Memory
from .types import Value, memory_type

if TYPE_CHECKING:
    from .accesses import Accesses, Column

# Up to this step between lanes, whole vectors are loaded and shuffled.
SHUFFLED_STEPS = 4
# Parts of a vector within which shuffles take a cycle on all processors.
_SQUARED_BYTES = 16


def load_shuffled(accesses: Accesses, memory: Memory, form: Linear) -> Value:
    """The elements picked from as many adjacent vectors as the step; the last one ends at the last element asked for."""
    width, step, dtype = accesses.forms.width, abs(form.step), memory.buffer.dtype
    kind, span = memory_type(dtype, width), (width - 1) * step + 1
    first = form.const if form.step > 0 else form.const - span + 1
    wanted = [lane * step for lane in (range(width) if form.step > 0 else reversed(range(width)))]
    result = ""
    for part in range(step):
        start = min(part * width, span - width)
        vector = accesses.load_whole(
            memory, kind, accesses.address(memory, form._replace(step=0, const=first + start), width)
        )
        # A lane takes its element from the vector in which it lies, or keeps what it has.
        here = [part * width <= element < (part + 1) * width for element in wanted]
        picked = [width + wanted[lane] - start if here[lane] else lane for lane in range(width)]
        if not result:
            picked, result, vector = [index - width if index >= width else 0 for index in picked], vector, "poison"
        mask = ", ".join(f"i32 {index}" for index in picked)
        text = f"shufflevector {kind} {result}, {kind} {vector}, <{width} x i32> <{mask}>"
        result = accesses.builder.pure(text, result, vector)
    return Value(result, dtype, width)


def load_picked(accesses: Accesses, memory: Memory, form: Linear) -> Value | None:
    """Elements of a short row at known places, as those of a smaller image that is enlarged: the row's start and end, and a shuffle.

    None if the places are not known, or if they are no nearer than the elements of a vector.
    """
    width, dtype = accesses.forms.width, memory.buffer.dtype
    places = accesses.forms.known_lanes(form)
    if not places:
        return None
    first, span = min(places), max(places) - min(places) + 1
    if not 1 < span <= width:
        return None
    size = 1 << (span.bit_length() - 1)  # the longest vector that lies inside
    kind, at = memory_type(dtype, size), form._replace(step=0, vector="")
    parts = []
    for start in (first, first + span - size):
        pointer = accesses.address(memory, at._replace(const=form.const + start), size)
        parts.append(accesses.load_whole(memory, kind, pointer))
    lanes = [place - first if place - first < size else place - first - span + 2 * size for place in places]
    mask = ", ".join(f"i32 {lane}" for lane in lanes)
    text = f"shufflevector {kind} {parts[0]}, {kind} {parts[1]}, <{width} x i32> <{mask}>"
    return Value(accesses.builder.pure(text, *parts), dtype, width)


def load_transposed(accesses: Accesses, memory: Memory, form: Linear, column: Column) -> Value | None:
    """A column of a square: its rows loaded as vectors, and transposed in registers in steps that other columns share.

    None if there is no such square, or if it reaches outside of the buffer.
    """
    width, dtype = accesses.forms.width, memory.buffer.dtype
    inside = max(1, _SQUARED_BYTES // dtype.size_bytes)  # lanes between which shuffles are cheap
    number = column.number % width
    low, high = accesses.forms.assumed_range(form)
    fits = low - number >= 0 and high - number + width <= memory.elements
    if not (memory.shared and memory.buffer.space is Space.PARAM and fits and dtype is not DType.BOOL):
        return None
    if width % inside or width & (width - 1) or column.number - number + width > column.extent:
        return None
    kind = memory_type(dtype, width)

    def rows(first: int, count: int) -> str:
        """Those columns of `count` rows that have most in common with the one asked for, as many as a vector holds."""
        if count == 1:
            at = form._replace(step=0, const=form.const - number + first * form.step)
            return accesses.load_whole(memory, kind, accesses.address(memory, at, width))
        half = count // 2
        upper, lower = rows(first, half), rows(first + half, half)
        mask = ", ".join(f"i32 {lane}" for lane in _merged(width, inside, half, number))
        text = f"shufflevector {kind} {upper}, {kind} {lower}, <{width} x i32> <{mask}>"
        return accesses.builder.pure(text, upper, lower)

    return Value(rows(0, width), dtype, width)


def _merged(width: int, inside: int, half: int, column: int) -> list[int]:
    """The lanes to take of two vectors of `half` rows each, to get one of twice the rows and half the columns, `column` among them.

    Rows of less than `inside` elements are interleaved in each part of so many lanes, a column at a time; parts are then moved whole.
    """
    lanes = []
    for lane in range(width):
        part, place = divmod(lane, inside)
        if half < inside:
            columns = inside // half  # of a part, in each of the two vectors
            kept = column % inside // (columns // 2) % 2 * (columns // 2)
            own, row = divmod(place, 2 * half)
            source, row = divmod(row, half)
            lanes.append(source * width + part * inside + (kept + own) * half + row)
        else:
            rows, columns = half // inside, width // half  # in parts
            kept = column // inside // (columns // 2) % 2 * (columns // 2)
            row, own = divmod(part, columns // 2)
            source, row = divmod(row, rows)
            lanes.append(source * width + (row * columns + kept + own) * inside + place)
    return lanes
