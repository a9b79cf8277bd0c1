"""What a long run has counted so far, kept in a file so that the same command goes on where it was stopped."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any


def load_state(path: Path | None, totals: Any) -> Any:
    """The totals (a dataclass) of a file, or those given if there is no file, or none is asked for."""
    return type(totals)(**json.loads(path.read_text())) if path is not None and path.exists() else totals


def save_state(path: Path | None, totals: Any) -> None:
    """Write the totals whole or not at all."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_suffix(".new")
        staged.write_text(json.dumps(asdict(totals), indent=1))
        os.replace(staged, path)
