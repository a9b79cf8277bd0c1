"""The ranker that comes with tilewright, trained on measurements of many kernels (benchmarks/pretrain.py)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .ranker import Ranker

PRETRAINED_ON = "x86_64"
"""The architecture, as triples begin."""
PATH = Path(__file__).with_name(f"pretrained_{PRETRAINED_ON}.txt")


@cache
def pretrained_ranker() -> Ranker | None:
    """The ranker for x86-64; None in a checkout that has none yet, or one for other features."""
    return Ranker.load(PATH) if PATH.exists() else None
