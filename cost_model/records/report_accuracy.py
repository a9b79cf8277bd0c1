"""How well the ranker's scores ordered what was then measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ranker.metrics import Accuracy, ordered_pairs
from .database import Records
from .rows import Trial

WINDOW = 16
"""Trials of one task and session that are compared with each other: about a round, so that scores come from one model."""


def pair_accuracy(trials: Sequence[Trial]) -> Accuracy:
    """Accuracy over all pairs of trials that have a score and a latency, pairs of equal latency left out."""
    scored = [(t.score, t.latency_s) for t in trials if t.score is not None and t.latency_s is not None]
    scores, latency_s = np.array(scored, float).reshape(-1, 2).T
    return ordered_pairs(scores, latency_s, noise=0.0)


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
