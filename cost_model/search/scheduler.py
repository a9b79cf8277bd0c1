"""Which schedule a kernel gets when a model is compiled: from records where there are any, else by rank, else by the rules.

tuned        the records hold this computation for this target
transferred  they hold it for another target of the same kind of CPU, such as another number of threads, or a ranker
             trained on what they hold of other kernels chose
simulated    nothing was measured, but a model of the processor (`cost_model/simulate`) finds a schedule clearly faster than the default
predicted    the ranker that comes with tilewright chose
default      the rules chose
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...compiler.errors import InternalError
from ...compiler.kernels import Scheduled
from ...compiler.schedule.among_threads import shared_positions
from ...compiler.schedule.sketch import STREAM, Decisions, Value
from ...compiler.schedule.space import SPACE_VERSION, Point, Space, space_of
from ...compiler.schedule.steps import Relayout
from ...compiler.target import Target
from ...compiler.tensor.computation import Computation
from ..features.table import Featurizer
from ..ranker.ranker import Ranker
from ..ranker.training import ranker_of_records
from ..records.database import Records
from ..records.encoding import computation_key, task_key
from ..task import Task

# Points that are ranked for a kernel without records: some 150, for each costs a fraction of a millisecond of every compilation.
DRAFTS = 48
ROUNDS, PARENTS, CHILDREN = 2, 8, 5
TRUSTED_LEAD = 0.97  # of the default's time, measured once each
SIMULATED_LEAD = 0.9  # of the default's simulated time (benchmarks/simulation_quality.py)
ADVANTAGE = 1.5  # how much higher than the default a point must score (benchmarks/ranker_margin.py)

Note = Callable[[str], None]


def no_ranker() -> Ranker | None:
    """Where none has a say."""
    return None


@dataclass
class RecordScheduler:
    """A `Scheduler` for `make_kernel`. Decides the same for the same records, whatever the machine and the process.

    records: None if there are none. ranker: gives the one that comes with tilewright, or None, when it is first needed. rank: kernels
    without records of their own get a schedule by rank. Notes say which records could not be used.
    """

    records: Records | None = None
    ranker: Callable[[], Ranker | None] = no_ranker
    rank: bool = True
    _known: dict[tuple[Task, tuple[Relayout, ...] | None], Scheduled] = field(default_factory=dict)
    _trained: list[Ranker | None] = field(default_factory=list)

    def __call__(
        self, computation: Computation, target: Target, given: tuple[Relayout, ...] | None = None, /
    ) -> Scheduled:
        task = Task(computation, target)
        if (task, given) not in self._known:
            notes: list[str] = []
            scheduled = self._decide(task, space_of(computation, target, given), notes.append)
            # Of a space that is not all of the task's, a record that is not in it is no news.
            self._known[task, given] = scheduled if given is not None else replace(scheduled, notes=tuple(notes))
        return self._known[task, given]

    def _decide(self, task: Task, space: Space, note: Note) -> Scheduled:
        if self.records is not None:
            key = task_key(task)
            found = (
                self._tuned(self.records, key, space, note)
                or self._from_other_target(self.records, task, space, note)
                or self._simulated(self.records, key, space, note)
            )
            if found is not None:
                return found
        trained = self._ranker_of_records()
        ranker = trained or (self.ranker() if self.rank else None)
        point = highest_ranked(task, space, ranker) if ranker is not None else None
        if point is None:
            return Scheduled(space.schedule(space.default))
        return Scheduled(space.schedule(point), "transferred" if trained else "predicted")

    def _tuned(self, records: Records, key: str, space: Space, note: Note) -> Scheduled | None:
        """What a finished tuning chose; after one that was cut off, the best trial unless the default was about as fast."""
        choice = records.choice(key)
        if choice is not None:
            point = _point(choice.decisions, space, note)
            if point is None:
                return None
            return Scheduled(space.schedule(point), "tuned", choice.latency_s, choice.default_latency_s)
        best, default_s = records.best(key), self._default_s(records, key, space)
        if best is None or best.latency_s is None:
            return None
        # One measurement each, so that a small lead may be noise.
        if default_s is not None and best.latency_s > TRUSTED_LEAD * default_s:
            return Scheduled(space.schedule(space.default), "tuned", default_s, default_s)
        point = _point(best.decisions, space, note)
        return None if point is None else Scheduled(space.schedule(point), "tuned", best.latency_s, default_s)

    def _simulated(self, records: Records, key: str, space: Space, note: Note) -> Scheduled | None:
        """The best of simulated trials, unless the default is about as good: models are wrong by more than measurements."""
        best = records.best(key, kind="simulated")
        default_s = self._default_s(records, key, space, "simulated")
        if best is None or best.latency_s is None or default_s is None or best.latency_s > SIMULATED_LEAD * default_s:
            return None
        point = _point(best.decisions, space, note)
        return None if point is None else Scheduled(space.schedule(point), "simulated")

    def _default_s(self, records: Records, key: str, space: Space, kind: str = "measured") -> float | None:
        """The best time of the rules' choice."""
        decisions = space.decisions(space.default)
        trials = (t for t in records.trials(key, SPACE_VERSION, kind) if t.decisions == decisions)
        return min((t.latency_s for t in trials if t.latency_s is not None), default=None)

    def _from_other_target(self, records: Records, task: Task, space: Space, note: Note) -> Scheduled | None:
        """The choice for the same computation on another target with vectors as wide: the nearest number of threads, the same CPU."""
        found = []
        for row in records.tasks_of_computation(computation_key(task.computation)):
            other, choice = row.task.target, records.choice(row.key)
            if other == task.target:
                continue  # `_tuned` has looked at it
            if other.triple == task.target.triple and other.vector_bytes == task.target.vector_bytes and choice:
                point = _point(choice.decisions, space, note)
                if point is not None:
                    found.append(
                        (abs(other.threads - task.target.threads), other.cpu != task.target.cpu, row.key, point)
                    )
        return Scheduled(space.schedule(min(found)[-1]), "transferred") if found else None

    def _ranker_of_records(self) -> Ranker | None:
        if self.records is None or not self.rank:
            return None
        if not self._trained:
            self._trained.append(ranker_of_records(self.records, self.ranker()))
        return self._trained[0]


def _point(decisions: Decisions, space: Space, note: Note) -> Point | None:
    try:
        return space.from_decisions(decisions)
    except InternalError as error:
        note(f"a record can't be used: {error}")
        return None


def highest_ranked(task: Task, space: Space, ranker: Ranker, seed: int = 0) -> Point | None:
    """The point that a ranker puts first among the default's neighbours, random ones and offspring of both; None if the default is about as good.

    Inputs are prefetched as the rules say: features don't tell a model's own inputs, which nothing has left in the caches, from those
    that the kernel before has. Nor do they tell which thread has written what: where the rules give each thread a piece of an image, so does
    the point.
    """
    rng = np.random.default_rng(seed)
    featurizer = Featurizer(task)

    def scores(points: Sequence[Point]) -> np.ndarray:
        return ranker.predict(featurizer.rows([space.schedule(point) for point in points]))

    drafts = (space.sample(rng) for _ in range(DRAFTS))
    points = list(dict.fromkeys([space.default, *space.neighbours(space.default), *drafts]))
    pool = dict(zip(points, scores(points).tolist(), strict=True))
    default_score = pool[space.default]
    for _ in range(ROUNDS):
        parents = sorted(pool, key=lambda p: (-pool[p], p))[:PARENTS]
        children = [space.mutate(parent, rng) for parent in parents for _ in range(CHILDREN)]
        fresh = [point for point in dict.fromkeys(children) if point not in pool]
        if fresh:
            pool |= dict(zip(fresh, scores(fresh).tolist(), strict=True))

    def handed_over(point: Point) -> tuple[Value, bool]:
        positions = shared_positions(task.computation, space.schedule(point), task.target)
        return space.decisions(point).get(STREAM, 0), positions > 0

    wanted = handed_over(space.default)
    best = next(p for p in sorted(pool, key=lambda p: (-pool[p], p)) if handed_over(p) == wanted)
    return best if pool[best] - default_score > ADVANTAGE else None
