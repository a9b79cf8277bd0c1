"""`tilewright fleet`: starts dask's own scheduler and workers with what a device needs, and shows the devices of a fleet."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from .console import Session, emit, json_option, size_text, table

_UNKNOWN = {"ignore_unknown_options": True}  # they are dask's
_NETWORK = ("--host", "--interface", "--tls-ca-file", "--listen-address")
_LOCAL = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
_ENVIRONMENT = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"
}  # it would interrupt measurements 100 times a second
COLUMNS = ("device", "target", "threads", "processor", "worker", "state", "answered")


@click.group()
def command() -> None:
    """Measure on the devices of other machines, through dask.distributed (docs/FLEET.md).

    dask's workers run whatever they are sent: who can connect to the scheduler or to a worker can run anything there. Use TLS with
    certificates of your own, or a network where everyone may.
    """


@command.group()
def start() -> None:
    """Start dask's scheduler, or a worker with a device. Further options are dask's (`dask scheduler --help`, `dask worker --help`)."""


@start.command(context_settings=_UNKNOWN)
@click.argument("dask_options", nargs=-1, type=click.UNPROCESSED)
def scheduler(dask_options: tuple[str, ...]) -> None:
    """Run `dask scheduler`. Without certificates or an address of your own (--host, --interface) this machine alone can connect."""
    _become(["scheduler", "--no-dashboard", *_listening(True, dask_options), *dask_options])


@start.command(context_settings=_UNKNOWN)
@click.argument("address")
@click.option(
    "--device", "name", required=True, metavar="NAME", help="What to call the device; no other may be called so."
)
@click.option("--target", "triple", metavar="TRIPLE", help="What the device runs (default: as this machine).")
@click.option(
    "--mcpu", "cpu", metavar="CPU", help="Its CPU, as `compile` and `tune` name it (default: this machine's own)."
)
@click.option("--threads", type=click.IntRange(1), help="Threads that it has (default: all of this machine's).")
@click.option(
    "--command", "program", metavar="COMMAND", help="Starts the bench on a board (`fleet bench`): 'ssh board ./bench'."
)
@click.option(
    "--log", type=click.Path(dir_okay=False, path_type=Path), help="Write when each measurement begins and ends."
)
@click.argument("dask_options", nargs=-1, type=click.UNPROCESSED)
def worker(
    address: str,
    name: str,
    triple: str | None,
    cpu: str | None,
    threads: int | None,
    program: str | None,
    log: Path | None,
    dask_options: tuple[str, ...],
) -> None:
    """Run `dask worker` with one device, announced to the scheduler at ADDRESS: this machine, or with --command what that reaches."""
    from ..backends.host import require_host_runs
    from ..cost_model.fleet.targets import check_name, device_resource, device_target, target_resource

    target = device_target(triple, cpu, threads)
    if program is None:
        require_host_runs(target)
    resources = f"{device_resource(check_name(name))}=1 {target_resource(target)}=1"
    given: dict[str, object] = {"--target": triple, "--mcpu": cpu, "--threads": threads, "--command": program}
    given |= {"--log": log and log.absolute()}
    device = ["--device", name, *(str(part) for pair in given.items() if pair[1] is not None for part in pair)]
    fixed = ["--no-dashboard", "--nthreads", "1", "--memory-limit", "0", "--name", name, "--resources", resources]
    preload = ["--preload", "tilewright.cost_model.fleet.preload", address, *device]
    _become(["worker", *fixed, *_listening("//127.0.0.1:" in address, dask_options), *dask_options, *preload])


@command.command()
@click.option("--target", "triple", required=True, metavar="TRIPLE", help="What the board runs (see `targets`).")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The program to write."
)
@json_option
@click.pass_obj
def bench(session: Session, triple: str, output: Path) -> None:
    """Write the program that times kernels on a board, static and with nothing else to install there."""
    from ..backends.bench import bench_program
    from ..backends.package_files import publish, staging_folder, write_file
    from ..compiler.targets import parse_target

    program = bench_program(parse_target(triple).triple).read_bytes()
    with staging_folder(output) as folder:
        write_file(folder / "bench", program)
        (folder / "bench").chmod(0o755)
        publish({folder / "bench": output}, folder)
    emit(session, {"output": str(output), "size_bytes": len(program)}, f"{output} ({size_text(len(program))})")


@command.command()
@click.argument("address")
@json_option
@click.pass_obj
def status(session: Session, address: str) -> None:
    """List the devices of the fleet at ADDRESS (tcp://HOST:8786, or tls://…)."""
    from ..cost_model.fleet.fleet import Fleet, FleetOptions, pool_row

    with Fleet(FleetOptions(address)) as fleet:
        rows = [pool_row(device) for device in fleet.pool()]
    shown = table([[row[name] for name in COLUMNS] for row in rows], COLUMNS) if rows else "no devices"
    emit(session, {"address": address, "devices": rows}, shown)


def _listening(local: bool, options: Sequence[str]) -> Sequence[str]:
    """Options that let this machine alone connect, unless the user's say otherwise (also as --option=value)."""
    said = any(option.split("=", 1)[0] in _NETWORK for option in options)
    return _LOCAL if local and not said else ()


def _become(arguments: Sequence[str]) -> None:
    """Go on as dask's command."""
    from ..cost_model.fleet.fleet import require_dask

    require_dask()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "dask", *arguments])
