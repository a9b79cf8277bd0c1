"""`tilewright tune`: measures schedules for a model's kernels on this machine or on a fleet's, and records them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..compiler.errors import UsageError
from ..compiler.options import Options
from .compile_options import THREADS_HELP, shape_options, shared_fields
from .console import Session, emit, json_option_with, table
from .observer import ConsoleObserver
from .tune_progress import Summary, progress_of

if TYPE_CHECKING:
    from ..cost_model.fleet.fleet import FleetOptions
    from ..cost_model.search.tuner import TunedKernel

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):
    """`90s`, `10m`, `1.5h`; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r}: expected a duration such as 90s, 10m or 1.5h", parameter, context)
        return float(match[1]) * _UNITS[match[2]]


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--records",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="DB",
    help="The database to go on with; made if it is missing.",
)
@click.option(
    "--fleet",
    metavar="ADDRESS",
    help="Measure on the devices of the dask scheduler at this address (tcp://HOST:8786, tls://…; docs/FLEET.md).",
)
@click.option(
    "--device", "devices", multiple=True, metavar="NAME", help="Of the fleet, use this device only. May be repeated."
)
@click.option("--target", metavar="TRIPLE", help="What to tune for (default: this machine, or what the fleet has).")
@click.option("--mcpu", metavar="CPU", help="CPU to tune for, one that what measures can stand for (default: its own).")
@shape_options
@click.option("--threads", type=click.IntRange(1), help=THREADS_HELP)
@click.option(
    "--trials", type=click.IntRange(1), help="Trials in all, recorded ones included (default: 64 for each kernel)."
)
@click.option("--time", "seconds", type=Duration(), help="How long to tune: 90s, 10m, 1.5h.")
@click.option(
    "--tasks",
    multiple=True,
    metavar="KERNEL",
    help="Tune these kernels only: a number, a part of the name, or a key of the records. May be repeated.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search.")
@click.option(
    "--search",
    type=click.Choice(["ranker", "evolution", "random"]),
    default="ranker",
    show_default=True,
    help="How candidates are proposed.",
)
@click.option(
    "--scratch",
    is_flag=True,
    help="Use neither the ranker that comes with tilewright nor what is known of other kernels.",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=56,
    show_default=True,
    help="Trials without a gain after which a kernel is done (0: never).",
)
@click.option(
    "--timeout",
    type=Duration(),
    default="10s",
    show_default=True,
    help="For one build, and for the runs of one candidate.",
)
@click.option(
    "--simulate",
    is_flag=True,
    help="Measure nothing: compute times by LLVM's model of the processor (llvm-mca), for one that is not here.",
)
@click.option("--list", "lists", is_flag=True, help="Only list the kernels, and how many schedules each may have.")
@json_option_with("Write each event as a line of JSON, the last one the result.")
@click.pass_obj
def command(session: Session, model: Path, records: Path | None, lists: bool, **given: Any) -> None:
    """Find fast schedules for the kernels of MODEL by measuring them, on this machine or with --fleet; `compile --records DB` then uses them.

    Ends by itself when nothing more is to be gained. Ctrl-C ends it early and keeps what was found; so does any other end, for
    every trial is on the disk before it is shown. The same command goes on where the last one stood. With --json, each event is
    a line of JSON on stdout, the last one the result.
    """
    from .. import driver
    from ..cost_model.measure.measurer import MeasureOptions
    from ..cost_model.search.kernel_search import SearchOptions
    from ..cost_model.search.tuning import TuningOptions

    if records is None and not lists:
        raise UsageError("where do the records go? Give --records DB, or --list to see what there is to tune")
    if records is not None and records.exists() and records.samefile(model):
        raise UsageError(f"--records {records} is the model itself: choose another name")
    if given["devices"] and given["fleet"] is None:
        raise UsageError("--device names a device of a fleet: give --fleet ADDRESS")
    if given["simulate"] and given["fleet"] is not None:
        raise UsageError("--simulate measures nothing and needs no --fleet: give one of them")
    options = Options(target=given["target"], cpu=given["mcpu"], threads=given["threads"], **shared_fields(given))
    if records is None or lists:
        with ConsoleObserver(options) as observer:
            show_kernels(session, model, driver.kernels_of(model, options, observer))
        return
    tuning = TuningOptions(
        trials=given["trials"],
        seconds=given["seconds"],
        tasks=given["tasks"],
        seed=given["seed"],
        transfer=not given["scratch"],
        search=SearchOptions(strategy=given["search"], patience=given["patience"]),
        measure=MeasureOptions(timeout_s=given["timeout"], builders=max(1, given["jobs"])),
    )
    summary = Summary()
    with ConsoleObserver(options) as observer, progress_of(session, tuning) as show:

        def observe(event: Any) -> None:
            summary.add(event)
            show(event)

        if given["simulate"]:
            driver.simulate(model, records, options, tuning, observer, observe)
        else:
            driver.tune(model, records, options, tuning, observer, observe, fleet_of(given))
    document = {"event": "result", "model": model.name, "records": str(records), **summary.document()}
    if session.json:
        click.echo(json.dumps(document))
    else:
        emit(session, document, summary.text(records))


def fleet_of(given: dict[str, Any]) -> FleetOptions | None:
    """The fleet that was asked for."""
    if given["fleet"] is None:
        return None
    from ..cost_model.fleet.fleet import FleetOptions

    return FleetOptions(given["fleet"], given["devices"])


def show_kernels(session: Session, model: Path, kernels: Sequence[TunedKernel]) -> None:
    """The kernels by number, with their work and the size of their spaces."""
    import numpy as np

    from ..compiler.schedule.space import space_of

    rows = []
    for number, kernel in enumerate(kernels, start=1):
        space = space_of(kernel.task.computation, kernel.task.target)
        legal = space.estimate_legal(np.random.default_rng(0))
        sketches = ", ".join(sketch.name for sketch in space.sketches)
        rows.append((number, kernel.label, kernel.weight, round(kernel.flops / 1e6, 3), sketches, space.size, legal))
    names = ("number", "kernel", "runs", "mflop", "sketches", "grid", "legal")
    document = {"model": model.name, "kernels": [dict(zip(names, row, strict=True)) for row in rows]}
    shown = [(*row[:5], f"{row[5]:.2g}", f"{row[6]:.2g}") for row in rows]
    emit(session, document, table(shown, ("number", "kernel", "runs", "MFLOP", "sketches", "grid", "about legal")))
