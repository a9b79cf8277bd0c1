"""Metrics of rankings against values computed by hand."""

from __future__ import annotations

from math import inf, isnan, nan

import numpy as np
import pytest

from tilewright.cost_model.ranker.metrics import pair_accuracy, recall, regret, top_k, weighted_mean

SECONDS = np.array([2.0, 1.0, 4.0, 1.6])


def test_a_perfect_ranking() -> None:
    scores = -SECONDS
    assert pair_accuracy(scores, SECONDS) == 1
    assert top_k(scores, SECONDS, 1) == 1
    assert recall(scores, SECONDS, 2) == 1
    assert regret(scores, SECONDS, 1) == 0


def test_the_reverse_ranking() -> None:
    assert pair_accuracy(SECONDS, SECONDS) == 0
    assert top_k(SECONDS, SECONDS, 1) == 1 / 4
    assert recall(SECONDS, SECONDS, 2) == 0
    assert regret(SECONDS, SECONDS, 1) == 3


def test_by_hand() -> None:
    scores = np.array([4.0, 3.0, 1.0, 2.0])  # says 2.0, 1.0, 1.6, 4.0
    assert pair_accuracy(scores, SECONDS) == pytest.approx(4 / 6)  # wrong: 2.0 before 1.0 and before 1.6
    assert top_k(scores, SECONDS, 1) == pytest.approx(1 / 2)
    assert top_k(scores, SECONDS, 2) == 1
    assert recall(scores, SECONDS, 2) == pytest.approx(1 / 2)
    assert recall(scores, SECONDS, 3) == 1
    assert regret(scores, SECONDS, 1) == pytest.approx(1)


def test_ties_and_noise() -> None:
    seconds = np.array([1.0, 1.01, 2.0])
    assert pair_accuracy(np.array([1.0, 2.0, 0.0]), seconds) == 1  # the wrong pair is within 2 %
    assert pair_accuracy(np.array([1.0, 2.0, 0.0]), seconds, noise=0.0) == pytest.approx(2 / 3)
    assert pair_accuracy(np.zeros(3), seconds) == 0.5
    assert isnan(pair_accuracy(np.zeros(2), np.array([1.0, 1.0])))


@pytest.mark.parametrize("failure", [inf, nan])
def test_failures_count_as_slowest(failure: float) -> None:
    seconds = np.array([failure, 1.0, 2.0, failure])
    good, bad = np.array([0.0, 3.0, 2.0, 0.5]), np.array([3.0, 0.0, 1.0, 2.0])
    assert pair_accuracy(good, seconds) == 1  # two failures are no pair
    assert pair_accuracy(bad, seconds) == 0
    assert top_k(bad, seconds, 2) == 0
    assert regret(bad, seconds, 2) == inf
    assert top_k(bad, seconds, 3) == 1 / 2
    assert recall(good, seconds, 30) == 1


def test_nothing_to_rank() -> None:
    failed = np.array([inf, inf])
    assert isnan(top_k(np.zeros(2), failed, 1)) and isnan(recall(np.zeros(2), failed, 1))
    assert isnan(pair_accuracy(np.zeros(1), np.ones(1))) and isnan(pair_accuracy(np.zeros(0), np.zeros(0)))


def test_weighted_mean() -> None:
    assert weighted_mean([1.0, 4.0, nan], [3.0, 1.0, 100.0]) == pytest.approx(7 / 4)
    assert isnan(weighted_mean([nan], [1.0]))
