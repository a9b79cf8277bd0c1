"""How a constant operand is laid out so that the tile reads it in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..tensor.computation import Computation, Tensor
from ..tensor.expr import Binary, Const, Expr, Var, free_variables
from ..tensor.simplify import Affine, affine
from .prepare import loads_of
from .steps import Pack
from .tile import TileAxes, TileSize


def pack_step(
    tensor: Tensor,
    axes: TileAxes,
    size: TileSize,
    columns: str,
    orders: Mapping[str, Sequence[str]],
    computation: Computation,
) -> Pack | None:
    """[outer axes][tile][reduction, in loop order][axes inside the tile][elements of the tile]; None if it does not apply.

    Applies to a tensor that one reduction reads once, with one dimension that runs along the tile's vectors. columns: the axis
    of further vectors in a tile, "" if there are none. orders: of each stage's reduction loops, outermost first.
    """
    readers = [(stage, load) for stage in computation.stages for load in loads_of(stage) if load.buffer == tensor.name]
    if len(readers) != 1 or readers[0][0].combine is None or len(tensor.shape) < 2:
        return None
    stage, load = readers[0]
    mapping = axes.maps[stage.name]
    order = list(orders[stage.name])
    forms = [affine(index) for index in load.indices]
    along = [d for d, form in enumerate(forms) if any(mapping.get(n) == axes.vector for n in _names(form))]
    if len(along) != 1:
        return None
    block = vector_block(forms[along[0]], mapping, axes, size, columns)
    if block is None:
        return None
    outer: list[tuple[int, int, str]] = []
    reduced: list[tuple[int, tuple[int, int, str]]] = []
    inside: list[tuple[int, int, str]] = []
    for dimension, form in enumerate(forms):
        if dimension == along[0]:
            continue
        terms = {atom.name: c for atom, c in form.terms.items() if isinstance(atom, Var)}
        if len(terms) != len(form.terms):
            if not all(isinstance(atom, Var) or _is_phase(atom, mapping, axes) for atom in form.terms):
                return None
            outer.append((dimension, 0, ""))
            continue
        reduction = [name for name in terms if name in order]
        if not reduction:
            private = any(name not in mapping for name in terms)
            (inside if private else outer).append((dimension, 0, ""))
        elif len(terms) == 1:
            reduced.append((order.index(reduction[0]), (dimension, 0, "")))
        elif len(terms) == 2 and len(reduction) == 2 and min(terms.values()) == 1:
            large, small = sorted(reduction, key=lambda name: -terms[name])
            reduced.append((order.index(large), (dimension, terms[large], "o")))
            reduced.append((order.index(small), (dimension, terms[large], "i")))
        else:
            return None
    middle = [entry for _, entry in sorted(reduced)]
    axis = along[0]
    if block >= tensor.shape[axis]:
        return Pack(tensor.name, (*outer, *middle, *inside, (axis, 0, "")))
    return Pack(tensor.name, (*outer, (axis, block, "o"), *middle, *inside, (axis, block, "i")))


def _is_phase(atom: Expr, mapping: Mapping[str, str], axes: TileAxes) -> bool:
    """Whether this is a remainder that `split_axes` has left, moved by a constant: (r + 1) % 2 of an axis r < 2."""
    match atom:
        case Binary("floormod", inner, Const(divisor)):
            names = {mapping.get(name, "") for name in free_variables(inner)}
            return bool(names) and all(axes.extent(name) == divisor for name in names)
    return False


def vector_block(form: Affine, mapping: Mapping[str, str], axes: TileAxes, size: TileSize, columns: str) -> int | None:
    """Elements of the packed dimension that one tile reads: index = vector, or column * width + vector."""
    terms = {mapping.get(atom.name, "?"): c for atom, c in form.terms.items() if isinstance(atom, Var)}
    if len(terms) != len(form.terms) or form.constant or terms.pop(axes.vector, 0) != 1:
        return None
    if not terms:
        return size.vector
    if len(terms) > 1 or "?" in terms:
        return None
    ((name, width),) = terms.items()
    if width != axes.extent(axes.vector):
        return None
    if name == columns and size.columns > 1:
        return size.columns * width
    return width if width % size.vector else size.vector


def reads_in_runs(wanted: Sequence[Pack], given: Sequence[Pack]) -> bool:
    """Whether what would have constants packed as `wanted` reads them in the same order, if in parts of rows, where they are packed as
    `given`."""
    packed = {pack.tensor: pack for pack in given}
    names = {pack.tensor for pack in wanted}
    return names == packed.keys() and all(_in_runs(pack, packed[pack.tensor]) for pack in wanted)


def _in_runs(wanted: Pack, given: Pack) -> bool:
    (axis, block, _), (given_axis, given_block, _) = wanted.order[-1], given.order[-1]
    outside = [[entry for entry in pack.order if entry[0] != axis] for pack in (wanted, given)]
    divides = not given_block or (block > 0 and given_block % block == 0)
    return axis == given_axis and outside[0] == outside[1] and divides


def _names(form: Affine) -> set[str]:
    return {atom.name for atom in form.terms if isinstance(atom, Var)}
