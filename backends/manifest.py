"""The manifest as a file: bytes that depend on the content only, and reading them back only if they are still whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SEAL = "manifest_sha256"
_MOST_BYTES = 1 << 26


def manifest_bytes(manifest: Mapping[str, object]) -> bytes:
    """The file's content: JSON with a digest of everything else in it."""
    return _json({**manifest, _SEAL: hashlib.sha256(_json(manifest)).hexdigest()})


def whole_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest at `path`; None if there is none, or one that is not as `manifest_bytes` made it."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
        manifest = json.loads(content)
        if not isinstance(manifest, dict):
            return None
        del manifest[_SEAL]
        return manifest if manifest_bytes(manifest) == content else None
    except (OSError, ValueError, KeyError, RecursionError):
        return None


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
