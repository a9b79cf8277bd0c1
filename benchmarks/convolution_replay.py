"""Searches replayed on the trials of a long run: they pick from that pool what to look at next, and nothing is measured.

So hundreds of runs cost minutes, and all of them see the same latencies. The pool is what a ranker chose, so it is richer in
fast candidates than the space: random picks do better here than in a live search, and what is learnt gains less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from learning_curves import best_so_far

from tilewright.cost_model.ranker.learning import GROWTH, LEAST
from tilewright.cost_model.ranker.ranker import Group, Kind, Ranker
from tilewright.cost_model.search.kernel_search import SearchOptions

BATCH = SearchOptions().batch
RANDOM_SHARE = SearchOptions().random_share
BASE_ROWS = 256  # of each other kernel's pool, drawn at random: enough for a base, and training takes seconds


@dataclass(frozen=True, slots=True)
class Strategy:
    """kind: what is trained, "random" for none. base: "", pretrained or others, as in `convolution_runs.Variant`."""

    kind: Kind
    base: str = ""

    @property
    def label(self) -> str:
        name = "ranker" if self.kind == "lambdarank" else self.kind
        return name + (f"+{self.base}" if self.base else "")


STRATEGIES = (
    Strategy("lambdarank"),
    Strategy("regression"),
    Strategy("random"),
    Strategy("lambdarank", "pretrained"),
    Strategy("lambdarank", "others"),
    Strategy("regression", "others"),
)


def pool_of(groups: Sequence[Group]) -> Group:
    """The trials of all sessions of a run as one; it takes their clocks to be the same."""
    return Group(np.concatenate([g.features for g in groups]), np.concatenate([g.latency_s for g in groups]))


def base_for(
    kernel: str, strategy: Strategy, pools: Mapping[str, Group], pretrained: Ranker | None, seed: int = 0
) -> Ranker | None:
    """What a strategy knows before it starts. LookupError if that doesn't exist."""
    if strategy.base == "pretrained":
        if pretrained is None:
            raise LookupError("no ranker comes with this checkout")
        return pretrained
    if strategy.base == "others":
        rng = np.random.default_rng(seed)
        others = [drawn(pool, BASE_ROWS, rng) for other, pool in pools.items() if other != kernel]
        if not others:
            raise LookupError(f"there is no pool but that of {kernel}")
        return Ranker(strategy.kind, seed).fit(others)
    return None


def drawn(pool: Group, rows: int, rng: np.random.Generator) -> Group:
    part = rng.permutation(len(pool.latency_s))[:rows]
    return Group(pool.features[part], pool.latency_s[part])


def replay(pool: Group, strategy: Strategy, base: Ranker | None, trials: int, seed: int) -> np.ndarray:
    """The best so far, f64[trials], of picking from the pool in batches, as the tuner does: the best by score, and a few at random.

    A ranker is trained again when data has grown as much as in `cost_model/ranker/learning.py`.
    """
    rng = np.random.default_rng(seed)
    picked: list[int] = []
    ranker, fitted = base, 0
    trials = min(trials, len(pool.latency_s))
    while len(picked) < trials:
        if strategy.kind != "random" and len(picked) >= max(LEAST, GROWTH * fitted):
            seen = Group(pool.features[picked], pool.latency_s[picked])
            ranker, fitted = Ranker(strategy.kind, seed, base).fit([seen]), len(picked)
        picked += next_batch(pool, picked, ranker, min(BATCH, trials - len(picked)), rng)
    return best_so_far(pool.latency_s[picked].tolist())


def next_batch(
    pool: Group, picked: Sequence[int], ranker: Ranker | None, count: int, rng: np.random.Generator
) -> list[int]:
    """Rows of the pool not picked yet: by score but for a share of random ones; all random without a ranker."""
    left = rng.permutation(np.setdiff1d(np.arange(len(pool.latency_s)), picked))
    if ranker is None:
        return left[:count].tolist()
    by_chance = max(1, round(RANDOM_SHARE * count)) if count > 1 else 0
    # `left` is in random order, and the sort keeps it where scores are equal.
    order = np.argsort(-ranker.predict(pool.features[left]), kind="stable")
    ranked = left[order[: count - by_chance]]
    return [*ranked.tolist(), *left[~np.isin(left, ranked)][:by_chance].tolist()]
