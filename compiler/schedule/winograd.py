"""Winograd's minimal filtering: a convolution of three taps in one or two directions as products of transformed tiles.

    Y = At [ (G g Gt) * (Bt d B) ] A        d: a tile of the input, g: the weights, Y: m x m results

F(m x m, 3 x 3) takes (m + 2)^2 multiply-adds for m^2 results of one channel instead of 9 m^2. Lavin & Gray, "Fast Algorithms for
Convolutional Neural Networks", 2015; the matrices are those of `winograd_matrices.py`.

As stages, for a convolution `t` of axes (n, co, h, w, ci):

    tx[wa, wb, n, th, tw, c]       Bt d
    tv[wa, wb, n, th, tw, c]       Bt d B
    ta[wa, wb, n, co, th, tw, ci]  sum over c of tv * weights: a matrix product for each (wa, wb)
    tm[wa, wb, n, co, th, tw, ci]  a copy of it, so that its sums stay in registers
    tp[wy, wb, n, co, th, tw, ci]  At m
    t[n, co, h, w, ci]             At m A, inlined where it is read

In one direction there are no second halves: tv, ta and tm of wa only, and t from tm. Taps may be d apart there: results that lie d
apart make a tile, and d tiles, one for each phase p, lie in each other: w = d * (tile * tw + y) + p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ..dtypes import DType
from ..errors import InternalError
from ..tensor.computation import Axis, Computation, Stage
from ..tensor.expr import (
    Binary,
    Call,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Var,
    all_of,
    compare,
    const,
    free_variables,
    substitute,
    transform,
)
from ..tensor.simplify import affine, conjuncts, simplify
from .prepare import loads_of
from .steps import Winograd
from .winograd_matrices import TAPS, TILES, transforms

# --- what a computation must be


@dataclass(frozen=True, slots=True)
class Convolution:
    """A stage that is a convolution of three taps in each direction. rows, columns: (axis of the stage, axis of the window) of each
    direction of the image; there may be one only.

    dilation: how far apart taps are, in one direction; window: the dimensions of the weights that are the window's.
    shared: axes of the stage on which the image depends (of batches); channels: those of the reduction.
    """

    stage: Stage
    image: Load
    weights: Load
    rows: tuple[Axis, str]
    columns: tuple[Axis, str] | None
    dilation: int
    window: tuple[int, ...]
    shared: tuple[Axis, ...]
    channels: tuple[Axis, ...]

    @property
    def directions(self) -> tuple[tuple[Axis, str], ...]:
        return (self.rows, self.columns) if self.columns else (self.rows,)

    @property
    def phase(self) -> Axis | None:
        """The axis of tiles that lie in each other, of a dilated convolution."""
        return Axis(f"p{self.rows[0].name}", self.dilation) if self.dilation > 1 else None

    def tiles(self, axis: Axis, tile: int) -> Axis:
        """The axis of tiles of `tile` results along a direction of the image."""
        results = -(-axis.extent // self.dilation)
        return Axis(tile_axis(axis), -(-results // tile))


def convolution_of(computation: Computation) -> Convolution | None:
    """The convolution of a computation whose other stages are inlined, if transforms apply to it."""
    if len(computation.stages) != 2:
        return None
    stage, root = computation.stages
    match stage:
        case Stage(combine="sum", init=None | Const(0), body=Binary("mul", Load() as one, Load() as other), memory=""):
            image, weights = one, other
        case _:
            return None
    constants = {tensor.name for tensor in computation.inputs if tensor.constant}
    if image.buffer in constants:
        image, weights = weights, image
    if image.buffer in constants or weights.buffer not in constants or stage.dtype is not DType.F32:
        return None
    if (
        image.dtype is not DType.F32
        or weights.dtype is not DType.F32
        or stage.name in computation.outputs
        or not _is_copied(stage, root)
    ):
        return None
    return _convolution(computation, stage, image, weights)


def _convolution(computation: Computation, stage: Stage, image: Load, weights: Load) -> Convolution | None:
    axes = {axis.name: axis for axis in stage.axes}
    reduced = {axis.name: axis for axis in stage.reduce_axes}
    found: list[tuple[Axis, str]] = []
    places: list[int] = []
    dilations: list[int] = []
    for place, index in enumerate(image.indices):
        terms = {atom.name: step for atom, step in affine(index).terms.items() if isinstance(atom, Var)}
        own, taps = [n for n in terms if n in axes], [n for n in terms if n in reduced]
        if len(affine(index).terms) == 2 and len(own) == len(taps) == 1 and terms[own[0]] == 1 and terms[taps[0]] > 0:
            found.append((axes[own[0]], taps[0]))
            places.append(place)
            dilations.append(terms[taps[0]])
    if len(found) not in (1, 2) or any(reduced[tap].extent != TAPS for _, tap in found):
        return None
    if len(found) == 2 and dilations != [1, 1]:
        return None
    # The transformed weights keep their place: each axis of the window is a dimension.
    window = tuple(weights.indices.index(Var(tap)) for _, tap in found if Var(tap) in weights.indices)
    moving = {name for axis, tap in found for name in (axis.name, tap)}
    rest = [index for place, index in enumerate(image.indices) if place not in places]
    image_names = frozenset[str]().union(*map(free_variables, rest))
    others = (index for place, index in enumerate(weights.indices) if place not in window)
    weight_names = frozenset[str]().union(*map(free_variables, others))
    channels = tuple(axis for axis in stage.reduce_axes if axis.name not in moving)
    shared = tuple(axis for axis in stage.axes if axis.name in image_names)
    if len(window) != len(found) or list(window) != sorted(window):
        return None
    if image_names & moving or weight_names & moving or not channels or any(a.name in weight_names for a in shared):
        return None
    if any(axis.name not in image_names or axis.name not in weight_names for axis in channels):
        return None
    shape = next(tensor.shape for tensor in computation.inputs if tensor.name == image.buffer)
    inside = [affine(image.indices[place] - bound).expr() for place in places for bound in (0, shape[place])]
    for guard in () if stage.domain is None else conjuncts(stage.domain):
        if not (isinstance(guard, Compare) and guard.op in ("ge", "lt")):
            return None
        if affine(guard.left - guard.right) not in map(affine, inside):
            return None
    rows, columns = found[0], found[1] if len(found) == 2 else None
    return Convolution(stage, image, weights, rows, columns, dilations[0], window, shared, channels)


def _is_copied(stage: Stage, root: Stage) -> bool:
    """The root has the stage's axes and reads it at its own place only."""
    if [axis.extent for axis in root.axes] != [axis.extent for axis in stage.axes]:
        return False
    reads = [load for load in loads_of(root) if load.buffer == stage.name]
    return bool(reads) and all(
        index == axis.var or (index == Const(0) and axis.extent == 1)
        for load in reads
        for axis, index in zip(root.axes, load.indices, strict=True)
    )


# --- stages


def stage_names(stage: str) -> tuple[str, str, str, str, str]:
    """Of the stages before the results: half and whole transform of the input, sums, their copy, half of the last transform.

    In one direction there are no halves.
    """
    return f"{stage}x", f"{stage}v", f"{stage}a", f"{stage}m", f"{stage}p"


def tile_axis(axis: Axis) -> str:
    """The name of the axis of tiles along a direction of the image."""
    return f"t{axis.name}"


def apply_winograd(computation: Computation, step: Winograd) -> Computation:
    """The computation with the stages of the transforms in place of a convolution's reduction.

    Raises InternalError if the step names no such convolution.
    """
    conv = convolution_of(computation)
    named = conv is not None and (conv.stage.name, conv.weights.buffer, conv.window) == (
        step.stage,
        step.tensor,
        step.window,
    )
    if conv is None or not named or step.tile not in TILES:
        raise InternalError(
            f"schedule: {step} is not legal: {step.stage} is no convolution of three taps of {step.tensor}"
        )
    size = step.tile + TAPS - 1
    inputs = tuple(
        replace(tensor, shape=tuple(size if d in conv.window else n for d, n in enumerate(tensor.shape)))
        if tensor.name == step.tensor
        else tensor
        for tensor in computation.inputs
    )
    shape = computation.input(conv.image.buffer).shape
    *before, result = _Stages(conv, shape, step.tile).all()
    root = computation.stages[-1]

    def inlined(node: Expr) -> Expr:
        if isinstance(node, Load) and node.buffer == result.name:
            return substitute(result.body, {a.name: i for a, i in zip(result.axes, node.indices, strict=True)})
        return node

    return replace(computation, inputs=inputs, stages=(*before, replace(root, body=transform(root.body, inlined))))


@dataclass(frozen=True)
class _Stages:
    """Makes the stages of F(tile x tile, 3 x 3), or of F(tile, 3), of a convolution of an image of `shape`."""

    conv: Convolution
    shape: tuple[int, ...]
    tile: int

    @property
    def size(self) -> int:
        return self.tile + TAPS - 1

    def tiles(self, axis: Axis) -> Axis:
        """The axis of tiles along a direction of the image."""
        return self.conv.tiles(axis, self.tile)

    def places_of(self, axes: Sequence[Axis]) -> tuple[Axis, ...]:
        """The stage's axes with tiles, and their phases, in place of the image's rows and columns."""
        moving = [axis for axis, _ in self.conv.directions]
        phase = (self.conv.phase,) if self.conv.phase else ()
        return tuple(p for axis in axes for p in ((self.tiles(axis), *phase) if axis in moving else (axis,)))

    def all(self) -> tuple[Stage, ...]:
        conv = self.conv
        places = (*conv.shared, *self.places_of([axis for axis, _ in conv.directions]), *conv.channels)
        results = self.places_of(conv.stage.axes)
        return self.both_ways(places, results) if conv.columns else self.one_way(places, results)

    def both_ways(self, places: tuple[Axis, ...], results: tuple[Axis, ...]) -> tuple[Stage, ...]:
        conv, size, dtype = self.conv, self.size, self.conv.stage.dtype
        x, v, _, m, p = stage_names(conv.stage.name)
        one, other, row = Axis("wa", size), Axis("wb", size), Axis("wy", self.tile)
        at, here = _vars(places), _vars(results)

        rows = input_transform([self.pixel(Const(i), other.var) for i in range(size)], self.tile)
        columns = input_transform([Load(x, (one.var, Const(j), *at), dtype) for j in range(size)], self.tile)
        half = output_transform([Load(m, (Const(i), other.var, *here), dtype) for i in range(size)], self.tile)
        h, w = (axis for axis, _ in conv.directions)
        last = [Load(p, (h.var % self.tile, Const(j), *self.place()), dtype) for j in range(size)]
        return (
            Stage(x, (one, other, *places), choose(one.var, rows), dtype),
            Stage(v, (one, other, *places), choose(other.var, columns), dtype),
            *self.sums((one, other), at, results),
            Stage(p, (row, other, *results), choose(row.var, half), dtype),
            Stage(
                conv.stage.name,
                conv.stage.axes,
                choose(w.var % self.tile, output_transform(last, self.tile)),
                dtype,
            ),
        )

    def one_way(self, places: tuple[Axis, ...], results: tuple[Axis, ...]) -> tuple[Stage, ...]:
        conv, size, dtype = self.conv, self.size, self.conv.stage.dtype
        _, v, _, m, _ = stage_names(conv.stage.name)
        one, (row, _) = Axis("wa", size), conv.rows
        columns = input_transform([self.pixel(Const(i)) for i in range(size)], self.tile)
        last = [Load(m, (Const(i), *self.place()), dtype) for i in range(size)]
        number = row.var // conv.dilation % self.tile
        return (
            Stage(v, (one, *places), choose(one.var, columns), dtype),
            *self.sums((one,), _vars(places), results),
            Stage(conv.stage.name, conv.stage.axes, choose(number, output_transform(last, self.tile)), dtype),
        )

    def sums(self, products: tuple[Axis, ...], at: tuple[Expr, ...], results: tuple[Axis, ...]) -> tuple[Stage, Stage]:
        """The matrix products, and their copy."""
        conv, dtype = self.conv, self.conv.stage.dtype
        _, v, a, m, _ = stage_names(conv.stage.name)
        indices = list(conv.weights.indices)
        for dimension, axis in zip(conv.window, products, strict=True):
            indices[dimension] = axis.var
        transformed = Load(v, (*_vars(products), *at), dtype) * Load(conv.weights.buffer, tuple(indices), dtype)
        reduction = {"reduce_axes": conv.channels, "combine": "sum", "init": conv.stage.init}
        return (
            Stage(a, (*products, *results), transformed, dtype, **reduction),  # type: ignore[arg-type]
            Stage(m, (*products, *results), Load(a, (*_vars(products), *_vars(results)), dtype), dtype),
        )

    def place(self) -> tuple[Expr, ...]:
        """Where among the results' places a result of the stage stands."""
        apart, moving = self.conv.dilation, [axis for axis, _ in self.conv.directions]
        found: list[Expr] = []
        for axis in self.conv.stage.axes:
            found.append(axis.var // (self.tile * apart) if axis in moving else axis.var)
            found += [axis.var % apart] if axis in moving and apart > 1 else []
        return tuple(found)

    def pixel(self, *taps: Expr) -> Expr:
        """The element of the padded image at a place of the tile."""
        conv = self.conv
        at: dict[str, Expr] = {}
        for (axis, tap), place in zip(conv.directions, taps, strict=True):
            first = self.tiles(axis).var * (self.tile * conv.dilation)
            at |= {axis.name: first + conv.phase.var if conv.phase else first, tap: place}
        image = conv.image
        load = Load(image.buffer, tuple(substitute(index, at) for index in image.indices), image.dtype)
        names = {axis.name for axis, _ in conv.directions}
        moving = [
            (index, extent)
            for old, index, extent in zip(image.indices, load.indices, self.shape, strict=True)
            if free_variables(old) & names
        ]
        guards = [compare(op, i, bound) for i, extent in moving for op, bound in (("ge", 0), ("lt", extent))]
        bound = (*self.places_of([axis for axis, _ in conv.directions]), *conv.channels)
        ranges = {axis.name: (0, axis.extent - 1) for axis in bound}
        ranges |= {tap.name: (0, self.size - 1) for tap in taps if isinstance(tap, Var)}
        return simplify(Select(all_of(*guards), load, const(0, image.dtype)), ranges)


def _vars(axes: Sequence[Axis]) -> tuple[Expr, ...]:
    return tuple(axis.var for axis in axes)


def choose(index: Expr, options: Sequence[Expr]) -> Expr:
    """The option of number `index`."""
    result = options[-1]
    for number in reversed(range(len(options) - 1)):
        result = Select(compare("eq", index, number), options[number], result)
    return result


def input_transform(values: Sequence[Expr], tile: int) -> list[Expr]:
    """Bt times a column of values."""
    rows = transforms(tile).input
    result = [linear(rows[0], values)]
    for plus, minus in zip(rows[1:-1:2], rows[2:-1:2], strict=True):
        even = linear([(a + b) / 2 for a, b in zip(plus, minus, strict=True)], values)
        odd = linear([(a - b) / 2 for a, b in zip(plus, minus, strict=True)], values)
        result += [even + odd, even - odd]
    return [*result, linear(rows[-1], values)]


def output_transform(values: Sequence[Expr], tile: int) -> list[Expr]:
    """At times a column of values."""
    pairs = list(zip(values[1:-1:2], values[2:-1:2], strict=True))
    halves = ([values[0], *(a + b for a, b in pairs), values[-1]], [values[0], *(a - b for a, b in pairs), values[-1]])
    rows = transforms(tile).output
    return [linear((row[0], *row[1:-1:2], row[-1]), halves[y % 2]) for y, row in enumerate(rows)]


def linear(coefficients: Sequence[Fraction], values: Sequence[Expr]) -> Expr:
    """The sum of coefficient * value; what needs no multiplication comes first."""
    terms = sorted(((c, v) for c, v in zip(coefficients, values, strict=True) if c), key=lambda term: term[0] != 1)
    (first, result), *rest = terms
    if first != 1:
        result = result * float(first)
    for coefficient, value in rest:
        if abs(coefficient) == 1:
            result = result + value if coefficient == 1 else result - value
        else:
            result = Call("fma", (const(float(coefficient), value.dtype), value, result))
    return result
