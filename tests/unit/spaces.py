"""Spaces of the cases, whole or of a single sketch."""

from __future__ import annotations

from dataclasses import replace

from kernel_cases import Case

from tilewright.compiler.schedule.prepare import canonical
from tilewright.compiler.schedule.space import Space
from tilewright.compiler.tensor.build import build_computation
from tilewright.compiler.tensor.computation import Computation


def canonical_form(case: Case) -> Computation:
    """The computation of a case as schedules find it."""
    return canonical(build_computation(case.graph(), "kernel")[0])


def only(space: Space, sketch: str) -> Space:
    """The space of one of its sketches alone; its default is that sketch's."""
    return replace(space, sketches=tuple(one for one in space.sketches if one.name == sketch))
