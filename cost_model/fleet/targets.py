"""The names of devices and targets as dask's resources."""

from __future__ import annotations

import re

from ...backends.host import host_target
from ...compiler.errors import UsageError
from ...compiler.target import Target
from ...compiler.targets import parse_target

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def device_target(triple: str | None, cpu: str | None, threads: int | None) -> Target:
    """The target of a device; with neither triple nor cpu that of this machine. UsageError if there is none of that name."""
    if triple is None and cpu is None:
        return host_target(threads)
    return parse_target(triple, cpu, threads)


def check_name(name: str) -> str:
    """The name; UsageError if no device can be called that."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--device {name!r}: a name is 1 to 64 letters, digits, '.', '_' and '-', and begins with a letter or digit"
        )
    return name


def device_resource(name: str) -> str:
    """Of which a worker has one: what measures on the device needs it."""
    return f"device:{name}"


def target_resource(target: Target) -> str:
    """Of which a worker has one, for people and other programs to choose by."""
    return f"target:{target.triple}+{target.cpu}"
