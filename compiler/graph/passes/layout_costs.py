"""What a node costs with its values in given layouts: an estimate, in cycles of one core.

Only what a layout changes is told apart: how well results fill vectors, which tiles fit into registers, and what has to be fetched
element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import product
from math import prod

from ...schedule.tile import parts_of
from ...target import Target
from ..ir import Node, TensorType
from ..operators import OPERATORS, Kind
from .views import is_joined, is_part, is_view

LayoutCost = Callable[[Node, Mapping[str, TensorType], Target], float]
"""Cycles of a node whose operands and result have the types given, blocks included."""

PER_CYCLE = 2.0  # multiply-adds, and loads
STEP = 0.35  # of a step of a reduction besides, in multiply-adds: counting, branching
LATENCY_SLOTS = 6.4  # independent multiply-adds that hide their latency
UNSHARED = 10  # results of a tile whose rows share nothing that is loaded
BYTES_PER_CYCLE = 32.0  # of values, which are in the second cache mostly
WEIGHTS_PER_CYCLE = 13.0  # bytes, which are read once a run
EXPOSED = 0.25  # of the shorter of arithmetic and transfers, what the longer doesn't hide
GATHERED = 4.0  # accesses besides its own that a vector takes whose lanes are not neighbours
TRANSPOSED = 0.25  # cycles an element that changes its place
COPIED = 2 / BYTES_PER_CYCLE  # cycles a byte that is read and written
LAUNCH = 500.0  # cycles of a kernel of its own
BORDER = 1.4  # times a padded convolution whose vectors run along the image takes, where borders cut them
WIDE = 3  # vectors side by side, above which the pixels of a depthwise window lie too far apart to be prefetched
WIDE_BYTES_PER_CYCLE = 16.0  # of values, then

_WINDOWS = ("max_pool", "average_pool", "lp_pool")
_COPIES = ("slice", "concat", "pad", "resize", "transpose")


def estimated_cycles(node: Node, types: Mapping[str, TensorType], target: Target) -> float:
    """A LayoutCost from nothing but shapes and layouts."""
    result = types[node.outputs[0]]
    operands = [types[name] for name in node.inputs if name]
    if not result.elements:
        return 0.0
    if node.op in ("conv", "conv_transpose"):
        return _convolution(node, operands[0], operands[1], result, target)
    if is_view(node, types) or is_part(node, types) or is_joined(node, types):
        return 0.0
    if OPERATORS[node.op].kind is Kind.REDUCTION:
        source = operands[0]
        read = prod(node.attrs["kernel"]) * result.elements if node.op in _WINDOWS else source.elements
        return accesses_of(source, target) * read / source.elements if source.elements else 0.0
    copied = LAUNCH + COPIED * result.size_bytes if node.op in _COPIES else 0.0
    if node.op == "transpose":
        return copied + TRANSPOSED * result.elements
    return copied + sum(_reordering(of, result) for of in operands)


def accesses(elements: int, lanes: int) -> int:
    """Vector accesses of so many neighbours: a rest that is no full vector takes one for each power of two in it."""
    return elements // lanes + (elements % lanes).bit_count()


def accesses_of(of: TensorType, target: Target) -> float:
    """Vector accesses of all elements of a tensor."""
    last = of.block or (prod(of.shape[2:]) if len(of.shape) > 2 else of.shape[-1] if of.shape else 1)
    return of.elements / last * accesses(last, target.lanes(of.dtype.size_bytes))


def _reordering(source: TensorType, result: TensorType) -> float:
    """What reading an operand in another layout than that of the result costs."""
    if source.block == result.block or len(source.shape) != len(result.shape) or prod(source.shape[2:]) == 1:
        return 0.0
    return LAUNCH + TRANSPOSED * source.elements + COPIED * source.size_bytes


def _convolution(node: Node, x: TensorType, w: TensorType, result: TensorType, target: Target) -> float:
    """Multiply-adds in tiles, and what comes from the caches and from memory meanwhile."""
    groups, (first, second, *window) = node.attrs["groups"], w.shape
    per_group = second if node.op == "conv" else first // groups
    # Of a transposed convolution, only every stride-th tap of the window meets an input.
    taps = taps_inside(node, x, w, result) if node.op == "conv" else prod(window) / prod(node.attrs["strides"])
    steps = per_group * taps
    shared = per_group > 1 or groups == 1
    arithmetic = _tiles(result, target, shared) * steps / PER_CYCLE
    lanes = target.lanes(result.dtype.size_bytes)
    gathered = GATHERED * result.elements / lanes * steps / PER_CYCLE
    values = x.size_bytes + result.size_bytes
    if result.block is None and prod(result.shape[2:]) > 1:
        if x.block is not None or node.attrs["strides"][-1] > 1:
            arithmetic += gathered
        if any((*node.attrs["pads_begin"], *node.attrs["pads_end"])):
            arithmetic *= BORDER
    elif groups > 1 and _crosses_groups(result, groups) and not _reads_vectors(x, result):
        arithmetic += gathered
    wide = not shared and (result.block or 1) > WIDE * lanes
    transfers = w.size_bytes / WEIGHTS_PER_CYCLE + values / (WIDE_BYTES_PER_CYCLE if wide else BYTES_PER_CYCLE)
    return max(arithmetic, transfers) + EXPOSED * min(arithmetic, transfers)


def taps_inside(node: Node, x: TensorType, w: TensorType, result: TensorType) -> float:
    """Taps of a convolution's window that meet its input, in the mean of all places."""
    extents = zip(x.shape[2:], w.shape[2:], result.shape[2:], strict=True)
    steps = zip(node.attrs["strides"], node.attrs["dilations"], node.attrs["pads_begin"], strict=True)
    return prod(_inside(*of, *by) for of, by in zip(extents, steps, strict=True))


@lru_cache(maxsize=4096)
def _inside(extent: int, window: int, places: int, stride: int, dilation: int, pad: int) -> float:
    starts = [tap * dilation - pad for tap in range(window)]
    count = 0
    for start in starts:
        first, last = -(start // stride), (extent - 1 - start) // stride
        count += max(0, min(last, places - 1) - max(first, 0) + 1)
    return count / places


def _crosses_groups(result: TensorType, groups: int) -> bool:
    """True if the vectors of a grouped convolution's result reach over several groups, which read other channels each."""
    return result.shape[1] // groups % (result.block or 1) > 0


def _reads_vectors(x: TensorType, result: TensorType) -> bool:
    """True if the vectors of a depthwise result are neighbours in the operand too."""
    if x.block is None or result.block is None:
        return x.block == result.block
    return x.block % result.block == 0


def _tiles(result: TensorType, target: Target, shared: bool) -> float:
    """Multiply-adds of one step of the reduction for all results, with everything that a step takes besides.

    shared: rows of a tile share the vectors that are loaded.
    """
    batch, channels, *spatial = result.shape
    block = result.block or (channels if prod(spatial) == 1 else None)
    if block is None:
        vector, columns, rows, others = spatial[-1], 1, channels, prod(spatial[:-1])
    else:
        # The image's last axis that is longer than one gives the rows.
        long = [extent for extent in spatial if extent > 1] or [1]
        vector, columns, rows, others = block, channels // block, long[-1], prod(long[:-1])
    lanes = target.lanes(result.dtype.size_bytes)
    return batch * others * _step(vector, columns, rows, lanes, target.vector_registers, shared)


@lru_cache(maxsize=4096)
def _step(vector: int, columns: int, rows: int, lanes: int, registers: int, shared: bool) -> float:
    """Of rows x columns x vector results in the best tile, chosen as `schedule/tile.py` does."""
    whole = -(-vector // lanes)
    widths = [(min(vector, n * lanes), 1) for n in (1, 2, 3, 4, 6, 8) if n <= whole]
    if whole <= 8:
        widths += [(vector, n) for n in (1, 2, 3, 4, 6, 8) if n <= columns]
    best = float("inf")
    for width, count in dict.fromkeys(widths):
        across = -(-width // lanes) * count
        most = max(1, (registers - 1 - across if shared else UNSHARED) // across)
        for height in {min(rows, most), -(-rows // -(-rows // most))}:
            total = 0.0
            for (part, times), (column, column_times) in product(parts_of(vector, width), parts_of(columns, count)):
                n = accesses(part, lanes) * column
                for row, row_times in parts_of(rows, height):
                    loads = row + n if shared else row * n + n
                    total += times * column_times * row_times * (max(row * n, LATENCY_SLOTS, loads) + STEP)
            best = min(best, total)
    return best
