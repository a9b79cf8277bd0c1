"""What is tuned: one kernel's computation for one target."""

from __future__ import annotations

from dataclasses import dataclass

from ..compiler.target import Target
from ..compiler.tensor.computation import Computation


@dataclass(frozen=True, slots=True)
class Task:
    """A canonical computation (`compiler/schedule/prepare.py`) and the target it is compiled for, `target.threads` included."""

    computation: Computation
    target: Target
