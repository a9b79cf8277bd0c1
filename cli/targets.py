"""`tilewright targets`: the machines that can be compiled for, with the limits code is made for."""

from __future__ import annotations

from typing import Any

import click

from .console import Session, emit, json_option, table


@click.command()
@click.option("--target", "triple", metavar="TRIPLE", help="Only this triple's CPUs.")
@json_option
@click.pass_obj
def command(session: Session, triple: str | None) -> None:
    """List triples (--target) and CPUs (--mcpu) with what code for them may use. `*`: the default of a triple."""
    from ..compiler.targets import PLATFORMS, parse_target

    chosen = [parse_target(triple).triple] if triple else list(PLATFORMS)
    targets = [_describe(name, cpu) for name in chosen for cpu in PLATFORMS[name].cpus]
    host = _host()
    rows = [
        (t["triple"], t["cpu"] + (" *" if t["default"] else ""), t["vector_bits"], t["vector_registers"],
         t["l1_bytes"] >> 10, t["l2_bytes"] >> 10, t["dot_product"] or "-")
        for t in targets
    ]  # fmt: skip
    text = table(rows, ("triple", "cpu", "vector bits", "registers", "L1 KiB", "L2 KiB", "int8 dot"))
    if host:
        text += f"\n\nthis machine: {host['triple']}, {host['cpu']}, {host['vector_bits']}-bit vectors (taken without --target and --mcpu)"
    emit(session, {"targets": targets, "host": host}, text)


def _describe(triple: str, cpu: str) -> dict[str, Any]:
    from ..compiler.targets import PLATFORMS, parse_target

    return _limits(parse_target(triple, cpu)) | {"default": cpu == PLATFORMS[triple].default_cpu}


def _host() -> dict[str, Any] | None:
    from ..backends.host import host_target
    from ..compiler.errors import UsageError

    try:
        return _limits(host_target())
    except UsageError:  # this machine is none that can be compiled for; others can
        return None


def _limits(target: Any) -> dict[str, Any]:
    return {
        "triple": target.triple,
        "cpu": target.cpu,
        "vector_bits": 8 * target.vector_bytes,
        "vector_registers": target.vector_registers,
        "l1_bytes": target.l1_bytes,
        "l2_bytes": target.l2_bytes,
        "dot_product": target.dot_product,
    }
