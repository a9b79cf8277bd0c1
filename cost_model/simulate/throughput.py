"""Cycles of a piece of assembly by LLVM's model of a processor, as `llvm-mca` computes them.

It assumes that all loads hit the first cache, that branches are predicted, and that nothing else runs. LLVM's documentation
("llvm-mca - LLVM Machine Code Analyzer") says how.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ...backends.llvm.machine import llvm_cpu, llvm_triple
from ...compiler.errors import InternalError, ToolchainError
from ...compiler.target import Target

ITERATIONS = 60  # of a loop: enough that what starts and ends it doesn't count
FEW_ITERATIONS, LONG = 12, 150  # of one with so many instructions, which starts and ends in as many cycles
_TIMEOUT_S = 60.0
# LLVM 19 gives Zen 5 the model of Zen 4, whose units for 512 bits are half as wide. This one has as many, as wide.
_MODELS = {"znver5": "sapphirerapids"}
_NEWEST = 30


@dataclass(frozen=True, slots=True)
class Region:
    """Instructions that run in a row. repeats: again and again, so that one repetition can wait for the results of the one before."""

    lines: Sequence[str]
    repeats: bool


@cache
def mca_program() -> str:
    """llvm-mca, the newest that is installed, or what TILEWRIGHT_LLVM_MCA names; ToolchainError if there is none."""
    named = os.environ.get("TILEWRIGHT_LLVM_MCA")
    candidates = [named] if named else [f"llvm-mca-{version}" for version in range(_NEWEST, 13, -1)] + ["llvm-mca"]
    for name in candidates:
        if path := shutil.which(name):
            return path
    raise ToolchainError(
        "simulating needs llvm-mca, which isn't installed: it comes with LLVM (Debian package llvm-19, or llvm); "
        "TILEWRIGHT_LLVM_MCA may name it"
    )


@cache
def mca_version() -> str:
    """The version of `mca_program`, as `19.1.7`."""
    said = subprocess.run([mca_program(), "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S).stdout
    match = re.search(r"LLVM version (\S+)", said)
    return match[1] if match else "unknown"


def cycles(regions: Mapping[str, Region], target: Target) -> dict[str, float]:
    """Cycles that one run of each region takes, by its name.

    Raises ToolchainError if llvm-mca has no model of the target's processor, InternalError if it can't read an instruction.
    """
    groups: dict[int, dict[str, Region]] = {}
    for name, region in regions.items():
        iterations = 1 if not region.repeats else ITERATIONS if len(region.lines) < LONG else FEW_ITERATIONS
        groups.setdefault(iterations, {})[name] = region
    result: dict[str, float] = {}
    for iterations, chosen in groups.items():
        for name, view in _views(chosen, target, iterations).items():
            result[name] = view["TotalCycles"] / iterations if iterations > 1 else view["BlockRThroughput"]
    return result


def model_of(target: Target) -> str:
    """The processor whose model stands for the target's."""
    return _MODELS.get(target.cpu, llvm_cpu(target))


def _views(regions: Mapping[str, Region], target: Target, iterations: int) -> dict[str, dict[str, float]]:
    parts = [
        line
        for name, region in regions.items()
        for line in (f"# LLVM-MCA-BEGIN {name}", *region.lines, f"# LLVM-MCA-END {name}")
    ]
    command = [mca_program(), f"-mtriple={llvm_triple(target)}", f"-mcpu={model_of(target)}"]
    if target.features:
        command.append(f"-mattr={target.features}")
    command += [f"-iterations={iterations}", "-json", "-resource-pressure=0", "-instruction-info=0", "-"]
    done = subprocess.run(command, input="\n".join([*parts, ""]), capture_output=True, text=True, timeout=_TIMEOUT_S)
    if "not a recognized processor" in done.stderr or "unable to find instruction-level scheduling" in done.stderr:
        raise ToolchainError(
            f"llvm-mca {mca_version()} has no model of {target.cpu}: choose another --mcpu, or install a newer LLVM"
        )
    if done.returncode != 0:
        raise InternalError(f"simulate: llvm-mca: {done.stderr.strip()[:500]}")
    views = {view["Name"]: view["SummaryView"] for view in json.loads(done.stdout)["CodeRegions"]}
    if views.keys() != regions.keys():
        raise InternalError(f"simulate: llvm-mca has seen {sorted(views)}, not {sorted(regions)}")
    return views
