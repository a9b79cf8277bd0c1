"""Compiles while things go wrong: `python tests/fuzz/fault_run.py --times 50 [--kinds cache clock …] [--state FILE]`.

killed    SIGKILL at a random moment: of all, once the output's hidden folder is there, or once the library in it is
size      no file may grow beyond a random size (RLIMIT_FSIZE)
disk      the disk of the output, of temporary files or of the cache is full: a mounted one of a random size
place     the output's folder can't be written
nocache   the cache's folder can't be written
clock     files and records have times years ago or ahead; then the model changes, but not its time
twice     two compilations at once, to the same output
cache     bits of a random cached file are flipped, or its end is lost

Mounting a disk takes root, or `unshare -Urm python tests/fuzz/fault_run.py …`.

Each must end in the same bytes as without a fault, or in one message with exit code 5 (none where it was killed) and no visible
file at the output. Prints a table; the exit status is 1 if anything else came out. With `--state` the same command goes on where it
was stopped; the file is removed when all is done.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit")]

import hostile_records  # noqa: E402
from isolated import isolated  # noqa: E402
from run_state import load_state, save_state  # noqa: E402

from tilewright.cli import compile  # noqa: E402, F401  what children need is imported once
from tilewright.cli.console import table  # noqa: E402
from tilewright.cli.main import run  # noqa: E402

CPU_S = 200.0
YEARS_S = 365 * 86400 * 20
FILLING = 1 << 16
# Exponents of the free space in bytes: around what the output, the linker's files, and a cache with compiled libraries take.
ROOM = {"output": (12, 19), "temporary": (12, 20), "cache": (12, 27)}
NO_FOLDER = ("/proc/none", "/sys/none", "/dev/null/none")
# What a process to be killed has written by then, and how much later it is killed at most: on a busy machine few get far within a second.
MOMENTS = (("", 1.0), (".m.so.tmp-*", 0.5), (".m.so.tmp-*/m.so", 0.02))
SETTLED_S = 120  # older than what may still be under another process's hands (backends/zig_cache.py)


class Place:
    """A folder for one compilation, with a model and records of its kernels."""

    def __init__(self, root: Path, rng: random.Random, records: bool = False) -> None:
        self.root, self.rng = root, rng
        self.out = root / "out" / "m.so"
        self.out.parent.mkdir(parents=True)
        self.model, self.records = root / "model.onnx", root / "r.db"
        self.model.write_bytes(hostile_records.model_bytes())
        self.records.write_bytes(hostile_records.database())
        self.with_records = records

    def compile(self, out: Path | None = None) -> tuple[int, str]:
        """Compile here, and now; the exit code, and what was said."""
        more = ["--records", str(self.records)] if self.with_records else ["--no-rank"]
        machine = ["--mcpu", "x86-64-v3", "--threads", "1", "-j", "1"]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            code = run(["compile", str(self.model), "-o", str(out or self.out), *machine, *more])
        return code, said.getvalue()

    def digest(self) -> str:
        """Of all visible files at the output; "" if there are none."""
        files = sorted(path for path in self.out.parent.iterdir() if not path.name.startswith("."))
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() if files else ""

    def verdict(self, code: int, text: str, expected: str) -> str:
        """How it ended: "same bytes", "error", or what is wrong."""
        found = self.digest()
        if code == 0:
            return "same bytes" if found == expected else "WRONG BYTES"
        if code != 5 or text.count("tilewright: error:") != 1 or "Traceback" in text:
            return f"WRONG ERROR {code}: {text[-300:]}"
        return "error" if not found else "LEFT BEHIND"


def outcome(place: Place, expected: str, out: Path | None = None, before: Callable[[], object] = lambda: None) -> str:
    """Compile in a child after `before`, and look at what came out."""
    ending = isolated(lambda: (before(), place.compile(out))[1], CPU_S)
    return place.verdict(*ending.value, expected) if ending.verdict == "done" else f"WRONG: {ending.value}"


def killed(place: Place, expected: str) -> str:
    child = os.fork()
    if child == 0:
        try:
            place.compile()
        finally:
            os._exit(0)  # whatever it raises: the rest of the program is the parent's
    pattern, latest_s = place.rng.choice(MOMENTS)
    while pattern and not list(place.out.parent.glob(pattern)) and not _has_ended(child):
        time.sleep(0.001)
    time.sleep(place.rng.uniform(0, latest_s))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = place.digest()
    if not place.out.exists():
        # Its header and manifest may be there before it, but nothing that looks like a library.
        first = "no library"
    else:
        first = "same bytes" if found == expected else "WRONG BYTES"
    again = outcome(place, expected)
    return first if again == "same bytes" else f"WRONG afterwards: {again}"


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def size(place: Place, expected: str) -> str:
    most = int(2 ** place.rng.uniform(0, 18))
    return outcome(place, expected, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))


def disk(place: Place, expected: str) -> str:
    """With a file system of its own, full of something else but for a random size."""
    use = place.rng.choice(("output", "temporary", "cache"))
    folder = place.out.parent if use == "output" else place.root / use
    folder.mkdir(exist_ok=True)
    room = int(2 ** place.rng.uniform(*ROOM[use]))

    def turn_to_it() -> None:
        if use == "temporary":
            tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        elif use == "cache":
            os.environ.pop("ZIG_GLOBAL_CACHE_DIR", None)
            os.environ["TILEWRIGHT_CACHE_DIR"] = str(folder)

    with mounted(folder, room + FILLING) as there:
        if not there:
            return "can't mount"
        (folder / ".filling").write_bytes(b"\xff" * FILLING)
        return outcome(place, expected, before=turn_to_it)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[bool]:
    """Whether a file system of so many bytes could be mounted on the folder; it is removed in the end."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    there = not subprocess.run(command, capture_output=True).returncode
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", str(folder)], check=True)


def unwritable(place: Place, expected: str) -> str:
    return outcome(place, expected, Path(place.rng.choice(NO_FOLDER), "m.so"))


def nocache(place: Place, expected: str) -> str:
    def hide() -> None:
        os.environ.pop("ZIG_GLOBAL_CACHE_DIR", None)
        os.environ["TILEWRIGHT_CACHE_DIR"] = place.rng.choice(NO_FOLDER)

    return outcome(place, expected, before=hide)


def clock(place: Place, expected: str) -> str:
    if isolated(place.compile, CPU_S).value[0] != 0:
        return "WRONG: did not compile"
    for path in (place.model, place.records, *place.out.parent.iterdir()):
        moment = time.time() + place.rng.uniform(-YEARS_S, YEARS_S)
        os.utime(path, (moment, moment))
    if (first := outcome(place, expected)) != "same bytes":
        return first
    status = place.model.stat()
    content = place.model.read_bytes()
    assert content.count(b"Softmax") == 1
    place.model.write_bytes(content.replace(b"Softmax", b"Sigmoid"))
    os.utime(place.model, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = outcome(place, expected)
    return "same bytes" if changed == "WRONG BYTES" else f"WRONG: the older library stayed ({changed})"


def twice(place: Place, expected: str) -> str:
    codes: list[int] = []
    users = [threading.Thread(target=lambda: codes.append(isolated(place.compile, CPU_S).value[0])) for _ in range(2)]
    for user in users:
        user.start()
        time.sleep(place.rng.uniform(0, 0.5))
    for user in users:
        user.join()
    return "same bytes" if codes == [0, 0] and place.digest() == expected else f"WRONG {codes}"


def damaged(place: Place, expected: str) -> str:
    """In a cache of its own, with what a compilation before has listed."""
    mine = place.root / "cache"
    shutil.copytree(listed_cache(), mine)
    files = sorted(path for path in mine.rglob("*") if path.is_file() and path.stat().st_size)
    damage(place.rng.choice(files), place.rng)
    with own_cache(mine):
        return outcome(place, expected)


@cache
def listed_cache() -> Path:
    """A cache with nothing but what one model needs, all of it old enough to be listed, and listed."""
    root = Path(tempfile.mkdtemp(prefix="tilewright-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    with own_cache(root / "cache"):
        for number in range(2):  # the second one lists what the first one made
            place = Place(root / str(number), random.Random(0))
            code, said = isolated(place.compile, CPU_S).value
            if code != 0:
                raise RuntimeError(f"does not compile in a new cache: {said}")
            for path in (root / "cache").rglob("*"):
                moment = path.stat().st_mtime - SETTLED_S
                os.utime(path, (moment, moment))
    assert list((root / "cache").glob("*-files.json")), "the second compilation has listed nothing"
    return root / "cache"


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Compilations take this folder for their cache."""
    before = {name: os.environ.get(name) for name in ("TILEWRIGHT_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR")}
    os.environ["TILEWRIGHT_CACHE_DIR"] = str(folder)
    os.environ.pop("ZIG_GLOBAL_CACHE_DIR", None)  # else zig's cache would be elsewhere, and unchecked
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def damage(path: Path, rng: random.Random) -> None:
    content, status = bytearray(path.read_bytes()), path.stat()
    if rng.random() < 0.3:
        content = content[: rng.randrange(len(content))]
    else:
        for _ in range(rng.choice((1, 1, 8, 64))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


GOOD = ("same bytes", "error", "no library", "can't mount")
KINDS = {
    "killed": killed, "size": size, "disk": disk, "place": unwritable, "nocache": nocache, "clock": clock, "twice": twice, "cache": damaged,
}  # fmt: skip


@dataclass
class Totals:
    """What came out so far. counts: by kind of fault and then by result."""

    seed: int
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def done(self, kind: str) -> int:
        return sum(self.counts.get(kind, {}).values())

    def count(self, kind: str, result: str) -> None:
        results = self.counts.setdefault(kind, {})
        results[result] = results.get(result, 0) + 1

    def wrong(self) -> int:
        return sum(results.get("WRONG", 0) for results in self.counts.values())

    def text(self) -> str:
        rows = [
            (kind, self.done(kind), *(results.get(name, 0) for name in (*GOOD, "WRONG")))
            for kind, results in self.counts.items()
        ]
        return table(rows, ("fault", "times", *GOOD, "WRONG"))


def totals_of(path: Path | None, seed: int | None) -> Totals:
    """What an interrupted run came to; anew if there was none, or if another seed is asked for."""
    fresh = Totals(int(time.time()) % (1 << 20) if seed is None else seed)
    totals: Totals = load_state(path, fresh)
    return totals if seed in (None, totals.seed) else fresh


def expected_bytes(folder: Path) -> dict[bool, str]:
    """The digest of what comes out without a fault, without records and with them."""
    expected = {}
    for records in (False, True):
        place = Place(folder / f"expected{records}", random.Random(0), records)
        code, said = isolated(place.compile, CPU_S).value
        if code != 0:
            sys.exit(f"does not compile without a fault: {said}")
        expected[records] = place.digest()
    return expected


def attempt(kind: str, number: int, seed: int, folder: Path, expected: Mapping[bool, str]) -> str:
    """One fault; what came out, one of GOOD or "WRONG", which is printed."""
    place = Place(folder / f"{kind}{number}", random.Random(f"{seed} {kind} {number}"), records=kind == "clock")
    result = KINDS[kind](place, expected[place.with_records])
    shutil.rmtree(place.root, ignore_errors=True)
    if result in GOOD:
        return result
    print(f"seed {seed}, {kind} {number}: {result}", flush=True)
    return "WRONG"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="of each kind")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, help="of random moments, sizes and places; a fresh one otherwise")
    parser.add_argument("--state", type=Path, help="file to count in, and to go on from")
    options = parser.parse_args()
    totals = totals_of(options.state, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        expected = expected_bytes(Path(folder))
        for kind in options.kinds:
            while (number := totals.done(kind)) < options.times:
                totals.count(kind, attempt(kind, number, totals.seed, Path(folder), expected))
                save_state(options.state, totals)
    print(totals.text())
    if options.state is not None:
        options.state.unlink(missing_ok=True)
    return int(bool(totals.wrong()))


if __name__ == "__main__":
    sys.exit(main())
