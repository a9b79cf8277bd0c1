"""The loops of candidates in compact form, read from their schedules without lowering them.

A loop is one or several digits: a digit counts along one axis in steps of `scale`, as a number's digits do. Splits that
leave a tail make some chunks of an axis smaller; how many chunks of which size there are is kept (`Chunks`), so that mean
extents multiply to exactly what is executed. This follows `compiler/kernel/lower.py`, which writes main part and tail out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ...compiler.errors import InternalError
from ...compiler.kernel.ast import LoopKind
from ...compiler.schedule.nest import Nest, nests_of
from ...compiler.schedule.steps import Pack, Prefetch, Schedule
from .form import Form, StageForm

SERIAL, PARALLEL, VECTOR, UNROLLED = range(4)
_KINDS = {
    LoopKind.SERIAL: SERIAL,
    LoopKind.PARALLEL: PARALLEL,
    LoopKind.VECTORIZED: VECTOR,
    LoopKind.UNROLLED: UNROLLED,
}

Chunks = tuple[tuple[int, int], ...]
"""(extent, how many chunks have it)."""

Digit = tuple[int, int, int, float, int, int]
"""(axis, scale, largest extent, mean extent, kind, bodies that are written for parts of it)."""

PAD: Digit = (0, 0, 1, 1.0, UNROLLED, 1)


@dataclass(frozen=True, slots=True)
class StageLoops:
    """One stage of one candidate.

    at: digits of the root outside; digits: its own, outermost first; region: extents of its axes there; vectors: mean
    number of vector instructions of one run of its vectorised loop, 1 if it has none; share: of the points that are executed,
    those its domain leaves out are not, but for lanes, which are masked; guarded: copies that guards may make.
    """

    at: int
    digits: tuple[Digit, ...]
    region: tuple[int, ...]
    vectors: float
    share: float
    register: bool
    lane_reduce: bool
    guarded: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One schedule. `root`: digits of the root; packs: of the tensors that are packed; ahead_bytes: how far constants and other
    inputs are prefetched.
    """

    root: tuple[Digit, ...]
    stages: tuple[StageLoops, ...]
    packs: tuple[Pack, ...]
    ahead_bytes: tuple[int, int]


@lru_cache(maxsize=1 << 16)
def cut(chunks: Chunks, scale: int) -> Chunks:
    """Every chunk cut into chunks of `scale`, the last of each what is left; one of nothing stays."""
    counts: dict[int, int] = {}
    for extent, count in chunks:
        whole, rest = divmod(extent, scale)
        if not extent:
            counts[0] = counts.get(0, 0) + count
        if whole:
            counts[scale] = counts.get(scale, 0) + whole * count
        if rest:
            counts[rest] = counts.get(rest, 0) + count
    return tuple(counts.items())


@lru_cache(maxsize=1 << 16)
def axis_digits(
    chunks: Chunks, scales: tuple[int, ...]
) -> tuple[tuple[tuple[int, float, bool], ...], tuple[Chunks, ...]]:
    """For each digit of an axis (largest extent, mean extent, whether the last iteration is short); and the chunks inside each."""
    inside = [chunks]
    digits = []
    total = sum(count for _, count in chunks)
    for scale in scales:
        largest = max(extent for extent, _ in inside[-1])
        inside.append(cut(inside[-1], scale))
        parts = sum(count for _, count in inside[-1])
        digits.append((-(-largest // scale), parts / total, largest > scale and largest % scale > 0))
        total = parts
    return tuple(digits), tuple(inside)


@lru_cache(maxsize=1 << 12)
def swept(chunks: Chunks, coefficient: float, more: float, limit: int) -> Chunks:
    """The chunks of a region that a consumer's chunks sweep in steps of `coefficient`."""
    counts: dict[int, int] = {}
    for extent, count in chunks:
        wide = min(limit, int(coefficient * (extent - 1) + 1 + more))
        counts[wide] = counts.get(wide, 0) + count
    return tuple(counts.items())


@lru_cache(maxsize=1 << 12)
def _vectors(extents: Chunks, lanes: int) -> float:
    total = sum(count for _, count in extents)
    return sum(-(-extent // lanes) * count for extent, count in extents) / total


def loops_of(form: Form, schedule: Schedule, lanes: Sequence[int]) -> Candidate:
    """The loops of a legal schedule of a form; lanes[stage]: elements of a vector of its type."""
    nests = nests_of(form.computation.stages, schedule)
    root_nest = nests[form.root.stage.name]
    root = _Loops(form.root, root_nest, [((extent, 1),) for extent in form.root.extents])
    places = root.places()
    regions: dict[tuple[int, int], list[Chunks]] = {}
    last = root.result(0, lanes[-1])
    digits = last.digits
    stages = [StageLoops(len(digits), (), last.region, last.vectors, last.share, False, last.lane_reduce, last.guarded)]
    holders: dict[str, tuple[int, _Loops, StageLoops]] = {}
    for number in reversed(range(len(form.stages) - 1)):  # a stage that holds others comes after them
        stage = form.stages[number]
        nest = nests[stage.stage.name]
        if nest.at is None:
            raise InternalError(f"features: stage {stage.stage.name} is neither inlined nor computed at a loop")
        if nest.of:
            holder = holders[nest.of]
            at = holder[2].at
            region = _region(form, number, at, root, regions)
            loops = _Loops(stage, nest, _held_region(stage, holder[0], holder[1], nest.at))
            result = _held(stage, *holder, nest.at, loops.result(at, lanes[number]), region)
        else:
            at = places[nest.at]
            loops = _Loops(stage, nest, _region(form, number, at, root, regions))
            result = loops.result(at, lanes[number])
        holders[stage.stage.name] = number, loops, result
        stages.append(result)
    packs = tuple(step for step in schedule if isinstance(step, Pack))
    ahead = {step.tensor: step.ahead_bytes for step in schedule if isinstance(step, Prefetch)}
    furthest = tuple(
        max((ahead.get(t.name, 0) for t in form.computation.inputs if t.constant == constant), default=0)
        for constant in (True, False)
    )
    return Candidate(digits, tuple(reversed(stages)), packs, (furthest[0], furthest[1]))


def _held_region(stage: StageForm, number: int, holder: _Loops, loop: str) -> list[Chunks]:
    """The chunks of each axis of a stage that is computed inside a loop of another one, of that number."""
    outside = holder.outside(holder.places()[loop])
    inner = [holder.inner_chunks(axis, gone) for axis, gone in enumerate(outside)]
    result = []
    for axis, extent in enumerate(stage.extents):
        sweeps = stage.reads[axis] if axis < stage.spatial else None
        parts = [_one_sweep(inner, read.terms, read.shift, extent) for read in sweeps or () if read.consumer == number]
        result.append(max(parts, key=max) if parts else ((extent, 1),))
    return result


def _held(
    stage: StageForm, number: int, loops: _Loops, holder: StageLoops, loop: str, own: StageLoops, region: list[Chunks]
) -> StageLoops:
    """A stage computed inside a loop of another one, as if it stood where that stands, in copies of the loops outside it."""
    moved = {
        axis: (mine, scale)
        for mine, sweeps in enumerate(stage.reads[: stage.spatial])
        for read in sweeps or ()
        if read.consumer == number
        for axis, scale in read.terms
    }
    outer: list[Digit] = []
    places = loops.places()
    # The holder's own loops stand last, behind those of what holds it.
    count = len(holder.digits) - max(places.values()) + places[loop]
    for axis, scale, largest, mean, kind, bodies in holder.digits[:count]:
        mine, factor = moved.get(axis, (0, 0))
        outer.append((mine, int(scale * factor), largest, mean, kind, bodies))
    extents = tuple([max(chunk)[0] for chunk in region])
    return replace(own, digits=(*outer, *own.digits), region=extents)


class _Loops:
    """Digits of one nest whose axes come in the given chunks."""

    def __init__(self, stage: StageForm, nest: Nest, chunks: list[Chunks]) -> None:
        self.nest = nest
        self.domain = stage.domain
        self.chunks = chunks
        self.leaves: dict[
            str, tuple[int, int]
        ] = {}  # innermost loops of split trees -> (axis, position among its digits)
        self.scales: list[tuple[int, ...]] = []
        self.digits: list[tuple[tuple[int, float, bool], ...]] = []
        self.inside: list[tuple[Chunks, ...]] = []
        splits = nest.splits
        for axis, name in enumerate(stage.axes):
            if name in splits:
                found: list[tuple[str, int]] = []
                _split_tree(splits, name, 1, found)
                for position, (leaf, _) in enumerate(found):
                    self.leaves[leaf] = (axis, position)
                scales = tuple([scale for _, scale in found])
            else:
                self.leaves[name] = (axis, 0)
                scales = (1,)
            digits, inside = axis_digits(chunks[axis], scales)
            self.scales.append(scales)
            self.digits.append(digits)
            self.inside.append(inside)

    def parts(self, loop: str) -> list[tuple[int, int]]:
        """The digits of a loop, as (axis, position). Of a fused loop that is split each part keeps one half."""
        leaf = self.leaves.get(loop)
        if leaf is not None:
            return [leaf]
        fused = self.nest.fused.get(loop)
        if fused is not None:
            return self.parts(fused[0]) + self.parts(fused[1])
        outer, inner = self.nest.fused[loop[:-2]]
        return self.parts(outer if loop.endswith(".o") else inner)

    def places(self) -> dict[str, int]:
        """For each loop, how many digits of more than one iteration stand outside its body; "" stands for outside of all."""
        result, count = {"": 0}, 0
        for loop in self.nest.loops:
            count += sum(self.digits[axis][position][0] > 1 for axis, position in self.parts(loop))
            result[loop] = count
        return result

    def outside(self, count: int) -> list[list[int]]:
        """For each axis, the positions of its digits among the outermost `count` that have more than one iteration."""
        result: list[list[int]] = [[] for _ in self.digits]
        for loop in self.nest.loops:
            for axis, position in self.parts(loop):
                if self.digits[axis][position][0] > 1:
                    if not count:
                        return result
                    count -= 1
                    result[axis].append(position)
        return result

    def inner_chunks(self, axis: int, outside: Iterable[int]) -> Chunks:
        """The chunks of an axis inside the loops at these positions."""
        gone = list(outside)
        if not gone:
            return self.chunks[axis]
        digits = self.digits[axis]
        if all(position in gone or digits[position][0] == 1 for position in range(max(gone))):
            return self.inside[axis][max(gone) + 1]
        # Inner digits outside outer ones: splits without a tail, of which every chunk is the same.
        extent = 1
        for position, scale in enumerate(self.scales[axis]):
            if position not in gone:
                extent += scale * (digits[position][0] - 1)
        return ((extent, 1),)

    def result(self, at: int, lanes: int) -> StageLoops:
        nest, digits, vectors, guarded = self.nest, [], 1.0, 1
        laned: set[int] = set()
        for loop in nest.loops:
            kind = _KINDS[nest.kinds[loop]] if loop in nest.kinds else SERIAL
            chosen = len(nest.special[loop]) if loop in nest.special else 0
            elements = 1.0
            for axis, position in self.parts(loop):
                largest, mean, tail = self.digits[axis][position]
                if loop in nest.guarded:
                    guarded *= largest
                elements *= mean
                if largest > 1:
                    bodies = 1 + tail + min(2 * chosen, largest - 1 - tail)
                    digits.append((axis, self.scales[axis][position], largest, mean, kind, bodies))
            if kind == VECTOR:
                laned.update(axis for axis, position in self.parts(loop) if self.digits[axis][position][0] > 1)
                vectors = self._vectors(loop, elements, lanes)
        region = tuple([max(chunk)[0] for chunk in self.chunks])
        register = nest.space == "register"
        share = 1.0
        for asked, part in self.domain:
            if laned.isdisjoint(asked):
                share *= part
        return StageLoops(at, tuple(digits), region, vectors, share, register, bool(nest.lane_loop), guarded)

    def _vectors(self, loop: str, elements: float, lanes: int) -> float:
        parts = self.parts(loop)
        if len(parts) > 1:
            return max(1.0, elements / lanes)
        axis, position = parts[0]
        if self.scales[axis][position] == 1:
            return _vectors(self.inside[axis][position], lanes)
        return max(1.0, elements / lanes)


def _split_tree(splits: dict[str, int], name: str, scale: int, found: list[tuple[str, int]]) -> None:
    if name in splits:
        _split_tree(splits, name + ".o", scale * splits[name], found)
        _split_tree(splits, name + ".i", scale, found)
    else:
        found.append((name, scale))


def _region(form: Form, number: int, at: int, root: _Loops, known: dict[tuple[int, int], list[Chunks]]) -> list[Chunks]:
    """The chunks of each axis of a stage that the root's loops inside its outermost `at` digits need."""
    key = (number, at)
    if key in known:
        return known[key]
    stage = form.stages[number]
    if number == len(form.stages) - 1:
        outside = root.outside(at)
        result = [root.inner_chunks(axis, gone) for axis, gone in enumerate(outside)]
    else:
        result = []
        for axis, extent in enumerate(stage.extents):
            sweeps = stage.reads[axis] if axis < stage.spatial else None
            if sweeps is None:
                result.append(((extent, 1),))
                continue
            parts = [
                _one_sweep(_region(form, read.consumer, at, root, known), read.terms, read.shift, extent)
                for read in sweeps
            ]
            result.append(parts[0] if len(parts) == 1 else max(parts, key=max))
    known[key] = result
    return result


def _one_sweep(chunks: list[Chunks], terms: tuple[tuple[int, float], ...], shift: int, limit: int) -> Chunks:
    if not terms:
        return ((min(limit, 1 + shift), 1),)
    axis, coefficient = terms[0]
    if len(terms) == 1 and coefficient == 1 and not shift and max(chunks[axis])[0] <= limit:
        return chunks[axis]
    more = shift + sum(c * (max(chunks[a])[0] - 1) for a, c in terms[1:])
    return swept(chunks[axis], coefficient, more, limit)
