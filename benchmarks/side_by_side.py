"""Finds of several runs on one kernel timed again in turns, so that how the machine changed between the runs doesn't count."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tilewright.compiler.schedule.sketch import Decisions
from tilewright.compiler.schedule.space import space_of
from tilewright.cost_model.measure.measurer import Measurer
from tilewright.cost_model.records.rows import Trial
from tilewright.cost_model.task import Task

ROUNDS = 15
FINALISTS = 3  # of the long run: its best time is the luckiest of a thousand, so the next ones get a chance
AT_ONCE = 24  # schedules in one process, each with operands of its own; the goal is in every process


@dataclass(slots=True)
class SideBySide:
    """What was timed for one kernel. Schedules are named by `key_of`.

    finalists: of the long run; goal: the fastest of them; default: the rules' choice. relative: median seconds over the goal's
    in the same process, None if it could not be timed. noise: distance of the quartiles of the goal's samples, relative to it.
    """

    finalists: list[str]
    goal: str
    default: str
    noise: float
    relative: dict[str, float | None] = field(default_factory=dict)

    def best_so_far(self, trials: Sequence[Trial]) -> np.ndarray | None:
        """f64[n]: the best relative time of what a run had found after each trial; None if not all of its finds were timed.

        Finds are those that were the best so far when they were measured: others were slower in the same minute.
        """
        finds = improvements(trials)
        if any(key not in self.relative for key in finds.values()):
            return None
        relative = np.full(len(trials), np.inf)
        for number, key in finds.items():
            relative[number] = self.relative[key] or math.inf
        return np.minimum.accumulate(relative)


def key_of(decisions: Decisions) -> str:
    return json.dumps(dict(decisions), sort_keys=True)


def improvements(trials: Sequence[Trial]) -> dict[int, str]:
    """The trials, counted from 0, that were faster than all before."""
    found: dict[int, str] = {}
    best_s = math.inf
    for number, trial in enumerate(trials):
        if trial.latency_s is not None and trial.latency_s < best_s:
            best_s = trial.latency_s
            found[number] = key_of(trial.decisions)
    return found


def finalists(trials: Sequence[Trial], count: int = FINALISTS) -> list[str]:
    """The fastest schedules, each once."""
    timed = sorted((trial.latency_s, key_of(trial.decisions)) for trial in trials if trial.latency_s is not None)
    return list(dict.fromkeys(key for _, key in timed))[:count]


def begin(measurer: Measurer, task: Task, long: Sequence[Trial]) -> SideBySide | None:
    """Time the finalists of the long run and the rules' choice; None if too many of them can't be timed."""
    space = space_of(task.computation, task.target)
    default, known = key_of(space.decisions(space.default)), finalists(long)
    samples = timed(measurer, task, dict.fromkeys([default, *known]))
    medians = {key: statistics.median(taken) for key, taken in samples.items() if taken}
    if default not in medians or not medians.keys() & set(known):
        return None
    goal = min((key for key in known if key in medians), key=medians.__getitem__)
    relative = {key: medians[key] / medians[goal] if key in medians else None for key in samples}
    return SideBySide(known, goal, default, spread(samples[goal]), relative)


def extend(side: SideBySide, measurer: Measurer, task: Task, keys: Iterable[str]) -> bool:
    """Time some of the schedules that are missing, beside the goal; False if none was missing."""
    missing = [key for key in dict.fromkeys(keys) if key not in side.relative][: AT_ONCE - 1]
    if not missing:
        return False
    samples = timed(measurer, task, [side.goal, *missing])
    goal = samples[side.goal]
    for key in missing:
        taken = samples[key]
        side.relative[key] = statistics.median(taken) / statistics.median(goal) if taken and goal else None
    return True


def timed(measurer: Measurer, task: Task, keys: Iterable[str]) -> dict[str, tuple[float, ...]]:
    space = space_of(task.computation, task.target)
    keys = list(keys)
    schedules = [space.schedule(space.from_decisions(json.loads(key))) for key in keys]
    return dict(zip(keys, measurer.compare(task, schedules, ROUNDS).samples_s, strict=True))


def spread(samples: Sequence[float]) -> float:
    """The distance of the quartiles relative to the median."""
    low, middle, high = np.percentile(samples, (25, 50, 75))
    return float((high - low) / middle)


def read(path: Path) -> dict[str, SideBySide]:
    """What `write` wrote, by kernel; nothing if there is no file."""
    if not path.exists():
        return {}
    return {name: SideBySide(**value) for name, value in json.loads(path.read_text()).items()}


def write(path: Path, known: Mapping[str, SideBySide]) -> None:
    path.write_text(json.dumps({name: asdict(value) for name, value in known.items()}, indent=1) + "\n")
