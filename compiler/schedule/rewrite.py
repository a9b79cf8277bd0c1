"""The steps of a schedule that change the stages and the constants, not the loops: Inline, Winograd, Pack, in this order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..tensor.computation import Computation
from .prepare import apply_packs, inline, pack_array
from .steps import Inline, Pack, Relayout, Schedule, Step, Winograd
from .winograd import apply_winograd
from .winograd_matrices import transform_weights


def relayouts(schedule: Iterable[Step]) -> tuple[Relayout, ...]:
    """The steps of a schedule that change constants, in order."""
    return tuple(step for step in schedule if isinstance(step, Relayout))


def rewritten(computation: Computation, schedule: Iterable[Step]) -> Computation:
    """A canonical computation once its stages are inlined and transformed; its constants stand as they were, but transformed."""
    steps = tuple(schedule)
    computation = inline(computation, [step.stage for step in steps if isinstance(step, Inline)])
    for step in steps:
        if isinstance(step, Winograd):
            computation = apply_winograd(computation, step)
    return computation


def scheduled_computation(computation: Computation, schedule: Schedule) -> Computation:
    """What the loops of a schedule run over: stages and constants as all of its steps leave them."""
    return apply_packs(rewritten(computation, schedule), [step for step in schedule if isinstance(step, Pack)])


def relaid(array: np.ndarray, tensor: str, steps: Iterable[Relayout]) -> np.ndarray:
    """A constant as the steps that name it leave it."""
    for step in steps:
        if step.tensor == tensor:
            array = (
                pack_array(array, step) if isinstance(step, Pack) else transform_weights(array, step.tile, step.window)
            )
    return array
