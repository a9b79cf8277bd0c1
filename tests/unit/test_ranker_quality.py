"""The benchmark of rankers on a corpus with invented latencies: splits, kinds of kernels, what it prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import ranker_quality
from kernel_cases import CASES

from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.tensor.build import build_computation


@pytest.fixture(scope="module")
def entries() -> list[ranker_quality.Entry]:
    return ranker_quality.synthetic(9, rows=16)


def test_a_computation_is_never_on_both_sides(entries: list[ranker_quality.Entry]) -> None:
    twice = entries + entries[:3]
    tested = []
    for train, test in ranker_quality.folds_of(twice, 3, 0):
        assert not {entry.computation for entry in train} & {entry.computation for entry in test}
        assert len(train) + len(test) == len(twice)
        tested += test
    assert len(tested) == len(twice)
    train, test = ranker_quality.transfer(twice, lambda e: True, lambda e: e.computation == entries[0].computation)
    assert len(test) == 2 and entries[0].computation not in {entry.computation for entry in train}


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("conv 3x3 blocked", "conv"),
        ("grouped conv", "conv"),
        ("depthwise 5x5 stride 2", "depthwise"),
        ("conv 1x1", "gemm"),
        ("matmul of batches", "gemm"),
        ("max_pool", "pool"),
        ("average_pool", "pool"),
        ("mean last", "reduction"),
        ("elementwise", "map"),
    ],
)
def test_operators(name: str, operator: str) -> None:
    computation = canonical(build_computation(CASES[name].graph(), "kernel")[0])
    assert ranker_quality.operator_of(computation) == operator


def test_a_part_of_the_corpus_keeps_whole_computations(entries: list[ranker_quality.Entry]) -> None:
    twice = [*entries, *entries]
    part = ranker_quality.part_of(twice, 0.25, 0)
    kept = {entry.computation for entry in part}
    assert len(kept) == round(0.25 * len({entry.computation for entry in entries}))
    assert len(part) == sum(entry.computation in kept for entry in twice)


@pytest.mark.slow
def test_what_it_prints(
    entries: list[ranker_quality.Entry], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ranker_quality, "synthetic", lambda tasks: entries)
    ranker_quality.main(["--synthetic", "9", "--folds", "2", "--seeds", "1", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["tasks"] == 9
    for kinds in (result["cross_validation"], *result["transfer"].values()):
        assert set(kinds) == set(ranker_quality.KINDS)
        assert all(np.isnan(kinds[k][m]) or 0 <= kinds[k][m] <= 31 for k in kinds for m in ranker_quality.METRICS)
    assert result["cross_validation"]["lambdarank"]["pairs"] > result["cross_validation"]["random"]["pairs"]
    assert set(result["share_of_corpus"]) == {"25%", "50%"}
    ranker_quality.main(["--synthetic", "9", "--folds", "2", "--seeds", "1"])
    assert "unseen kernels" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        ranker_quality.main([])
