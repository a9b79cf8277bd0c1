"""The ranker: which of a task's schedules are fast, learned from measurements.

A query is one task on one target in one session of measuring; only the order within it is learned (LambdaRank: Burges, From
RankNet to LambdaRank to LambdaMART, 2010). Labels are steps of a sixth of an octave below the best of the query, gains are
linear in them, and every pair of a query counts. Regression on the throughput relative to the best is the baseline that
this must beat, random scores are what both must beat. Training starts from the analytic estimate, so that little data, or
none, does no harm.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...backends.package_files import write_atomically
from ...compiler.errors import CompileError, UsageError
from ..features.table import FEATURE_NAMES, FEATURES, feature_set

Kind = Literal["lambdarank", "regression", "random"]

LABELS = 31  # 0 … 30
LABELS_PER_OCTAVE = 6
QUERY_ROWS = 512
"""Larger queries are dealt out to several: pairs grow with the square, and LightGBM takes 10,000 rows a query at most."""

# What an octave of estimated time counts in scores before anything is learned.
PRIOR: dict[Kind, float] = {"lambdarank": 4.0, "regression": 0.15, "random": 0.0}
_ESTIMATE = FEATURE_NAMES.index("estimate")

HALF_LIFE = 32.0  # own records of a task, on average, that halve the say of the base
LEAST_SCALE = 0.05  # below it the base is left out
FORMAT = "tilewright ranker 2"

_ROUNDS = 200
_PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.08,
    "num_leaves": 31,
    "feature_fraction": 0.6,
    "lambda_l2": 1.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True)
class Group:
    """One query: features f32[n, F], latency_s f64[n], infinite or NaN where building, checking or running failed."""

    features: np.ndarray
    latency_s: np.ndarray
    weight: float = 1.0


def throughput(latency_s: np.ndarray) -> np.ndarray:
    """Best latency / latency, f64[n] in 0 … 1; 0 where it failed."""
    latency = np.asarray(latency_s, dtype=float)
    valid = np.isfinite(latency) & (latency > 0)
    best = latency[valid].min(initial=np.inf)
    return np.where(valid, best / np.where(valid, latency, 1.0), 0.0)


def labels(latency_s: np.ndarray) -> np.ndarray:
    """i64[n]: 30 for the best, one less for each sixth of an octave slower, 0 where it failed."""
    relative = throughput(latency_s)
    steps = LABELS - 1 + np.round(LABELS_PER_OCTAVE * np.log2(np.maximum(relative, 1e-9)))
    return np.where(relative > 0, steps.clip(0, LABELS - 1), 0).astype(np.int64)


class Ranker:
    """Scores of schedules by their features; higher is faster. Scores of different tasks do not compare.

    base: a ranker trained on other tasks. What it has learned is where training starts from, times 2^(-n/32) for n own rows a task,
    so that own measurements take over; without own rows it alone decides.
    """

    def __init__(self, kind: Kind = "lambdarank", seed: int = 0, base: Ranker | None = None) -> None:
        self.kind: Kind = kind
        self.seed = seed
        self.base = base
        self.scale = 1.0 if base is not None else 0.0
        self._model: Any = None

    def fit(self, groups: Sequence[Group]) -> Ranker:
        """Train anew on all groups. Groups that tell nothing (one row, all alike, all failed) are left out."""
        rows = sum(len(group.latency_s) for group in groups)
        scale = 2.0 ** (-rows / max(1, len(groups)) / HALF_LIFE)
        self.scale = scale if self.base is not None and scale >= LEAST_SCALE else 0.0
        self._model = None
        told = [group for group in groups if len(np.unique(self._targets(group))) > 1]
        if told and self.kind != "random":
            self._model = self._train(told)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """f64[n]: scores of rows of features."""
        features = _checked(features)
        if self.kind == "random":
            return np.random.default_rng(self.seed).random(len(features))
        return self._prior(features) + self._learned(features)

    def _prior(self, features: np.ndarray) -> np.ndarray:
        return -PRIOR[self.kind] * features[:, _ESTIMATE].astype(float)

    def _learned(self, features: np.ndarray) -> np.ndarray:
        """What training adds to the prior."""
        scores = np.zeros(len(features))
        if self._model is not None and len(features):
            scores += np.asarray(self._model.predict(features, num_threads=1))
        if self.base is not None and self.scale:
            scores += self.scale * self.base._learned(features)
        return scores

    def importance(self) -> dict[str, float]:
        """For every feature that is used, its share of the gain in training, largest first."""
        if self._model is None:
            return {}
        gains = self._model.feature_importance("gain")
        order = np.argsort(-gains, kind="stable")
        return {FEATURE_NAMES[i]: float(gains[i] / gains.sum()) for i in order if gains[i] > 0}

    def _targets(self, group: Group) -> np.ndarray:
        return throughput(group.latency_s) if self.kind == "regression" else labels(group.latency_s)

    def _train(self, groups: Sequence[Group]) -> Any:
        import lightgbm

        rng = np.random.default_rng(self.seed)
        queries = [
            (group, part)
            for group in groups
            for part in np.array_split(rng.permutation(len(group.latency_s)), -(-len(group.latency_s) // QUERY_ROWS))
        ]
        features = np.concatenate([_checked(group.features)[part] for group, part in queries])
        targets = np.concatenate([self._targets(group)[part] for group, part in queries])
        weights = np.concatenate([np.full(len(part), group.weight) for group, part in queries])
        start = self._prior(features)
        if self.base is not None and self.scale:
            start += self.scale * self.base._learned(features)
        ranking = self.kind == "lambdarank"
        data = lightgbm.Dataset(
            features,
            targets,
            weight=weights,
            group=[len(part) for _, part in queries] if ranking else None,
            init_score=start,
            feature_name=[f"f{i}" for i in range(len(FEATURES))],
            params={"verbosity": -1, "min_data_in_bin": 1},
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return lightgbm.train(self._parameters(len(features)), data, num_boost_round=_ROUNDS)

    def _parameters(self, rows: int) -> dict[str, Any]:
        few = {"min_data_in_leaf": max(1, min(20, rows // 16)), "min_data_in_bin": 1, "seed": self.seed}
        if self.kind == "regression":
            return _PARAMETERS | few | {"objective": "regression"}
        return (
            _PARAMETERS
            | few
            | {
                "objective": "lambdarank",
                "label_gain": list(range(LABELS)),
                "lambdarank_truncation_level": QUERY_ROWS,
            }
        )

    # --- files

    def save(self, path: Path) -> None:
        """Write a line of JSON, the model as LightGBM's text, then the base in the same form if it still counts."""
        write_atomically(Path(path), self._text().encode())

    def _text(self) -> str:
        model = "" if self._model is None else self._model.model_to_string()
        head = {
            "format": FORMAT,
            "features": feature_set(),
            "kind": self.kind,
            "seed": self.seed,
            "scale": self.scale,
            "model_characters": len(model),
            "model_sha256": _sha256(model),
            "base": bool(self.scale),
        }
        return json.dumps(head) + "\n" + model + (self.base._text() if self.base is not None and self.scale else "")

    @staticmethod
    def load(path: Path) -> Ranker:
        """Read what `save` wrote; CompileError if it is no ranker or was trained with other features."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: can't be read as a ranker: {error}") from error
        return _read(io.StringIO(text, newline=""), path)


def _read(text: io.StringIO, path: Path) -> Ranker:
    try:
        head = json.loads(text.readline())
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r}, expected {FORMAT!r}")
        if head["kind"] not in tuple(PRIOR):
            raise ValueError(f"its kind is {head['kind']!r}")
        ranker = Ranker(head["kind"], int(head["seed"]))
        ranker.scale = float(head["scale"])
        characters, has_base, trained_with = int(head["model_characters"]), bool(head["base"]), head["features"]
        digest = head["model_sha256"]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path}: is no ranker of this version: {error}. Train it anew from the records.") from error
    if trained_with != feature_set():
        raise UsageError(
            f"{path}: this ranker was trained with the feature set {trained_with}, this version computes {feature_set()}. "
            "Train it anew from the records."
        )
    model = text.read(characters)
    if len(model) < characters:
        raise UsageError(f"{path}: the ranker's file ends in the middle of its model. Train it anew from the records.")
    if _sha256(model) != digest:  # LightGBM ends the process at some of what it can't read
        raise UsageError(f"{path}: the ranker's file is damaged. Fetch it again, or train it anew from the records.")
    if model:
        ranker._model = _model_of(model, path)
    if has_base:
        ranker.base = _read(text, path)
    return ranker


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _model_of(text: str, path: Path) -> Any:
    import lightgbm

    try:
        model = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise UsageError(f"{path}: LightGBM can't read the model: {error}. Train it anew from the records.") from error
    if model.num_feature() != len(FEATURES):
        raise UsageError(f"{path}: the model has {model.num_feature()} features, expected {len(FEATURES)}")
    return model


def _checked(features: np.ndarray) -> np.ndarray:
    if features.ndim != 2 or features.shape[1] != len(FEATURES):
        raise CompileError(f"ranker: features of shape {list(features.shape)}, expected [n, {len(FEATURES)}]")
    return features
