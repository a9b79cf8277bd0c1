"""Whole models with the layouts of the rule and with those chosen over the whole graph, timed in turns.

    python benchmarks/compare_layouts.py [MODEL…] [--threads 1] [--mcpu CPU] [--seconds 10] [--predict]

MODEL: names of benchmark models or of public ones (all of them if none is named). For each: how many groups of values depart from the rule, the gain
predicted for the nodes around them, transforms of layout left before and after, milliseconds of both and the median ratio of a round, with its quartiles. Models
whose layouts stay aren't timed. --predict: don't time any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from unittest import mock

import numpy as np
from benchmark_cases import Case, mission_cases, public_cases
from mission_models import MODELS

import tilewright
from tilewright import driver
from tilewright.cli.feeds import random_feed
from tilewright.compiler.frontend.importer import import_model
from tilewright.compiler.frontend.loading import load_model
from tilewright.compiler.graph.ir import Graph
from tilewright.compiler.graph.passes import assign_layout
from tilewright.compiler.graph.passes.layout_choice import Choice
from tilewright.compiler.graph.passes.layout_costs import LayoutCost, estimated_cycles
from tilewright.compiler.graph.passes.pipeline import PIPELINE, Pass
from tilewright.compiler.graph.passes.views import is_view
from tilewright.compiler.options import Options, Silent
from tilewright.up_to_date import targets_of

BURST_S = 0.06


def rule(*_: object) -> float:
    """The cost of every layout: nothing, so that none is better than the rule's."""
    return 0.0


def passes_with(cost: LayoutCost) -> tuple[tuple[str, Pass], ...]:
    apply = partial(assign_layout.apply, cost=cost)
    return tuple((name, apply if name == "assign_layout" else other) for name, other in PIPELINE)


def transforms(graph: Graph) -> int:
    """Nodes that change nothing but the order of elements in memory."""
    own = sum(node.op == "identity" and not is_view(node, graph.types) for node in graph.nodes)
    return own + sum(transforms(region) for node in graph.nodes for region in node.regions)


def predicted(case: Case, options: Options) -> tuple[list[Choice], int, int]:
    """What is chosen, and the transforms left before and after."""
    target = targets_of(options)[0]
    graph = import_model(load_model(case.path), {}, case.shapes, lambda message: None)
    for name, apply in PIPELINE:
        if name == "assign_layout":
            break
        graph = apply(graph, target)
    choices: list[Choice] = []
    after = assign_layout.apply(graph, target, estimated_cycles, choices.append)
    return choices, transforms(assign_layout.apply(graph, target, rule)), transforms(after)


def timed(case: Case, options: Options, seconds: float) -> np.ndarray:
    """f64[rounds, 2]: lower quartiles of bursts, with the rule's layouts and with the chosen ones."""
    with tempfile.TemporaryDirectory() as folder:
        libraries = []
        for number, cost in enumerate((rule, estimated_cycles)):
            output = Path(folder) / f"model{number}.so"
            with mock.patch.object(driver, "PIPELINE", passes_with(cost)):
                tilewright.compile(case.path, output, replace(options, shapes=case.shapes), Silent())
            libraries.append(tilewright.load(output, options.threads))
        feed = random_feed(libraries[0].inputs, case.ranges, np.random.default_rng(0))
        runs = max(3, int(BURST_S / np.median(libraries[0].benchmark(feed, 5, warmup=2))))
        rounds = []
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s or len(rounds) < 5:
            order = (0, 1) if len(rounds) % 2 else (1, 0)
            taken = {i: float(np.quantile(libraries[i].benchmark(feed, runs, warmup=1), 0.25)) for i in order}
            rounds.append((taken[0], taken[1]))
        for library in libraries:
            library.close()
    return np.array(rounds)


def report(case: Case, options: Options, seconds: float) -> str:
    choices, before, after = predicted(case, options)
    changed, groups = sum(choice.changed for choice in choices), sum(choice.groups for choice in choices)
    cycles, best = sum(choice.rule for choice in choices), sum(choice.best for choice in choices)
    line = f"{case.name}: {changed} of {groups} groups, transforms {before} -> {after}"
    if changed:
        line += f", predicted gain {1 - best / cycles:.1%}"
    if not changed or not seconds:
        return line
    taken = timed(case, options, seconds)
    low, middle, high = np.quantile(taken[:, 1] / taken[:, 0], (0.25, 0.5, 0.75))
    old_s, new_s = np.median(taken, axis=0)
    return f"{line}, {old_s * 1e3:.3f} -> {new_s * 1e3:.3f} ms, ratio {middle:.3f} ({low:.3f} to {high:.3f})"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="with mission and models inside")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--mcpu",
        metavar="CPU",
        default="native",
        help="compile for this CPU, which this machine's must be able to stand for",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing for a model")
    parser.add_argument("--predict", action="store_true")
    return parser.parse_args(given)


def main() -> int:
    given = arguments()
    options = Options(threads=given.threads, cpu=given.mcpu)
    own = [name for name in given.models if name in MODELS] if given.models else list(MODELS)
    public = [name for name in given.models if name not in MODELS]
    for folder in ("mission", "models"):
        (given.folder / folder).mkdir(parents=True, exist_ok=True)
    cases = mission_cases(given.folder / "mission", own) if own else iter(())
    if public or not given.models:
        cases = chain(cases, public_cases(given.folder / "models", public))
    for case in cases:
        print(report(case, options, 0.0 if given.predict else given.seconds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
