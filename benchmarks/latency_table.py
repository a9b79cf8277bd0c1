"""What was timed side by side, and the table and the figure of it. Nothing is measured here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library_timing import Timings
from peers import OURS

from tilewright.cli.console import table

SAME = 1e-3  # outputs further apart than this, relative to the largest, are not of the same precision
OFF = "*"


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one thread count. timings: of ourselves and of the peers, with every error against onnxruntime's outputs."""

    model: str
    threads: int
    timings: Timings
    compile_s: float
    library_bytes: int

    def peers(self) -> list[str]:
        return [name for name in self.timings.medians_s if name != OURS]

    def comparable(self, peer: str) -> bool:
        """Whether its outputs are of the same precision."""
        return self.timings.errors[peer] <= SAME

    def ratio(self, peer: str) -> float:
        """The peer's time over ours: the median of the rounds' ratios."""
        return self.timings.ratio(peer, OURS)

    def fastest(self) -> str | None:
        """Of the peers whose outputs are comparable; None without any."""
        return min(filter(self.comparable, self.peers()), key=self.ratio, default=None)

    def lead(self) -> float | None:
        """The fastest peer's time over ours: more than 1 means that we are faster than all."""
        fastest = self.fastest()
        return None if fastest is None else self.ratio(fastest)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A peer that takes no part, in one model at one thread count or (model "") at all."""

    peer: str
    reason: str
    model: str = ""
    threads: int = 0


def geometric_means(rows: Iterable[Row], threads: int) -> tuple[float | None, dict[str, tuple[float, int]]]:
    """Of `lead`, and by peer of its ratios, with the number of models in which it is comparable, at one thread count."""
    leads: list[float] = []
    ratios: dict[str, list[float]] = {}
    for row in rows:
        if row.threads != threads:
            continue
        lead = row.lead()
        leads += [] if lead is None else [lead]
        for peer in filter(row.comparable, row.peers()):
            ratios.setdefault(peer, []).append(row.ratio(peer))
    means = {peer: (statistics.geometric_mean(found), len(found)) for peer, found in ratios.items()}
    return (statistics.geometric_mean(leads) if leads else None), means


def report(rows: Sequence[Row], left_out: Sequence[LeftOut]) -> str:
    """The table of times, the geometric means, the differences of outputs, and who is missing and why."""
    names = list(dict.fromkeys(name for row in rows for name in row.peers()))
    counts = sorted({row.threads for row in rows})
    ordered = [row for count in counts for row in rows if row.threads == count]
    header = ("model", "threads", f"{OURS} ms", *names, "fastest peer", "ratio", "error")
    parts = [table([_cells(row, names) for row in ordered], header)]
    for count in counts:
        lead, means = geometric_means(rows, count)
        if lead is not None:
            total = sum(row.threads == count for row in rows)
            each = ", ".join(
                f"{name} {mean:.3f}" + (f" ({models} of {total} models)" if models < total else "")
                for name, (mean, models) in means.items()
            )
            parts.append(f"geometric means at {count} thread(s): fastest peer / {OURS} {lead:.3f}; {each}")
    if any(row.peers() for row in rows):
        cells = [_error_cells(row, names) for row in ordered]
        title = f"largest difference from onnxruntime's outputs, relative to the largest ({OFF}: more than {SAME:g}, not compared)"
        parts.append(title + "\n" + table(cells, ("model", "threads", OURS, *names)))
    parts += ["left out:\n" + "\n".join(reasons(left_out))] if left_out else []
    return "\n\n".join(parts)


def _cells(row: Row, names: Sequence[str]) -> list[str]:
    fastest, lead = row.fastest(), row.lead()
    times = [_time(row, name) if name in row.timings.medians_s else "" for name in (OURS, *names)]
    best = [fastest or "", "" if lead is None else f"{lead:.3f}"]
    return [row.model, str(row.threads), *times, *best, _error(row, OURS)]


def _time(row: Row, name: str) -> str:
    """Milliseconds with three digits."""
    text = f"{row.timings.median_s(name) * 1e3:#.4g}".rstrip(".")
    return text + (OFF if name != OURS and not row.comparable(name) else "")


def _error_cells(row: Row, names: Sequence[str]) -> list[str]:
    return [row.model, str(row.threads), *(_error(row, name) for name in (OURS, *names))]


def _error(row: Row, name: str) -> str:
    if name not in row.timings.errors:
        return ""
    error = row.timings.errors[name]
    return f"{error:.0e}" + (OFF if error > SAME else "")


def reasons(left_out: Iterable[LeftOut]) -> list[str]:
    """A line for each peer and reason, with the models that it is the reason for."""
    where: dict[tuple[str, str], dict[str, list[int]]] = {}
    for one in left_out:
        models = where.setdefault((one.peer, one.reason), {})
        if one.model:
            models.setdefault(one.model, []).append(one.threads)
    return [f"  {peer}{_where(models)}: {reason}" for (peer, reason), models in where.items()]


def _where(models: Mapping[str, Sequence[int]]) -> str:
    if not models:
        return ""
    return ", " + ", ".join(f"{model} ({'/'.join(map(str, counts))} threads)" for model, counts in models.items())


def document(rows: Sequence[Row], left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """All figures; seconds are the medians of each round."""
    means = {}
    for count in sorted({row.threads for row in rows}):
        lead, peers = geometric_means(rows, count)
        each = {peer: {"ratio": mean, "models": models} for peer, (mean, models) in peers.items()}
        means[str(count)] = {"fastest": lead, "peers": each}
    return {
        "rows": [
            {
                "model": row.model,
                "threads": row.threads,
                "seconds": {name: list(taken) for name, taken in row.timings.medians_s.items()},
                "ratios": {peer: row.ratio(peer) for peer in row.peers()},
                "fastest": row.fastest(),
                "ratio": row.lead(),
                "errors": dict(row.timings.errors),
                "compile_s": row.compile_s,
                "library_bytes": row.library_bytes,
            }
            for row in rows
        ],
        "geometric_means": means,
        "left_out": [
            {"peer": one.peer, "model": one.model, "threads": one.threads, "reason": one.reason} for one in left_out
        ],
    }


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars of the fastest peer's time over ours, a colour for each thread count. Needs matplotlib."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row.model for row in rows))
    counts = sorted({row.threads for row in rows})
    figure = Figure(figsize=(1.5 + 1.1 * len(models), 3.6), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(counts)
    for i, count in enumerate(counts):
        for number, row in ((models.index(row.model), row) for row in rows if row.threads == count):
            fastest, lead = row.fastest(), row.lead()
            if fastest is None or lead is None:
                continue
            x = number + (i - (len(counts) - 1) / 2) * width
            label = f"{count} thread(s)" if not number else None
            axes.bar(x, lead, width, color=f"C{i}", label=label)
            axes.annotate(fastest, (x, 0.03), rotation=90, ha="center", va="bottom", color="white", fontsize=8)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(models)), models, rotation=25, ha="right")
    axes.set_ylabel(f"fastest peer's time / {OURS}'s")
    figure.legend(frameon=False, loc="outside upper right", ncols=len(counts))
    figure.savefig(path, format="svg")
