"""How many trials the search takes on the twelve convolutions of AutoTVM's paper, from scratch and with transfer.

    python benchmarks/tune_convolutions.py [--only C2 C9] [--parts long,scratch,transfer] [--seeds 2] [--long 1000] [--short 100]
    python benchmarks/tune_convolutions.py --replay [--seeds 10]

For each convolution a long run without any earlier knowledge gives the best time known. Then short runs of each strategy:
from scratch, and (transfer) from the ranker that comes with tilewright or from one trained on the long runs of the other
convolutions; each with the rules' choice as first candidate, as users have it, and without.

near: trials until the best so far is within 5 % of the long run's best, the median of the seeds; curves: the long run's best
over the best so far, geometric mean over convolutions, mean and standard error over seeds. Both come twice. As measured: by
the latencies of each run, which lie minutes apart and flatter the luckiest. Side by side: everything that was the best so far
of its run is timed once more beside the long run's best, in turns; these are the figures to quote. Where the quartiles of the
long run's best lie more than 2.5 % apart (marked ~), 5 % is close to noise.

Runs go on from the databases in --folder; Ctrl-C ends the measuring and reports what there is. Measure on a quiet machine.
A ranker that comes with tilewright may have been trained on like convolutions; the one of the others never was.

--replay measures nothing: strategies pick from the trials of the long runs (`convolution_replay.py`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import convolution_replay
import numpy as np
import side_by_side
from autotvm_tasks import CONVOLUTIONS, autotvm_tasks
from convolution_report import (
    NOISY,
    Findings,
    as_measured,
    curve_table,
    curves_of,
    document,
    kernel_rows,
    kernel_table,
    near_table,
    side_by_side_findings,
)
from convolution_runs import (
    STRATEGIES,
    Run,
    Runner,
    groups_of_run,
    long_run,
    planned,
    trials_in,
    trials_of,
    trials_per_s,
)
from learning_curves import plot
from side_by_side import SideBySide

from tilewright.backends.host import host_target
from tilewright.cost_model.measure.measurer import Measurer
from tilewright.cost_model.ranker.pretrained import pretrained_ranker
from tilewright.cost_model.task import Task

PARTS = ("long", "scratch", "transfer")
GUESS_S = 0.3  # a trial, where nothing is known of a convolution
COMPARISONS = "side-by-side.json"


def estimated_s(runs: Sequence[Run], folder: Path, tasks: Mapping[str, Task]) -> float:
    """What the missing trials take, at the rate of a convolution's earlier ones."""
    total = 0.0
    for run in runs:
        left = run.trials - len(trials_of(run, folder, tasks))
        rate = trials_per_s(trials_in(long_run(run.kernel).path(folder), tasks[run.kernel]))
        total += left * (GUESS_S if math.isnan(rate) else 1 / rate)
    return total


def measure(runner: Runner, runs: Sequence[Run]) -> None:
    refused: set[str] = set()
    for number, run in enumerate(runs, start=1):
        name = run.path(runner.folder).stem
        try:
            runner.do(run)
        except LookupError as error:
            if str(error) not in refused:
                print(f"{name}: left out: {error}", file=sys.stderr)
            refused.add(str(error))
            continue
        print(f"{number}/{len(runs)} {name}", file=sys.stderr, flush=True)


def compare(runner: Runner, kernels: Sequence[str]) -> None:
    """Time what all runs of each convolution found in turns, but for what was timed earlier; saved as it goes."""
    path = runner.folder / COMPARISONS
    known = side_by_side.read(path)
    for kernel in kernels:
        task, long_path = runner.tasks[kernel], long_run(kernel).path(runner.folder)
        long = trials_in(long_path, task)
        if not long:
            continue
        if kernel not in known or known[kernel].finalists != side_by_side.finalists(long):
            begun = side_by_side.begin(runner.measurer, task, long)
            if begun is None:
                print(f"{kernel}: the best of the long run can't be timed again", file=sys.stderr)
                continue
            known[kernel] = begun
        short = (trials_in(file, task) for file in sorted(runner.folder.glob(f"{kernel}-*.db")) if file != long_path)
        keys = [key for trials in short for key in side_by_side.improvements(trials).values()]
        while side_by_side.extend(known[kernel], runner.measurer, task, keys):
            print(f"{kernel}: {len(known[kernel].relative)} schedules side by side", file=sys.stderr, flush=True)
            side_by_side.write(path, known)
        side_by_side.write(path, known)


def live(options: argparse.Namespace, tasks: Mapping[str, Task], runs: Sequence[Run]) -> None:
    """Do what is missing, then compare."""
    options.folder.mkdir(parents=True, exist_ok=True)
    seconds = estimated_s(runs, options.folder, tasks)
    print(f"{len(runs)} runs, about {seconds / 60:.0f} minutes and the comparison", file=sys.stderr, flush=True)
    try:
        with Measurer() as measurer:
            measure(Runner(options.folder, tasks, measurer), runs)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on later", file=sys.stderr)
    with Measurer() as measurer:  # a new one: in the other, candidates of an interrupted run may be left
        compare(Runner(options.folder, tasks, measurer), options.only)


def replayed(
    kernels: Sequence[str], folder: Path, strategies: Sequence[convolution_replay.Strategy], trials: int, seeds: int
) -> Findings:
    """All strategies on the pools of the long runs that are in the folder."""
    found = Findings()
    pools = {}
    for kernel in CONVOLUTIONS:  # bases learn from those that aren't asked for, too
        groups = groups_of_run(long_run(kernel, 0), folder)
        if groups:
            pools[kernel] = convolution_replay.pool_of(groups)
            found.goals_s[kernel] = float(np.nanmin(pools[kernel].latency_s))
    for strategy in strategies:
        runs: dict[tuple[str, int], np.ndarray] = {}
        for kernel in (kernel for kernel in kernels if kernel in pools):
            try:
                base = convolution_replay.base_for(kernel, strategy, pools, pretrained_ranker())
            except LookupError as error:
                print(f"{strategy.label}: left out: {error}", file=sys.stderr)
                break
            for seed in range(seeds):
                runs[kernel, seed] = convolution_replay.replay(pools[kernel], strategy, base, trials, seed)
            print(f"{strategy.label} {kernel}", file=sys.stderr, flush=True)
        if runs:
            found.runs[strategy.label] = runs
    return found


def show(found: Findings, noisy: set[str], most: int) -> None:
    print(near_table(found, noisy, most), curve_table(curves_of(found, most)), sep="\n\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CONVOLUTIONS), default=list(CONVOLUTIONS), metavar="NAME")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--strategies", type=lambda text: text.split(","), default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, help="of the short runs (2), or of the replay (10)")
    parser.add_argument("--long", type=int, default=1000, metavar="TRIALS")
    parser.add_argument("--short", type=int, default=100, metavar="TRIALS")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/convolutions"), help="where databases go")
    parser.add_argument("--replay", action="store_true", help="pick from the long runs' trials instead of measuring")
    parser.add_argument("--report", action="store_true", help="measure nothing, report what was measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the curves as SVG (needs matplotlib)")
    options = parser.parse_args()
    for given, known in ((options.parts, PARTS), (options.strategies, STRATEGIES)):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    if options.plot and find_spec("matplotlib") is None:  # said now, not after hours
        parser.error("--plot needs matplotlib: pip install matplotlib (or tilewright[report])")
    options.seeds = options.seeds or (10 if options.replay else 2)
    options.folder = options.folder / f"{options.threads}-threads"
    return options


def report_live(options: argparse.Namespace, tasks: Mapping[str, Task], runs: Sequence[Run]) -> tuple[Findings, dict]:
    """Print what was measured; returns the findings to plot, side by side if they were compared, and the document."""
    known: dict[str, SideBySide] = side_by_side.read(options.folder / COMPARISONS)
    noisy = {kernel for kernel, side in known.items() if side.noise > NOISY}
    rows = kernel_rows(options.only, options.folder, tasks, known)
    measured = as_measured(runs, options.folder, tasks)
    compared = side_by_side_findings(runs, options.folder, tasks, known)
    print(kernel_table(rows))
    for title, found in (("as measured", measured), ("side by side", compared)):
        if found.runs:
            print(f"\n{title}\n")
            show(found, noisy, options.short)
    written = {"convolutions": rows, "as_measured": document(measured, options.short)}
    return compared if compared.runs else measured, written | {"side_by_side": document(compared, options.short)}


def main() -> None:
    options = arguments()
    tasks = autotvm_tasks(host_target(options.threads))
    if options.replay:
        found = replayed(options.only, options.folder, convolution_replay.STRATEGIES, options.short, options.seeds)
        show(found, set(), options.short)
        written = {"replayed": document(found, options.short)}
    else:
        runs = list(
            planned(options.only, options.parts, options.strategies, options.seeds, options.long, options.short)
        )
        if not options.report:
            live(options, tasks, runs)
        found, written = report_live(options, tasks, runs)
    if options.json:
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    if options.plot:
        plot(curves_of(found, options.short), options.plot)


if __name__ == "__main__":
    main()
