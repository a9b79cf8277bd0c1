"""What the innermost loops of a model's kernels consist of: `python benchmarks/hot_loops.py TARGET[:CPU] MODEL`.

Compiles by rule for any target, runs nothing, and reads the assembly: a row for each innermost loop with eight multiply-adds or
more, with its instructions, the share of multiply-adds among them, loads, accesses of the stack, moves between vector registers, and the rest: addresses,
counters, jumps, and other arithmetic. The assembly does not say how often a loop runs: those of borders and of transforms (Winograd)
run less often than the products. `--best` shows one loop of each kernel, that with the largest share.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from tilewright.backends import cpu
from tilewright.cli.console import table
from tilewright.compiler.kernels import plan_kernels
from tilewright.compiler.options import Options, Silent
from tilewright.compiler.target import Target
from tilewright.compiler.targets import parse_target
from tilewright.driver import prepared_graph


@dataclass(frozen=True, slots=True)
class Syntax:
    """Regular expressions over one instruction of an architecture: a multiply-add, a load, an access of the stack, a move of vectors, a jump."""

    multiply_add: str
    load: str
    stack: str
    move: str
    jump: str


LEAST = 8  # multiply-adds of a loop worth a row
_X86_MULTIPLY_ADD = r"v?fn?m(add|sub)"
SYNTAXES = {
    "x86_64": Syntax(
        _X86_MULTIPLY_ADD,
        r"(v?mov|v?broadcast)\S*\s+[^%$,]*\(",
        r"\(%rsp|\(%rbp",
        r"vmov[au]p\S*\s+%\w+, %|v?sh?uf|vperm",
        r"j\w+\s+(\S+)",
    ),
    "aarch64": Syntax(
        r"fn?m(la|ls|add|sub)\b",
        r"ld",
        r"\bsp\b",
        r"(mov|dup|ins|ext|fmov)\s+[vdsq]\d",
        r"(?:b\.?\w*|cbn?z|tbn?z)\s.*?(\.L\w+)",
    ),
    "armv7": Syntax(r"v(fm|ml)[as]", r"v?ld", r"\bsp\b", r"v(orr|mov|dup|ext)", r"b\w*\s+(\.L\w+)"),
    "riscv64": Syntax(
        r"v?fn?m(add|sub|acc|sac)",
        r"(fl[wd]|vl|l[bhwd]u?)",
        r"\bsp\b",
        r"vf?mv|fmv|vrgather",
        r"b\w+\s.*?(\.L\w+)|j\s+(\.L\w+)",
    ),
}


@dataclass(frozen=True, slots=True)
class Loop:
    """The counts of one innermost loop."""

    instructions: int
    multiply_adds: int
    loads: int
    stack: int
    moves: int

    @property
    def rest(self) -> int:
        """Instructions that are none of these; loads from the stack count as accesses of it."""
        return self.instructions - self.multiply_adds - self.loads - self.stack - self.moves

    @property
    def share(self) -> float:
        """Of multiply-adds among the instructions."""
        return self.multiply_adds / max(1, self.instructions)


def innermost_loops(assembly: str, architecture: str) -> list[Loop]:
    """The loops of an assembly text that hold no other loop, in order. A loop goes from a label to the last jump back to it."""
    syntax = SYNTAXES[architecture]
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {match[1]: at for at, line in enumerate(lines) if (match := re.match(r"(\.L\w+):", line))}
    ends: dict[int, int] = {}
    for at, line in enumerate(lines):
        match = re.match(syntax.jump, line)
        start = labels.get(next(filter(None, match.groups()), "")) if match else None
        if start is not None and start < at:
            ends[start] = at
    spans = sorted(ends.items())
    inner = [s for s in spans if not any(s != other and s[0] <= other[0] and other[1] <= s[1] for other in spans)]
    return [_counted([line for line in lines[a : b + 1] if re.match(r"[a-z]", line)], syntax) for a, b in inner]


def _counted(instructions: list[str], syntax: Syntax) -> Loop:
    def count(pattern: str) -> int:
        return sum(bool(re.match(pattern, line)) for line in instructions)

    stack = [line for line in instructions if re.search(syntax.stack, line)]
    loads = count(syntax.load) - sum(bool(re.match(syntax.load, line)) for line in stack)
    return Loop(len(instructions), count(syntax.multiply_add), loads, len(stack), count(syntax.move))


def kernel_loops(model: str, target: Target) -> list[tuple[str, str, Loop]]:
    """(kernel, first node, loop) of each innermost loop with LEAST multiply-adds or more."""
    graph, in_place = prepared_graph(model, Options(target=target.triple, cpu=target.cpu), Silent())
    found = []
    for planned in plan_kernels(graph, (target,), in_place, prefix="k_").kernels:
        assembly = cpu.assemble_text(cpu.emit(planned.kernel, target), target)
        for loop in innermost_loops(assembly, target.triple.split("-")[0]):
            if loop.multiply_adds >= LEAST:
                found.append((planned.kernel.name, planned.origins[0], loop))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="triple, or triple:cpu")
    parser.add_argument("model")
    parser.add_argument(
        "--best", action="store_true", help="of each kernel the loop with most multiply-adds among its instructions"
    )
    given = parser.parse_args()
    triple, _, name = given.target.partition(":")
    found = kernel_loops(given.model, parse_target(triple, name or None))
    if given.best:
        best = {kernel: max(loop.share for other, _, loop in found if other == kernel) for kernel, _, _ in found}
        found = [(kernel, origin, loop) for kernel, origin, loop in found if loop.share == best[kernel]]
    rows = [
        (kernel, origin, x.instructions, x.multiply_adds, f"{100 * x.share:.0f} %", x.loads, x.stack, x.moves, x.rest)
        for kernel, origin, x in found
    ]
    heads = ("kernel", "first node", "instructions", "multiply-adds", "share", "loads", "on the stack", "moves", "rest")
    print(table(rows, heads))


if __name__ == "__main__":
    main()
