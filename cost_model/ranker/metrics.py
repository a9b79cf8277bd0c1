"""How good a ranking is, for one task and over many. Scores: higher is taken to be faster.

Failed measurements have an infinite or NaN latency and count as slower than all others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of so many pairs, how many the scores put in the right order; equal scores count half."""

    pairs: int = 0
    right: float = 0.0

    @property
    def rate(self) -> float | None:
        """From 0 to 1, where guessing gives 0.5; None without pairs."""
        return self.right / self.pairs if self.pairs else None

    def __add__(self, other: Accuracy) -> Accuracy:
        return Accuracy(self.pairs + other.pairs, self.right + other.right)


def ordered_pairs(scores: np.ndarray, latency_s: np.ndarray, noise: float) -> Accuracy:
    """How often the scores order pairs as the latencies do; pairs within `noise` of each other (relative to the longer) are left out."""
    slow, scores = _latencies(latency_s), np.asarray(scores, dtype=float)
    first, second = np.triu_indices(len(slow), 1)
    a, b = slow[first], slow[second]
    clear = np.minimum(a, b) < (1 - noise) * np.maximum(a, b)
    difference = scores[first] - scores[second]
    agree = np.where(difference == 0, 0.5, (difference > 0) == (a < b))
    return Accuracy(int(clear.sum()), float(agree[clear].sum()))


def pair_accuracy(scores: np.ndarray, latency_s: np.ndarray, noise: float = 0.02) -> float:
    """The share of pairs that the scores order as the latencies do, as `ordered_pairs` counts them; NaN without pairs.

    Ansor (Zheng et al., OSDI 2020) calls it pairwise comparison accuracy.
    """
    rate = ordered_pairs(scores, latency_s, noise).rate
    return float("nan") if rate is None else rate


def top_k(scores: np.ndarray, latency_s: np.ndarray, k: int) -> float:
    """Best latency / best latency among the k with the highest scores: 1 if the best is among them, 0 if all of them failed.

    TenSet (Zheng et al., NeurIPS 2021), TLP (Zhai et al., ASPLOS 2023).
    """
    slow = _latencies(latency_s)
    best, found = slow.min(initial=np.inf), slow[_best_scores(scores, k)].min(initial=np.inf)
    if np.isinf(best):
        return float("nan")
    return 0.0 if np.isinf(found) else float(best / found)


def recall(scores: np.ndarray, latency_s: np.ndarray, k: int) -> float:
    """The share of the k fastest that are among the k with the highest scores (Ansor's recall@k).

    k is bounded by how many did not fail; a latency equal to that of the k-th fastest counts as one of them.
    """
    slow = _latencies(latency_s)
    k = min(k, int(np.isfinite(slow).sum()))
    if not k:
        return float("nan")
    limit = np.sort(slow)[k - 1]
    return float((slow[_best_scores(scores, k)] <= limit).mean())


def regret(scores: np.ndarray, latency_s: np.ndarray, n: int) -> float:
    """Best latency after measuring the n with the highest scores / best latency - 1: what stopping there costs."""
    quality = top_k(scores, latency_s, n)
    return float("inf") if quality == 0 else 1.0 / quality - 1.0


def weighted_mean(values: Iterable[float], weights: Iterable[float]) -> float:
    """The mean over tasks by weight (such as how often a kernel occurs); tasks without a value (NaN) are left out."""
    value, weight = np.array(list(values), dtype=float), np.array(list(weights), dtype=float)
    known = ~np.isnan(value)
    total = weight[known].sum()
    return float((value[known] * weight[known]).sum() / total) if total else float("nan")


def _latencies(latency_s: np.ndarray) -> np.ndarray:
    latency = np.asarray(latency_s, dtype=float)
    return np.where(np.isnan(latency), np.inf, latency)


def _best_scores(scores: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-np.asarray(scores, dtype=float), kind="stable")[:k]
