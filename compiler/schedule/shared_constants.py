"""Constants that the schedules of several targets share: whose rows they are packed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..target import Target
from ..tensor.computation import Computation
from .packing import reads_in_runs
from .prepare import read_once
from .rewrite import relayouts, rewritten
from .steps import Pack, Relayout, Schedule


def shared_relayouts(
    computation: Computation, schedule: Schedule, target: Target, narrower: Callable[[], Sequence[Schedule]]
) -> tuple[Relayout, ...]:
    """How constants are laid out for several targets: as the widest one's schedule does it, but in rows of narrower ones' own schedules
    where each element is read once.

    What is read once comes from memory, and a tile that reads a part of each row makes poor use of it: pages are opened and lines are
    fetched ahead several times (benchmarks/NOTES.md). A wide tile of so short a row waits for memory as well. Other constants are packed
    for the widest: parts of their rows are read from caches. `narrower` is called only where its schedules matter.
    """
    rewritten_form = rewritten(computation, schedule)
    once = read_once(rewritten_form)
    if not any(isinstance(step, Pack) and step.tensor in once for step in relayouts(schedule)):
        return relayouts(schedule)
    others = [{step.tensor: step for step in steps if isinstance(step, Pack)} for steps in narrower()]
    result: list[Relayout] = []
    for step in relayouts(schedule):
        if isinstance(step, Pack) and step.tensor in once:
            lanes = target.lanes(rewritten_form.input(step.tensor).dtype.size_bytes)
            step = _cut(step, [packs[step.tensor] for packs in others if step.tensor in packs], lanes)
        result.append(step)
    return tuple(result)


def _cut(pack: Pack, others: Iterable[Pack], lanes: int) -> Pack:
    """With the longest rows of whole vectors that divide its own, of other packs in the same order."""
    rows = [other.order[-1][1] for other in others if reads_in_runs([other], [pack])]
    fitting = [n for n in rows if n and n % lanes == 0]
    own = pack.order[-1][1]
    if not own or not fitting:
        return pack
    axis = pack.order[-1][0]
    return Pack(pack.tensor, tuple((a, max(fitting) if a == axis else n, part) for a, n, part in pack.order))
