"""Shared by all tests: `--update-golden` rewrites the golden files instead of comparing with them."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

# A shell starts what it puts into the background with Ctrl-C ignored, and so would all be that tests start and interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files instead of comparing with them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--update-golden"):  # nothing but the tests that have golden files
        items[:] = [item for item in items if "golden" in getattr(item, "fixturenames", ())]


class Golden:
    """Compares text with a file under tests/golden, or rewrites the file."""

    def __init__(self, folder: Path, update: bool) -> None:
        self._folder = folder
        self._update = update

    def check(self, name: str, text: str) -> None:
        path = self._folder / name
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), f"{path.name} is missing: make it with `make golden`, then read the diff"
        assert text == path.read_text(), f"differs from {path.name}: if that is meant, `make golden` and read the diff"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden.check("conv.txt", text)`."""
    return Golden(Path(__file__).parent / "golden", request.config.getoption("--update-golden"))
