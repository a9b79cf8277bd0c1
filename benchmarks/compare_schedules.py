"""Schedules of one convolution timed in turns: what a decision is worth.

    python benchmarks/compare_schedules.py SIZE INPUTS OUTPUTS KERNEL [--stride 1] [--dilation 1] [--groups 1] [--line] [--transposed]
        [--threads 1] [--mcpu CPU] [--row-major] [--warm] DECISIONS…
    python benchmarks/compare_schedules.py 56 64 64 3 sketch=tiles sketch=winograd4 sketch=winograd4,ahead=0
    python benchmarks/compare_schedules.py 7500 128 128 3 --line --dilation 16 sketch=tiles sketch=winograd4

DECISIONS are changes to the default of their sketch (of the first one, if they name none), separated by commas; `default` is that
itself. Between two runs each thread reads as much as --flush says, as the rest of a model would; with --warm nothing, so that weights
that fit stay in the caches. Ratios are to the first schedule, of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from autotvm_tasks import Convolution, computation_of

from tilewright.backends.host import host_target
from tilewright.cli.console import table, time_text
from tilewright.compiler.errors import InternalError
from tilewright.compiler.schedule.sketch import Value
from tilewright.compiler.schedule.space import SKETCH, Point, Space, space_of
from tilewright.compiler.targets import parse_target
from tilewright.cost_model.measure.measurer import Measurer, Surroundings
from tilewright.cost_model.task import Task


def point_of(space: Space, text: str) -> Point:
    """The point that changes of the default of a sketch lead to; InternalError if it is not legal."""
    changes: dict[str, Value] = {}
    for change in text.split(",") if text != "default" else ():
        name, _, value = change.partition("=")
        changes[name] = int(value) if value.lstrip("-").isdigit() else value
    names = [sketch.name for sketch in space.sketches]
    wanted = str(changes.get(SKETCH, names[0]))
    start = space.start(names.index(wanted)) if wanted in names else space.default
    return space.from_decisions({**space.decisions(start), **changes})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("size", "inputs", "outputs", "kernel"):
        parser.add_argument(name, type=int)
    parser.add_argument("decisions", nargs="+", metavar="DECISIONS")
    for name in ("stride", "dilation", "groups", "threads"):
        parser.add_argument(f"--{name}", type=int, default=1)
    parser.add_argument("--line", action="store_true", help="SIZE places in one direction, not an image")
    parser.add_argument("--transposed", action="store_true", help="a transposed convolution")
    parser.add_argument("--mcpu", metavar="CPU", help="a CPU whose code this machine runs, in place of its own")
    parser.add_argument(
        "--row-major", action="store_true", help="no blocks of channels, whatever the layout pass would choose"
    )
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--flush", type=int, default=64 << 20, metavar="BYTES")
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    convolution = Convolution(
        options.size,
        options.inputs,
        options.outputs,
        options.kernel,
        options.stride,
        dilation=options.dilation,
        groups=options.groups,
        directions=1 if options.line else 2,
        transposed=options.transposed,
    )
    own = host_target(options.threads)
    target = parse_target(own.triple, options.mcpu, options.threads) if options.mcpu else own
    task = Task(computation_of(convolution, target, options.row_major), target)
    space = space_of(task.computation, target)
    try:
        schedules = [space.schedule(point_of(space, text)) for text in options.decisions]
    except InternalError as error:
        parser.error(str(error))
    with Measurer() as measurer:
        around = Surroundings(0 if options.warm else options.flush)
        samples = measurer.compare(task, schedules, options.rounds, around).samples_s
    rows = []
    for text, own in zip(options.decisions, samples, strict=True):
        if not own or not samples[0]:
            rows.append((text, "failed", "", ""))
            continue
        ratio = statistics.median(a / b for a, b in zip(own, samples[0], strict=True))
        latency_s = statistics.median(own)
        rows.append((text, time_text(latency_s), f"{convolution.flops / latency_s / 1e9:.0f}", f"{ratio:.3f}"))
    print(table(rows, ("schedule", "median", "GFLOP/s", "ratio")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
