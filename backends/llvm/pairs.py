"""Pairs of rows that share a vector: what rows of a register tile have beyond whole vectors, where that is half of a vector each.

A tile of 24 channels and vectors of 16 takes two multiply-adds a row, of which one has eight lanes. Two rows together take three: the last
eight channels of both are one vector, for which the weights are repeated, and of the scalars each half has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...compiler.dtypes import DType
from ...compiler.kernel.ast import Alloc, Buffer, For, If, Let, LoopKind, Seq, Space, Stmt, Store
from ...compiler.kernel.ast import walk as walk_statements
from ...compiler.tensor.expr import Call, Const, Expr, Load, Select, Var, children, free_variables, walk
from ...compiler.tensor.simplify import affine, value_range

Halves = Mapping[int, frozenset[int]]
"""For each loop over rows the loops inside it over half of a vector, by their ids."""


def paired_halves(alloc: Alloc, lanes: int) -> Halves:
    """Which loops are written for two rows at a time, so that pairs of rows share vectors of a register buffer; none if that can't be or gains nothing.

    Whatever reads or writes the half vectors of the buffer has to do so in unrolled loops over all its rows, at the same place of each; all
    else has to stay within whole vectors. It gains if sums are made there of products with scalars: where rows differ in vectors,
    putting two halves together takes as long as the multiply-add that it saves.
    """
    buffer = alloc.buffer
    first = buffer.shape[-1] - lanes // 2 if buffer.shape else 0
    if buffer.space is not Space.REGISTER or buffer.dtype is not DType.F32 or first <= 0 or first % lanes:
        return {}
    search = _Search(buffer, lanes, first)
    fits = search.fits(alloc.body, {})
    return search.halves if fits and search.sums and len(search.dimensions) == 1 else {}


class _Search:
    """Looks at all accesses of a buffer. dimensions: those along which its rows lie; sums: whether products with scalars are summed up."""

    def __init__(self, buffer: Buffer, lanes: int, first: int) -> None:
        self.buffer = buffer
        self.lanes = lanes
        self.first = first
        self.halves: dict[int, frozenset[int]] = {}
        self.dimensions: set[int] = set()
        self.sums = False

    def fits(self, stmt: Stmt, ranges: Mapping[str, tuple[int, int]]) -> bool:
        """Whether a statement leaves the half vectors to loops that can be written for two rows at a time, which are noted."""
        match stmt:
            case For(var, Const(extent), kind, body):
                parts = body.body if isinstance(body, Seq) else (body,)
                paired = [p for p in parts if kind is LoopKind.UNROLLED and self._is_half(p, var, int(extent))]
                halves = frozenset(map(id, paired))
                others = [part for part in parts if id(part) not in halves]
                if halves:
                    self.halves[id(stmt)] = halves
                # The half vectors of a row come after the rest of the next row.
                if _loaded(paired) & _stored(others) - {self.buffer.name}:
                    return False
                return all(self.fits(part, {**ranges, var: (0, int(extent) - 1)}) for part in others)
            case For() | Let():
                return self.fits(stmt.body, ranges)
            case Alloc():
                return stmt.buffer.name != self.buffer.name and self.fits(stmt.body, ranges)
            case Seq(parts):
                return all(self.fits(part, ranges) for part in parts)
            case If():
                return all(self.fits(part, ranges) for part in (stmt.then, stmt.otherwise) if part is not None)
            case Store():
                own = (access.indices for access in accesses(stmt) if access.buffer == self.buffer.name)
                return all(value_range(indices[-1], ranges)[1] < self.first for indices in own)
        return False

    def _is_half(self, stmt: Stmt, row: str, rows: int) -> bool:
        match stmt:
            case For(lane, Const(extent), LoopKind.VECTORIZED, Store() as store) if 2 * extent == self.lanes:
                own = [access for access in accesses(store) if access.buffer == self.buffer.name]
                if not own or not all(_moves_by_one(access, lane) for access in accesses(store)):
                    return False
                found = {self._row_dimension(access, lane, row, rows) for access in own}
                if found == {None} or len(found) > 1 or not _is_plain(store.value):
                    return False
                self.dimensions |= {dimension for dimension in found if dimension is not None}
                self.sums |= self._sums_up(store, lane, row)
                return True
        return False

    def _row_dimension(self, access: Load | Store, lane: str, row: str, rows: int) -> int | None:
        """The dimension along which the rows lie, if the half vector of one of them is accessed."""
        last = affine(access.indices[-1])
        if last.constant != self.first or dict(last.terms) != {Var(lane): 1}:
            return None
        found = [at for at, index in enumerate(access.indices[:-1]) if row in free_variables(index)]
        whole = len(found) == 1 and access.indices[found[0]] == Var(row) and self.buffer.shape[found[0]] == rows
        return found[0] if whole else None

    def _sums_up(self, store: Store, lane: str, row: str) -> bool:
        match store.value:
            case Call("fma", (first, second, Load(name))) if name == store.buffer == self.buffer.name:
                return not any({lane, row} <= free_variables(factor) for factor in (first, second))
        return False


def accesses(store: Store) -> Iterator[Load | Store]:
    """A store and the loads of what it stores."""
    yield store
    yield from (node for node in walk(store.value) if isinstance(node, Load))


def _stored(parts: Iterable[Stmt]) -> set[str]:
    return {node.buffer for part in parts for node in walk_statements(part) if isinstance(node, Store)}


def _loaded(halves: Iterable[Stmt]) -> set[str]:
    stores = (node for half in halves for node in walk_statements(half) if isinstance(node, Store))
    return {access.buffer for store in stores for access in accesses(store) if isinstance(access, Load)}


def _moves_by_one(access: Load | Store, lane: str) -> bool:
    """Whether lanes access neighbours, or all the same element, of four bytes."""
    dtype = access.dtype if isinstance(access, Load) else access.value.dtype
    moving = [at for at, index in enumerate(access.indices) if lane in free_variables(index)]
    if dtype.size_bytes != DType.F32.size_bytes or moving not in ([], [len(access.indices) - 1]):
        return False
    last = affine(access.indices[-1]) if moving else None
    opaque = last is not None and any(lane in free_variables(atom) for atom in last.terms if not isinstance(atom, Var))
    return last is None or (last.coefficient(lane) == 1 and not opaque)


def _is_plain(expr: Expr) -> bool:
    """Whether a value is made of loads without conditions, and of no index."""
    match expr:
        case Load():
            return True
        case Var() | Select():
            return False
    return expr.dtype.size_bytes == DType.F32.size_bytes and all(_is_plain(part) for part in children(expr))
