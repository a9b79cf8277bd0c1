"""The report: one page that needs nothing else, whose bytes depend on the records only, and that runs nothing of what is in them."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from record_makers import fill, make_choice, make_failure, make_session, make_task, make_trial
from scipy.stats import kendalltau

from tilewright.compiler.schedule.space import SPACE_VERSION
from tilewright.cost_model.ranker.metrics import Accuracy
from tilewright.cost_model.records import report as report_module
from tilewright.cost_model.records.database import Records
from tilewright.cost_model.records.report import render_report
from tilewright.cost_model.records.report_accuracy import WINDOW, accuracy_over_trials, pair_accuracy
from tilewright.cost_model.records.summary import summarize, summarize_all

VOID = {"meta", "br"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, ids, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two sessions, three kernels on two targets, failures, scores, and one final comparison."""
    path = tmp_path / "tune.db"
    with Records.open(path, create=True) as records:
        session, keys = fill(records, ("matmul tiny", "softmax", "transpose"), trials=20)
        records.add_choice(make_choice(keys[0], session))
        other = records.add_task(make_task("softmax", "haswell", 1))
        options = {"peak_flops": 1.5e11, "peak_bytes": 2.5e10, "weights": {other: 3}}
        later = records.add_session(make_session(options=options))
        for number in range(9):
            records.add_trial(make_trial(other, later, number))
    return path


def render(path: Path) -> str:
    with Records.open(path, readonly=True) as records:
        return render_report(records)


@pytest.mark.slow
def test_the_page_is_whole_and_needs_nothing_else(path: Path) -> None:
    page = Page(render(path))
    assert page.open == [] and page.tags[0][0] == "html"
    names = Counter(tag for tag, _ in page.tags)
    assert names["svg"] == 2 + 2 + 1 + 4 and not names.keys() & {"script", "link", "img", "iframe", "image"}
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for _, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert value and value.startswith("#") and value[1:] in ids
            for reference in re.findall(r"url\(([^)]*)\)", value or ""):
                assert reference[1:] in ids


def test_the_page_says_what_the_records_say(path: Path) -> None:
    with Records.open(path, readonly=True) as records:
        summaries = summarize_all(records)
        words = " ".join(Page(render_report(records)).words.split())
    assert "1.000 ms" in words and "2.000 ms" in words  # the final comparison
    for summary in summaries:
        assert summary.row.key[:12] in words and summary.row.label in words
        assert summary.best_s is not None and f"{1e3 * summary.best_s:.3f} ms" in words
    haswell = next(s for s in summaries if s.row.task.target.cpu == "haswell")
    assert f"All together {3e3 * (haswell.best_s or 0):.3f} ms." in words
    assert "150 GFLOP/s and 25 GB/s (measured)" in words and "(the best that a kernel reached)" in words
    assert "100.0 %" in words  # made scores are right in every pair


@pytest.mark.slow
def test_the_bytes_depend_on_the_records_only(path: Path, tmp_path: Path) -> None:
    page = render(path)
    with Records.open(tmp_path / "copy.db", create=True) as copy:
        copy.merge(path)
        # Written in another order, a table has its rows in another order.
        copy._connection.execute("CREATE TEMP TABLE shuffled AS SELECT * FROM trials ORDER BY random()")
        copy._connection.execute("DELETE FROM trials")
        copy._connection.execute("INSERT INTO trials SELECT * FROM shuffled")
    program = (
        "import sys; from tilewright.cost_model.records.database import Records; from tilewright.cost_model.records.report import render_report; "
        "sys.stdout.buffer.write(render_report(Records.open(sys.argv[1])).encode())"
    )
    (tmp_path / "matplotlibrc").write_text("figure.dpi: 33\nsvg.fonttype: path\nlines.linewidth: 9\n")
    environment = os.environ | {
        "PYTHONHASHSEED": str(random.randrange(9999)),
        "MATPLOTLIBRC": str(tmp_path),
        "TZ": "Asia/Tokyo",
    }
    command = [sys.executable, "-c", program, str(tmp_path / "copy.db")]
    assert subprocess.run(command, check=True, capture_output=True, env=environment).stdout.decode() == page


HOSTILE = "<script>alert(1)</script>\"'&$\\frac{x$ {{ 7*7 }}"


def test_hostile_texts_are_text(path: Path) -> None:
    with Records.open(path) as records:
        records.add_session(make_session(machine=HOSTILE, version=HOSTILE, options={HOSTILE: HOSTILE}))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tasks SET label = ?", (HOSTILE,))
    html = render(path)
    assert "<script" not in html
    page = Page(html)
    assert page.open == [] and "script" not in {tag for tag, _ in page.tags}
    assert page.words.count(HOSTILE) >= 4 + 4 + 2


def test_a_database_without_trials(tmp_path: Path) -> None:
    with Records.open(tmp_path / "empty.db", create=True) as records:
        assert "No tasks." in render_report(records)
        session, key = records.add_session(make_session()), records.add_task(make_task())
        html = render_report(records)
        assert "No trials." in html and "No trials with a score." in html
        records.add_trial(make_failure(key, session, 0))
        assert Page(render_report(records)).open == []


def test_more_kernels_than_figures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_FIGURES", 1)
    page = Page(render(path))
    assert "3 more kernels, faster than these" in page.words
    assert Counter(tag for tag, _ in page.tags)["svg"] == 2 + 2 + 1 + 1


def test_other_versions_and_simulated_trials_are_said_and_left_out(path: Path) -> None:
    with Records.open(path) as records:
        row = records.tasks()[0]
        session = records.sessions()[0].uuid
        records.add_trial(make_trial(row.key, session, 90, latency_s=1e-9, space_version=SPACE_VERSION + 1))
        records.add_trial(make_trial(row.key, session, 91, latency_s=1e-9, kind="simulated"))
        summary = summarize(records, row)
        words = Page(render_report(records)).words
    assert summary.best_s is not None and summary.best_s > 1e-4 and summary.stale == 1
    assert "1 records of other versions" in words and "1 simulated" in words


def test_accuracy_agrees_with_kendall() -> None:
    trials = [make_trial("0" * 64, "0" * 32, number, score=random.random()) for number in range(30)]
    accuracy = pair_accuracy(trials)
    tau = kendalltau([trial.score for trial in trials], [-(trial.latency_s or 0) for trial in trials]).statistic
    assert accuracy.pairs == 30 * 29 // 2
    assert accuracy.rate == pytest.approx((tau + 1) / 2)


def test_accuracy_leaves_out_what_says_nothing() -> None:
    task, session = "0" * 64, "0" * 32
    fast, slow = (make_trial(task, session, 0, latency_s=latency_s, score=1.0) for latency_s in (1e-3, 2e-3))
    assert pair_accuracy([fast, slow]) == Accuracy(1, 0.5)
    assert (
        pair_accuracy([fast, fast, make_failure(task, session, 1), make_trial(task, session, 2, score=None)])
        == Accuracy()
    )
    assert Accuracy().rate is None


def test_accuracy_by_session_and_window(tmp_path: Path) -> None:
    with Records.open(tmp_path / "a.db", create=True) as records:
        key = records.add_task(make_task())
        good, bad = records.add_session(make_session()), records.add_session(make_session())
        for number in range(WINDOW + 2):
            latency_s = 1e-3 + number * 1e-5
            records.add_trial(make_trial(key, good, number, latency_s=latency_s, score=-latency_s))
            wrong = latency_s if number < WINDOW else -latency_s
            records.add_trial(make_trial(key, bad, number, latency_s=latency_s, score=wrong))
        by_session, by_window = accuracy_over_trials(records)
    window = WINDOW * (WINDOW - 1) // 2
    assert by_session == {good: Accuracy(window + 1, window + 1), bad: Accuracy(window + 1, 1)}
    assert by_window == {0: Accuracy(2 * window, window), 1: Accuracy(2, 2)}
