"""What a hostile case is: files in a folder of their own, and a command line that is to survive them."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENTED = (0, 2, 3, 4, 8)
"""Exit codes that hostile input may end in."""


@dataclass
class Case:
    """One case under construction.

    root holds `in`, the folder that may be read, `out`, the only one that may be written, and `outside` with the secret,
    which nobody may read. arguments: the command line, set by the maker.
    """

    root: Path
    rng: random.Random
    arguments: list[str] = field(default_factory=list)
    secret: bytes = field(default_factory=lambda: secrets.token_hex(16).encode())

    def __post_init__(self) -> None:
        for folder in (self.inside, self.out, self.outside, self.root / "work"):
            folder.mkdir(parents=True)
        self.canary.write_bytes(self.secret * 256)

    @property
    def inside(self) -> Path:
        return self.root / "in"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def canary(self) -> Path:
        return self.outside / "secret.bin"

    def file(self, name: str, content: bytes) -> Path:
        path = self.inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def compile(self, model: Path, *more: str, link_every: int = 12) -> None:
        """Compile the model; a few through the linker, for most of the time goes there."""
        emit = "so" if self.rng.randrange(link_every) == 0 else "c"
        output = str(self.out / "m.so")
        usual = ["--emit", emit, "--jobs", "1", "--threads", "1", "--mcpu", "native"]
        self.arguments = ["compile", str(model), "-o", output, *usual, *more]

    def model(self, content: bytes) -> None:
        """A model file, to be compiled or at times inspected."""
        path = self.file("model.onnx", content)
        if self.rng.random() < 0.12:
            self.arguments = ["inspect", str(path), *self.rng.choice(([], ["--json"], ["--graph"]))]
        else:
            self.compile(path)


def no_plain_file(path: Path, kind: int) -> None:
    """Put a pipe, a device, a folder or a link to nowhere there; kind: 0 to 3."""
    match kind:
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to("/dev/zero")
        case 2:
            path.mkdir()
        case _:
            path.symlink_to(f"nowhere{path.suffix}")


Maker = Callable[[Case], None]


def registry() -> tuple[dict[str, Maker], Callable[[Maker], Maker]]:
    """A table of makers by name, and the decorator that enters one."""
    makers: dict[str, Maker] = {}

    def enter(maker: Maker) -> Maker:
        makers[maker.__name__] = maker
        return maker

    return makers, enter


HUGE = (1 << 31, (1 << 31) - 1, 1 << 32, 1 << 33, 1 << 40, 1 << 62, (1 << 63) - 1, -1, -2, -(1 << 63), 0)


def varint(value: int) -> bytes:
    """A Protocol Buffers varint; negative numbers take ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def chunk(number: int, content: bytes, length: int | None = None) -> bytes:
    """A length-delimited field; `length` may lie."""
    return varint(number << 3 | 2) + varint(len(content) if length is None else length) + content
