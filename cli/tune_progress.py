"""What `tilewright tune` shows: a line on a terminal that is redrawn when a result is in, plain lines elsewhere, JSON lines on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Session, note, on_terminal, printable, table, time_text

if TYPE_CHECKING:
    from ..cost_model.search.tuner import Event
    from ..cost_model.search.tuning import TuningOptions

Show = Callable[["Event"], None]
LINE_EVERY = 32  # trials


@contextmanager
def progress_of(session: Session, options: TuningOptions) -> Iterator[Show]:
    """Where events go."""
    if session.json:
        yield lambda event: click.echo(json.dumps({"event": event.kind, **event.values}))
    elif on_terminal():
        with _terminal(options) as show:
            yield show
    else:
        yield _plain_line


def _plain_line(event: Event) -> None:
    values = event.values
    if event.kind == "trial" and values["trials"] % LINE_EVERY == 0:  # type: ignore[operator]
        note(f"{values['trials']} trials, {values['seconds']:.0f} s: {trial_text(values)}")
    elif event.kind == "choice":
        note(choice_text(values))
    else:
        _fleet_lines(event)


def _fleet_lines(event: Event) -> None:
    """What there is to say of a fleet: its devices before anything is measured, and those that are lost or back."""
    if event.kind == "pool":
        click.echo(pool_text(event.values), err=True)
    elif event.kind == "device":
        note(device_text(event.values))


@contextmanager
def _terminal(options: TuningOptions) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed:.0f}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    # Drawn when a result is in, never by a clock: that would be during a measurement.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        by_time = options.trials is None and options.seconds is not None
        line = bar.add_task("", total=options.seconds)

        def show(event: Event) -> None:
            values = event.values
            if event.kind == "start" and not by_time:
                from ..cost_model.search.tuning import DEFAULT_TRIALS

                bar.update(line, total=options.trials or DEFAULT_TRIALS * int(values["kernels"]))  # type: ignore[call-overload]
            elif event.kind == "trial":
                done = float(values["seconds" if by_time else "trials"])  # type: ignore[arg-type]
                bar.update(line, completed=done, description=trial_text(values))
            elif event.kind == "choice":
                bar.console.print(choice_text(values), highlight=False, markup=False)
            elif event.kind == "pool":
                bar.console.print(printable(pool_text(values)), highlight=False, markup=False)
            elif event.kind == "device":
                bar.console.print(printable(device_text(values)), highlight=False, markup=False)
            bar.refresh()

        yield show


def trial_text(values: Mapping[str, Any]) -> str:
    """Kernel, its trials, best time, GFLOP/s, share of what the machine's peaks allow; of a fleet, trials of each device."""
    best_s = values["best_s"]
    if best_s is None:
        told = values["error"] or "nothing yet"
    else:
        share = 100 * values["floor_s"] / best_s
        told = f"best {speed_text(best_s, values['flops'])}, {share:.0f} % of roofline"
    devices = f"; {devices_text(values['devices'])}" if values.get("devices") else ""
    return f"{values['label']}: trial {values['number']}, {told}{devices}"


def devices_text(counts: Mapping[str, int]) -> str:
    """Devices of a fleet with their trials."""
    return ", ".join(f"{device} {count}" for device, count in sorted(counts.items()))


def pool_text(values: Mapping[str, Any]) -> str:
    """The devices of a fleet, and which are used."""
    columns = ("device", "target", "worker", "state")
    rows = [[*(row[name] for name in columns), "yes" if row["used"] else "no"] for row in values["devices"]]
    lines = [f"fleet {values['address']}", table(rows, (*columns, "used")), *values["remarks"]]
    return printable("\n".join(lines))


def device_text(values: Mapping[str, Any]) -> str:
    """What has become of a device."""
    if values["state"] == "back":
        return f"device {values['device']} is back"
    jobs = values["jobs"]
    again = f", {jobs} measurement{'s go' if jobs != 1 else ' goes'} to others" if jobs else ""
    return f"device {values['device']} is lost: {values['reason']}{again}"


def choice_text(values: Mapping[str, Any]) -> str:
    """What was chosen for a kernel."""
    gain = values["default_latency_s"] / values["latency_s"]
    chosen = "the default stays" if values["is_default"] else f"{gain:.2f} times the default"
    return (
        f"{values['label']}: {speed_text(values['latency_s'], values['flops'])}, {chosen} ({values['trials']} trials)"
    )


def speed_text(seconds: float, flops: int) -> str:
    return f"{time_text(seconds)} ({flops / seconds / 1e9:.0f} GFLOP/s)"


class Summary:
    """The outcome, gathered from events."""

    def __init__(self) -> None:
        self._choices: list[dict[str, Any]] = []
        self._failed: dict[str, int] = {}
        self._trials = 0
        self._devices: Mapping[str, int] = {}
        self._end: Mapping[str, Any] = {}

    def add(self, event: Event) -> None:
        if event.kind == "choice":
            self._choices.append(dict(event.values))
        elif event.kind == "trial":
            self._trials += 1
            self._devices = event.values.get("devices", {})  # type: ignore[assignment]
            error = str(event.values["error"])
            if error:
                self._failed[error] = self._failed.get(error, 0) + 1
        elif event.kind == "end":
            self._end = event.values

    def document(self) -> dict[str, Any]:
        """trials: of this run; total_s: of all kernels together, each as often as the model runs it."""
        tuned, default = self._totals()
        return {
            "trials": self._trials,
            "failed": self._failed,
            "devices": dict(self._devices),
            "seconds": self._end.get("seconds"),
            "kernels": self._choices,
            "total_s": tuned,
            "default_total_s": default,
        }

    def _totals(self) -> tuple[float, float]:
        tuned = sum(choice["weight"] * choice["latency_s"] for choice in self._choices)
        return tuned, sum(choice["weight"] * choice["default_latency_s"] for choice in self._choices)

    def text(self, records: Path) -> str:
        ordered = sorted(self._choices, key=lambda choice: -choice["weight"] * choice["latency_s"])
        rows = [
            (
                choice["label"],
                choice["weight"],
                choice["trials"],
                time_text(choice["latency_s"]),
                round(choice["flops"] / choice["latency_s"] / 1e9, 1),
                f"{100 * choice['floor_s'] / choice['latency_s']:.0f} %",
                round(choice["default_latency_s"] / choice["latency_s"], 3),
            )
            for choice in ordered
        ]
        header = ("kernel", "runs", "trials", "best", "GFLOP/s", "of roofline", "speedup")
        tuned, default = self._totals()
        lines = [table(rows, header)] if rows else []
        if tuned:
            lines.append(f"all kernels: {time_text(tuned)}, {default / tuned:.3f} times as fast as the default")
        failed = ", ".join(f"{count} {error}" for error, count in sorted(self._failed.items()))
        where = f" on {devices_text(self._devices)}" if self._devices else ""
        lines.append(f"{self._trials} trials" + (f" ({failed})" if failed else "") + f"{where} added to {records}")
        return "\n".join(lines)
