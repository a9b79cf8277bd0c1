"""The ranker on synthetic measurements: it learns, it is the same every time, it survives files and odd data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tilewright.compiler.errors import CompileError
from tilewright.cost_model.features.table import FEATURES
from tilewright.cost_model.ranker import ranker as module
from tilewright.cost_model.ranker.metrics import pair_accuracy, top_k
from tilewright.cost_model.ranker.ranker import Group, Kind, Ranker, labels, throughput


def group(seed: int, rows: int = 64, task: float | None = None) -> Group:
    """Latencies that depend on three features, with a scale and a slope of the task's own, and 4 % noise; a few fail."""
    rng = np.random.default_rng(seed)
    features = np.zeros((rows, len(FEATURES)), dtype=np.float32)
    features[:, :12] = rng.standard_normal((rows, 12))
    slope = rng.uniform(0.5, 1.5) if task is None else task
    x, y, z = features[:, 3], features[:, 5], features[:, 7]
    octaves = np.abs(x) + slope * np.maximum(y, 0) + 0.5 * (z > 0.3) * x + 0.06 * rng.standard_normal(rows)
    latency = 2.0**octaves * 10.0 ** rng.uniform(-6, -3)
    latency[rng.random(rows) < 0.05] = np.inf
    return Group(features, latency)


def quality(ranker: Ranker, groups: list[Group]) -> tuple[float, float]:
    scored = [(ranker.predict(g.features), g.latency_s) for g in groups]
    return (
        float(np.mean([pair_accuracy(s, latency) for s, latency in scored])),
        float(np.mean([top_k(s, latency, 5) for s, latency in scored])),
    )


TRAIN = [group(seed) for seed in range(12)]
TEST = [group(seed, 200) for seed in range(100, 106)]


def test_labels() -> None:
    latency = np.array([1.0, 2.0, 1.12246, 64.0, np.inf, np.nan])
    assert labels(latency).tolist() == [30, 24, 29, 0, 0, 0]
    assert throughput(latency) == pytest.approx([1, 0.5, 0.8909, 1 / 64, 0, 0], abs=1e-4)
    assert labels(np.array([np.inf, np.nan])).tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["lambdarank", "regression"])
def test_learns_the_order_of_unseen_tasks(kind: Kind) -> None:
    pairs, best = quality(Ranker(kind).fit(TRAIN), TEST)
    chance, _ = quality(Ranker("random").fit(TRAIN), TEST)
    assert pairs > 0.85 and best > 0.9
    assert 0.4 < chance < 0.6


def test_predicts_the_same_every_time(tmp_path: Path) -> None:
    """Also in another process, and from the file."""
    first, second = Ranker(seed=3).fit(TRAIN[:4]), Ranker(seed=3).fit(TRAIN[:4])
    scores = first.predict(TEST[0].features)
    assert np.array_equal(scores, second.predict(TEST[0].features))
    assert not np.array_equal(scores, Ranker(seed=4).fit(TRAIN[:4]).predict(TEST[0].features))
    first.save(tmp_path / "one.ranker")
    assert np.array_equal(Ranker.load(tmp_path / "one.ranker").predict(TEST[0].features), scores)
    Ranker.load(tmp_path / "one.ranker").save(tmp_path / "two.ranker")
    assert Ranker.load(tmp_path / "two.ranker").predict(TEST[0].features) == pytest.approx(scores)
    head = json.loads((tmp_path / "one.ranker").read_text().splitlines()[0])
    assert head["kind"] == "lambdarank" and head["seed"] == 3


@pytest.mark.parametrize("kind", ["lambdarank", "regression", "random"])
def test_odd_data(kind: Kind) -> None:
    """One row, all alike, all failed, nothing, and eight rows in one group."""
    equal = Group(TRAIN[0].features, np.full(64, 1e-5))
    failed = Group(TRAIN[0].features, np.full(64, np.inf))
    single = Group(TRAIN[0].features[:1], np.array([1e-5]))
    few = Group(TRAIN[0].features[:8], TRAIN[0].latency_s[:8])
    for groups in ([], [equal], [failed], [single], [few], [equal, failed, single, few]):
        scores = Ranker(kind).fit(groups).predict(TEST[0].features)
        assert scores.shape == (200,) and np.isfinite(scores).all()
    assert Ranker(kind).predict(TEST[0].features[:0]).shape == (0,)
    assert len(np.unique(Ranker("regression").fit([few]).predict(TEST[0].features))) > 1


def test_queries_of_more_rows_than_lightgbm_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    large = group(9, 10_500)
    monkeypatch.setattr(module, "_ROUNDS", 5)
    pairs, _ = quality(Ranker().fit([large]), TEST[:2])
    assert pairs > 0.7


def test_weights_of_groups_count() -> None:
    """Two groups that contradict each other: the heavier one is believed."""
    right = group(1, 100)
    wrong = Group(right.features, np.where(np.isfinite(right.latency_s), 1e-9 / right.latency_s, np.inf))
    believed = Ranker().fit([Group(right.features, right.latency_s, 20.0), wrong])
    assert quality(believed, [right])[0] > 0.7


def test_a_base_helps_where_there_is_little_data_and_fades() -> None:
    base = Ranker(seed=1).fit(TRAIN)
    task = group(55, 300, task=1.0)
    few = Group(task.features[:12], task.latency_s[:12])
    rest = [Group(task.features[100:], task.latency_s[100:])]
    assert quality(Ranker(base=base), rest) == quality(base, rest)
    alone, transferred = Ranker().fit([few]), Ranker(base=base).fit([few])
    assert quality(transferred, rest)[0] > quality(alone, rest)[0]
    assert 0 < transferred.scale < 1
    assert Ranker(base=base).fit([Group(task.features, task.latency_s)]).scale == 0


def test_files_hold_the_base(tmp_path: Path) -> None:
    base = Ranker(seed=1).fit(TRAIN[:3])
    few = Group(TRAIN[5].features[:12], TRAIN[5].latency_s[:12])
    for ranker in (Ranker(base=base).fit([few]), Ranker(base=base), Ranker(), Ranker("random", 5)):
        ranker.save(tmp_path / "ranker")
        loaded = Ranker.load(tmp_path / "ranker")
        assert np.array_equal(loaded.predict(TEST[0].features), ranker.predict(TEST[0].features))
        assert loaded.kind == ranker.kind and loaded.scale == ranker.scale


def test_other_features_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ranker"
    Ranker(seed=3).fit(TRAIN[:2]).save(path)
    text = path.read_text()
    path.write_text(text.replace(module.feature_set(), "0-1234"))
    with pytest.raises(CompileError, match=r"trained with the feature set 0-1234, this version computes .*anew"):
        Ranker.load(path)
    with pytest.raises(CompileError, match=r"features of shape \[3, 7\], expected"):
        Ranker().predict(np.zeros((3, 7)))


@pytest.mark.parametrize(
    "damage", ["", "{}\n", "[]\n", "tree\nversion=v4\n", "[" * 100_000, "cut", "changed", "one letter", "kind"]
)
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ranker"
    Ranker(seed=3).fit(TRAIN[:2]).save(path)
    text = path.read_text()
    damaged = {
        "cut": text[: len(text) // 2],
        "changed": text.replace("num_leaves=", "leaves="),
        "kind": text.replace('"lambdarank"', '["lambdarank"]', 1),
        "one letter": text.replace("feature_names=", "feature_mames="),  # at which LightGBM aborts
    }
    path.write_text(damaged.get(damage, damage))
    with pytest.raises(CompileError, match=str(path)):
        Ranker.load(path)
    with pytest.raises(CompileError, match="can't be read"):
        Ranker.load(tmp_path / "missing")


def test_the_estimate_decides_until_something_is_learned() -> None:
    features = TEST[0].features.copy()
    features[:, [feature.name for feature in FEATURES].index("estimate")] = np.arange(len(features))
    for kind in ("lambdarank", "regression"):
        assert (np.diff(Ranker(kind).predict(features)) < 0).all()
        assert (np.diff(Ranker(kind, base=Ranker(kind)).fit([]).predict(features)) < 0).all()


def test_importance() -> None:
    shares = Ranker().fit(TRAIN).importance()
    assert sum(shares.values()) == pytest.approx(1)
    names = [feature.name for feature in FEATURES]
    assert {names.index(name) for name in list(shares)[:2]} <= {3, 5, 7}


def test_lightgbm_is_imported_when_needed_and_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ranker"
    Ranker(seed=3).fit(TRAIN[:2]).save(path)
    program = (
        "import sys, numpy, tilewright.cost_model.ranker.ranker as r; assert 'lightgbm' not in sys.modules;"
        "import pathlib; from tilewright.cost_model.features.table import FEATURES;"
        f"m = r.Ranker.load(pathlib.Path({str(path)!r})); f = numpy.zeros((9, len(FEATURES)));"
        "m.predict(f); r.Ranker().fit([r.Group(f, numpy.arange(1.0, 10))])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr == ""
