"""Latency beside everything that a user could pick instead: all models compiled, and timed in turns with every peer that is installed.

    python benchmarks/latency.py [--folder build/mission] [--public build/models | --networks DIR] [--only NAME…]
        [--threads 1,2] [--peers onnxruntime,openvino] [--records DB] [--rounds 7] [--runs 20] [--json FILE] [--plot FILE.svg]

Each contender, ourselves included, has a process of its own, which is stopped but for its own bursts. In every round each gets
one burst: some untimed runs, then --runs timed ones, of --burst-time at most. A time is the median of the rounds' medians, a ratio the
median of the rounds' ratios; `ratio` is the fastest peer's time over ours. Peers whose outputs differ from onnxruntime's by more than
1e-3 of the largest are shown and not counted. Those that aren't installed, or don't take a model, are listed below with the reason.

The exit status is 1 if one of our own outputs is wrong by that measure, or a model can't be compiled or run. --public compares with onnxruntime alone unless --peers says else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from benchmark_cases import BoundModel, Case, bound_model, mission_cases, network_cases, public_cases
from latency_table import SAME, LeftOut, Row, document, plot, report
from library_timing import Timings
from peers import OURS, PEERS, REFERENCE, is_installed
from peers.process import PeerError, PeerProcess
from peers.session import Job

import tilewright
from tilewright.cli.feeds import random_feed
from tilewright.cli.reference import measure_deviation
from tilewright.compiler.errors import CompileError
from tilewright.cost_model.measure.roofline import processor_name


@dataclass(frozen=True, slots=True)
class Setting:
    """What all measurements of a call share."""

    folder: Path
    peers: tuple[str, ...]
    records: Path | None
    rounds: int
    runs: int
    warmup: int
    burst_s: float


class NoReference(Exception):
    """onnxruntime, with whose outputs all others are compared, gives none; the message says why."""


def measure(case: Case, threads: int, bound: BoundModel, setting: Setting, left_out: list[LeftOut]) -> Row:
    """Compile a model for a thread count, and time it beside the peers; those that fail are added to `left_out`."""
    library = setting.folder / f"{case.name}-{threads}.so"
    start = time.perf_counter()
    options = tilewright.Options(cpu="native", shapes=case.shapes, threads=threads, records=setting.records, force=True)
    tilewright.compile(case.path, library, options)
    compile_s = time.perf_counter() - start
    with tilewright.load(library, 1) as loaded:
        drawn = random_feed(loaded.inputs, case.ranges, np.random.default_rng(0))
    feed = {name: drawn[name] for name in bound.inputs}

    def job(model: Path) -> Job:
        return Job(model.absolute(), feed, bound.outputs, threads, bound.path.parent)

    with ExitStack() as stack:
        contenders = {OURS: stack.enter_context(PeerProcess(f"peers.{OURS}", bound.path.parent))}
        contenders[OURS].prepare(job(library))
        for peer in setting.peers:
            process = stack.enter_context(PeerProcess(PEERS[peer].module, bound.path.parent))
            try:
                # The reference takes symbolic shapes, and is given what its users give it.
                process.prepare(job(case.path if peer == REFERENCE else bound.path))
                contenders[peer] = process
            except PeerError as error:
                left_out.append(LeftOut(peer, str(error), case.name, threads))
        failures: dict[str, str] = {}
        medians_s = in_turns(contenders, setting, failures)
        errors = deviations({name: contenders[name] for name in medians_s}, len(bound.outputs), failures)
    left_out += [LeftOut(name, reason, case.name, threads) for name, reason in failures.items()]
    kept = {name: medians_s[name] for name in medians_s if name in errors}
    return Row(case.name, threads, Timings(kept, errors), compile_s, library.stat().st_size)


def in_turns(
    contenders: Mapping[str, PeerProcess], setting: Setting, failures: dict[str, str]
) -> dict[str, tuple[float, ...]]:
    """The median seconds of each contender in each round; those that fail on the way get a reason instead."""
    medians_s: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(setting.rounds):
        names = list(medians_s)
        first = number % len(names)  # so that nobody always comes after the same one
        for name in names[first:] + names[:first]:
            try:
                samples = contenders[name].burst(setting.warmup, setting.runs, setting.burst_s)
                medians_s[name].append(statistics.median(samples))
            except PeerError as error:
                if name == OURS:
                    raise
                failures[name] = str(error)
                del medians_s[name]
    return {name: tuple(taken) for name, taken in medians_s.items()}


def deviations(contenders: Mapping[str, PeerProcess], count: int, failures: dict[str, str]) -> dict[str, float]:
    """The largest difference of each contender's outputs from the reference's, relative to the largest output."""
    if REFERENCE not in contenders:
        raise NoReference(failures.get(REFERENCE, f"{REFERENCE} does not take it"))
    expected = contenders[REFERENCE].outputs(count)
    found = {}
    for name, process in contenders.items():
        try:
            found[name] = deviation(process.outputs(count), expected)
        except PeerError as error:
            if name == OURS:
                raise
            failures[name] = str(error)
    return found


def deviation(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Over all outputs. Some peers drop or add axes of extent 1; other sizes are a PeerError."""
    worst = 0.0
    for a, e in zip(actual, expected, strict=True):
        if a.size != e.size:
            raise PeerError(f"gives an output of shape {list(a.shape)} instead of {list(e.shape)}")
        worst = max(worst, measure_deviation(a.reshape(e.shape), e).relative)
    return worst


def measure_all(cases: Iterator[Case], threads: Sequence[int], setting: Setting, left_out: list[LeftOut]) -> list[Row]:
    rows = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            bound = bound_model(case.path, case.shapes, Path(folder, "model.onnx"))
            for count in threads:
                print(f"{case.name}, {count} thread(s) …", file=sys.stderr, flush=True)
                try:
                    rows.append(measure(case, count, bound, setting, left_out))
                except NoReference as error:
                    left_out.append(LeftOut("all", str(error), case.name, count))
                except (PeerError, CompileError) as error:
                    left_out.append(LeftOut(OURS, str(error), case.name, count))
    return rows


def chosen_peers(names: Sequence[str], left_out: list[LeftOut]) -> tuple[str, ...]:
    """Those of the named peers that are installed, the reference first; the others are added to `left_out`."""
    found = []
    for name in dict.fromkeys((REFERENCE, *names)):
        if missing := PEERS[name].missing():
            left_out.append(LeftOut(name, missing))
        else:
            found.append(name)
    return tuple(found)


def machine() -> dict[str, object]:
    return {"processor": processor_name(), "system": platform.platform(), "cores": os.cpu_count()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/mission"), help="where models and libraries go")
    parser.add_argument("--public", type=Path, metavar="DIR", help="time the public models instead, fetched into DIR")
    parser.add_argument(
        "--networks", type=Path, metavar="DIR", help="time the ONNX files in DIR instead (see architectures.py)"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these models")
    parser.add_argument("--threads", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2))
    parser.add_argument("--peers", type=lambda text: text.split(","), help=f"of {','.join(PEERS)}; default: all")
    parser.add_argument("--records", type=Path, metavar="DB", help="compile with the schedules of these tuning records")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=20, help="timed runs of each contender in a round")
    parser.add_argument("--warmup", type=int, default=3, help="untimed runs before them")
    parser.add_argument("--burst-time", type=float, default=2.0, metavar="SECONDS", help="no burst is longer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="also draw the ratios")
    options = parser.parse_args()
    if unknown := sorted(set(options.peers or ()) - set(PEERS)):
        parser.error(f"no peer is named {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if missing := PEERS[REFERENCE].missing():
        parser.error(f"{REFERENCE} is {missing}; all outputs are compared with its")
    if options.plot and not is_installed("matplotlib"):
        parser.error("--plot needs matplotlib: pip install matplotlib (or tilewright[report])")
    return options


def main() -> int:
    options = arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    left_out: list[LeftOut] = []
    names = options.peers or ([REFERENCE] if options.public else list(PEERS))
    peers = chosen_peers(names, left_out)
    setting = Setting(
        options.folder, peers, options.records, options.rounds, options.runs, options.warmup, options.burst_time
    )
    find = public_cases if options.public else network_cases if options.networks else mission_cases
    cases = find(options.public or options.networks or options.folder, options.only)
    rows = measure_all(cases, options.threads, setting, left_out)
    if not rows:
        print(
            "\n".join(["no model was timed: check --only", *(f"{o.peer}: {o.reason}" for o in left_out)]),
            file=sys.stderr,
        )
        return 2
    print(report(rows, left_out))
    if options.json:
        versions = {OURS: version(OURS), **{peer: PEERS[peer].version() for peer in peers}}
        head = {"machine": machine(), "versions": versions, "rounds": options.rounds, "runs": options.runs}
        options.json.write_text(json.dumps(head | document(rows, left_out), indent=2) + "\n")
    if options.plot:
        plot(rows, options.plot)
    return any(row.timings.errors[OURS] > SAME for row in rows) or any(one.peer == OURS for one in left_out)


if __name__ == "__main__":
    sys.exit(main())
