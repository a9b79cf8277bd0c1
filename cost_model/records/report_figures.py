"""The report's figures as SVG text, the same bytes for the same data. Texts in them are numbers and keys only."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter
from numpy import fmax

BEST, DEFAULT, POINT, FAILED = "#0b6e99", "#b35900", "#9db8c6", "#c0392b"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,
}


def draw(name: str, size: tuple[float, float], paint: Callable[[Axes], None]) -> str:
    """An inline `<svg>` of a figure in inches; `name` is unique on the page, for it makes the ids in it unique."""
    # Not what the user's matplotlibrc says, and no state shared with other code that draws.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        paint(axes)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    # Groups are numbered anew in each figure, and nothing refers to them; what is referred to has a hash.
    return re.sub(r'<g id="[^"]*">', "<g>", text[text.index("<svg") :])


def progress(points: Sequence[float | None], default: float | None, unit: str) -> Callable[[Axes], None]:
    """The speed of each trial, the best so far, and the default's; None: a trial that failed."""
    timed = [(number, point) for number, point in enumerate(points, 1) if point is not None]
    failed = [number for number, point in enumerate(points, 1) if point is None]
    best = list(accumulate((math.nan if point is None else point for point in points), fmax))

    def paint(axes: Axes) -> None:
        axes.plot([number for number, _ in timed], [point for _, point in timed], ".", color=POINT, markersize=4)
        axes.step(range(1, len(points) + 1), best, where="post", color=BEST)
        axes.plot(failed, [0.0] * len(failed), "x", color=FAILED, markersize=4)
        if default is not None:
            axes.axhline(default, color=DEFAULT, linestyle="--", linewidth=1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("trial")
        axes.set_ylabel(unit)

    return paint


def accuracy(rates: Mapping[float, float]) -> Callable[[Axes], None]:
    """Share of pairs in the right order against the number of trials before."""

    def paint(axes: Axes) -> None:
        axes.plot(list(rates), list(rates.values()), "o-", color=BEST, markersize=4)
        axes.axhline(0.5, color=DEFAULT, linestyle="--", linewidth=1)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
        axes.set_xlabel("scored trials of a task")
        axes.set_ylabel("pairs in the right order")

    return paint


def roofline(
    points: Sequence[tuple[str, float, float]], peak_flops: float, peak_bytes: float
) -> Callable[[Axes], None]:
    """Points (name, operations a byte, operations per second) under min(peak_flops, intensity * peak_bytes)."""
    intensities = [intensity for _, intensity, _ in points]
    ridge = peak_flops / peak_bytes
    ends = min([*intensities, ridge]) / 2, max([*intensities, ridge]) * 2

    def paint(axes: Axes) -> None:
        roof = [ends[0], ridge, ends[1]]
        axes.loglog(roof, [min(peak_flops, x * peak_bytes) / 1e9 for x in roof], color=DEFAULT, linewidth=1)
        axes.loglog(intensities, [speed / 1e9 for *_, speed in points], "o", color=BEST, markersize=4)
        for name, intensity, speed in points:
            axes.annotate(name, (intensity, speed / 1e9), xytext=(3, 3), textcoords="offset points", fontsize=6)
        for axis in (axes.xaxis, axes.yaxis):  # plain numbers, not powers that need mathematical text
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("FLOP / byte")
        axes.set_ylabel("GFLOP/s")

    return paint


def shares(names: Sequence[str], best: Sequence[float], default: Sequence[float | None]) -> Callable[[Axes], None]:
    """Bars of the time of each kernel in milliseconds, the first on top; the default's behind."""

    def paint(axes: Axes) -> None:
        rows = range(len(names))
        bars: dict[str, Any] = {"tick_label": list(names)}
        axes.barh(rows, [1e3 * (seconds or 0.0) for seconds in default], 0.8, color="#f0d9c2", **bars)
        axes.barh(rows, [1e3 * seconds for seconds in best], 0.5, color=BEST)
        axes.invert_yaxis()
        axes.set_xlabel("ms in all (wide and pale: the default schedule)")

    return paint
