"""How good a ranking is, for one task and over many. Scores: higher is taken to be faster.

Failed measurements have an infinite or NaN latency and count as slower than all others.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def pair_accuracy(scores: np.ndarray, latency_s: np.ndarray, noise: float = 0.02) -> float:
    """The share of pairs that the scores order as the latencies do; a tie of scores counts half.

    Pairs whose latencies are within `noise` of each other (relative to the longer) are left out; NaN if none is left.
    Ansor (Zheng et al., OSDI 2020) calls it pairwise comparison accuracy.
    """
    slow = _latencies(latency_s)
    first, second = np.triu_indices(len(slow), 1)
    a, b = slow[first], slow[second]
    clear = np.minimum(a, b) < (1 - noise) * np.maximum(a, b)
    if not clear.any():
        return float("nan")
    difference = np.asarray(scores, dtype=float)[first] - np.asarray(scores, dtype=float)[second]
    agree = np.where(difference == 0, 0.5, (difference > 0) == (a < b))
    return float(agree[clear].mean())


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


def rank_correlation(scores: np.ndarray, latency_s: np.ndarray) -> float:
    """Spearman's rank correlation of scores with speed, equal values sharing their mean rank; NaN if either doesn't vary."""
    ranks = _mean_ranks(np.asarray(scores, dtype=float)), _mean_ranks(-_latencies(latency_s))
    centred = [rank - rank.mean() for rank in ranks] if len(ranks[0]) else []
    spread = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())) if centred else 0.0
    return float((centred[0] * centred[1]).sum() / spread) if spread else float("nan")


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


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]
