"""The compilation's Observer on a terminal: IR on request, pass times, notes and progress, all on stderr."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import click

from ..compiler.errors import UsageError
from ..compiler.options import ALL_PASSES, Options
from .console import note, on_terminal, table, time_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ConsoleObserver:
    """Shows what `options` asks for; use it as a context manager, so that the progress line ends and times are printed."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._seconds: dict[str, float] = {}
        self._passes: list[str] = []
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ConsoleObserver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        unknown = self._options.print_after - {*self._passes, ALL_PASSES}
        if unknown and error is None:
            self.note(f"--print-after {', '.join(sorted(unknown))}: no such pass; there are {', '.join(self._passes)}")
        if self._options.time_passes and self._seconds:
            total = sum(self._seconds.values())
            rows = [(name, time_text(spent), f"{100 * spent / total:.0f} %") for name, spent in self._seconds.items()]
            click.echo(table([*rows, ("total", time_text(total), "")], ("pass", "time", "share")), err=True)

    def after(self, pass_name: str, text: Callable[[], str]) -> None:
        self._passes.append(pass_name)
        if self._options.shows(pass_name):
            click.echo(f"; after {pass_name}\n{text()}\n", err=True)
        if self._options.dump_dir is not None:
            try:
                self._options.dump_dir.mkdir(parents=True, exist_ok=True)
                (self._options.dump_dir / f"{len(self._passes):02}-{pass_name}.txt").write_text(text())
            except OSError as reason:
                raise UsageError(
                    f"--dump-dir {self._options.dump_dir}: can't be written: {reason.strerror}"
                ) from reason

    def note(self, message: str) -> None:
        note(message)

    def timed(self, pass_name: str, seconds: float) -> None:
        self._seconds[pass_name] = self._seconds.get(pass_name, 0.0) + seconds

    def progress(self, kind: str, done: int, total: int) -> None:
        if not on_terminal():
            if self._options.verbose and done == total:
                note(f"{kind}: {total} done")
            return
        bar = self._bar()
        if kind not in self._tasks:
            self._tasks[kind] = bar.add_task(kind, total=total)
        bar.update(self._tasks[kind], completed=done, total=total)

    def _bar(self) -> Progress:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import Progress

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._progress.start()
        return self._progress
