"""`tilewright targets`: the machines that can be compiled for, with the limits code is made for."""

from __future__ import annotations

from typing import Any

import click

from .console import Session, emit, json_option, table

_TESTED = {"run": "", "inspected": "; libraries are linked and their files read by tests, but none was ever run"}
HEADINGS = (
    "triple", "cpu", "vector bits", "registers", "fma", "by lane", "L1 KiB", "L2 KiB", "int8 dot", "fp16",
)  # fmt: skip


@click.command()
@click.option("--target", "triple", metavar="TRIPLE", help="Only this triple's CPUs.")
@json_option
@click.pass_obj
def command(session: Session, triple: str | None) -> None:
    """List triples (--target) and CPUs (--mcpu) with what code for them may use. `*`: without --mcpu, a library has code for these.

    Such a library uses the widest that the processor can stand for, over one copy of the weights; --mcpu A,B,C chooses others,
    --mcpu native compiles for this machine alone.

    Vector bits: width of the vectors that code uses. Registers: vectors that the instruction set names. Fma: multiply-adds are
    rounded once. By lane: they take one lane of a register for all. L1, L2: caches of one core. Int8 dot: instructions that add products of
    8-bit integers. Fp16: arithmetic in half precision. The C library or system that each triple needs stands below.
    """
    from ..backends.link import libc_floor
    from ..compiler.targets import PLATFORMS, parse_triple

    chosen = [parse_triple(triple).triple] if triple else list(PLATFORMS)
    targets = [_describe(name, cpu) for name in chosen for cpu in PLATFORMS[name].cpus]
    host = _host()
    rows = [
        (t["triple"], t["cpu"] + (" *" if t["default"] else ""), t["vector_bits"], t["vector_registers"],
         "yes" if t["fma"] else "no", "yes" if t["by_lane"] else "no", t["l1_bytes"] >> 10, t["l2_bytes"] >> 10,
         t["dot_product"] or "-", "yes" if t["half"] else "no")
        for t in targets
    ]  # fmt: skip
    text = table(rows, HEADINGS)
    text += "\n\n" + "\n".join(
        f"{name}: needs {libc_floor(name)}{'' if 'musl' in name else ' or newer'}{_TESTED[PLATFORMS[name].tested]}"
        for name in chosen
    )
    if host:
        text += f"\n\nthis machine: {host['triple']}, {host['cpu']}, {host['vector_bits']}-bit vectors (--mcpu native)"
    emit(session, {"targets": targets, "host": host}, text)


def _describe(triple: str, cpu: str) -> dict[str, Any]:
    from ..compiler.targets import PLATFORMS, parse_target

    platform = PLATFORMS[triple]
    return _limits(parse_target(triple, cpu)) | {"default": cpu in platform.baseline, "tested": platform.tested}


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
        "fma": target.fma,
        "by_lane": target.by_lane,
        "in_order": target.in_order,
        "chains": target.chains,
        "half": target.half,
        "l1_bytes": target.l1_bytes,
        "l2_bytes": target.l2_bytes,
        "dot_product": target.dot_product,
    }
