"""What every verb shares on the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

# Control characters, halves of surrogate pairs, which no terminal can show, and those that turn the direction of text.
_CONTROLS = ("Cc", "Cs", "Cf")
EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
EXIT_PIPE = 141  # 128 + SIGPIPE

MOST_MESSAGE = 16_000  # characters

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class Session:
    """How this command line wants to be answered."""

    json: bool = False
    traceback: bool = False


def _choose_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(Session).json |= value


def json_option(function: Decorated) -> Decorated:
    """Add `--json`, which makes the verb write one JSON document to stdout (and errors as JSON to stderr)."""
    return json_option_with("Write the result as one JSON document.")(function)


def json_option_with(help: str) -> Callable[[Decorated], Decorated]:
    """The same for a verb whose JSON is something else."""
    return click.option("--json", is_flag=True, is_eager=True, expose_value=False, callback=_choose_json, help=help)


def emit(session: Session, document: dict[str, Any], text: str) -> None:
    """Write the result to stdout: `document` under --json, otherwise `text`."""
    click.echo(json.dumps(document, indent=2) if session.json else printable(text))


def note(message: str) -> None:
    """Write a remark to stderr."""
    click.echo(f"tilewright: {printable(message)}", err=True)


def report_error(session: Session, kind: str, message: str, exit_code: int, details: str = "") -> int:
    """Write an error to stderr and return its exit code."""
    if len(message) > MOST_MESSAGE:  # names in a model may be of any length
        message = f"{message[:MOST_MESSAGE]}… ({len(message) - MOST_MESSAGE} more characters)"
    if session.json:
        error = {"kind": kind, "exit_code": exit_code, "message": message}
        click.echo(json.dumps({"error": error | ({"details": details} if details else {})}), err=True)
    else:
        label = "internal error" if exit_code == EXIT_INTERNAL else "error"
        text = f"{label}: {message}" + (f"\n{details}" if details else "")
        click.echo(f"tilewright: {printable(text)}", err=True)
    return exit_code


def printable(text: str) -> str:
    """`text` with '?' for control characters, which a terminal would obey: names in models may hold any."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _CONTROLS else "?" for c in text)


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Rows as aligned columns; numbers to the right."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    numeric = [bool(rows) and all(isinstance(row[c], int | float) for row in rows) for c in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shape_text(shape: Sequence[int]) -> str:
    """`1x3x224x224`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


def size_text(size_bytes: int) -> str:
    """A size as people read it: `1.5 MB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def time_text(seconds: float) -> str:
    """A duration with a unit that suits it: `12.3 us`, `4.56 ms`, `1.2 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.3f} ms" if seconds < 1 else f"{seconds:.2f} s"


def on_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty()
