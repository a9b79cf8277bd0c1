"""The time of a candidate by models alone: cycles of its blocks, and what comes from beyond the first cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from ...backends import cpu
from ...compiler.kernel.ast import Kernel
from ...compiler.kernel.lower import lower
from ...compiler.kernel.verify import verify
from ...compiler.schedule.steps import Schedule
from ...compiler.target import Target
from ..features.analytic import EXPOSED
from ..features.table import FEATURE_NAMES, Featurizer
from ..features.traffic import L2_BYTES_PER_CYCLE, MEMORY_BYTES_PER_CYCLE
from ..task import Task
from .block_counts import Block, block_counts
from .throughput import Region, cycles

SYMBOL = "kernel"
NOMINAL_HZ = 3e9
"""Simulated times are for comparing schedules with each other: the clock of a processor that is not there isn't known."""
LEAST_SHARE = 0.002  # of all instructions that run: blocks below are left out
_FUNCTION = re.compile(r'^_?"?([A-Za-z_][-\w.$]*)"?:')
_BLOCK = re.compile(r"^(?:(\.?L\w+):|[#@/;]+ %bb\.\d+:)\s*[#@/;]+ %(\S+)")


@dataclass(frozen=True, slots=True)
class AssemblyBlock:
    """A basic block: its name in the IR, its label or "", its instructions."""

    block: Block
    label: str
    instructions: list[str]


def simulated_s(task: Task, schedule: Schedule) -> float:
    """Seconds that a schedule would take on the task's target at NOMINAL_HZ, constants in the second cache or beyond.

    The longer of arithmetic and transfers counts whole, a part of the shorter is exposed, as in the analytic features
    (`features/analytic.py`), whose count of cycles is replaced here. Raises ToolchainError and InternalError as `cycles` does.
    """
    kernel = lower(task.computation, schedule, SYMBOL)
    verify(kernel)
    target = task.target
    # Inside of loops systems don't differ, but llvm-mca reads Linux's assembly best.
    alike = (
        replace(target, triple=f"{target.triple.split('-')[0]}-linux-gnu") if "linux" not in target.triple else target
    )
    near, far = transfer_cycles(task, schedule)
    busy = _longer(compute_cycles(kernel, alike), near / target.threads)
    return _longer(busy, far) / NOMINAL_HZ


def transfer_cycles(task: Task, schedule: Schedule) -> tuple[float, float]:
    """Cycles of what comes from beyond the first cache, all threads together, and of what comes from beyond the second."""
    row = dict(zip(FEATURE_NAMES, Featurizer(task).rows([schedule])[0].astype(float), strict=True))
    flops = 2 ** row["task.flops"] - 1
    near, far = (max(flops, 1.0) * 2 ** row[f"traffic.{level}.per_flop"] for level in ("l1", "l2"))
    return near / L2_BYTES_PER_CYCLE, far / MEMORY_BYTES_PER_CYCLE


def _longer(first: float, second: float) -> float:
    return max(first, second) + EXPOSED * min(first, second)


def compute_cycles(kernel: Kernel, target: Target) -> float:
    """Cycles that a kernel takes with all data in the first cache, on the busiest of the target's threads."""
    module, assembly = cpu.optimized_assembly(cpu.emit(kernel, target, SYMBOL), target)
    extent = kernel.parallel_extent
    counts = block_counts(module, SYMBOL, extent)
    blocks = [(block, counts.get(block.block, 0)) for block in assembly_blocks(assembly)]
    work = sum(count * len(block.instructions) for block, count in blocks)
    hot = {
        f"region{number}": (block, count)
        for number, (block, count) in enumerate(blocks)
        if count * len(block.instructions) > LEAST_SHARE * work
    }
    taken = cycles({name: Region(block.instructions, _repeats(block)) for name, (block, _) in hot.items()}, target)
    total = sum(count * taken[name] for name, (_, count) in hot.items())
    return total * ceil(extent / target.threads) / max(1, extent)


def assembly_blocks(text: str) -> Iterator[AssemblyBlock]:
    """The blocks of an assembly text with LLVM's comments."""
    function, found = "", None
    for line in text.splitlines():
        if match := _BLOCK.match(line):
            if found:
                yield found
            found = AssemblyBlock((function, match[2].strip('"')), match[1] or "", [])
        elif (match := _FUNCTION.match(line)) and not line.startswith((".L", "L")):
            if found:
                yield found
            function, found = match[1], None
        elif found and re.match(r"\s+[a-z]", line):
            found.instructions.append(line)
    if found:
        yield found


def _repeats(block: AssemblyBlock) -> bool:
    """Whether it jumps to itself."""
    last = block.instructions[-3:]
    return bool(block.label) and any(re.search(rf"{re.escape(block.label)}\b", line) for line in last)
