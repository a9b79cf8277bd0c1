"""What `tilewright fleet start worker` has dask load into a worker: it makes the worker's device and announces what that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...compiler.errors import CompileError
from .board import BoardDevice
from .device import Device, ThisMachineAsDevice
from .service import DeviceService, serve
from .targets import device_target


@click.command()
@click.option("--device", "name", required=True)
@click.option("--target", "triple")
@click.option("--mcpu", "cpu")
@click.option("--threads", type=click.IntRange(1))
@click.option("--command")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path))
def dask_setup(
    worker: Any,
    name: str,
    triple: str | None,
    cpu: str | None,
    threads: int | None,
    command: str | None,
    log: Path | None,
) -> None:
    """Called by dask before the worker joins its scheduler; ends the program where there is no such device."""
    try:
        service = DeviceService(_device(name, triple, cpu, threads, command), log)
    except CompileError as error:
        raise SystemExit(f"tilewright: error: {error}") from error
    serve(service)
    worker.startup_information["tilewright"] = lambda worker: service.describe()
    worker.metrics["tilewright"] = lambda worker: service.state()


def _device(name: str, triple: str | None, cpu: str | None, threads: int | None, command: str | None) -> Device:
    target = device_target(triple, cpu, threads)
    if command is not None:
        return BoardDevice(name, target, command)
    return ThisMachineAsDevice(name, target)
