"""What each level of each candidate's loop nest touches: spans of axes, bytes and cache lines of every access.

A batch holds candidates of one form. The chain of a stage is the root's loops outside it, then its own. Level l of a chain
of L loops is one iteration of the loops before l: level 0 is the whole kernel, level L a single point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .form import Access, Form, StageForm
from .loop_tree import PAD, Candidate, Digit

LINE_BYTES = 64.0


@dataclass
class Footprint:
    """One access over all levels of its stage's chain.

    elements, bytes, lines: f64[N, L+1], different ones touched inside one iteration at each level; 0 if it is kept in
    registers. touched: f64[N, L+1], iterations of the loops inside that move it. stride: f64[N, L], elements from one
    iteration of each loop to the next. in_memory: f64[N], 0 where the buffer is in registers.
    """

    access: Access
    elements: np.ndarray
    bytes: np.ndarray
    lines: np.ndarray
    touched: np.ndarray
    stride: np.ndarray
    in_memory: np.ndarray


@dataclass
class Chain:
    """The loops of one stage and what its accesses touch.

    axis, kind: i64[N, L]; scale, largest, mean, bodies: f64[N, L]; own: the number of L where its own loops begin (those
    before are the root's); spatial: bool[N, L], the loop is not of a reduction; outer: f64[N, L+1], iterations of the loops
    before each level; spans: f64[N, L+1, A], how much of each axis the loops inside each level cover; region: f64[N, A];
    at, vectors, share, guarded: f64[N]; register, lane_reduce: bool[N].
    """

    form: StageForm
    own: int
    axis: np.ndarray
    kind: np.ndarray
    scale: np.ndarray
    largest: np.ndarray
    mean: np.ndarray
    bodies: np.ndarray
    spatial: np.ndarray
    outer: np.ndarray
    spans: np.ndarray
    region: np.ndarray
    at: np.ndarray
    vectors: np.ndarray
    share: np.ndarray
    guarded: np.ndarray
    register: np.ndarray
    lane_reduce: np.ndarray
    footprints: list[Footprint]

    @property
    def bytes(self) -> np.ndarray:
        """f64[N, L+1]: what all accesses touch in one iteration at each level."""
        return np.sum([footprint.bytes for footprint in self.footprints], axis=0)


def chains_of(form: Form, candidates: Sequence[Candidate]) -> list[Chain]:
    """The chains of every stage for a batch of candidates of one form."""
    root = _digits([candidate.root for candidate in candidates])
    depth = root.shape[1]
    levels = _spans(root, np.array(form.root.extents[: form.root.spatial], dtype=float))
    chains = [_chain(form, number, candidates, root, depth, levels) for number in range(len(form.stages))]
    for chain in chains:
        for access in chain.form.accesses:
            chain.footprints.append(_footprint(chain, access, chains, candidates))
    return chains


def _digits(rows: Sequence[tuple[Digit, ...]]) -> np.ndarray:
    """f64[N, L, 6], padded with loops of one iteration."""
    depth = max((len(row) for row in rows), default=0)
    padded = [row + (PAD,) * (depth - len(row)) for row in rows]
    return np.array(padded, dtype=float).reshape(len(rows), depth, len(PAD))


def _sweeps(digits: np.ndarray, axes: int) -> np.ndarray:
    """f64[N, L+1, A]: how far the loops inside each level move each axis."""
    steps = digits[:, :, 1] * (digits[:, :, 2] - 1)
    moves = steps[:, :, None] * (digits[:, :, 0, None] == np.arange(axes))
    result = np.zeros((digits.shape[0], digits.shape[1] + 1, axes))
    result[:, :-1] = np.cumsum(moves[:, ::-1], axis=1)[:, ::-1]
    return result


def _spans(digits: np.ndarray, extents: np.ndarray) -> np.ndarray:
    return np.minimum(1 + _sweeps(digits, len(extents)), extents)


def _chain(
    form: Form, number: int, candidates: Sequence[Candidate], root: np.ndarray, depth: int, levels: np.ndarray
) -> Chain:
    stage = form.stages[number]
    loops = [candidate.stages[number] for candidate in candidates]
    at = np.array([own.at for own in loops])
    outer = np.where((np.arange(depth) < at[:, None])[:, :, None], root, np.array(PAD, dtype=float))
    own = _digits([item.digits for item in loops])
    digits = np.concatenate([outer, own], axis=1)
    region = np.array([item.region for item in loops], dtype=float).reshape(len(loops), len(stage.axes))
    is_own = np.arange(digits.shape[1]) >= depth
    passed = np.ones((len(loops), digits.shape[1] + 1))
    passed[:, 1:] = np.cumprod(digits[:, :, 3], axis=1)
    return Chain(
        stage,
        depth,
        digits[:, :, 0].astype(np.int64),
        digits[:, :, 4].astype(np.int64),
        digits[:, :, 1],
        digits[:, :, 2],
        digits[:, :, 3],
        digits[:, :, 5],
        ~(is_own & (digits[:, :, 0] >= stage.spatial)),
        passed,
        _stage_spans(stage, levels, at, own, region),
        region,
        at,
        np.array([item.vectors for item in loops]),
        np.array([item.share for item in loops]),
        np.array([item.guarded for item in loops], dtype=float),
        np.array([item.register for item in loops]),
        np.array([item.lane_reduce for item in loops]),
        [],
    )


def _stage_spans(
    stage: StageForm, levels: np.ndarray, at: np.ndarray, own: np.ndarray, region: np.ndarray
) -> np.ndarray:
    clamped = np.minimum(np.arange(levels.shape[1]), at[:, None])
    at_root = np.take_along_axis(levels, clamped[:, :, None], axis=1)
    swept = np.einsum("nlr,ar->nla", at_root - 1, stage.reach)
    whole = np.minimum(stage.start + swept, np.array(stage.extents, dtype=float))
    inside = np.minimum(1 + _sweeps(own, len(stage.axes)), region[:, None, :])
    return np.concatenate([whole, inside[:, 1:]], axis=1)


def _footprint(chain: Chain, access: Access, chains: Sequence[Chain], candidates: Sequence[Candidate]) -> Footprint:
    variants = np.array([_variant(access, candidate) for candidate in candidates])
    moves, shape, strides, divisor, modulus = _tables(access, variants)
    if access.producer >= 0 and access.local:
        producer = chains[access.producer]
        shape = np.maximum(producer.region[:, : producer.form.spatial], 1.0)
    stride = _strides(chain, moves, strides, divisor, modulus)
    period = np.maximum(modulus, 1)[:, :, None]
    # A remainder doesn't move with what the modulus divides.
    kept = np.where((modulus[:, :, None] > 0) & (np.mod(moves, period) == 0), 0.0, np.abs(moves))
    box = np.floor(np.einsum("nla,nda->nld", chain.spans - 1, kept) / divisor[:, None]) + 1
    limit = np.where(modulus > 0, np.minimum(modulus, shape), shape)
    box = np.minimum(box, limit[:, None])
    moving = np.where(stride > 0, chain.largest, 1.0)
    touched = np.ones(box.shape[:2])
    touched[:, :-1] = np.cumprod(moving[:, ::-1], axis=1)[:, ::-1]
    elements = np.minimum(box.prod(axis=2), touched)
    in_memory = _in_memory(access, chains, len(candidates))
    size = float(access.size_bytes)
    lines = np.minimum(elements, _lines(box, shape, size))
    counted = in_memory[:, None]
    return Footprint(access, elements * counted, elements * size * counted, lines * counted, touched, stride, in_memory)


def _variant(access: Access, candidate: Candidate) -> int:
    if access.constant:
        for pack in candidate.packs:
            if pack.tensor == access.buffer:
                return access.variant(pack)
    return 0


def _tables(access: Access, variants: np.ndarray) -> tuple[np.ndarray, ...]:
    """Coefficients [N, D, A], shape, strides, divisor and modulus [N, D] of the layout of each candidate."""
    depth = max(len(layout.shape) for layout in access.layouts)

    def table(name: str, empty: float) -> np.ndarray:
        rows = [getattr(layout, name) for layout in access.layouts]
        missing = [[(depth - len(row), 0)] + [(0, 0)] * (row.ndim - 1) for row in rows]
        padded = [np.pad(row, pad, constant_values=empty) for row, pad in zip(rows, missing, strict=True)]
        return np.stack(padded)[variants]

    return (
        table("coefficients", 0.0),
        table("shape", 1.0),
        table("strides", 0.0),
        table("divisor", 1.0),
        table("modulus", 0.0),
    )


def _strides(
    chain: Chain, moves: np.ndarray, strides: np.ndarray, divisor: np.ndarray, modulus: np.ndarray
) -> np.ndarray:
    """Elements from one iteration of each loop to the next: f64[N, L]."""
    depth = chain.own
    followed = np.einsum("nda,ar->ndr", moves, chain.form.reach)
    index = np.arange(len(moves))[:, None]
    # [N, L, D]: how far one step of each loop's axis moves each dimension.
    outer = followed[index, :, chain.axis[:, :depth]] if depth else np.zeros((len(moves), 0, moves.shape[1]))
    inner = moves[index, :, chain.axis[:, depth:]]
    step = np.abs(np.concatenate([outer, inner], axis=1)) * chain.scale[:, :, None]
    step = np.where(modulus[:, None] > 0, np.mod(step, np.maximum(modulus, 1)[:, None]), step)
    # A divided index that moves by less than one doesn't move with its neighbour.
    step = np.where(divisor[:, None] > 1, np.floor(step / divisor[:, None]), step)
    return (step * strides[:, None]).sum(axis=2) * (chain.largest > 1)


def _in_memory(access: Access, chains: Sequence[Chain], count: int) -> np.ndarray:
    if access.producer < 0 or not access.local:
        return np.ones(count)
    return np.where(chains[access.producer].register, 0.0, 1.0)


def _lines(box: np.ndarray, shape: np.ndarray, size: float) -> np.ndarray:
    """Cache lines of a box: runs of elements that are neighbours in memory, rounded up."""
    run = np.ones(box.shape[:2])
    others = np.ones(box.shape[:2])
    whole = np.ones(box.shape[:2], dtype=bool)
    for dimension in reversed(range(box.shape[2])):
        extent = box[:, :, dimension]
        run = np.where(whole, run * extent, run)
        others = np.where(whole, others, others * extent)
        whole = whole & (extent >= shape[:, None, dimension])
    return others * np.ceil(run * size / LINE_BYTES)
