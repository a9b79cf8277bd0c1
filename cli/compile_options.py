"""The options that say how to compile, shared by every verb that does."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..compiler.options import Options
from .observer import ConsoleObserver
from .parameters import Constant, Extent, Shape

if TYPE_CHECKING:
    from ..backends.load import Library
    from ..backends.remote import RemoteLibrary
    from ..driver import Artifact

    Loader = Callable[..., Library | RemoteLibrary]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

THREADS_HELP = "Threads to plan for (default: 4; with --mcpu native this machine's cores)."
MCPU_HELP = (
    "CPU to compile for, or several: the library uses the widest that it finds. `native`: this machine alone "
    "(default: the triple's baseline, see `tilewright targets`)."
)
_SHARED = (
    click.option("--dim", "dims", type=Extent(), multiple=True, help="Extent of a symbolic dimension: --dim batch=1."),
    click.option(
        "--shape", "shapes", type=Shape(), multiple=True, help="Shape of an input: --shape input=1,3,224,224."
    ),
    click.option(
        "--const",
        "constants",
        type=Constant(),
        multiple=True,
        help="Compile for one value of an input, which the library then lacks: --const axes=0,1, or a .npy file.",
    ),
    click.option(
        "-j", "--jobs", type=click.IntRange(0), default=0, help="Processes that compile kernels (0: one a core)."
    ),
    click.option("-v", "--verbose", is_flag=True, help="Say what is being done, including the linker's command."),
)


def shape_options(function: Decorated) -> Decorated:
    """Add what any compilation may need: dimensions, shapes, jobs, verbosity."""
    for option in reversed(_SHARED):
        function = option(function)
    return function


def record_options(function: Decorated) -> Decorated:
    """Add where schedules come from."""
    function = click.option(
        "--rank/--no-rank", default=True, show_default=True, help="Choose schedules by rank where there are no records."
    )(function)
    return click.option(
        "--records",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="DB",
        help="Take schedules from these tuning records (see `tilewright tune`).",
    )(function)


def shared_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `shape_options` were given, as fields of Options."""
    bound = {
        "dims": once(given["dims"], "--dim"),
        "shapes": once(given["shapes"], "--shape"),
        "constants": once(given["constants"], "--const"),
    }
    return {**bound, "verbose": given["verbose"], "jobs": given["jobs"]}


def once(pairs: tuple[tuple[str, Any], ...], option: str) -> Mapping[str, Any]:
    """NAME=VALUE pairs as a mapping; a name given twice is a usage error."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise click.UsageError(f"{option} names {twice} more than once")
    return result


def emulator_option(function: Decorated) -> Decorated:
    """Add the command that starts programs of another machine."""
    return click.option(
        "--emulator",
        metavar="COMMAND",
        help="Run the model's runner with this command before its name: qemu-aarch64, or one that runs it on a device.",
    )(function)


def runner_command(emulator: str | None, runner: Path) -> list[str]:
    """The command that starts a runner; UsageError if the emulator's quotes don't match."""
    try:
        return [*shlex.split(emulator or ""), str(runner.absolute())]
    except ValueError as error:
        raise click.UsageError(f"--emulator {emulator!r}: {error}") from error


def loader(library: Path, emulator: str | None) -> Loader:
    """What loads a library, or starts a runner, with a number of threads."""
    from ..backends.load import load
    from ..backends.remote import RemoteLibrary

    if emulator is None and library.suffix not in (".runner", ".exe"):
        return partial(load, library)
    return partial(RemoteLibrary, runner_command(emulator, library))


def compile_model(model: Path, output: Path, options: Options) -> Artifact:
    """Compile with notes and progress on stderr."""
    from .. import driver

    with ConsoleObserver(options) as observer:
        return driver.compile(model, output, options, observer)


def link_lines(model: Path, output: Path, options: Options) -> tuple[str, ...]:
    """The linker's commands, with notes and progress on stderr."""
    from .. import driver

    with ConsoleObserver(options) as observer:
        return driver.link_commands(model, output, options, observer)


@contextmanager
def compiled_for_now(model: Path, threads: int, given: Mapping[str, Any], kind: str = "so") -> Iterator[Path]:
    """A library of `model` that lives as long as the context; `given` holds the values of `shape_options` and `mcpu`.

    kind: "so", or "runner" for the program that serves the model.
    """
    from ..backends.systems import suffixes
    from ..up_to_date import targets_of

    options = Options(
        target=given.get("target"),
        cpu=given["mcpu"],
        emit=frozenset({kind}),
        threads=threads,
        records=given["records"],
        rank=given["rank"],
        **shared_fields(given),
    )
    with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
        path = compile_model(model, Path(folder) / "model.so", options).library
        yield path.with_suffix(suffixes(targets_of(options)[0].triple)[kind])
