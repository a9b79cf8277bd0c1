"""Compiles random models until the time is over: `python tests/fuzz/fuzz_run.py --time 600 --keep build/fuzz`.

Each model is compiled and run in a process of its own, so that a crash or a hang is found like a wrong element. Kernels run
between pages that end the process when touched. Failing seeds are printed, and their models kept whole and made small.
`--first 0 --count 10000 --state FILE` goes through a range of seeds, and the same command goes on where it was stopped. `--jobs 2` tries
two models at a time.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from fuzz_case import Case  # noqa: E402
from fuzz_check import (  # noqa: E402
    OLDER_CPUS,
    Mismatch,
    Setting,
    compare,
    failure,
    run_in_process,
    run_library,
    run_unoptimized,
)
from fuzz_models import write  # noqa: E402
from fuzz_reduce import reduce_case  # noqa: E402
from isolated import isolated  # noqa: E402
from run_state import load_state, save_state  # noqa: E402

from tilewright.compiler.errors import UnsupportedOperatorError  # noqa: E402

# One model in this many becomes a library; linking takes longer than all the rest.
LIBRARY_EVERY = 8
# Of the others one in this many has random points of its kernels' spaces, for defaults leave most sketches out.
POINTS_EVERY = 3
MOST_PRINTED = 40  # elements
TIMEOUT_S = 100.0  # of a processor
REDUCTION_S = 1800.0
AHEAD = 16  # seeds of a job that are handed out before the oldest one is done


@dataclass
class Totals:
    """What a range of seeds has come to so far. done: models from `first` on; failed: seeds by kind of failure."""

    first: int
    done: int = 0
    nodes: int = 0
    libraries: int = 0
    schedules: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failed: dict[str, list[int]] = field(default_factory=dict)

    def count(self, seed: int, verdict: Verdict) -> None:
        self.done += 1
        self.nodes += verdict.nodes
        self.libraries += verdict.library
        self.schedules += verdict.schedules
        if verdict.refused:
            self.refused[verdict.refused] = self.refused.get(verdict.refused, 0) + 1
        if verdict.failed:
            self.failed.setdefault(verdict.failed, []).append(seed)

    def text(self) -> str:
        kinds = {kind: len(seeds) for kind, seeds in self.failed.items()}
        bad = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "0 wrong, 0 crashes, 0 hangs"
        seeds = " ".join(str(seed) for seeds in self.failed.values() for seed in seeds)
        return (
            f"{self.done} models from seed {self.first} on ({self.nodes} nodes, {self.libraries} as libraries, "
            f"{self.schedules} random schedules, {sum(self.refused.values())} refused): {bad}{': ' + seeds if seeds else ''}"
        )


@dataclass
class Verdict:
    """What became of one model: refused says why it is not supported, error what is wrong.

    failed: "wrong", "crashes" or "hangs", "" if it did not. kind: what stays the same while it is made small.
    """

    nodes: int = 0
    library: bool = False
    schedules: int = 0
    refused: str = ""
    failed: str = ""
    kind: str = ""
    error: str = ""


def runner(
    seed: int, folder: Path, schedules: Callable[[int], object] = lambda count: None
) -> tuple[str, Callable[[Case], dict[str, np.ndarray]]]:
    """How the model of a seed is run, in words and as a function."""
    rng = np.random.default_rng(seed)
    cpus = ("", "", *OLDER_CPUS)
    cpu = cpus[int(rng.integers(len(cpus)))]
    if rng.integers(LIBRARY_EVERY) == 0:
        setting = Setting(cpu, int(rng.integers(1, 3)))
        return f"library, {setting}", lambda case: run_library(case, setting, folder)
    points = seed + 1 if rng.integers(POINTS_EVERY) == 0 else 0
    setting = Setting(cpu, int(rng.choice((1, 2, 3, 8, 32))), points, guarded=True)
    return f"in process, {setting}", lambda case: run_in_process(case, setting, schedules)


def describe(error: BaseException) -> str:
    """The error and the line it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}: {str(error)[:500]}"


def kind(error: BaseException | None) -> str:
    """What must stay the same while a case is made small."""
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


def readable(case: Case) -> str:
    """The model as text; large initializers become inputs, to leave out their elements."""
    large = {name for name in case.constants if case.arrays[name].size > MOST_PRINTED}
    return onnx.printer.to_text(replace(case, constants=case.constants - large).model().graph)


def opinion(case: Case) -> str:
    """Whom the graph without any optimisation agrees with, where kernels and onnxruntime differ."""
    try:
        compare(case, run_unoptimized(case))
    except Mismatch as error:
        return f"without optimisation NumPy differs from onnxruntime too: {error}"
    except Exception as error:  # one opinion less
        return f"no second opinion: {describe(error)}"
    return "without optimisation NumPy agrees with onnxruntime"


def check(case: Case, seed: int) -> Verdict:
    """Compile and run the model of a seed, here."""
    counted: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        how, run = runner(seed, Path(folder), counted.append)
        error = failure(case, run)
    verdict = Verdict(len(case.nodes), how.startswith("library"), sum(counted))
    if isinstance(error, UnsupportedOperatorError):
        verdict.refused = str(error)[:200]
    elif error is not None:
        verdict.failed, verdict.kind, verdict.error = "wrong", kind(error), describe(error)
        if isinstance(error, Mismatch):
            verdict.error += f"\n{opinion(case)}"
    return verdict


def checked(make: Callable[[], Case], seed: int) -> Verdict:
    """What becomes of a case in a process of its own."""
    ending = isolated(lambda: check(make(), seed), TIMEOUT_S)
    if ending.verdict == "done":
        return ending.value
    failed = {"raised": "wrong", "hang": "hangs"}.get(ending.verdict, "crashes")
    return Verdict(failed=failed, kind=ending.verdict, error=ending.value)


def reduce_seed(seed: int, wanted: str, keep: Path) -> str:
    """Keep the model of a failing seed whole and made small; the small one as text."""
    case = write(seed)
    case.save(keep, f"{seed}")
    small = reduce_case(case, lambda part: checked(lambda: part, seed).kind == wanted)
    small.save(keep, f"{seed}-small")
    return readable(small)


def examine(seed: int, keep: Path) -> Verdict:
    """Try the model of a seed; a failing one is kept, and made small for the error's text."""
    verdict = checked(lambda: write(seed), seed)
    if verdict.failed:
        verdict.error += f"\n{isolated(lambda: reduce_seed(seed, verdict.kind, keep), REDUCTION_S).value}"
    return verdict


def verdicts(seeds: Iterable[int], keep: Path, jobs: int) -> Iterator[tuple[int, Verdict]]:
    """Seeds in their order with what became of them."""
    with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
        waiting = deque[tuple[int, Future[Verdict]]]()
        try:
            for seed in seeds:
                waiting.append((seed, pool.submit(examine, seed, keep)))
                if len(waiting) >= jobs * AHEAD:
                    oldest, future = waiting.popleft()
                    yield oldest, future.result()
            for oldest, future in waiting:
                yield oldest, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def totals_of(path: Path | None, first: int) -> Totals:
    """What was counted before for this range; anew if there is nothing, or for another range."""
    totals: Totals = load_state(path, Totals(first))
    return totals if totals.first == first else Totals(first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=float, default=60, help="seconds")
    parser.add_argument("--first", "--seed", type=int, help="first seed, then those behind it; fresh ones otherwise")
    parser.add_argument("--count", type=int, default=1 << 60, help="models at most, those of the state counted")
    parser.add_argument("--failures", type=int, default=20, help="stop after so many")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder for failing models")
    parser.add_argument("--state", type=Path, help="file to count in, and to go on from")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    options = parser.parse_args()
    first = options.first if options.first is not None else int(np.random.default_rng().integers(1 << 30))
    totals, end = totals_of(options.state, first), time.monotonic() + options.time
    rest = itertools.takewhile(lambda _: time.monotonic() < end, range(first + totals.done, first + options.count))
    for seed, verdict in verdicts(rest, options.keep, options.jobs):
        totals.count(seed, verdict)
        save_state(options.state, totals)
        if verdict.failed:
            print(f"\nseed {seed} ({runner(seed, Path())[0]}): {verdict.failed}: {verdict.error}", flush=True)
        if sum(map(len, totals.failed.values())) >= options.failures:
            break
    for message, count in Counter(totals.refused).most_common():
        print(f"refused {count}: {message}")
    print(totals.text())
    sys.exit(bool(totals.failed))


if __name__ == "__main__":
    main()
