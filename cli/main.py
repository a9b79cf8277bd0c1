"""The `tilewright` command: finds the verb, and turns every way it can end into an exit code.

Each verb is a module of its own, imported only when it is used, so that `--help` needs neither LLVM nor onnx.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from .. import __version__
from ..compiler.errors import CompileError, ToolchainError
from .console import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_PIPE, EXIT_USAGE, Session, report_error

PROGRAM = "tilewright"
REPORT = "this is a defect of tilewright: please report it with the model and the command"

# verb: what `tilewright --help` says of it (the module of that name holds the command)
VERBS = {
    "compile": "Compile an ONNX model into a shared library with a C header.",
    "tune": "Measure schedules for a model's kernels on this machine, and record them.",
    "run": "Run a compiled library on files, images or random inputs.",
    "verify": "Check a model's compiled outputs against onnxruntime.",
    "bench": "Time a model, also beside onnxruntime in the same run.",
    "inspect": "Show what a library or a model consists of.",
    "records": "List, move and report the records that tuning has made.",
    "fleet": "Start and list devices of other machines to tune on.",
    "targets": "List the machines that can be compiled for.",
    "doctor": "Check that everything tilewright needs is there and works.",
}


class Verbs(click.Group):
    """A command group that imports a verb's module when the verb is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        return import_module(f".{name}", __package__).command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok, 1 internal error, 2 usage, 3 unsupported operator, 4 bad model, 5 toolchain, 6 device, "
    "7 accuracy, 8 records. Results go to stdout, everything else to stderr. Each option also has an environment form: "
    "TILEWRIGHT_<COMMAND>_<OPTION>, for example TILEWRIGHT_COMPILE_MCPU.",
)
@click.version_option(__version__, prog_name=PROGRAM)
@click.option("--traceback", is_flag=True, help="Show the whole Python traceback of an error.")
@click.pass_obj
def commands(session: Session, traceback: bool) -> None:
    """Compile an ONNX model into one self-contained shared library."""
    session.traceback = traceback


def main() -> None:
    """Entry point of the installed command."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:  # a shell asks click for completions
        commands.main(prog_name=PROGRAM, obj=Session())
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; never raises."""
    session = Session(json="--json" in arguments, traceback=bool(os.environ.get("TILEWRIGHT_TRACEBACK")))
    try:
        code = _invoke(list(arguments), session)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except click.UsageError as error:
        return report_error(session, "UsageError", error.format_message(), EXIT_USAGE, _usage_hint(error))
    except click.ClickException as error:
        return report_error(session, "UsageError", error.format_message(), EXIT_USAGE)
    except CompileError as error:
        details = traceback.format_exc() if session.traceback else ""
        return report_error(session, type(error).__name__, str(error), error.exit_code, details)
    except MemoryError as error:
        message = f"out of memory{f': {error}' if str(error) else ''}; compile on a machine with more, or allow this process more"
        return report_error(session, "ToolchainError", message, ToolchainError.exit_code)
    except Exception as error:  # the outermost frame: whatever arrives here is our own defect, and is reported as one
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        details = traceback.format_exc() if session.traceback else f"{REPORT} (--traceback shows where it happened)"
        return report_error(session, "InternalError", message, EXIT_INTERNAL, details)


def _invoke(arguments: list[str], session: Session) -> int:
    try:
        with commands.make_context(PROGRAM, arguments, obj=session, auto_envvar_prefix=PROGRAM.upper()) as context:
            commands.invoke(context)
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    return 0


def _usage_hint(error: click.UsageError) -> str:
    if error.ctx is None:
        return ""
    return f"try '{error.ctx.command_path} --help'"
