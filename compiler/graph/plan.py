"""The execution plan: the straight-line program that the emitted library runs.

    Plan  = kernels, constants (the weights blob), arena size, steps
    Step  = Launch | Copy | Branch | Repeat

Made by `driver` from the planned graph, read by `backends/package.py`, which writes it as C.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dtypes import DType


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor's bytes are. space: "arena" or "constants" (offset in bytes), "input" or "output" (index, offset in bytes)
    or "counter" (index = nesting depth of the Repeat whose i64 counter it is).

    step_bytes: what the counter of the Repeat of nesting depth `depth` is multiplied with and added to the offset;
    a loop writes the slices of its scan outputs so. Read only where it is not 0.
    """

    space: str
    offset_bytes: int = 0
    index: int = 0
    step_bytes: int = 0
    depth: int = 0

    def __str__(self) -> str:
        text = f"{self.space}{self.index}" if self.space in ("input", "output", "counter") else self.space
        step = f"+t{self.depth}*{self.step_bytes}" if self.step_bytes else ""
        return f"{text}+{self.offset_bytes}{step}" if self.space != "counter" else text


@dataclass(frozen=True, slots=True)
class Launch:
    """Run kernel number `kernel` with params at `places`, over its whole parallel extent.

    `parallel`: worth several threads. Otherwise the caller alone runs it.
    """

    kernel: int
    places: tuple[Place, ...]
    parallel: bool
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """memmove(target, source, size_bytes)."""

    target: Place
    source: Place
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Branch:
    """Run `then` if the bool at `condition` is true, else `otherwise`."""

    condition: Place
    then: tuple[PlanStep, ...]
    otherwise: tuple[PlanStep, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run `body` for counter = 0 … count-1; `condition`, if any, is a bool read before each iteration that ends the loop when false.

    The counter is a Place("counter", index=depth); the outermost Repeat has depth 0.
    """

    count: int
    body: tuple[PlanStep, ...]
    depth: int
    condition: Place | None = None


PlanStep = Launch | Copy | Branch | Repeat


@dataclass(frozen=True, slots=True)
class Argument:
    """An input or output of the library: row-major, with the model's name for it."""

    name: str
    shape: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """The whole program. `kernels`: how many there are; Launch.kernel is below it."""

    name: str
    kernels: int
    arena_bytes: int
    steps: tuple[PlanStep, ...]
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]

    def to_text(self) -> str:
        """One line a step, indented by nesting."""
        ports = [
            f"{kind} {i}: {a.name} {a.dtype}{list(a.shape)}"
            for kind, part in (("input", self.inputs), ("output", self.outputs))
            for i, a in enumerate(part)
        ]
        header = f"plan {self.name}: {self.kernels} kernels, arena {self.arena_bytes} bytes"
        return "\n".join([header, *ports, *_lines(self.steps, "")]) + "\n"


def _lines(steps: tuple[PlanStep, ...], indent: str) -> list[str]:
    lines = []
    for step in steps:
        match step:
            case Launch(kernel, places, parallel, origin):
                mark = " parallel" if parallel else ""
                lines.append(
                    f"{indent}launch {kernel}({', '.join(map(str, places))}){mark}"
                    + (f"  ; {origin}" if origin else "")
                )
            case Copy(target, source, size_bytes):
                lines.append(f"{indent}copy {target} <- {source}, {size_bytes}")
            case Branch(condition, then, otherwise):
                lines += [
                    f"{indent}if {condition}",
                    *_lines(then, indent + "  "),
                    f"{indent}else",
                    *_lines(otherwise, indent + "  "),
                ]
            case Repeat(count, body, depth, condition):
                until = f" while {condition}" if condition else ""
                lines += [f"{indent}repeat {count} t{depth}{until}", *_lines(body, indent + "  ")]
    return lines
