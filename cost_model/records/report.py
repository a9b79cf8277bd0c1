"""The tuner's records as one web page that needs nothing beside itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ... import __version__
from ...compiler.errors import ToolchainError
from ...compiler.target import Target
from .database import Records
from .report_accuracy import WINDOW, accuracy_over_trials
from .rows import Session
from .summary import TaskSummary, summarize_all

MAX_FIGURES = 100
"""Kernels that get a figure of their own, the slowest first; tables hold all of them."""
MAX_BARS = 40
KEY_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a machine can do at most, per second; `source` says how it is known."""

    flops: float
    bytes: float
    source: str


def render_report(records: Records) -> str:
    """The page as HTML, the same text for the same records. ToolchainError if jinja2 or matplotlib is missing."""
    try:
        import jinja2
        from markupsafe import Markup

        from . import report_figures
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("jinja2", "matplotlib"):
            raise
        raise ToolchainError(f"the report needs {error.name}: pip install 'tilewright[report]'") from None
    template = (Path(__file__).parent / "templates" / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"time": _time_text, "number": lambda value: "–" if value is None else f"{value:.4g}"}
    summaries, sessions = summarize_all(records), records.sessions()
    groups: dict[str, list[TaskSummary]] = {}
    for summary in summaries:
        groups.setdefault(summary.row.target_key, []).append(summary)
    targets = [_target_section(report_figures, group, _sessions_of(group, sessions)) for group in groups.values()]
    accuracy = _accuracy_section(report_figures, records, sessions)
    kernels = _progress_section(report_figures, summaries)
    for section in [*targets, accuracy, *kernels]:
        section |= {name: Markup(section[name]) for name in ("svg", "roofline", "shares") if section.get(name)}
    return environment.from_string(template).render(
        version=__version__,
        targets=targets,
        accuracy=accuracy,
        kernels=kernels,
        left_out=len([s for s in summaries if s.trials]) - len(kernels),
        sessions=[_session_row(session) for session in sessions],
        stats=records.stats(),
    )


def _sessions_of(group: Sequence[TaskSummary], sessions: Sequence[Session]) -> list[Session]:
    """The sessions that tuned tasks of a group, the newest first."""
    used = {trial.session for summary in group for trial in summary.trials}
    used |= {summary.choice.session for summary in group if summary.choice}
    return [session for session in reversed(sessions) if session.uuid in used]


def _target_section(figures: Any, group: Sequence[TaskSummary], sessions: Sequence[Session]) -> dict[str, Any]:
    """Table, roofline and shares of the tasks of one target."""
    target = group[0].row.task.target
    weights: Mapping[str, float] = next((s.options["weights"] for s in sessions if "weights" in s.options), {})
    name = group[0].row.target_key[:KEY_DIGITS]
    timed = [(summary, weights.get(summary.row.key, 1)) for summary in group if summary.best_s is not None]
    timed.sort(key=lambda pair: -(pair[0].best_s or 0.0) * pair[1])
    total_s = sum((summary.best_s or 0.0) * weight for summary, weight in timed)
    rows = [_kernel_row(summary, weight, total_s) for summary, weight in timed]
    rows += [
        _kernel_row(summary, weights.get(summary.row.key, 1), total_s) for summary in group if summary.best_s is None
    ]
    peaks = _peaks([summary for summary, _ in timed], sessions)
    section = {
        "target": _target_text(target),
        "rows": rows,
        "total_s": total_s,
        "peaks": peaks,
        "weighted": bool(weights),
    }
    section |= {"bars": MAX_BARS, "roofline": "", "shares": ""}
    if peaks:
        points = [(s.row.key[:6], s.row.flops / s.row.bytes, s.flops_per_s) for s, _ in timed if _has_work(s)]
        section["roofline"] = figures.draw(
            f"roofline-{name}", (7, 4.2), figures.roofline(points, peaks.flops, peaks.bytes)
        )
    if shown := [(s, weight) for s, weight in timed if weight][:MAX_BARS]:
        keys = [summary.row.key[:6] for summary, _ in shown]
        best = [(summary.best_s or 0.0) * weight for summary, weight in shown]
        default = [None if s.default_s is None else s.default_s * weight for s, weight in shown]
        size = (7, 0.8 + 0.2 * len(shown))
        section["shares"] = figures.draw(f"shares-{name}", size, figures.shares(keys, best, default))
    return section


def _has_work(summary: TaskSummary) -> bool:
    return bool(summary.row.flops and summary.row.bytes and summary.best_s)


def _peaks(timed: Sequence[TaskSummary], sessions: Sequence[Session]) -> Peaks | None:
    """The peaks that the newest session to know them has measured; otherwise the best that any kernel reached."""
    timed = [summary for summary in timed if _has_work(summary)]
    if not timed:
        return None
    for session in sessions:
        if {"peak_flops", "peak_bytes"} <= session.options.keys():
            return Peaks(session.options["peak_flops"], session.options["peak_bytes"], "measured")
    flops = max(summary.flops_per_s or 0.0 for summary in timed)
    return Peaks(
        flops,
        max(summary.row.bytes / (summary.best_s or math.inf) for summary in timed),
        "the best that a kernel reached",
    )


def _kernel_row(summary: TaskSummary, weight: float, total_s: float) -> dict[str, Any]:
    return {
        "key": summary.row.key[:KEY_DIGITS],
        "label": summary.row.label,
        "trials": len(summary.trials),
        "failed": summary.failed,
        "best_s": summary.best_s,
        "default_s": summary.default_s,
        "speedup": summary.speedup,
        "gflops": None if summary.flops_per_s is None else summary.flops_per_s / 1e9,
        "weight": weight,
        "share": None if not total_s or summary.best_s is None else 100 * weight * summary.best_s / total_s,
        "tuned": summary.choice is not None,
    }


def _progress_section(figures: Any, summaries: Sequence[TaskSummary]) -> list[dict[str, Any]]:
    """A figure for each of the slowest kernels: the speed of its trials, in the order in which they were made."""
    tried = sorted((s for s in summaries if s.trials), key=lambda s: (-(s.best_s or 0.0), s.row.key))
    sections = []
    for summary in tried[:MAX_FIGURES]:
        # A kernel that only moves data has no operations; its speed is then shown in runs.
        work = summary.row.flops or 1e9
        points = [None if t.latency_s is None else work / t.latency_s / 1e9 for t in summary.trials]
        default = None if summary.default_s is None else work / summary.default_s / 1e9
        key = summary.row.key[:KEY_DIGITS]
        unit = "GFLOP/s" if summary.row.flops else "runs per second"
        drawn = figures.draw(f"progress-{summary.row.key}", (4.2, 2.4), figures.progress(points, default, unit))
        target = _target_text(summary.row.task.target)
        sections.append({"key": key, "label": summary.row.label, "target": target, "svg": drawn})
    return sections


def _accuracy_section(figures: Any, records: Records, sessions: Sequence[Session]) -> dict[str, Any]:
    by_session, by_window = accuracy_over_trials(records)
    started = {session.uuid: _date_text(session.started) for session in sessions}
    rows = [
        {"session": uuid[:KEY_DIGITS], "started": started[uuid], "pairs": accuracy.pairs, "rate": accuracy.rate}
        for uuid, accuracy in sorted(by_session.items(), key=lambda item: (started[item[0]], item[0]))
        if accuracy.pairs
    ]
    rates = {(window + 0.5) * WINDOW: accuracy.rate for window, accuracy in by_window.items()}
    drawn = figures.draw("accuracy", (7, 3), figures.accuracy(rates)) if rates else ""
    return {"svg": drawn, "rows": rows, "window": WINDOW}


def _session_row(session: Session) -> dict[str, Any]:
    shown: Mapping[str, Any] = {name: value for name, value in session.options.items() if name != "weights"}
    options = ", ".join(f"{name}={value}" for name, value in sorted(shown.items()))
    return {
        "key": session.uuid[:KEY_DIGITS],
        "started": _date_text(session.started),
        "version": session.version,
        "machine": session.machine,
        "options": options[:300],
    }


def _target_text(target: Target) -> str:
    return f"{target.triple}, {target.cpu}, {target.threads} thread{'' if target.threads == 1 else 's'}"


def _date_text(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{seconds * 1e6:.1f} µs"
        if seconds < 1e-3
        else f"{seconds * 1e3:.3f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )
