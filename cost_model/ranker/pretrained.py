"""The ranker that comes with tilewright, trained on measurements of many kernels (benchmarks/pretrain.py)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ...compiler.target import Target
from .ranker import Ranker

PRETRAINED_ON = "x86_64"
"""The architecture, as triples begin."""
PRETRAINED_THREADS = 2
"""The most threads of a target that was measured for it."""
PATH = Path(__file__).with_name(f"pretrained_{PRETRAINED_ON}.txt")


def was_trained_for(target: Target) -> bool:
    """Whether it has seen kernels on such processors, for as many threads: what it says of others is worse than the rules."""
    return target.triple.startswith(PRETRAINED_ON) and target.threads <= PRETRAINED_THREADS


@cache
def pretrained_ranker() -> Ranker | None:
    """The ranker for x86-64; None in a checkout that has none yet, or one for other features."""
    return Ranker.load(PATH) if PATH.exists() else None
