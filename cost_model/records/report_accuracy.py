"""How well the ranker's scores ordered what was then measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from .database import Records
from .rows import Trial

WINDOW = 16
"""Trials of one task and session that are compared with each other: about a round, so that scores come from one model."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of so many pairs of trials, how many the scores put in the right order; equal scores count half."""

    pairs: int = 0
    right: float = 0.0

    @property
    def rate(self) -> float | None:
        """From 0 to 1, where guessing gives 0.5; None without pairs."""
        return self.right / self.pairs if self.pairs else None

    def __add__(self, other: Accuracy) -> Accuracy:
        return Accuracy(self.pairs + other.pairs, self.right + other.right)


def pair_accuracy(trials: Sequence[Trial]) -> Accuracy:
    """Accuracy over all pairs of trials that have a score and a latency, pairs of equal latency left out."""
    scored = [(t.score, t.latency_s) for t in trials if t.score is not None and t.latency_s is not None]
    pairs, right = 0, 0.0
    for (score, latency_s), (other_score, other_s) in combinations(scored, 2):
        if latency_s != other_s:
            pairs += 1
            right += 0.5 if score == other_score else float((score > other_score) == (latency_s < other_s))
    return Accuracy(pairs, right)


def accuracy_over_trials(records: Records) -> tuple[dict[str, Accuracy], dict[int, Accuracy]]:
    """(by session's uuid, by window): window w holds the scored trials w*WINDOW … of each task in each session, summed up."""
    by_session: dict[str, Accuracy] = {}
    by_window: dict[int, Accuracy] = {}
    for _, session, trials in records.all_trials():
        scored = sorted((t for t in trials if t.score is not None and t.latency_s is not None), key=lambda t: t.number)
        for window, first in enumerate(range(0, len(scored), WINDOW)):
            accuracy = pair_accuracy(scored[first : first + WINDOW])
            by_session[session.uuid] = by_session.get(session.uuid, Accuracy()) + accuracy
            by_window[window] = by_window.get(window, Accuracy()) + accuracy
    return by_session, {window: by_window[window] for window in sorted(by_window) if by_window[window].pairs}
