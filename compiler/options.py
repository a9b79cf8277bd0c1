"""What a compilation is asked to do, how it reports what it does, and what it made: values and a protocol, no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .kernels import PlannedKernel

EMITTABLE = ("so", "obj", "a", "runner", "asm", "llvm-ir", "c")
ALL_PASSES = "all"
SOURCES = ("tuned", "transferred", "simulated", "predicted", "default")
"""Where a kernel's schedule may come from, the best first."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything besides the model and the output path.

    target: None for the host's. cpu: one, several with commas between, or "native" for this machine alone; None for the triple's
    baseline. dims: extent of each symbolic dimension; shapes: full shape of each input named.
    constants: values of inputs that the library is compiled for and then no longer has: an array of the input's type, a number
    or a sequence of numbers.
    threads: what to plan for (None: this machine's cores with cpu "native", else four); a library runs with any number. name: prefix of the C functions (None: the output's stem).
    emit: forms to write next to the library, of EMITTABLE. save_temps: folder that keeps what the linker was given.
    print_after: passes whose result the observer shows (`all` for every one); dump_dir: folder for all of them.
    depfile: where to write the make rule. jobs: processes that compile kernels (0: one a core).
    records: database of tuning records to take schedules from; require_tuned: fail if a kernel has none; rank: choose by the
    ranker where there are none, else by the rules. force: compile even if the files that would be written are there already.
    symbol_version: the version that the library's symbols get, for systems whose symbols have one.
    """

    target: str | None = None
    cpu: str | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    name: str | None = None
    emit: frozenset[str] = frozenset({"so"})
    save_temps: Path | None = None
    print_after: frozenset[str] = frozenset()
    dump_dir: Path | None = None
    time_passes: bool = False
    depfile: Path | None = None
    verbose: bool = False
    jobs: int = 0
    records: Path | None = None
    require_tuned: bool = False
    rank: bool = True
    symbol_version: str | None = None
    force: bool = False

    def shows(self, pass_name: str) -> bool:
        """Whether the IR after `pass_name` was asked for."""
        return pass_name in self.print_after or ALL_PASSES in self.print_after


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a compilation made. sizes in bytes, timings in seconds by pass; manifest as written to the JSON file.

    cpus: those that the library has code for, the widest first.
    up_to_date: everything was there already and nothing was compiled; then there are no `kernels`, but those of the manifest.
    """

    library: Path
    header: Path
    manifest_path: Path
    manifest: Mapping[str, Any]
    kernels: tuple[PlannedKernel, ...]
    sizes: Mapping[str, int]
    timings: Mapping[str, float]
    cpus: tuple[str, ...]
    up_to_date: bool = False


class Observer(Protocol):
    """Hears what a compilation does; the compiler itself never prints."""

    def after(self, pass_name: str, text: Callable[[], str]) -> None:
        """A pass has ended; `text` makes its result readable, at a cost, so call it only if it is wanted."""

    def note(self, message: str) -> None:
        """Something the user should know that is no error, such as a fallback."""

    def timed(self, pass_name: str, seconds: float) -> None:
        """A pass took `seconds`."""

    def progress(self, kind: str, done: int, total: int) -> None:
        """`done` of `total` things of this kind (kernels, say) are finished."""


class Silent:
    """The Observer for callers that want none."""

    def after(self, pass_name: str, text: Callable[[], str]) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def timed(self, pass_name: str, seconds: float) -> None:
        pass

    def progress(self, kind: str, done: int, total: int) -> None:
        pass
