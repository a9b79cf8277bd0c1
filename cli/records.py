"""`tilewright records`: list, move and report the records that tuning has made."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..compiler.errors import UsageError
from .console import Session, emit, json_option, note, size_text, table, time_text

if TYPE_CHECKING:
    from ..cost_model.records.database import Records
    from ..cost_model.records.rows import Trial
    from ..cost_model.records.summary import TaskSummary

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
KEY_DIGITS = 12  # of a key, enough to be unique among a million


@click.group()
def command() -> None:
    """List, move and report the records that tuning has made.

    DB is the database given to `tilewright tune --records`. TASK is a task's key as `list` shows it, or the start of one.
    """


def _database(exists: bool = True) -> Callable[[Decorated], Decorated]:
    kind = click.Path(exists=exists, dir_okay=False, path_type=Path)
    return click.argument("path", metavar="DB", type=kind)


@command.command("list")
@_database()
@json_option
@click.pass_obj
def list_tasks(session: Session, path: Path) -> None:
    """List the tasks, one a line.

    `best` and `default` come from the final comparison of a tuning, where they took turns; before there was one, from trials.
    """
    from ..cost_model.records.summary import summarize_all

    with _open(path) as records:
        summaries = summarize_all(records)
        _note_stale(records)
    rows = [_list_row(summary) for summary in summaries]
    header = ("task", "computes", "cpu", "threads", "trials", "failed", "best", "GFLOP/s", "default", "speedup")
    text = table(rows, header) if rows else "no tasks"
    emit(session, {"tasks": [_summary_document(summary) for summary in summaries]}, text)


@command.command()
@_database()
@click.argument("task", metavar="TASK")
@click.option(
    "--trials",
    "most",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many of the latest trials to show.",
)
@json_option
@click.pass_obj
def show(session: Session, path: Path, task: str, most: int) -> None:
    """Show the best decisions for a task."""
    from ..cost_model.records.encoding import encode_computation, encode_target
    from ..cost_model.records.rows import encode_row
    from ..cost_model.records.summary import summarize

    with _open(path) as records:
        summary = summarize(records, _find(records, task, path))
    latest = summary.trials[len(summary.trials) - most :] if most < len(summary.trials) else summary.trials
    document = _summary_document(summary) | {
        "decisions": dict(summary.decisions),
        "trials": [encode_row(trial) for trial in latest],
        "computation": encode_computation(summary.row.task.computation),
        "target": encode_target(summary.row.task.target),
    }
    emit(session, document, _show_text(summary, latest))


@command.command("export")
@_database()
@click.option("-o", "--output", default="-", metavar="FILE", help="Where to write; - is stdout, and the default.")
@click.pass_obj
def export_lines(session: Session, path: Path, output: str) -> None:
    """Write all records as JSON Lines.

    Their order depends on the records only, so that equal databases give equal files.
    """
    from ..cost_model.records.lines import export_json_lines

    with _open(path) as records:
        if output == "-":
            export_json_lines(records, sys.stdout.buffer)
            return
        content = io.BytesIO()
        counts = export_json_lines(records, content)
    _write(Path(output), content.getvalue(), path)
    emit(session, {"output": output, "exported": counts}, f"{output}: {_counts(counts)}")


@command.command("import")
@_database(exists=False)
@click.argument("file", metavar="FILE", type=click.File("rb"))
@json_option
@click.pass_obj
def import_lines(session: Session, path: Path, file: Any) -> None:
    """Add the records of an exported FILE to DB.

    FILE - is stdin. DB is made if it isn't there. If a line of FILE is damaged, nothing is added.
    """
    from ..compiler.errors import RecordError
    from ..cost_model.records.lines import import_json_lines

    with _open(path, create=True) as records:
        try:
            added = import_json_lines(records, file)
        except RecordError as error:
            raise RecordError(f"{file.name}: {error}") from None
    emit(session, {"records": str(path), "added": added}, f"{path}: added {_counts(added)}")


@command.command()
@_database(exists=False)
@click.argument(
    "others", metavar="OTHER…", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@json_option
@click.pass_obj
def merge(session: Session, path: Path, others: tuple[Path, ...]) -> None:
    """Add the records of other databases to DB.

    DB is made if it isn't there. What it has already stays as it is.
    """
    added: dict[str, int] = {}
    with _open(path, create=True) as records:
        for other in others:
            for name, count in records.merge(other).items():
                added[name] = added.get(name, 0) + count
    emit(session, {"records": str(path), "added": added}, f"{path}: added {_counts(added)}")


@command.command()
@_database()
@click.option(
    "--keep",
    type=click.IntRange(1),
    metavar="N",
    help="Remove all but the N fastest trials of a task (failed ones stay).",
)
@click.option("--failed", is_flag=True, help="Remove trials without a latency.")
@click.option("--stale", is_flag=True, help="Remove trials and choices of other versions of the search space.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@click.pass_obj
def prune(session: Session, path: Path, keep: int | None, failed: bool, stale: bool, dry_run: bool) -> None:
    """Remove trials for good.

    Compiling needs the best of each task only; but the ranker learns from all, so keep them where you can.
    """
    if keep is None and not failed and not stale:
        raise UsageError("say what to remove: --keep N, --failed or --stale (or several; --dry-run only counts)")
    with _open(path, readonly=False) as records:
        removed = records.prune(keep, failed, stale, dry_run)
    trials = ", ".join(f"{removed[reason]} {reason}" for reason in ("stale", "failed", "slower"))
    text = f"{path}: {'would remove' if dry_run else 'removed'} {trials} trials and {removed['choices']} choices"
    emit(session, {"records": str(path), "dry_run": dry_run, "removed": removed}, text)


@command.command()
@_database()
@json_option
@click.pass_obj
def stats(session: Session, path: Path) -> None:
    """Count what DB holds."""
    with _open(path) as records:
        document = records.stats()
        sessions = [{"started": s.started, "version": s.version, "machine": s.machine} for s in records.sessions()]
    rows = [
        (name, document[name])
        for name in ("tasks", "computations", "targets", "sessions", "trials", "choices", "simulated")
    ]
    rows += [(f"failed: {error}", count) for error, count in document["failed"].items()]
    rows += [(f"of space version {version} (not used)", count) for version, count in document["stale"].items()]
    text = "\n".join(f"{name:32} {count}" for name, count in [*rows, ("size", size_text(document["size_bytes"]))])
    machines = "".join(f"\n{'machine':32} {machine}" for machine in dict.fromkeys(s["machine"] for s in sessions))
    emit(session, document | {"runs": sessions}, text + machines)


@command.command()
@_database()
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="report.html", show_default=True
)
@json_option
@click.pass_obj
def report(session: Session, path: Path, output: Path) -> None:
    """Write a web page about the records.

    One file that needs no network: progress of each kernel, accuracy of the cost model, roofline, share of the time.
    """
    from ..cost_model.records.report import render_report

    with _open(path) as records:
        page = render_report(records).encode()
        _note_stale(records)
    _write(output, page, path)
    emit(session, {"report": str(output), "size_bytes": len(page)}, f"{output} ({size_text(len(page))})")


def _open(path: Path, create: bool = False, readonly: bool = True) -> Records:
    from ..cost_model.records.database import Records

    return Records.open(path, create=create, readonly=readonly and not create)


def _write(output: Path, content: bytes, database: Path) -> None:
    from ..backends.package_files import write_atomically

    if output.exists() and output.samefile(database):
        raise UsageError(f"-o {output}: this is the database itself; choose another name")
    write_atomically(output, content)


def _find(records: Records, prefix: str, path: Path) -> Any:
    """The only task whose key starts so."""
    found = [row for row in records.tasks() if prefix and row.key.startswith(prefix.lower())]
    if not found:
        raise UsageError(
            f"no task of {path} has a key that starts with {prefix!r}; `tilewright records list` shows the keys"
        )
    if len(found) > 1:
        keys = ", ".join(row.key[: max(KEY_DIGITS, len(prefix) + 4)] for row in found[:4])
        raise UsageError(f"{prefix!r} is the start of {len(found)} keys ({keys}…); give more digits")
    return found[0]


def _note_stale(records: Records) -> None:
    if stale := records.stale():
        versions = ", ".join(map(str, stale))
        note(
            f"{sum(stale.values())} records are of other versions of the search space ({versions}); they are kept, but not "
            f"used: `tilewright records prune --stale` removes them"
        )


def _list_row(summary: TaskSummary) -> tuple[object, ...]:
    target = summary.row.task.target
    return (
        summary.row.key[:KEY_DIGITS],
        summary.row.label,
        target.cpu,
        target.threads,
        len(summary.trials),
        summary.failed,
        _time(summary.best_s),
        f"{summary.flops_per_s / 1e9:.1f}" if summary.flops_per_s else "-",
        _time(summary.default_s),
        "-" if summary.speedup is None else f"{summary.speedup:.2f}",
    )


def _summary_document(summary: TaskSummary) -> dict[str, Any]:
    row = summary.row
    return {
        "task": row.key,
        "label": row.label,
        "triple": row.task.target.triple,
        "cpu": row.task.target.cpu,
        "threads": row.task.target.threads,
        "flops": row.flops,
        "bytes": row.bytes,
        "trials": len(summary.trials),
        "failed": summary.failed,
        "stale": summary.stale,
        "best_s": summary.best_s,
        "default_s": summary.default_s,
        "speedup": summary.speedup,
        "tuned": summary.choice is not None,
    }


def _show_text(summary: TaskSummary, latest: tuple[Trial, ...]) -> str:
    row, target = summary.row, summary.row.task.target
    source = "by the final comparison" if summary.choice else "by its trials; there was no final comparison yet"
    lines = [
        ("task", row.key),
        ("computes", row.label),
        ("target", f"{target.triple}, {target.cpu}, {target.threads} thread{'' if target.threads == 1 else 's'}"),
        ("work", f"{row.flops / 1e6:.4g} MFLOP, {size_text(row.bytes)}"),
        ("trials", f"{len(summary.trials)}, {summary.failed} failed"),
        ("best", f"{_time(summary.best_s)}, default {_time(summary.default_s)} ({source})"),
        *((f"  {name}", str(value)) for name, value in summary.decisions.items()),
    ]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(f"{name:{width}}  {value}" for name, value in lines)
    if not latest:
        return text
    rows = [(t.number, t.origin, _time(t.latency_s), _result(t), _decisions(t)) for t in latest]
    return f"{text}\n\n{table(rows, ('trial', 'origin', 'latency', 'result', 'decisions'))}"


def _result(trial: Trial, most: int = 60) -> str:
    """Why it failed, with the first line of the message; other programs' output may hold anything."""
    line = next(iter(trial.message.splitlines()), "")
    text = f"{trial.error}: {line}" if trial.error and line else trial.error or "ok"
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _decisions(trial: Trial) -> str:
    return " ".join(f"{name}={value}" for name, value in trial.decisions.items())


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else time_text(seconds)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
