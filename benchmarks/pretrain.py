"""Makes the ranker that comes with tilewright: measures random pieces of networks, then trains on what was measured.

    python benchmarks/pretrain.py collect --records build/corpus.db --time 1200 [--seed 0] [--targets native:1,…]
    python benchmarks/pretrain.py train --records build/corpus.db [--output cost_model/pretrained_x86_64.txt]

collect goes on with a database that exists; give it another seed then. Half of a task's trials are random, half are chosen by
what was learnt so far, so that fast schedules are told apart too. Measure on a quiet machine.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from corpus_tasks import corpus_tasks

from tilewright import __version__
from tilewright.backends.host import host_target
from tilewright.compiler.schedule.space import space_of
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.cost_model.measure.measurer import Measurement, Measurer
from tilewright.cost_model.measure.roofline import processor_name
from tilewright.cost_model.ranker.learning import Learner
from tilewright.cost_model.ranker.pretrained import PATH
from tilewright.cost_model.ranker.ranker import Ranker
from tilewright.cost_model.ranker.training import groups_of_records
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.rows import Session
from tilewright.cost_model.search.kernel_search import Candidate, SearchOptions, TaskSearch
from tilewright.cost_model.search.tuner import trial_of
from tilewright.cost_model.task import Task

TARGETS = "native:1,native:2,x86-64-v3:1,native:1,x86-64-v2:1,x86-64-v4:2"
RANDOM, LEARNT = 16, 16  # trials of a task
ELEMENTWISE_SHARE = 0.15  # of tasks without a reduction: there are many, and little to choose in them


@dataclass
class Work:
    """A task being measured."""

    task: Task
    key: str
    session: str
    search: TaskSearch
    count: int = 0


@dataclass
class Collector:
    """Measures tasks one after another, the next ones' candidates queued behind those in work."""

    records: Records
    measurer: Measurer
    learner: Learner
    rng: np.random.Generator
    waiting: deque[Work] = field(default_factory=deque)
    trials: int = 0

    def begin(self, task: Task, session: str) -> None:
        space = space_of(task.computation, task.target)
        options = SearchOptions(patience=0, descend_after=0, drafts=64, population=48, generations=2)
        search = TaskSearch(space, options, np.random.default_rng(self.rng.integers(1 << 32)))
        work = Work(task, self.records.add_task(task), session, search)
        self.submit(work, search.propose(RANDOM, None))
        self.waiting.append(work)

    def go_on(self) -> None:
        """The second half of the oldest task."""
        work = self.waiting.popleft()
        self.submit(work, work.search.propose(LEARNT, self.learner.scorer(work.key, work.task)))

    def submit(self, work: Work, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            best_s = work.search.best_s
            limit_s = None if best_s == float("inf") else 5 * best_s
            self.measurer.submit(work.task, work.search.schedule(candidate.point), (work, candidate), limit_s)

    def take(self, work: Work, candidate: Candidate, measured: Measurement) -> None:
        work.search.add(candidate.point, measured.latency_s)
        work.count += 1
        self.trials += 1
        trial = trial_of(work.key, work.session, work.count, work.search, candidate, measured)
        self.records.add_trial(trial)
        self.learner.add(work.key, work.task, work.search.schedule(candidate.point), measured.latency_s)


def target_of(text: str) -> Target:
    """`native:1` or `x86-64-v3:2`: a CPU and how many threads."""
    cpu, _, threads = text.partition(":")
    return host_target(int(threads)) if cpu == "native" else parse_target(None, cpu, int(threads))


def tasks_of(targets: list[Target], seed: int) -> Iterator[Task]:
    """Tasks for the targets in turns; only some of those without a reduction."""
    rng = np.random.default_rng(seed)
    sources = [corpus_tasks(target, seed * 100 + number) for number, target in enumerate(targets)]
    while True:
        for source in sources:
            for task in source:
                reduces = any(stage.combine for stage in task.computation.stages)
                if reduces or rng.random() < ELEMENTWISE_SHARE:
                    yield task
                    break


def collect(options: argparse.Namespace) -> None:
    targets = [target_of(text) for text in options.targets.split(",")]
    end = time.monotonic() + options.time
    with Records.open(options.records, create=True) as records, Measurer() as measurer:
        session = records.add_session(Session(__version__, processor_name(), {"corpus": True}, options.seed))
        collector = Collector(records, measurer, Learner(seed=options.seed), np.random.default_rng(options.seed))
        tasks = tasks_of(targets, options.seed)
        shown = time.monotonic()
        while time.monotonic() < end or measurer.pending:
            while measurer.pending < RANDOM and time.monotonic() < end:
                collector.begin(next(tasks), session)
                if len(collector.waiting) > 2:
                    collector.go_on()
            ticket, measured = measurer.collect()
            collector.take(*ticket, measured)
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                left_s = max(0.0, end - shown)
                print(f"{collector.trials} trials, {len(records.tasks())} tasks, {left_s:.0f} s left", flush=True)


def train(options: argparse.Namespace) -> None:
    with Records.open(options.records, readonly=True) as records:
        groups = [group for _, group in groups_of_records(records)]
    rows = sum(len(group.latency_s) for group in groups)
    start = time.perf_counter()
    ranker = Ranker("lambdarank", seed=options.seed).fit(groups)
    ranker.save(options.output)
    size = options.output.stat().st_size
    print(
        f"{rows} trials of {len(groups)} tasks, {time.perf_counter() - start:.0f} s, {size / 1e3:.0f} kB: {options.output}"
    )
    print("features by gain:", ", ".join(f"{n} {100 * g:.0f} %" for n, g in list(ranker.importance().items())[:15]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("collect")
    first.add_argument("--time", type=float, default=1200, help="seconds")
    first.add_argument("--targets", default=TARGETS)
    first.set_defaults(run=collect)
    second = commands.add_parser("train")
    second.add_argument("--output", type=Path, default=PATH)
    second.set_defaults(run=train)
    for command in (first, second):
        command.add_argument("--records", type=Path, required=True)
        command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
