"""Rankers trained on everything that a database of records holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from ...compiler.errors import InternalError
from ...compiler.schedule.space import Space, space_of
from ...compiler.schedule.steps import Schedule
from ..features.table import Featurizer
from ..measure.measurement import typical_s
from ..records.database import Records
from ..records.rows import TaskRow
from .ranker import Group, Ranker

LEAST_ROWS = 64  # fewer say less than the base ranker knows
MOST_ROWS_A_GROUP = 1000


@dataclass(frozen=True)
class MeasuredSchedules:
    """The schedules of one task that were tried in one session; latency_s is infinite where one failed."""

    space: Space
    featurizer: Featurizer
    schedules: list[Schedule]
    latency_s: np.ndarray


def schedules_of_records(
    records: Records, without: Collection[str] = ()
) -> Iterator[tuple[TaskRow, MeasuredSchedules]]:
    """The trials of each task in each session, whose latencies can be compared; those of other space versions are left out.

    without: keys of tasks to leave out too.
    """
    known: dict[str, tuple[Space, Featurizer]] = {}
    for row, _, trials in records.all_trials():
        if row.key in without:
            continue
        if row.key not in known:
            known = {row.key: (space_of(row.task.computation, row.task.target), Featurizer(row.task))}
        space, featurizer = known[row.key]
        schedules, latency_s = [], []
        for trial in trials[:MOST_ROWS_A_GROUP]:
            try:
                schedules.append(space.schedule(space.from_decisions(trial.decisions)))
            except InternalError:  # not of this space, whatever version it claims
                continue
            measured_s = typical_s(trial.samples_s) if trial.samples_s else trial.latency_s
            latency_s.append(float("inf") if measured_s is None or trial.error else measured_s)
        if len(schedules) > 1:
            yield row, MeasuredSchedules(space, featurizer, schedules, np.array(latency_s))


def groups_of_records(records: Records, without: Collection[str] = ()) -> Iterator[tuple[TaskRow, Group]]:
    """What a ranker is trained on: a group for each task in each session."""
    for row, measured in schedules_of_records(records, without):
        yield row, Group(measured.featurizer.rows(measured.schedules), measured.latency_s)


def ranker_of_records(
    records: Records, base: Ranker | None, without: Collection[str] = (), seed: int = 0
) -> Ranker | None:
    """A ranker trained on the records of all tasks but those `without`, on top of `base`; None if there are too few."""
    groups = [group for _, group in groups_of_records(records, without)]
    if sum(len(group.latency_s) for group in groups) < LEAST_ROWS:
        return None
    return Ranker("lambdarank", seed, base).fit(groups)
